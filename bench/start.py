"""What a step costs before it does anything, a DAG file at each parse, a library at its import.

On a laptop a step is a fork of the step server: its imports are measured there and in a process of
its own.

A step begins when its arguments and settings are read: until then it has imported what that
takes, and what it refuses is refused at once. A DAG file is parsed by Airflow with all modules of
Airflow's own imported before. A library that would do what a module of ours does stands beside it:
what importing both costs a process that has imported nothing.
"""

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import frame
from breezeway.core.forked_step import ADDRESS_VARIABLE, Request, start_step
from breezeway.laptop.step_server import LIBRARIES

STEP_SECONDS = 1.0
PARSE_SECONDS = 0.3

INSTEAD = {
    "breezeway.tracking.rest": "mlflow",
    "breezeway.detector.scorecard": "sklearn.metrics",
    "breezeway.detector.boosting": "xgboost",
    "breezeway.datasets.dvc_objects": "dvc.repo",
}
"""Module of ours → what one would import instead. XGBoost itself: with scikit-learn."""

STEPS = ["preprocess", "labels", "tune", "train", "test", "deploy", "canary", "drift", "backtest"]

STEP_IMPORTS = {
    "preprocess": ["breezeway.pipeline.preprocessing", "duckdb"],
    "tune": ["breezeway.pipeline.tuning"],
    "train": ["breezeway.pipeline.training", "mlflow"],
    "test": ["breezeway.pipeline.evaluation", "evidently.presets", "mlflow"],
    "deploy": ["breezeway.pipeline.rollout", "breezeway.pipeline.bento", "mlflow", "bentoml"],
    "drift": ["breezeway.pipeline.nightly", "mlflow"],
}
"""Step → what it imports until its end, as far as that takes more than a tenth of a second."""


def parse_in_forks(paths: list[str]) -> dict[str, float]:
    """Parse DAG files, each in a fork of this process, as Airflow's DAG processor does."""
    from airflow.dag_processing.dagbag import DagBag

    DagBag(dag_folder=os.devnull)
    found = {}
    with get_context("fork").Pool(1, maxtasksperchild=1) as fork:
        for path in paths:
            modules, _ = fork.apply(_parse, (path, []))
            times = [fork.apply(_parse, (path, modules))[1] for _ in range(frame.ROUNDS)]
            found[Path(path).name] = statistics.median(times)
    return found


def _parse(path: str, before: list[str]) -> tuple[list[str], float]:
    """Parse a DAG file once modules are there; which of Airflow's came with it, CPU seconds."""
    from airflow.dag_processing.dagbag import DagBag

    for module in before:
        importlib.import_module(module)
    known, began = set(sys.modules), time.process_time()
    errors = DagBag(dag_folder=path).import_errors
    seconds = time.process_time() - began
    if errors:
        raise RuntimeError(f"{path}: {errors}")
    return [name for name in set(sys.modules) - known if name.startswith("airflow.")], seconds


def _process_seconds(command: list[str]) -> float:
    """CPU seconds of a Python process, from its beginning to its end."""
    with open(os.devnull, "w") as nowhere:
        process = os.posix_spawn(
            sys.executable,
            [sys.executable, *command],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1)],
        )
        _, status, used = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"{command} failed with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime


def _starts() -> dict[str, float]:
    """Step → CPU seconds of the process that prints its help; `python -c pass` among them."""
    commands = {"python -c pass": ["-c", "pass"]}
    return _medians(
        commands | {step: ["-m", f"breezeway.steps.{step}", "--help"] for step in STEPS}
    )


def _imports() -> dict[str, float]:
    """Module → CPU seconds of a process that imports it and nothing else."""
    modules = [*INSTEAD, *INSTEAD.values()]
    return _medians({module: ["-c", f"import {module}"] for module in modules})


def _step_imports() -> dict[str, tuple[float, float]]:
    """Step → CPU seconds of its imports, in a process of its own and forked by a step server."""
    found: dict[str, tuple[list[float], list[float]]] = {step: ([], []) for step in STEP_IMPORTS}
    with TemporaryDirectory(prefix="breezeway-bench-") as folder:
        address = Path(folder) / "steps"
        environment = os.environ | {ADDRESS_VARIABLE: str(address)}
        command = [sys.executable, "-m", "breezeway.laptop.step_server", *LIBRARIES]
        server = subprocess.Popen(command, env=environment)
        try:
            while not address.exists():
                if server.poll() is not None:
                    raise RuntimeError(f"the step server ended with {server.returncode}")
                time.sleep(0.05)
            for _ in range(frame.ROUNDS):
                for step, modules in STEP_IMPORTS.items():
                    words = [
                        "-n",
                        "1",
                        "-r",
                        "1",
                        "-p",
                        "-u",
                        "sec",
                        f"import {', '.join(modules)}",
                    ]
                    command = [sys.executable, "-m", "timeit", *words]
                    own = subprocess.check_output(command, env=environment, text=True)
                    asked = Request("timeit", words, environment, folder, os.getpgid(0))
                    forked = start_step(str(address), asked)
                    if forked is None:
                        raise RuntimeError("the step server does not answer")
                    for output, seconds in zip(
                        (own, forked.stdout.read()), found[step], strict=True
                    ):
                        seconds.append(float(output.split(":")[1].split()[0]))
        finally:
            server.kill()
            server.wait()
    return {step: (statistics.median(a), statistics.median(b)) for step, (a, b) in found.items()}


def _medians(commands: dict[str, list[str]]) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(frame.ROUNDS):
        for name, command in commands.items():
            found[name].append(_process_seconds(command))
    return {name: statistics.median(values) for name, values in found.items()}


def _parses() -> dict[str, float]:
    """DAG file → CPU seconds of a parse beyond what Airflow itself imports for it."""
    before = os.environ.copy()
    with TemporaryDirectory(prefix="breezeway-bench-") as home:
        os.environ |= {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        }
        try:
            paths = [str(path) for path in sorted((frame.ROOT / "dags").glob("*.py"))]
            # An interpreter that has imported nothing else.
            command = [sys.executable, "-m", "bench.start", *paths]
            done = subprocess.run(command, cwd=frame.ROOT, stdout=subprocess.PIPE, check=True)
            return json.loads(done.stdout.splitlines()[-1])
        finally:
            os.environ.clear()
            os.environ.update(before)


def run(folder: Path) -> None:
    began = time.monotonic()
    starts, parsed, imports, steps = _starts(), _parses(), _imports(), _step_imports()
    empty = starts.pop("python -c pass")
    lines = [[step, f"{seconds:.2f}"] for step, seconds in starts.items()]
    print(frame.table(["CPU-s of a step", "until its arguments are read"], lines))
    print(frame.table(["DAG file", "CPU-s"], [[k, f"{v:.2f}"] for k, v in parsed.items()]))
    print(
        frame.table(
            ["CPU-s of an import", "ours", "instead"],
            [
                [f"{ours}, {other}", f"{imports[ours]:.2f}", f"{imports[other]:.2f}"]
                for ours, other in INSTEAD.items()
            ],
        )
    )
    print(
        frame.table(
            ["CPU-s of a step's imports", "forked", "a process of its own"],
            [[step, f"{forked:.2f}", f"{own:.2f}"] for step, (own, forked) in steps.items()],
        )
    )
    slowest, longest = max(starts, key=starts.get), max(parsed, key=parsed.get)
    parts = [
        {
            "part": f"start of a step's process: the slowest of {len(starts)}, {slowest}",
            "ours": f"{starts[slowest]:.2f} CPU-s until its arguments are read",
            "peers": "-",
            "floor": f"python -c pass: {empty:.2f} CPU-s",
        },
        {
            "part": f"parsing a DAG file: the slowest of {len(parsed)}, {longest}",
            "ours": f"{parsed[longest]:.2f} CPU-s beyond Airflow's own imports",
            "peers": "-",
            "floor": "-",
        },
        *(
            {
                "part": f"imports of `{step}` on a laptop, forked by the step server",
                "ours": f"{forked:.2f} CPU-s",
                "peers": f"a process of its own {own:.2f} CPU-s",
                "floor": "-",
            }
            for step, (own, forked) in steps.items()
        ),
        *(
            {
                "part": f"importing {ours}",
                "ours": f"{imports[ours]:.2f} CPU-s",
                "peers": f"{other} {imports[other]:.2f} CPU-s",
                "floor": f"python -c pass: {empty:.2f} CPU-s",
            }
            for ours, other in INSTEAD.items()
        ),
    ]
    targets = [
        frame.Target(
            f"start of the slowest step ({slowest}), CPU-s", STEP_SECONDS, starts[slowest], False
        ),
        frame.Target(
            f"parse of the slowest DAG file ({longest}), CPU-s",
            PARSE_SECONDS,
            parsed[longest],
            False,
        ),
    ]
    result = {"rounds": frame.ROUNDS, "python": empty, "starts": starts, "parses": parsed}
    result |= {"imports": imports, "step_imports": steps}
    packages = ["apache-airflow", "mlflow", "pydantic-settings", "ray", "xgboost-cpu"]
    result |= {"seconds": time.monotonic() - began, "parts": parts}
    frame.write_result(folder, "start", result, targets, packages)


if __name__ == "__main__":
    print(json.dumps(parse_in_forks(sys.argv[1:])))
