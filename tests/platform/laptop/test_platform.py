"""The platform: how it starts, and what it is when it runs."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2
import pytest
from filelock import FileLock

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.laptop.platform import Platform
from breezeway.laptop.postgres import USER
from breezeway.laptop.processes import marked, sweep
from breezeway.laptop.programs import LOOPBACK
from tests.fixtures.processes import command_line, eventually


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Starting


def test_a_second_start_in_one_home_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    addresses = {f"{part}_url": f"http://{part[0]}" for part in ("airflow", "mlflow", "serving")}
    (run / "platform.json").write_text(json.dumps(addresses | {"process": 7}))
    with (
        FileLock(run / "launcher.lock"),
        pytest.raises(UsageError, match=r"http://a, MLflow http://m, .* http://s\..*process 7"),
        Platform(Settings(home=tmp_path)),
    ):
        pass


def test_a_start_that_is_killed_leaves_what_the_next_one_sweeps(tmp_path: Path) -> None:
    home = tmp_path / "ho me"
    process = subprocess.Popen(
        [sys.executable, "-m", "breezeway", "up", "--no-run"],
        env=os.environ | {"BREEZEWAY_HOME": str(home)},
        stdout=subprocess.DEVNULL,
    )
    eventually(lambda: (home / "postgres" / "data" / "postmaster.pid").is_file(), 240)
    process.kill()
    process.wait()
    assert len(marked(home)) > 2
    assert sweep(home) > 2
    assert marked(home) == []


# The platform as it runs


def test_every_part_answers(platform: Platform) -> None:
    with platform.airflow() as client:
        health = client.get("/api/v2/monitor/health").json()
        pools = {pool["name"] for pool in client.get("/api/v2/pools").json()["pools"]}
    assert [health[part]["status"] for part in ("metadatabase", "scheduler", "dag_processor")] == [
        "healthy"
    ] * 3
    assert pools >= {"compute", "dataset_versions", "model_registry"}
    assert httpx.get(platform.url("mlflow") + "/health").is_success
    assert httpx.get(platform.url("serving") + "/livez").is_success


ASKS = {
    "airflow": "the password of its user",
    "mlflow": "nothing",
    "postgres": "the password of its user",
    "serving": "nothing",
}
"""Part → what its listening socket asks of who comes; SECURITY.md says the same."""


def test_each_listening_socket_is_known_and_asks_for_what_it_should(platform: Platform) -> None:
    ours = {process.pid for process in marked(platform.home)}
    listening = {
        connection.laddr
        for connection in psutil.net_connections("inet")
        if connection.pid in ours and connection.status == psutil.CONN_LISTEN
    }
    ports = platform._addresses.ports
    assert ports.keys() == ASKS.keys()
    assert listening == {(LOOPBACK, port) for port in ports.values()}
    for part in ("mlflow", "serving"):
        assert httpx.get(platform.url(part) + "/version").status_code in (200, 404), part
    assert httpx.get(platform.url("airflow") + "/api/v2/dags").status_code == 401
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(host=LOOPBACK, port=ports["postgres"], user=USER, password="guess")


def test_a_socket_with_a_path_is_for_its_owner(platform: Platform) -> None:
    ours = {process.pid for process in marked(platform.home)}
    paths = {
        Path(connection.laddr)
        for connection in psutil.net_connections("unix")
        if connection.pid in ours and connection.laddr
    }
    for path in paths:
        closed = [folder for folder in path.parents if mode(folder) & 0o077 == 0]
        assert closed or mode(path) & 0o077 == 0, path


def test_secrets_stand_in_no_command_line_and_no_open_file(platform: Platform) -> None:
    run = platform.home / "run"
    keys = json.loads((run / "keys.json").read_text())
    commands = "\n".join(map(command_line, marked(platform.home)))
    logs = "\n".join(f.read_text(errors="replace") for f in platform.home.glob("logs/*.log"))
    for name, key in keys.items():
        assert key not in commands, name
        assert key not in logs, name
    files = [file for file in run.iterdir() if file.is_file()]
    assert {file.name for file in files if mode(file) & 0o077} <= {
        "launcher.lock",
        "supervisord.pid",
    }
    assert mode(run) == mode(platform.home) == 0o700


def test_each_process_knows_the_secrets_that_it_needs(platform: Platform) -> None:
    keys = json.loads((platform.home / "run" / "keys.json").read_text())
    pids = {name: platform._supervisor.pid(name) for name in platform._supervisor.programs}
    airflow = {"api-server", "scheduler", "dag-processor", "triggerer"}
    may_know = {
        keys["database"]: airflow | {"mlflow", "postgres", "airflow-upkeep", "mlflow-upkeep"},
        keys["fernet"]: airflow,
        keys["session"]: airflow,
        keys["tokens"]: airflow,
        platform.settings.raw_address: {"scheduler"},
    }
    seen = set()
    for process in marked(platform.home):
        family = {process.pid, *(parent.pid for parent in process.parents())}
        program = next((name for name, pid in pids.items() if pid in family), "supervisord")
        seen.add(program)
        told = "\0".join(process.environ().values())
        for secret, programs in may_know.items():
            assert secret not in told or program in programs, (program, secret[:20])
    assert seen == {*pids, "supervisord"}


def test_airflow_asks_for_the_password(platform: Platform) -> None:
    assert httpx.get(platform.url("airflow") + "/api/v2/dags").status_code == 401
    guess = {"username": "admin", "password": "admin"}
    assert httpx.post(platform.url("airflow") + "/auth/token", json=guess).status_code == 401


def test_a_part_that_is_killed_comes_back(platform: Platform) -> None:
    platform.watch()
    server = psutil.Process(platform._supervisor.pid("serving"))
    for child in server.children(recursive=True):
        child.kill()
    server.kill()
    said: list[str] = []
    eventually(lambda: bool(said.extend(platform.watch()) or said))
    assert said[0].startswith("serving ended and was started again; its log: ")
    eventually(lambda: platform._get("serving", "/livez"), 60)


ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT 'machine-01' AS device, '2026-01-01' AS time, '{}' AS payload FROM n WHERE i < 0"
)


@pytest.fixture
def endless_run(platform: Platform) -> Iterator[Callable[[], dict[str, Any]]]:
    """Asks Airflow for a task that runs until its run is ended."""
    (platform.home / "raw.db").touch()
    dag = "/api/v2/dags/training"
    form = {"steps": ["preprocess"], "query": ENDLESS, "tag": "endless"}
    with platform.airflow() as client:
        eventually(lambda: client.get(dag).is_success, 120)
        triggered = client.post(f"{dag}/dagRuns", json={"logical_date": None, "conf": form})
        run = f"{dag}/dagRuns/{triggered.raise_for_status().json()['dag_run_id']}"

        def task() -> dict[str, Any]:
            return client.get(f"{run}/taskInstances/preprocess").raise_for_status().json()

        eventually(lambda: task()["state"] == "running", 120)
        yield task
        client.patch(run, json={"state": "failed"}).raise_for_status()
        eventually(lambda: task()["state"] == "failed", 60)


def test_a_scheduler_that_is_killed_leaves_no_workers_and_its_tasks_start_again(
    platform: Platform, endless_run: Callable[[], dict[str, Any]]
) -> None:
    platform.watch()
    scheduler = psutil.Process(platform._supervisor.pid("scheduler"))
    workers = scheduler.children(recursive=True)
    assert workers
    scheduler.kill()
    said: list[str] = []
    eventually(lambda: bool(said.extend(platform.watch()) or len(said) > 1), 60)
    assert said[0].startswith("scheduler ended and was started again; its log: ")
    assert said[1].endswith("/preprocess was interrupted and starts again.")
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    eventually(lambda: (endless_run()["state"], endless_run()["try_number"]) == ("running", 2), 60)
    assert endless_run()["max_tries"] == 3, "the attempt that was interrupted does not count"
