"""What a prediction costs within the server's process, part by part, beside a library that does it.

Reading a payload by the contract, the arithmetic of its fields, the features of a window, the
score, counting, and the way from an ASGI message to an answer. No socket: `serving` measures that.
Each is called again and again in a process of its own, which has imported what it needs.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bench import contenders
from bench.frame import Cost, Target, alternate, measure, medians, table, write_result
from breezeway.contract.contract import Contract

BLOCK = 65_536
"""Rows of a column: as preprocessing has them."""
EXPRESSION = "(torque - drag) * speed / 9.5488 + 2 * load"
FIELDS = ("torque", "drag", "speed", "load")
READINGS = contenders.WINDOW
ROUNDS = 3
"""Most of the time goes into imports."""


def repeated(contender: Callable, times: int, **arguments: Any) -> Callable[[], Any]:
    """So many calls of what a contender gives; its value: what the first one gave."""
    call = contender(**arguments)
    value = call()

    def work() -> Any:
        for _ in range(times):
            call()
        return value

    return work


# -- one payload: 20 numbers, each in a range


def payload_ours(folder: str) -> Callable[[], Any]:
    from bench.model import CONTRACT, reading

    contract, payload = Contract.from_text(CONTRACT, "bench"), reading()[1][0]["payload"]
    return lambda: list(contract.parser.parse(payload).values())


def payload_by_pydantic(folder: str) -> Callable[[], Any]:
    from typing import Annotated

    from pydantic import ConfigDict, Field, create_model

    from bench import model

    number = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
    strict = ConfigDict(extra="forbid", strict=True)
    reading = create_model("Reading", __config__=strict, **dict.fromkeys(model.FIELDS, number))
    payload = model.reading()[1][0]["payload"]
    return lambda: list(reading.model_validate_json(payload).model_dump().values())


# -- arithmetic of the fields of one reading, and of columns


def _row() -> dict[str, float]:
    return dict(zip(FIELDS, (41.5, 1.25, 1500.0, 0.3), strict=True))


def _columns() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(4)
    return {name: generator.normal(50, 9, BLOCK) for name in FIELDS}


def arithmetic_ours() -> Callable[[], Any]:
    from breezeway.contract.expressions import Expression

    expression, row = Expression(EXPRESSION, set(FIELDS), set()), _row()
    return lambda: expression.of_reading(row)


def arithmetic_by_simpleeval() -> Callable[[], Any]:
    from simpleeval import SimpleEval

    row = _row()
    evaluator = SimpleEval(names=row)
    parsed = evaluator.parse(EXPRESSION)
    return lambda: evaluator.eval(EXPRESSION, previously_parsed=parsed)


def arithmetic_by_numexpr() -> Callable[[], Any]:
    import numexpr

    row = _row()
    return lambda: float(numexpr.evaluate(EXPRESSION, local_dict=row))


def columns_ours() -> Callable[[], Any]:
    from breezeway.contract.expressions import Expression

    expression, columns = Expression(EXPRESSION, set(FIELDS), set()), _columns()
    return lambda: float(expression(columns)[-1])


def columns_by_numexpr() -> Callable[[], Any]:
    import numexpr

    numexpr.set_num_threads(1)
    columns = _columns()
    return lambda: float(numexpr.evaluate(EXPRESSION, local_dict=columns)[-1])


def columns_by_pandas() -> Callable[[], Any]:
    import pandas as pd

    frame = pd.DataFrame(_columns())
    return lambda: float(frame.eval(EXPRESSION, engine="python").iloc[-1])


# -- the features of a window: 14 statistics of 30 readings


def _readings() -> list[dict[str, float]]:
    generator = np.random.default_rng(6)
    return [
        dict(zip(contenders.ROLLING, row, strict=True))
        for row in generator.normal(60, 5, (READINGS, len(contenders.ROLLING))).tolist()
    ]


def window_ours() -> Callable[[], Any]:
    from breezeway.contract.features import latest_features

    contract = Contract.from_text(contenders.ROLLING_CONTRACT, "bench")
    readings = _readings()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = [start + timedelta(minutes=number) for number in range(READINGS)]
    return lambda: latest_features(contract, readings, times)[0].tolist()


def window_by_pandas() -> Callable[[], Any]:
    """As one writes it for a window that is there: no rolling, a figure of each column."""
    import pandas as pd

    readings = _readings()

    def work() -> list[float]:
        frame = pd.DataFrame(readings)
        time_ = np.arange(len(frame)) - (len(frame) - 1) / 2
        made = frame.iloc[-1].tolist()
        for name, wanted in contenders.ROLLING.items():
            column = frame[name]
            of = {
                "mean": column.mean,
                "max": column.max,
                "std": lambda column=column: column.std(ddof=0),
                "diff": lambda column=column: column.iloc[-1] - column.iloc[-2],
                "slope": lambda column=column: time_ @ column.to_numpy() / (time_ @ time_),
            }
            made += [float(of[statistic]()) for statistic in wanted]
        return made

    return work


# -- the score of a row: 300 trees of depth 6


def _model(folder: str) -> tuple[Any, np.ndarray]:
    from breezeway.detector.scoring import load_folder

    row = np.random.default_rng(2).normal(size=20)
    return load_folder(Path(folder)), row


def score_ours(folder: str) -> Callable[[], Any]:
    from breezeway.serving.row_scorer import RowScorer

    model, row = _model(folder)
    score_row = RowScorer(model)
    return lambda: score_row(row)


def score_by_session(folder: str) -> Callable[[], Any]:
    model, row = _model(folder)
    return lambda: float(model.score(row[None, :])[0])


def score_by_booster(folder: str) -> Callable[[], Any]:
    model, row = _model(folder)
    return lambda: float(model.fitted_model.booster.inplace_predict(row[None, :])[0])


def score_by_scikit_learn(folder: str) -> Callable[[], Any]:
    import sklearn  # noqa: F401  (before XGBoost, which then has its classes in that style)
    import xgboost

    _, row = _model(folder)
    classifier = xgboost.XGBClassifier(n_jobs=1)
    classifier.load_model(Path(folder) / "extra_files" / "model.ubj")
    return lambda: float(classifier.predict_proba(row[None, :])[0, 1])


# -- counting a prediction: request, outcome, latency, score


def count_ours() -> Callable[[], Any]:
    from breezeway.serving.metrics import Metrics

    metrics, row = Metrics(), np.ones(20)
    tally = metrics.tally("bench", "1", "champion", [f"f{number:02}" for number in range(20)])

    def count() -> None:
        metrics.requests["bench", "predict", 200] += 1
        tally.predicted(row, 0.3, False, 0.0004)

    return count


def count_by_prometheus() -> Callable[[], Any]:
    """Without the sums of each feature, which ours keeps: four objects whose labels are known."""
    from prometheus_client import CollectorRegistry, Counter, Histogram

    from breezeway.serving.metrics import LATENCY_BOUNDS, SCORE_BOUNDS

    registry, of_model = CollectorRegistry(), ("bench", "1", "champion")
    labels = ("model", "version", "role")
    requests = Counter("requests", "-", ("model", "endpoint", "code"), registry=registry)
    outcomes = Counter("outcomes", "-", (*labels, "outcome"), registry=registry)
    latency, score = (
        Histogram(name, "-", labels, buckets=bounds, registry=registry).labels(*of_model)
        for name, bounds in (("latency", LATENCY_BOUNDS), ("score", SCORE_BOUNDS))
    )

    def count() -> None:
        requests.labels("bench", "predict", "200").inc()
        outcomes.labels(*of_model, "normal").inc()
        latency.observe(0.0004)
        score.observe(0.3)

    return count


# -- from an ASGI message to an answer


def _request() -> tuple[dict[str, Any], bytes]:
    import orjson

    from bench.model import reading

    body = orjson.dumps({"device": "machine-01", "readings": reading()[1]})
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/models/bench/predict",
        "raw_path": b"/v1/models/bench/predict",
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ],
    }
    return scope, body


def _driven(app: Callable[..., Coroutine]) -> Callable[[], Any]:
    """Calls of an application whose coroutine never waits: all of a request is there."""
    import orjson

    scope, body = _request()
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    def call() -> float:
        sent.clear()
        try:
            app(scope.copy(), receive, send).send(None)
        except StopIteration:
            return orjson.loads(sent[-1]["body"])["score"]
        raise RuntimeError("the application waits for something")

    return call


def _served(folder: str) -> Any:
    from breezeway.deployment.store import Pointer
    from breezeway.serving import active
    from breezeway.serving.loading import load

    pointer = Pointer(
        model_name="bench",
        model_version="1",
        deployment="1",
        bento="bench:1",
        data_tag="v1",
        sha256="",
        deployed_at=datetime.now(UTC),
    )
    models = active.ActiveModels()
    models.hold(load(Path(folder), pointer), "bench", time.monotonic())
    return models


def app_ours(folder: str) -> Callable[[], Any]:
    from bench.apps import echo
    from breezeway.core.settings import Settings
    from breezeway.serving.app import App

    return _driven(App(_served(folder), echo.app, Settings()))


def app_by_starlette(folder: str) -> Callable[[], Any]:
    """The same prediction behind its router: no limits of size and time, no counts, no token."""
    import orjson
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from breezeway.serving.predict import read_request

    models = _served(folder)

    async def predict(request: Request) -> Response:
        serving = models.get(request.path_params["model_name"])
        answer = serving.predict(*read_request(await request.body()))
        return Response(orjson.dumps(answer), media_type="application/json")

    route = Route("/v1/models/{model_name}/predict", predict, methods=["POST"])
    return _driven(Starlette(routes=[route]))


def prediction_alone(folder: str) -> Callable[[], Any]:
    """The floor: what both do between message and answer."""
    import orjson

    from breezeway.serving.predict import read_request

    serving, (_, body) = _served(folder).get("bench"), _request()
    return lambda: orjson.loads(orjson.dumps(serving.predict(*read_request(body))))["score"]


# -- all of them

Ways = dict[str, Callable[..., Callable[[], Any]]]
PARTS: dict[str, tuple[int, Ways]] = {
    "a payload of 20 numbers": (5_000, {"ours": payload_ours, "pydantic": payload_by_pydantic}),
    "arithmetic, one reading": (
        20_000,
        {
            "ours": arithmetic_ours,
            "simpleeval": arithmetic_by_simpleeval,
            "numexpr": arithmetic_by_numexpr,
        },
    ),
    f"arithmetic, {BLOCK:,} rows": (
        300,
        {"ours": columns_ours, "numexpr": columns_by_numexpr, "pandas.eval": columns_by_pandas},
    ),
    f"14 statistics of {READINGS} readings": (
        1_000,
        {"ours": window_ours, "pandas": window_by_pandas},
    ),
    "the score of a row": (
        2_000,
        {
            "ours": score_ours,
            "ONNX Runtime's run": score_by_session,
            "inplace_predict": score_by_booster,
            "scikit-learn's API": score_by_scikit_learn,
        },
    ),
    "counting": (20_000, {"ours": count_ours, "prometheus_client": count_by_prometheus}),
    "from ASGI to an answer": (
        2_000,
        {"ours": app_ours, "Starlette": app_by_starlette, "floor": prediction_alone},
    ),
}
"""By part: calls of a run, and who does it."""
NEEDS_MODEL = ("a payload of 20 numbers", "the score of a row", "from ASGI to an answer")

Costs = dict[str, dict[str, float]]


def _measure(folder: str) -> Costs:
    """CPU µs a call, by part and contender; all contenders of a part give the same value."""
    costs: Costs = {}
    for part, (times, ways) in PARTS.items():
        print(part, file=sys.stderr)
        arguments = {"folder": folder} if part in NEEDS_MODEL else {}

        def run(way: Callable, times: int = times, arguments: dict = arguments) -> Cost:
            return measure(repeated, contender=way, times=times, **arguments)

        found = alternate(
            {name: lambda way=way, run=run: run(way) for name, way in ways.items()}, ROUNDS
        )
        _check(part, {name: runs[0].value for name, runs in found.items()})
        costs[part] = {name: medians(runs).cpu / times * 1e6 for name, runs in found.items()}
    return costs


def _check(part: str, values: dict[str, Any]) -> None:
    first = values["ours"]
    for name, value in values.items():
        if first is not None and not np.allclose(first, value, rtol=1e-6, equal_nan=True):
            raise AssertionError(f"{part}: ours gives {first}, {name} {value}")


def run(folder: Path) -> None:
    from bench.model import CONTRACT, make_model, reading

    with tempfile.TemporaryDirectory(prefix="bench") as name:
        model = Path(name) / "model"
        make_model(model, Contract.from_text(CONTRACT, "bench"), CONTRACT, reading()[1])
        costs = _measure(str(model))
    lines = [
        [f"{part}: {name}", f"{cost:.3g}", f"{cost / of_part['ours']:.2f}"]
        for part, of_part in costs.items()
        for name, cost in of_part.items()
    ]
    print(table(["", "CPU µs a call", "times ours"], lines))
    parts = [
        {
            "part": f"within a request: {part}",
            "ours": f"{of_part['ours']:.3g} µs",
            "peers": ", ".join(
                f"{name} {cost:.3g} µs"
                for name, cost in of_part.items()
                if name not in ("ours", "floor")
            ),
            "floor": f"{of_part['floor']:.3g} µs" if "floor" in of_part else "-",
        }
        for part, of_part in costs.items()
    ]
    targets = [
        Target(
            f"{part}: times less CPU than {name}",
            2,
            cost / of_part["ours"],
            True,
        )
        for part, of_part in costs.items()
        for name, cost in of_part.items()
        if name not in ("ours", "floor")
    ]
    packages = ["numexpr", "pandas", "prometheus-client", "pydantic", "simpleeval", "starlette"]
    result = {"about": __doc__, "rounds": ROUNDS, "costs": costs, "parts": parts}
    write_result(folder, "request", result, targets, [*packages, "onnxruntime", "xgboost-cpu"])
