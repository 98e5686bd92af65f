"""Takes up the tasks that ended because the platform was stopped, or killed, under them.

To Airflow such a task has failed: it would look for it some minutes, and count an attempt. Here it
is cleared, as a person would do it, so it starts again at once and has all its attempts left. What
the step had done before is there, because every step may be killed and repeated.

The time that the platform was off is also none of a run's own: otherwise a night that the power
ended, and that comes back a day later, would have taken too long and fail.
"""

from datetime import datetime
from typing import Any

import httpx

BATCH = 100
"""So many tasks are taken up; the platform never runs more at once."""


def take_up(client: httpx.Client, before: datetime | None = None) -> list[str]:
    """Clear the tasks that are said to run, or to be about to, though nothing runs.

    Args:
        client: of Airflow's REST API, logged in.
        before: only the running tasks that started before this time. None, while there is no
            scheduler: all of them, and the time limit of each run that runs begins anew.

    Returns:
        A sentence for each. A task that Airflow refuses to clear, because its DAG is gone, say, is
        left to Airflow, and keeps nothing from starting.

    Raises:
        httpx.HTTPError: Airflow does not answer, or does not list its tasks.
    """
    chosen: dict[str, Any] = {"state": ["running", "restarting", "queued"], "limit": BATCH}
    if before:
        chosen |= {"state": ["running", "restarting"], "start_date_lte": before.isoformat()}
    answer = client.get("/api/v2/dags/~/dagRuns/~/taskInstances", params=chosen)
    said = [] if before else _begin_anew(client)
    for task in answer.raise_for_status().json()["task_instances"]:
        name = f"{task['dag_id']}/{task['dag_run_id']}/{task['task_id']}"
        try:
            _clear(client, task)
        except httpx.HTTPStatusError as error:
            code = error.response.status_code
            said.append(f"{name} was interrupted, and Airflow refuses to start it again ({code}).")
        else:
            said.append(f"{name} was interrupted and starts again.")
    return said


def _begin_anew(client: httpx.Client) -> list[str]:
    """Let the runs wait for their start again, so that their limit counts from there.

    Their tasks stay as they are. Airflow fails a run that began longer ago than its limit.
    """
    asked: dict[str, Any] = {"state": "running", "limit": BATCH}
    answer = client.get("/api/v2/dags/~/dagRuns", params=asked).raise_for_status()
    said = []
    for run in answer.json()["dag_runs"]:
        path = f"/api/v2/dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}"
        refused = client.patch(path, json={"state": "queued"})
        if refused.is_error:
            name = f"{run['dag_id']}/{run['dag_run_id']}"
            said.append(
                f"{name} was interrupted, and Airflow refuses to let it begin again "
                f"({refused.status_code})."
            )
    return said


def _clear(client: httpx.Client, task: dict[str, Any]) -> None:
    """Airflow waits for a running task to end before it clears it; so it is failed first."""
    name, run, index = task["task_id"], task["dag_run_id"], task["map_index"]
    dag = f"/api/v2/dags/{task['dag_id']}"
    one = f"{name}/{index}" if index >= 0 else name
    failed = {"new_state": "failed"}
    client.patch(f"{dag}/dagRuns/{run}/taskInstances/{one}", json=failed).raise_for_status()
    client.post(
        f"{dag}/clearTaskInstances",
        json={
            "dry_run": False,
            "dag_run_id": run,
            "task_ids": [[name, index]],
            "only_failed": False,
            "note": "The platform was stopped while this task ran.",
        },
    ).raise_for_status()
