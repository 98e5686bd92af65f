"""The DAG `training`, from trigger to deployment, beside one shell script that does the same.

Both work on the demo's readings, with the same stores and the same model server, in turn, while
one platform runs. The script (`training.sh`) has the steps' own commands, and publishes and
promotes by the code that Airflow's tasks call. Trials are few, so that tuning hides nothing. The
floor is what the steps say that they worked, in the script: without the starts of Python.
"""

import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from bench import frame
from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings, quiet_environment
from breezeway.laptop import dag_run
from breezeway.laptop.platform import Platform
from breezeway.laptop.processes import marked
from breezeway.readings import simulate

ROUNDS = 1
"""It takes a minute and a half."""
TRIALS = 2
TARGET = 1.25
QUERY = "SELECT device, time, payload FROM readings"

SCRIPT = Path(__file__).with_suffix(".sh")
BEGINS = re.compile(r"^(\w+) begins at ([0-9.]+)$", re.MULTILINE)
DONE = re.compile(r"(\w+) done in ([0-9.]+) s$", re.MULTILINE)


class Training:
    """Both ways on one platform.

    Args:
        platform: is running, with readings.
        client: of its Airflow.
    """

    def __init__(self, platform: Platform, client: httpx.Client):
        self._platform, self._client = platform, client
        self._contract = load_contract(platform.settings.sensors)

    def by_dag(self) -> dict[str, Any]:
        """One run of the DAG.

        Returns:
            `seconds` from the trigger to the end of `deploy`; `cpu` seconds of all processes;
            `tasks`: name → seconds from the trigger to its start and to its end.
        """
        spent, began = self._cpu_seconds(), time.time()
        run_id, _ = dag_run.trigger(self._client, self._contract, TRIALS, query=QUERY)
        place = f"/api/v2/dags/{dag_run.DAG}/dagRuns/{run_id}"
        state = "queued"
        while state in ("queued", "running"):
            time.sleep(1)
            state = self._client.get(place).raise_for_status().json()["state"]
        tasks = dag_run.task_instances(self._client, run_id)
        if {task["state"] for task in tasks.values()} != {"success"}:
            raise RuntimeError(f"The run {run_id} did not deploy: {tasks}")
        times = {
            name: [
                datetime.fromisoformat(task[key]).timestamp() - began
                for key in ("start_date", "end_date")
            ]
            for name, task in tasks.items()
        }
        return {
            "seconds": times["deploy"][1],
            "cpu": self._cpu_seconds() - spent,
            "tasks": times,
        }

    def by_script(self) -> dict[str, Any]:
        """One run of the script.

        Returns:
            `seconds`, `cpu` and `tasks` as for the DAG; `work`: task → seconds that it worked.
        """
        settings = self._platform.settings
        with tempfile.TemporaryDirectory(prefix="breezeway-bench-") as folder:
            environment = {
                **os.environ,
                **quiet_environment(),
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "BREEZEWAY_HOME": str(settings.root),
                "BREEZEWAY_SENSORS": str(settings.sensors),
                "BREEZEWAY_MLFLOW_URL": self._platform.url("mlflow"),
                "BREEZEWAY_SERVING_URL": self._platform.url("serving"),
                "BREEZEWAY_RESULT": f"{folder}/result.json",
            }
            environment.pop("PYTHONDONTWRITEBYTECODE", None)
            spent, began = self._cpu_seconds(), time.time()
            done = subprocess.run(
                [SCRIPT, f"shell-{began:.0f}", str(TRIALS), QUERY, self._contract.name],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
            )
            seconds = time.time() - began
        if done.returncode:
            raise RuntimeError(f"The script failed:\n{done.stdout[-4000:]}")
        begins = [(name, float(at) - began) for name, at in BEGINS.findall(done.stdout)]
        ends = [at for _, at in begins[1:]]
        return {
            "seconds": seconds,
            "cpu": self._cpu_seconds() - spent,
            "tasks": {name: [at, end] for (name, at), end in zip(begins, ends, strict=False)},
            "work": {name: float(worked) for name, worked in DONE.findall(done.stdout)},
        }

    def _cpu_seconds(self) -> float:
        """Of the platform, with what its processes have waited for, and of scripts."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        platform = [process.cpu_times() for process in marked(self._platform.home)]
        return ended.ru_utime + ended.ru_stime + sum(sum(times[:4]) for times in platform)


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="breezeway-bench-") as folder:
        settings = Settings(
            home=Path(folder) / "home", sensors=Settings.shipped_sensors / "plant.toml"
        )
        readings = simulate.fill(settings)["readings"]
        with Platform(settings, say=lambda _: None) as platform, platform.airflow() as client:
            training = Training(platform, client)
            rounds = []
            for number in range(ROUNDS):
                # The script first: so the run that meets no champion yet is not the DAG's.
                rounds.append({"script": training.by_script(), "dag": training.by_dag()})
                print(f"  round {number + 1} of {ROUNDS}", flush=True)
    return {"readings": readings, "trials": TRIALS, "rounds": rounds}


def run(folder: Path) -> None:
    result = measure()
    rounds = result["rounds"]
    ratio = statistics.median(each["dag"]["seconds"] / each["script"]["seconds"] for each in rounds)
    dag, script = (_median(rounds, way, "seconds") for way in ("dag", "script"))
    floor = statistics.median(sum(each["script"]["work"].values()) for each in rounds)
    cpu = {way: _median(rounds, way, "cpu") for way in ("dag", "script")}
    _print(rounds)
    parts = [
        {
            "part": f"the `training` DAG, trigger → deployed; {result['readings']:,} readings, "
            f"{TRIALS} trials",
            "ours": f"{dag:.1f} s, {cpu['dag']:.0f} CPU-s",
            "peers": f"the same commands in one shell script: {script:.1f} s, "
            f"{cpu['script']:.0f} CPU-s",
            "floor": f"the steps' own work: {floor:.1f} s",
        }
    ]
    targets = [frame.Target("training DAG, times the script", TARGET, ratio, False)]
    packages = ["apache-airflow", "bentoml", "dvc", "mlflow", "ray", "xgboost-cpu"]
    frame.write_result(folder, "training", {**result, "parts": parts}, targets, packages)


def _median(rounds: Sequence[dict[str, Any]], way: str, figure: str) -> float:
    return statistics.median(each[way][figure] for each in rounds)


def _print(rounds: Sequence[dict[str, Any]]) -> None:
    """Where the time goes, by the last round: seconds from the end of the task before."""
    dag, script = rounds[-1]["dag"], rounds[-1]["script"]
    lines, ended = [], 0.0
    for name, (start, end) in sorted(dag["tasks"].items(), key=lambda item: item[1]):
        in_script = script["tasks"].get(name)
        lines.append(
            [
                name,
                f"{start - ended:.1f}",
                f"{end - start:.1f}",
                f"{in_script[1] - in_script[0]:.1f}" if in_script else "-",
                f"{script['work'][name]:.1f}" if in_script else "-",
            ]
        )
        ended = end
    print(frame.table(["", "waited", "task", "script", "its work"], lines))
