"""What a step costs before it does anything, a DAG file at each parse, a library at its import.

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
    starts, parsed, imports = _starts(), _parses(), _imports()
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
    result["imports"] = imports
    packages = ["apache-airflow", "mlflow", "pydantic-settings", "ray", "xgboost-cpu"]
    result |= {"seconds": time.monotonic() - began, "parts": parts}
    frame.write_result(folder, "start", result, targets, packages)


if __name__ == "__main__":
    print(json.dumps(parse_in_forks(sys.argv[1:])))
