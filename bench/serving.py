"""What a prediction costs at the model server, and what it costs elsewhere.

One model (300 trees of depth 6 on 20 floats) and one reading, behind: an ASGI echo (the floor),
our server, our application without BentoML around it, BentoML's own API layer, FastAPI and
MLflow's server. Each is one process on one core; `h2load` has another. While one is measured the
others are stopped (SIGSTOP), and each round asks all of them, so that what else the machine
does meets all alike. Figures are medians over the rounds.

The load has a warm-up, which `wrk` lacks: uvloop accepts one connection each time round its
loop, so of 64 clients that connect at once to a busy server the last waits for about 2000
requests. That is seen once in a connection's life and would be all there is in the p99.
"""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import mlflow.xgboost
import numpy as np
import psutil
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from bench.frame import ROOT, ROUNDS, Target, picture, table, write_result
from bench.model import CONTRACT, FIELDS, make_model, plant_readings, reading
from breezeway.contract.contract import Contract, load_contract
from breezeway.core.settings import Settings, quiet_environment
from breezeway.deployment.store import DeploymentStore
from breezeway.detector.plots import BLUE, GREY, INK, PALE, STYLE
from tests.fixtures.processes import DIE_WITH_PARENT, new_port
from tests.fixtures.serving import add_deployment

LEVELS = (1, 8, 64)
SECONDS = 2
WARM_UP_MS = 1000
START_SECONDS = 90
PACKAGES = (
    *("bentoml", "fastapi", "httptools", "mlflow"),
    *("starlette", "uvicorn", "uvloop", "xgboost-cpu", "onnxruntime"),
)


@dataclass
class Contender:
    """A server that is measured.

    Args:
        name: as the table has it.
        command: arguments for Python; `{port}` stands for the port.
        path: where predictions are posted.
        request: the body, as an object.
        environment: beside that of the bench.
        score: finds the score in an answer; None for the echo.
    """

    name: str
    command: str
    path: str
    request: Any
    environment: dict[str, str] = field(default_factory=dict)
    score: Any = None
    port: int = field(default_factory=new_port)
    process: psutil.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def tree(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        times = [process.cpu_times() for process in self.tree()]
        return sum(t.user + t.system for t in times)

    def signal(self, number: int) -> None:
        for process in self.tree():
            process.send_signal(number)

    def ask(self) -> Any:
        body = json.dumps(self.request).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url, body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


def run(folder: Path) -> None:
    """Measure, write the result and a picture to the folder of the run, print a table."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2 or not shutil.which("h2load"):
        sys.exit("The bench needs two cores and h2load (on Debian: apt install nghttp2-client).")
    with tempfile.TemporaryDirectory(prefix="bench") as name, ExitStack() as stack:
        scratch = Path(name)
        os.sched_setaffinity(0, cores[:1])  # the servers inherit it
        contenders = make_contenders(scratch)
        for contender in {c.port: c for c in contenders}.values():
            stack.enter_context(running(contender, scratch))
        share_processes(contenders)
        check_scores(contenders)
        load = Load(contenders, scratch, cores[-1])
        rounds = load.measure()
        os.sched_setaffinity(0, cores)
    medians = {
        name: {
            level: {
                key: statistics.median(one[key] for one in figures) if key != "errors"
                else sum(one[key] for one in figures)
                for key in figures[0]
            }
            for level, figures in levels.items()
        }
        for name, levels in rounds.items()
    }  # fmt: skip
    targets = judge(medians)

    def told(name: str) -> str:
        return f"{medians[name]['8']['requests_per_second']:,.0f}"

    result = {
        "rounds": ROUNDS,
        "seconds_a_round": SECONDS,
        "medians": medians,
        "every_round": rounds,
        "parts": [
            {
                "part": "predictions/s, 8 clients, one core",
                "ours": told("Breezeway"),
                "peers": f"BentoML {told('BentoML API, as its docs')}, FastAPI "
                f"{told('FastAPI, async, pydantic')}, MLflow {told('MLflow models serve')}",
                "floor": f"echo {told('ASGI echo (the floor)')}",
            }
        ],
    }
    print(text_of(medians))
    write_result(folder, "serving", result, targets, PACKAGES)
    draw(medians, picture(folder, "serving"))


# -- the servers


def make_contenders(folder: Path) -> list[Contender]:
    payload, readings = reading()
    values = list(payload.values())
    ours = {"device": "machine-01", "readings": readings}

    store = DeploymentStore(Settings(home=folder).deployments)
    model = folder / "bench"
    booster = make_model(model, Contract.from_text(CONTRACT, "bench"), CONTRACT, readings)
    file = folder / "model.ubj"
    shutil.copy(model / "extra_files" / "model.ubj", file)
    mlflow.xgboost.save_model(booster, folder / "mlflow", model_format="ubj")
    store.point(add_deployment(store, "bench", 1, model))

    plant = Settings.shipped_sensors / "plant.toml"
    window = plant_readings(load_contract(plant).request_readings)
    make_model(folder / "plant", load_contract(plant), plant.read_text(), window)
    store.point(add_deployment(store, "plant", 1, folder / "plant"))

    home = {"BREEZEWAY_HOME": str(folder), "BENTOML_HOME": str(folder / "bentoml")}
    served = {"BENCH_MODEL": str(file), "BENTOML_HOME": str(folder / "bentoml")}
    uvicorn = "-m uvicorn bench.apps.{}:app --no-access-log --log-level warning --port {{port}}"
    bentoml = "-m bentoml serve {} --port {{port}}"
    predict = "/v1/models/{}/predict"
    our_server = Contender(
        "Breezeway",
        "-m breezeway.serving.server --port {port}",
        predict.format("bench"),
        ours,
        home,
        lambda answer: answer["score"],
    )
    return [
        Contender("ASGI echo (the floor)", uvicorn.format("echo"), "/", ours),
        our_server,
        Contender(
            "Breezeway, by `bentoml serve`",
            bentoml.format("breezeway.serving.service:ModelServer"),
            predict.format("bench"),
            ours,
            {**home, "BREEZEWAY_SERVING_COPY": str(folder / "copy bentoml")},
            lambda answer: answer["score"],
        ),
        Contender(
            "Breezeway, Open Inference: a row",
            our_server.command,
            "/v2/models/bench/infer",
            {
                "inputs": [
                    {
                        "name": "features",
                        "datatype": "FP64",
                        "shape": [1, len(values)],
                        "data": values,
                    }
                ]
            },
            home,
            lambda answer: answer["outputs"][0]["data"][0],
            our_server.port,
        ),
        Contender(
            "Breezeway, /invocations: a row",
            our_server.command,
            "/v1/models/bench/invocations",
            {"dataframe_split": {"columns": FIELDS, "data": [values]}},
            home,
            lambda answer: answer["predictions"][0]["score"],
            our_server.port,
        ),
        Contender(
            "FastAPI, async, pydantic",
            uvicorn.format("fastapi_service"),
            "/predict",
            payload,
            served,
            lambda answer: answer["score"],
        ),
        Contender(
            "BentoML API, all switched off",
            bentoml.format("bench.apps.bentoml_tuned:Tuned"),
            "/predict",
            {"values": values},
            served,
            lambda answer: answer,
        ),
        Contender(
            "BentoML API, as its docs",
            bentoml.format("bench.apps.bentoml_plain:Plain"),
            "/predict",
            {"data": [values]},
            # As a user finds it: the switches that the bench sets for all are undone.
            {**served, "OTEL_SDK_DISABLED": "false"},
            lambda answer: answer[0][1],
        ),
        Contender(
            "MLflow models serve",
            f"-m mlflow models serve --model-uri {folder / 'mlflow'} --env-manager local "
            "--workers 1 --host 127.0.0.1 --port {port}",
            "/invocations",
            {"dataframe_split": {"columns": FIELDS, "data": [values]}},
            {},
            lambda answer: answer["predictions"][0],
        ),
        Contender(
            "Breezeway, plant: its window",
            our_server.command,
            predict.format("plant"),
            {"device": "machine-01", "readings": window},
            home,
            lambda answer: answer["score"],
            our_server.port,
        ),
    ]


@contextmanager
def running(contender: Contender, folder: Path) -> Iterator[None]:
    """Start a server and wait until it predicts; it is gone afterwards, stopped or not."""
    log = folder / f"{contender.port}.log"
    arguments = [argument.format(port=contender.port) for argument in contender.command.split(" ")]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "include")])
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", "-c", DIE_WITH_PARENT, "server", sys.executable, *arguments],
            cwd=folder,
            env={
                **os.environ,
                **quiet_environment(),
                "PYTHONPATH": paths,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "TMPDIR": str(folder),
                **contender.environment,
            },
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    contender.process = psutil.Process(process.pid)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(contender):
            if time.monotonic() > deadline or process.poll() is not None:
                sys.exit(f"{contender.name} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.2)
        contender.signal(signal.SIGSTOP)
        yield
    finally:
        contender.signal(signal.SIGKILL)
        process.wait()


def answers(contender: Contender) -> bool:
    try:
        contender.ask()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True


def share_processes(contenders: list[Contender]) -> None:
    """Two series of one server have one process."""
    of_port = {c.port: c.process for c in contenders if c.process}
    for contender in contenders:
        contender.process = of_port[contender.port]


def check_scores(contenders: list[Contender]) -> None:
    """All serve the same model: the same reading has the same score everywhere."""
    scores = {}
    for contender in contenders:
        contender.signal(signal.SIGCONT)
        if contender.score and not contender.path.endswith("/plant/predict"):
            scores[contender.name] = contender.score(contender.ask())
        contender.signal(signal.SIGSTOP)
    if max(scores.values()) - min(scores.values()) > 1e-6:
        sys.exit(f"The servers do not score alike: {scores}")


# -- the load


class Load:
    """Asks the contenders in turn.

    Args:
        contenders: running, and stopped by SIGSTOP.
        folder: for the bodies.
        core: that the load has for itself.
    """

    def __init__(self, contenders: list[Contender], folder: Path, core: int):
        self.contenders = contenders
        self.folder = folder
        self.core = core

    def measure(self) -> dict[str, dict[str, list[dict[str, float]]]]:
        """Figures by contender, level and round."""
        figures = {c.name: {str(level): [] for level in LEVELS} for c in self.contenders}
        for number in range(ROUNDS):
            for contender, level in product(self.contenders, LEVELS):
                figures[contender.name][str(level)].append(self._one(contender, level, SECONDS))
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        return figures

    def _one(self, contender: Contender, clients: int, seconds: int) -> dict[str, float]:
        body, log = self.folder / "body.json", self.folder / "load.log"
        body.write_text(json.dumps(contender.request))
        log.unlink(missing_ok=True)
        contender.signal(signal.SIGCONT)
        load = subprocess.Popen(
            [
                *("taskset", "-c", str(self.core)),
                *("h2load", "--h1", "-t1", f"-c{clients}", f"-D{seconds}"),
                *(f"--warm-up-time={WARM_UP_MS}ms", f"--log-file={log}", f"--data={body}"),
                *("--header=content-type: application/json", contender.url),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        time.sleep(WARM_UP_MS / 1000 + 0.1)
        began, before = time.time(), contender.cpu_seconds()
        output = load.communicate(timeout=120)[0]
        ended, spent = time.time(), contender.cpu_seconds() - before
        contender.signal(signal.SIGSTOP)
        failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", output)
        if failed is None:
            sys.exit(f"h2load failed on {contender.name}:\n{output}")
        requests = np.loadtxt(log, dtype=np.int64, ndmin=2)
        first, _, took = requests.T
        within = (first >= began * 1e6) & (first + took <= ended * 1e6)
        wall = ((first + took).max() - first.min()) / 1e6
        figures = {
            "requests_per_second": len(requests) / wall,
            "p50_ms": np.percentile(took, 50) / 1000,
            "p99_ms": np.percentile(took, 99) / 1000,
            "worst_ms": took.max() / 1000,
            "cpu_us": spent / max(1, within.sum()) * 1e6,
        }
        return {
            **{name: round(float(value), 3) for name, value in figures.items()},
            "errors": max(map(int, failed.groups())),
        }


# -- what came of it

Medians = dict[str, dict[str, dict[str, float]]]


def judge(medians: Medians) -> list[Target]:
    """What was to be reached, and whether it was."""
    rate = {name: levels["8"]["requests_per_second"] for name, levels in medians.items()}
    ours = medians["Breezeway"]
    inside = medians["Breezeway, by `bentoml serve`"]
    echo = medians["ASGI echo (the floor)"]
    faster = [
        Target(f"requests/s at 8 clients, times {name}", 4, rate["Breezeway"] / rate[name], True)
        for name in (
            "BentoML API, as its docs",
            "BentoML API, all switched off",
            "MLflow models serve",
        )
    ]
    near_echo = ours["1"]["p50_ms"] / echo["1"]["p50_ms"]
    tails = [
        Target(
            f"p99 at {level} clients, times the same by `bentoml serve`",
            1.5,
            ours[str(level)]["p99_ms"] / inside[str(level)]["p99_ms"],
            False,
        )
        for level in LEVELS
    ]
    errors = sum(levels[str(level)]["errors"] for levels in [ours] for level in LEVELS)
    return [
        *faster,
        Target("p50 at one client, times the echo's", 3, near_echo, False),
        *tails,
        Target("errors of ours at any level", 0, errors, False),
    ]


def text_of(medians: Medians) -> str:
    header = ["", "clients", "requests/s", "p50 ms", "p99 ms", "CPU µs/request", "errors"]
    lines = [
        [
            name if level == str(LEVELS[0]) else "",
            level,
            f"{figures['requests_per_second']:,.0f}",
            f"{figures['p50_ms']:.2f}",
            f"{figures['p99_ms']:.2f}",
            f"{figures['cpu_us']:.0f}",
            f"{figures['errors']:.0f}",
        ]
        for name, levels in medians.items()
        for level, figures in levels.items()
    ]
    return table(header, lines)


def milliseconds(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def draw(medians: Medians, path: Path) -> None:
    """Requests/s at each level, one bar a server, with p50 and p99 beside it."""
    names = list(medians)[::-1]
    colours = [
        BLUE if name.startswith("Breezeway") else PALE if "floor" in name else GREY
        for name in names
    ]
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 4.2), dpi=120, layout="constrained")
        panels = figure.subplots(1, len(LEVELS), sharey=True)
        for axes, level in zip(panels, LEVELS, strict=True):
            figures = [medians[name][str(level)] for name in names]
            rates = [one["requests_per_second"] for one in figures]
            axes.barh(names, rates, color=colours, height=0.72)
            for position, one in enumerate(figures):
                axes.annotate(
                    f"{one['requests_per_second']:,.0f}/s · p50 {milliseconds(one['p50_ms'])}, "
                    f"p99 {milliseconds(one['p99_ms'])} ms",
                    (rates[position], position),
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7,
                    color=INK,
                )
            axes.set_xlim(0, max(rates) * 2)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axes.set_title(f"{level} client{'s' if level > 1 else ''}")
            axes.set_xlabel("requests/s")
            axes.grid(axis="y", visible=False)
        figure.suptitle(
            "One prediction a request: 300 trees of depth 6, 20 floats, one process on one core",
            fontsize=10,
        )
        FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})
