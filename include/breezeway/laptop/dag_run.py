"""One run of the DAG `training`, by Airflow's REST API: trigger it, read its tasks and errors."""

import json
import time
from datetime import UTC, datetime
from functools import lru_cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import httpx

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError, ServiceUnavailable, UsageError
from breezeway.laptop.platform import Platform

DAG = "training"
RUN_PREFIX = "demo-"
DAG_SECONDS = 120
"""How long Airflow may take to find the DAG."""


def trigger(
    client: httpx.Client, contract: Contract, count: int | None = None, **fields: Any
) -> tuple[str, dict[str, Any]]:
    """Start a run with the form's defaults; return its id and what was sent.

    Earlier demo runs that are unfinished, because their platform was killed, are marked as
    failed first. Otherwise Airflow would continue them.

    Args:
        count: trials of tune; None for the form's default.
        fields: values of the form that replace its defaults.

    Raises:
        ServiceUnavailable: Airflow does not know the DAG, because it cannot be imported.
        UsageError: Airflow refuses a field.
    """
    _await_dag(client)
    runs = f"/api/v2/dags/{DAG}/dagRuns"
    for state in ("running", "queued"):
        answer = client.get(runs, params={"state": state}).raise_for_status()
        for earlier in answer.json()["dag_runs"]:
            if earlier["dag_run_id"].startswith(RUN_PREFIX):
                client.patch(
                    f"{runs}/{earlier['dag_run_id']}", json={"state": "failed"}
                ).raise_for_status()
    client.patch(f"/api/v2/dags/{DAG}", json={"is_paused": False}).raise_for_status()
    form = client.get(f"/api/v2/dags/{DAG}/details").raise_for_status().json()["params"]
    now = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"[:-3]
    conf = {name: field["value"] for name, field in form.items()} | {"model_name": contract.name}
    conf |= {"tag": f"{contract.name}-{now}"} | ({"count": count} if count else {}) | fields
    body = {"dag_run_id": RUN_PREFIX + now, "logical_date": None, "conf": conf}
    answer = client.post(runs, json=body)
    if answer.is_client_error:
        raise UsageError(f"Airflow refuses the run: {answer.json()['detail']}")
    return answer.raise_for_status().json()["dag_run_id"], conf


def _await_dag(client: httpx.Client) -> None:
    deadline = time.monotonic() + DAG_SECONDS
    while not client.get(f"/api/v2/dags/{DAG}").is_success:
        errors = client.get("/api/v2/importErrors").raise_for_status().json()["import_errors"]
        if errors:
            trace = errors[0]["stack_trace"].strip().splitlines()
            raise ServiceUnavailable(
                f"{errors[0]['filename']} cannot be imported by Airflow: {trace[-1]}"
            )
        if time.monotonic() > deadline:
            raise ServiceUnavailable(f"Airflow did not find the DAG {DAG} in {DAG_SECONDS} s.")
        time.sleep(0.5)


def task_instances(client: httpx.Client, run_id: str) -> dict[str, dict[str, Any]]:
    """Tasks by id, in the order of their start; those that have not started are last, in the order
    of the DAG."""
    answer = client.get(f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances").raise_for_status()
    tasks = answer.json()["task_instances"]
    order = _order(client)
    tasks.sort(key=lambda task: (task["start_date"] or "9", order.index(task["task_id"])))
    return {task["task_id"]: task for task in tasks}


@lru_cache(maxsize=1)
def _order(client: httpx.Client) -> list[str]:
    """The ids of the DAG's tasks, each behind those that it waits for."""
    tasks = client.get(f"/api/v2/dags/{DAG}/tasks").raise_for_status().json()["tasks"]
    sorter = TopologicalSorter({task["task_id"]: task["downstream_task_ids"] for task in tasks})
    return list(sorter.static_order())[::-1]


def xcom(client: httpx.Client, run_id: str, task: str) -> Any:
    """A task's result; None if it has none."""
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/return_value"
    answer = client.get(path)
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    value = answer.raise_for_status().json()["value"]
    return json.loads(value) if isinstance(value, str) else value


def failure(client: httpx.Client, platform: Platform, run_id: str) -> DataError:
    """The error of the failed task, and the path of its log."""
    for name, task in task_instances(client, run_id).items():
        if task["state"] == "failed":
            file = (
                platform.home / "logs" / "airflow" / f"dag_id={DAG}" / f"run_id={run_id}"
                / f"task_id={name}" / f"attempt={task['try_number']}.log"
            )  # fmt: skip
            return DataError(f"The task {name} failed: {_last_error(file)}\nIts log: {file}")
    return DataError(f"The run {run_id} failed; see {platform.url('airflow')}/dags/{DAG}.")


def _last_error(file: Path) -> str:
    """The last error in a task's log, which has one JSON object on each line."""
    sentence = "it left no word."
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for line in lines:
        record = json.loads(line) if line.startswith("{") else {}
        if record.get("error_detail"):
            error = record["error_detail"][0]
            sentence = f"{error['exc_type']}: {error['exc_value']}"
        elif record.get("level") in ("error", "critical"):
            sentence = record["event"]
    return sentence
