"""A task or a run that Airflow refuses to take up keeps nothing from starting.

`tests/platform/laptop/test_platform.py` has the real thing. A refusal cannot be had from it at
will, so here Airflow's answers are given.
"""

import httpx
import pytest

from breezeway.laptop import interrupted

TASKS = [
    {"dag_id": dag_id, "dag_run_id": "manual", "task_id": "train", "map_index": -1}
    for dag_id in ("gone", "training")
]


def airflow(refusing: str) -> httpx.Client:
    """Two running tasks of two runs; whatever a path with this text asks is refused."""

    def answer(request: httpx.Request) -> httpx.Response:
        if refusing in request.url.path:
            return httpx.Response(404)
        runs = [{key: task[key] for key in ("dag_id", "dag_run_id")} for task in TASKS]
        return httpx.Response(200, json={"task_instances": TASKS, "dag_runs": runs})

    return httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(answer))


def test_what_is_refused_is_said_and_the_next_is_taken_up() -> None:
    with airflow(refusing="/dags/gone/") as client:
        assert interrupted.take_up(client) == [
            "gone/manual was interrupted, and Airflow refuses to let it begin again (404).",
            "gone/manual/train was interrupted, and Airflow refuses to start it again (404).",
            "training/manual/train was interrupted and starts again.",
        ]


def test_a_list_that_is_refused_is_an_error() -> None:
    with airflow(refusing="/api/v2/dags/~/") as client, pytest.raises(httpx.HTTPStatusError):
        interrupted.take_up(client)
