"""A trial on two real model servers: who answers, and what comes of a good and a bad challenger."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import onnx
import pytest
import xgboost as xgb
from scipy.stats import binom

from breezeway.contract.contract import Contract
from breezeway.contract.features import latest_features
from breezeway.core.settings import Settings
from breezeway.core.times import from_iso
from breezeway.tracking import mlflow_client
from tests.fixtures.deployment import DeploySteps, register
from tests.fixtures.models import write_model
from tests.fixtures.serving import CONTRACT, ModelServer, make_readings

GOOD, REFUSING, SLOW, SHIFTED = "2", "3", "4", "5"
"""Versions of `press`; 1 is the champion and 2 the same model once more."""

MINUTES = 0.15
READINGS = [make_readings(seed) for seed in range(200)]


def model_folders(folder: Path) -> Iterator[Path]:
    """The models of the versions 1 to 5."""
    contract = Contract.from_text(CONTRACT, "contract.toml")
    rows = [
        latest_features(
            contract,
            [contract.parser.parse(r["payload"]) for r in w],
            [from_iso(r["time"]) for r in w],
        )[0]
        for w in READINGS
    ]
    features = np.array(rows)
    hot = features[:, 0] + np.random.default_rng(1).normal(size=len(rows)) * 5 > 65
    parameters = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1}

    def matrix(label: np.ndarray) -> xgb.DMatrix:
        return xgb.DMatrix(features, label, feature_names=contract.feature_names)

    good = xgb.train(parameters, matrix(hot), 20)
    shifted = xgb.train(parameters, matrix(features[:, 0] > 45), 20)
    narrow = CONTRACT.replace("range = [-20, 150]", "range = [-20, 75]")
    boosters = (good, CONTRACT), (good, CONTRACT), (good, narrow), (good, CONTRACT)
    for number, (booster, text) in enumerate([*boosters, (shifted, CONTRACT)], start=1):
        cool = next(i for i, readings in enumerate(READINGS) if highest(readings) < 75)
        score = float(booster.inplace_predict(features[cool][None, :])[0])
        example = {"device": "pump-1", "readings": READINGS[cool], "score": score}
        made = write_model(folder / str(number), booster, text, "press", [example])
        if str(number) == SLOW:
            graph = made / "model.onnx"
            graph.write_bytes(slower(graph.read_bytes()))
        yield made


def slower(graph: bytes) -> bytes:
    """The same scores, but later: to each is added what large matrices make of it, which is 0."""
    model = onnx.load_from_string(graph)
    nodes, size = model.graph.node, 1500
    nodes[-1].output[0] = "score_itself"
    zeros = {"wide": np.zeros((1, size), np.float32), "large": np.zeros((size, size), np.float32)}
    zeros_of = [onnx.numpy_helper.from_array(value, name) for name, value in zeros.items()]
    axis = onnx.numpy_helper.from_array(np.array([1]), "axis")
    model.graph.initializer.extend([*zeros_of, axis])
    chain = ["Unsqueeze score_itself axis row_0", "MatMul row_0 wide row_1"]
    chain += [f"MatMul row_{k} large row_{k + 1}" for k in range(1, 7)]
    chain += ["ReduceSum row_7 axis nothing", "Add score_itself nothing score"]
    for operator, *inputs, output in map(str.split, chain):
        more = {"keepdims": 0} if operator == "ReduceSum" else {}
        nodes.append(onnx.helper.make_node(operator, inputs, [output], **more))
    return bytes(model.SerializeToString())


def highest(readings: list[dict[str, str]]) -> float:
    contract = Contract.from_text(CONTRACT, "contract.toml")
    return max(contract.parser.parse(reading["payload"])["temperature"] for reading in readings)


@pytest.fixture(scope="module")
def servers(mlflow_server, tmp_path_factory) -> Iterator[list[ModelServer]]:
    """Two replicas: two servers that follow the same deployment store."""
    # The registry too: another test of this process may have named a server that is gone.
    mlflow_client.configure(Settings(mlflow_url=mlflow_server))
    for folder in model_folders(tmp_path_factory.mktemp("press")):
        register(folder, "press")
    mlflow.set_tracking_uri(None)
    home = tmp_path_factory.mktemp("replicas") / "home"
    both = [ModelServer(home), ModelServer(home)]
    try:
        yield [server.start() for server in both]
    finally:
        for server in both:
            server.kill()


@pytest.fixture
def steps(servers, mlflow_server, tmp_path) -> DeploySteps:
    """The steps, with version 1 in service and nobody on trial."""
    steps = DeploySteps(servers, mlflow_server, tmp_path)
    store = steps.server.store
    pointer = store.pointer("press")
    if pointer and pointer.challenger:
        steps("press", pointer.challenger.model_version, "--withdraw")
    assert steps("press", "1")["role"] == "champion"
    for server in servers:
        server.wait("press", lambda status: status["challenger"] is None)
    return steps


def start_watching(steps: DeploySteps, version: str, minutes: float = MINUTES):
    options = f"--minutes={minutes}", "--every=1"
    return steps.start("press", version, *options, step="canary")


def watch(steps: DeploySteps, version: str, minutes: float = MINUTES) -> dict:
    return steps.end(start_watching(steps, version, minutes), step="canary")


def ask(server: ModelServer, devices: list[int]) -> list[dict]:
    """What is answered to a request of each of these devices."""
    requests = [
        {"device": f"pump-{device}", "readings": random.choice(READINGS)} for device in devices
    ]
    answer = server.http.post("/v1/models/press/predict-batch", json={"requests": requests})
    return answer.raise_for_status().json()["predictions"]


@contextmanager
def requests_to(
    servers: list[ModelServer], right: dict[str, float] | None = None
) -> Iterator[list[dict]]:
    """Requests all the time; gives all answers.

    Args:
        right: version → the share of its alarms that labels call right; without it no labels
            come back.
    """
    answers: list[dict] = []
    stop = threading.Event()
    generator = np.random.default_rng(7)

    def work() -> None:
        # No faster than this: the steps and the servers need the cores too.
        while not stop.wait(0.05):
            for server in servers:
                given = ask(server, generator.integers(0, 400, 100).tolist())
                answers.extend(given)
                for answer in [a for a in given if right and a["alarm"]][:20]:
                    true = bool(generator.random() < right[answer["model_version"]])
                    label = {"prediction_id": answer["prediction_id"], "label": true}
                    server.http.post("/v1/models/press/feedback", json=label)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def wait_for_predictions(servers: list[ModelServer]) -> None:
    """Until each server has seen of both models what a trial needs, however busy the machine is."""

    def seen(status: dict) -> int:
        trial = status["trial"]
        return min(trial[role]["predictions"] for role in ("champion", "challenger"))

    for server in servers:
        server.wait("press", lambda status: status["trial"] and seen(status) > 500, 120)


def tags(version: str, mlflow_url: str) -> dict[str, str]:
    client = mlflow.MlflowClient(mlflow_url)
    return client.get_model_version("press", version).tags


def test_a_canary_answers_its_share_of_the_devices_and_always_the_same(servers, steps):
    steps("press", GOOD, "--canary=10")
    devices = list(range(2000))
    chosen = []
    for server in [*servers, *servers]:
        answers = [*ask(server, devices[:1000]), *ask(server, devices[1000:])]
        pairs = zip(devices, answers, strict=True)
        chosen.append({device for device, a in pairs if a["model_version"] == GOOD})
    assert chosen[0] == chosen[1] == chosen[2] == chosen[3]
    low, high = binom.interval(0.999, len(devices), 0.1)
    assert low <= len(chosen[0]) <= high
    print(f"{len(chosen[0])} of {len(devices)} devices; 99.9 % interval {low:.0f} to {high:.0f}")

    steps("press", GOOD, "--canary=30")
    for server in servers:
        server.wait("press", lambda status: status["challenger"]["share"] == 0.3)
    answers = ask(servers[0], devices[:1000])
    more = {device for device, a in enumerate(answers) if a["model_version"] == GOOD}
    assert chosen[0] & set(range(1000)) < more, "who was with the challenger stays with it"


@pytest.mark.parametrize("option", ["--canary=30", "--shadow"])
def test_a_good_challenger_passes_and_takes_the_place(servers, steps, mlflow_server, option):
    steps("press", GOOD, option)
    with requests_to(servers) as answers:
        wait_for_predictions(servers)
        result = watch(steps, GOOD)
    assert result["decision"] == "promote", result
    assert result["replicas"] == 2
    assert result["challenger"]["predictions"] > 500
    assert not [answer for answer in answers if "error" in answer]
    kept = tags(GOOD, mlflow_server)
    assert kept["breezeway.canary_decision"] == "promote"
    assert kept["breezeway.canary_reason"] == result["reason"]
    if option == "--shadow":
        assert {answer["model_version"] for answer in answers} == {"1"}

    assert steps.server.store.pointer("press").challenger, "deploy takes it from here"
    again = watch(steps, GOOD)
    assert (again["decision"], again["reason"]) == (result["decision"], result["reason"])
    assert steps("press", GOOD)["role"] == "champion"
    assert steps.server.store.pointer("press").challenger is None
    assert watch(steps, GOOD)["decision"] == "promote"


BAD = {
    "refuses": (REFUSING, "--canary=30", "without a score"),
    "slow": (SLOW, "--canary=30", "Slow"),
    "scores otherwise": (SHIFTED, "--canary=30", "scores are others"),
    "disagrees": (SHIFTED, "--shadow", "scores are others|disagrees"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_challenger_is_rolled_back(servers, steps, mlflow_server, bad):
    version, option, reason = BAD[bad]
    steps("press", version, option)
    champion = steps.server.store.pointer("press").model_copy(update={"challenger": None})
    with requests_to(servers) as answers:
        # It ends as soon as the reason is found: a busy machine is given its time.
        result = watch(steps, version, minutes=1)
    assert result["decision"] == "roll back", result
    assert any(text in result["reason"] for text in reason.split("|")), result
    assert not [answer for answer in answers if "error" in answer]
    assert tags(version, mlflow_server)["breezeway.canary_decision"] == "roll back"
    assert steps.server.store.pointer("press") == champion
    for server in servers:
        server.wait("press", lambda status: status["challenger"] is None)
    assert watch(steps, version)["decision"] == "roll back", "a second run says the same"


def test_alarms_that_labels_call_wrong_roll_back(servers, steps):
    steps("press", GOOD, "--canary=30")
    with requests_to(servers, right={"1": 0.9, GOOD: 0.3}):
        result = watch(steps, GOOD, minutes=2)
    assert (result["decision"], "alarms" in result["reason"]) == ("roll back", True), result


def test_a_bandit_goes_to_the_better_and_it_is_promoted(servers, steps):
    steps("press", GOOD, "--bandit=10")
    with requests_to(servers, right={"1": 0.4, GOOD: 0.9}):
        result = watch(steps, GOOD, minutes=0.5)
    assert result["decision"] == "promote", result
    assert result["share"] > 0.9
    assert steps.server.store.pointer("press").challenger.share > 0.9


def test_nobody_asked_nobody_promoted(servers, steps):
    steps("press", GOOD, "--canary=10")
    result = watch(steps, GOOD, minutes=0.05)
    assert result["decision"] == "roll back", result
    assert "Too little was seen" in result["reason"]


def test_killed_in_mid_trial_the_next_run_goes_on(servers, steps):
    steps("press", SHIFTED, "--canary=30")
    before = steps.server.store.pointer("press")
    step = start_watching(steps, SHIFTED, minutes=1)
    steps.wait_for_log("Nothing says", step="canary")
    step.kill()
    step.wait()
    assert steps.server.store.pointer("press") == before
    with requests_to(servers):
        assert watch(steps, SHIFTED, minutes=1)["decision"] == "roll back"


def test_a_server_that_starts_anew_is_no_reason(servers, steps):
    """Its counts are gone; those of the other and what comes after remain."""
    steps("press", GOOD, "--canary=30")
    step = start_watching(steps, GOOD, minutes=0.6)
    with requests_to(servers[:1]):
        steps.wait_for_log("Nothing says", step="canary")
        servers[1].kill()
        servers[1].start()
        result = steps.end(step, step="canary")
    assert (result["decision"], result["replicas"]) == ("promote", 2), result


def test_what_is_not_on_trial_is_a_usage_error(servers, steps):
    result = steps.end(start_watching(steps, "1"), step="canary", code=64)
    assert "not on trial" in result["error"]
