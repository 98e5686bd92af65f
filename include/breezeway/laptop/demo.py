"""The whole pipeline once: readings, platform, one run of the `training` DAG, one prediction.

The run is triggered as the form in Airflow's web UI triggers it. What happened is printed at
the end: dataset, parameters, scores beside the baselines, promotion, deployment, prediction.

Examples:
  breezeway demo
  breezeway up --sensors pump.toml --data pump.csv
  breezeway up --no-run
  breezeway demo --json | jq .prediction.score
"""

import argparse
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from breezeway.contract.contract import Contract, load_contract
from breezeway.contract.values import Violation
from breezeway.core.errors import DataError, InternalError, ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.laptop.dag_run import DAG, failure, task_instances, trigger, xcom
from breezeway.laptop.display import (
    console,
    follow,
    print_addresses,
    print_facts,
    print_summary,
)
from breezeway.laptop.platform import Platform
from breezeway.laptop.programs import LOOPBACK, OWN_HOSTS
from breezeway.readings.store import open_store

RESULTS = ("preprocess", "tune", "train", "test", "promote", "deploy")
"""Tasks whose results the summary shows."""
SOURCES = {
    "skab": "github.com/waico/SKAB, its folder `data`",
    "ai4i": "archive.ics.uci.edu/dataset/601, the file `ai4i2020.csv`",
}
"""Contracts of public data that is not shipped, and where to get it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sensors",
        metavar="plant|skab|ai4i|FILE",
        help="the sensor contract: one of those shipped, or a file (plant, or BREEZEWAY_SENSORS)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="a file of readings to load first, or a folder of them; read as the contract says",
    )
    parser.add_argument("--count", type=int, help="trials of tune (the form's default)")
    parser.add_argument(
        "--host",
        default=LOOPBACK,
        help=f"address to listen at ({LOOPBACK}); another one needs --open",
    )
    parser.add_argument(
        "--open",
        action="store_true",
        help="let everybody who reaches --host use MLflow and the model server without a password",
    )
    for part in ("airflow", "mlflow", "serving"):
        parser.add_argument(
            f"--{part}-port", type=int, metavar="PORT", help="the port to use (any free one)"
        )
    parser.add_argument(
        "--no-run",
        action="store_true",
        help="start only the platform: load no readings, trigger no run",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="for programs: what came of the run as one JSON object, all else on standard error "
        "(without it, a table)",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> None:
    """Run the pipeline, print the summary, stop everything.

    Raises:
        BreezewayError: a part did not come up, a task failed, or no prediction came back.
    """
    settings = settings.with_sensors(arguments.sensors)
    with _platform(arguments, settings) as (platform, started):
        _pipeline(platform, arguments, started)


def run_and_stay(arguments: argparse.Namespace, settings: Settings) -> None:
    """Like `run`, but leave the platform running until Ctrl-C, even if the run failed."""
    settings = settings.with_sensors(arguments.sensors)
    with _platform(arguments, settings) as (platform, started):
        failed = None
        if not arguments.no_run:
            try:
                _pipeline(platform, arguments, started)
            except (DataError, ServiceUnavailable) as error:
                console.print(f"\n{error}\n", style="red", markup=False)
                failed = error
        print_addresses(platform)
        console.print("\nCtrl-C stops everything.")
        try:
            while True:
                for sentence in platform.watch():
                    console.print(sentence, markup=False)
                time.sleep(2)
        except KeyboardInterrupt:
            console.print("\nStopping.")
        if failed:
            raise failed


@contextmanager
def _platform(
    arguments: argparse.Namespace, settings: Settings
) -> Iterator[tuple[Platform, float]]:
    started = time.monotonic()
    console.stderr = arguments.json
    if "MAKELEVEL" in os.environ:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    if arguments.host not in OWN_HOSTS and not arguments.open:
        raise UsageError(
            f"--host {arguments.host}: whoever reaches this address could use MLflow, and with it "
            "change the model in service, without a password. Add --open if that is what you want, "
            f"or listen at {LOOPBACK} and let a proxy with a login stand before it."
        )
    ports = {part: getattr(arguments, f"{part}_port") for part in ("airflow", "mlflow", "serving")}
    platform = Platform(settings, arguments.host, ports, say=console.print)
    if not arguments.no_run:
        _fill(arguments, settings)
    console.print("Starting PostgreSQL, Airflow, MLflow and the model server.")
    with platform:
        console.print(f"The platform is up after {time.monotonic() - started:.0f} s.")
        yield platform, started


def _end_with(parent: int) -> None:
    """End this process when make has ended, even if make was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _fill(arguments: argparse.Namespace, settings: Settings) -> None:
    """Fill the raw store; what was loaded before is not loaded again. A store that the user names
    gets nothing but the data that the user names.

    Raises:
        UsageError: the store is empty and there is nothing to load.
        DataError: the files cannot be read as the contract says.
    """
    from breezeway.readings import file_loads, simulate

    contract = load_contract(settings.sensors)
    if arguments.data:
        own = arguments.data / contract.name  # in a folder of data for several contracts
        data = own if own.is_dir() else arguments.data
        file_loads.load(settings, [data], contract)
        return
    if settings.is_simulated:
        simulate.fill(settings)
        return
    store = open_store(settings)
    if settings.raw_url is None:
        store.create()
    if not store.has_readings():
        name = contract.name
        if name in SOURCES:
            hint = (
                f"Name a folder with its files: make demo SENSORS={name} DATA=FOLDER. They are "
                f"found at {SOURCES[name]}."
            )
        else:
            hint = (
                f"Load some first: breezeway load-readings FILE --sensors {settings.sensors}; "
                "or name their file: --data FILE."
            )
        raise UsageError(f"The raw store {store} has no readings for {name}. {hint}")


def _pipeline(platform: Platform, arguments: argparse.Namespace, started: float) -> None:
    settings = platform.settings
    contract = load_contract(settings.sensors)
    with platform.airflow() as client:
        run_id, conf = trigger(client, contract, arguments.count)
        console.print(f"\nTriggered the run {run_id}: {platform.url('airflow')}/dags/{DAG}")
        dag_run = follow(client, platform, run_id)
        results = {task: xcom(client, run_id, task) for task in RESULTS}
        if dag_run["state"] != "success":
            raise failure(client, platform, run_id)
        tasks = task_instances(client, run_id)
    prediction = predict(platform.url("serving"), conf["model_name"], contract, settings)
    seconds = time.monotonic() - started
    if arguments.json:
        print_facts(results, prediction, tasks, dag_run, seconds)
    else:
        print_summary(results, prediction, tasks, dag_run, seconds, contract)
    print_addresses(platform)


def predict(url: str, model: str, contract: Contract, settings: Settings) -> dict[str, Any]:
    """Send the newest good readings of a device from the raw store to the model server.

    Raises:
        ServiceUnavailable: the server does not answer.
        DataError: the server refuses the readings.
    """
    store = open_store(settings)
    newest = store.newest()
    if newest is None:
        raise InternalError(f"The raw store {store} is empty after a run that succeeded.")
    name, last = newest
    rows = store.last_readings(name, last + timedelta(seconds=1), 4 * contract.request_readings)
    good = [
        {"time": row.time.isoformat(), "payload": row.payload}
        for row in rows
        if row.time and _keeps_to(contract, row.payload)
    ]
    if not good:
        raise DataError(f"None of the newest {len(rows)} readings of {name} keeps to the contract.")
    readings = good[: contract.request_readings]
    body = {"device": name, "readings": readings[::-1]}
    began = time.perf_counter()
    try:
        answer = httpx.post(
            f"{url}/v1/models/{model}/predict",
            json=body,
            headers=settings.serving_headers,
            timeout=30,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        raise ServiceUnavailable(f"The model server at {url} does not answer: {error}.") from None
    if answer.is_error:
        raise DataError(f"The model server refuses the newest readings: {answer.text}")
    return {
        **answer.json(),
        "device": name,
        "time": readings[0]["time"],
        "readings": len(readings),
        "milliseconds": (time.perf_counter() - began) * 1000,
    }


def _keeps_to(contract: Contract, payload: str | None) -> bool:
    try:
        contract.parser.parse(payload)
    except Violation:
        return False
    return True
