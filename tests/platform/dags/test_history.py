"""A backfill of history on the running platform, with days that fail and a worker that dies."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pytest

from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
from breezeway.datasets import history, versions
from breezeway.laptop.platform import Platform
from breezeway.laptop.processes import marked
from breezeway.preprocessing import days
from breezeway.readings.store import RawStore
from tests.fixtures.processes import command_line
from tests.fixtures.readings import midnight

pytestmark = pytest.mark.timeout(1500)

FIRST, DAYS, AT_ONCE = date(2026, 3, 1), 14, 4
LAST = FIRST + timedelta(days=DAYS - 1)
BROKEN = [FIRST + timedelta(days=n) for n in (4, 5, 9)]
MACHINES = [f"machine-{n}" for n in (71, 72)]
EACH = 40
"""Readings of a machine on a day: more than a window."""


def fill(store: RawStore) -> None:
    """Readings of all days, some of them bad, and a fault a day."""
    generator = np.random.default_rng(1)
    rows = []
    for day in history.day_range(FIRST, LAST):
        for machine in MACHINES:
            for n in range(EACH):
                warmth = round(generator.normal(60, 5), 3)
                pressure = None if n % 20 == 0 else round(generator.normal(6, 0.5), 3)
                payload = {
                    "env": {"temperature": warmth, "pressure": pressure},
                    "rotational_speed": round(generator.normal(1500, 50), 1),
                    "torque": 40 if n % 11 else "much",
                    "mode": "normal",
                    "vibration": generator.normal(0, 1, 8).round(4).tolist(),
                }
                time = midnight(day) + timedelta(minutes=36 * n)
                rows.append({"device": machine, "time": time, "payload": json.dumps(payload)})
    faults = [
        {"device": MACHINES[0], "start": t, "end": t + timedelta(hours=3)}
        for t in (midnight(d) + timedelta(hours=22) for d in history.day_range(FIRST, LAST))
    ]
    store.create()
    store.append(pa.Table.from_pylist(rows), labels=pa.Table.from_pylist(faults))


def change(settings: Settings, statement: str, *values: str) -> None:
    with sqlite3.connect(settings.root / "raw.db", timeout=30) as connection:
        connection.execute(statement, values)


def break_days(settings: Settings) -> None:
    """More rows of these days are bad than the contract allows."""
    for day in BROKEN:
        change(
            settings,
            "UPDATE readings SET payload = '!' || payload WHERE time >= ? AND time < ? "
            "AND id % 2 AND device LIKE 'machine-7_'",
            day.isoformat(),
            (day + timedelta(days=1)).isoformat(),
        )


def mend_days(settings: Settings) -> None:
    change(settings, "UPDATE readings SET payload = substr(payload, 2) WHERE payload LIKE '!%'")


@pytest.fixture
def client(platform: Platform) -> Iterator[httpx.Client]:
    fill(RawStore(platform.settings.raw_address))
    with platform.airflow() as client:
        client.patch("/api/v2/dags/history", json={"is_paused": False}).raise_for_status()
        yield client
        client.patch("/api/v2/dags/history", json={"is_paused": True}).raise_for_status()
    # What others make of the same store is to know nothing of these days.
    for table in ("readings", "labels"):
        change(platform.settings, f"DELETE FROM {table} WHERE device LIKE 'machine-7_'")


def backfill(client: httpx.Client, reprocess: str = "none") -> None:
    """Begin a backfill of all days, once Airflow has noted that the one before has ended."""
    body = {
        "dag_id": "history",
        "from_date": f"{FIRST}T00:00:00Z",
        "to_date": f"{LAST}T00:00:00Z",
        "max_active_runs": AT_ONCE,
        "reprocess_behavior": reprocess,
    }
    deadline = time.monotonic() + 120
    while True:
        answer = client.post("/api/v2/backfills", json=body)
        if answer.status_code != httpx.codes.CONFLICT or time.monotonic() > deadline:
            assert answer.is_success, answer.text
            return
        time.sleep(1)


def runs(client: httpx.Client) -> list[dict[str, Any]]:
    found = client.get("/api/v2/dags/history/dagRuns", params={"limit": 100}).raise_for_status()
    return found.json()["dag_runs"]


def finish(client: httpx.Client) -> int:
    """Wait until every run has ended; return how many ran at the same time at most."""
    most = 0
    while True:
        states = [run["state"] for run in runs(client) if run["run_type"] == "backfill"]
        most = max(most, states.count("running"))
        if not {run["state"] for run in runs(client)} & {"queued", "running"}:
            return most
        time.sleep(0.5)


def kill_a_worker(platform: Platform) -> None:
    """Kill a process of Airflow that runs a task of the backfill, while it runs its step.

    Airflow may run the DAG's scheduled day at the same time.
    """
    whole = set(history.day_range(FIRST, LAST)) - set(BROKEN)
    ours = {f"--day={day}" for day in whole}
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for process in marked(platform.home):
            try:
                words = command_line(process).split()
                if "breezeway.steps.preprocess" in words and ours.intersection(words):
                    keeper = psutil.Process(os.getpgid(process.pid))
                    os.kill(keeper.ppid(), signal.SIGKILL)
                    return
            except (psutil.Error, ProcessLookupError):
                continue
        time.sleep(0.05)
    pytest.fail("no step ran")


def sequential(settings: Settings, folder: Path) -> str:
    """Make each day by itself, one after the other, with no Airflow; the hash of the whole."""
    contract = load_contract(settings.sensors)
    made = {}
    for day in history.day_range(FIRST, LAST):
        of_day = folder / day.isoformat()
        of_day.mkdir(parents=True)
        manifest = days.make_day(settings, contract, day, of_day)
        hash = versions.folder_hash(versions.file_hashes(of_day))
        made[day] = versions.OpenedVersion(
            "", "", hash, "", "", manifest.model_dump(), folder=of_day
        )
    whole = folder / "whole"
    whole.mkdir()
    history.lay_out(contract, made, whole)
    return versions.folder_hash(versions.file_hashes(whole))


def test_a_backfill_with_failures_gives_what_a_sequential_run_gives(platform, client, tmp_path):
    settings = platform.settings
    break_days(settings)
    backfill(client)
    kill_a_worker(platform)
    assert finish(client) == AT_ONCE
    ran = [run for run in runs(client) if run["run_type"] == "backfill"]
    first = {run["partition_key"]: run["state"] for run in ran}
    every = [day.isoformat() for day in history.day_range(FIRST, LAST)]
    assert first == dict.fromkeys(every, "success") | {str(day): "failed" for day in BROKEN}
    asked = {"task_display_name_pattern": "preprocess", "limit": 100}
    found = client.get("/api/v2/dags/history/dagRuns/~/taskInstances", params=asked)
    instances = found.raise_for_status().json()["task_instances"]
    in_backfill = {run["dag_run_id"] for run in ran}
    tries = [ti["try_number"] for ti in instances if ti["dag_run_id"] in in_backfill]
    assert sorted(tries) == [1] * (DAYS - 1) + [2]  # that of the worker that was killed

    mend_days(settings)
    before = {run["dag_run_id"] for run in runs(client)}
    backfill(client, "failed")
    finish(client)
    again = [run for run in runs(client) if run["dag_run_id"] not in before]
    assert {run["state"] for run in again} == {"success"}
    failed = sorted(run["partition_key"] for run in again if run["run_type"] == "backfill")
    assert failed == [str(day) for day in BROKEN]
    # The windows of the days that follow reach back to what was mended.
    followed = {run["conf"]["day"] for run in again if run["run_type"] != "backfill"}
    assert followed == {str(BROKEN[1] + timedelta(days=1)), str(BROKEN[2] + timedelta(days=1))}

    whole = history.compose(settings, FIRST, LAST)
    assert whole.hash == sequential(settings, tmp_path / "sequential")
    assert whole.manifest["raw"]["rows"] == DAYS * len(MACHINES) * EACH
