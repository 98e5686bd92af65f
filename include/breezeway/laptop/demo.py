"""The whole pipeline once: readings, platform, one run of the `training` DAG, one prediction.

The run is triggered as the form in Airflow's web UI triggers it. What happened is printed at
the end: dataset, parameters, scores beside the baselines, promotion, deployment, prediction.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.live import Live
from rich.table import Table

from breezeway.contract.contract import Contract, Violation, load_contract
from breezeway.core.errors import DataError, InternalError, ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.laptop.platform import LOOPBACK, USER, Platform
from breezeway.readings.store import RawStore

DAG = "training"
RUN_PREFIX = "demo-"
RESULTS = ("preprocess", "tune", "train", "test", "promote", "deploy")
"""Tasks whose results the summary tells."""
ENDED = ("success", "failed", "upstream_failed", "skipped", "removed")
SHOWN = (*ENDED, "running", "up_for_retry", "awaiting_input")
SOURCES = {
    "skab": "github.com/waico/SKAB, its folder `data`",
    "ai4i": "archive.ics.uci.edu/dataset/601, the file `ai4i2020.csv`",
}
"""Contracts of public data that is not shipped, and where to get it."""

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 110)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sensors",
        metavar="plant|skab|ai4i|FILE",
        help="the sensor contract: one of those shipped, or a file (plant, or BREEZEWAY_SENSORS)",
    )
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="the files of skab or ai4i to load first"
    )
    parser.add_argument("--count", type=int, help="trials of tune (the form's default)")
    parser.add_argument(
        "--host",
        default=LOOPBACK,
        help=f"address to listen at ({LOOPBACK}); MLflow and the model server ask for no password",
    )
    for part in ("airflow", "mlflow", "serving"):
        parser.add_argument(
            f"--{part}-port", type=int, metavar="PORT", help="this port or none (a free one)"
        )
    parser.add_argument(
        "--no-run", action="store_true", help="up: only the platform, without readings and run"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> None:
    """Run the pipeline, print the summary, stop everything.

    Raises:
        BreezewayError: a part did not come up, a task failed, or no prediction came back.
    """
    settings = _with_contract(arguments, settings)
    with _platform(arguments, settings) as (platform, started):
        _pipeline(platform, arguments, started)


def run_and_stay(arguments: argparse.Namespace, settings: Settings) -> None:
    """As `run`, then keep the platform until Ctrl-C, also after a run that failed."""
    settings = _with_contract(arguments, settings)
    with _platform(arguments, settings) as (platform, started):
        failure = None
        if not arguments.no_run:
            try:
                _pipeline(platform, arguments, started)
            except (DataError, ServiceUnavailable) as error:
                console.print(f"\n{error}\n", style="red", markup=False)
                failure = error
        _print_addresses(platform)
        console.print("\nCtrl-C stops everything.")
        try:
            while True:
                for sentence in platform.watch():
                    console.print(sentence, markup=False)
                time.sleep(2)
        except KeyboardInterrupt:
            console.print("\nStopping.")
        if failure:
            raise failure


@contextmanager
def _platform(
    arguments: argparse.Namespace, settings: Settings
) -> Iterator[tuple[Platform, float]]:
    started = time.monotonic()
    if "MAKELEVEL" in os.environ:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    ports = {part: getattr(arguments, f"{part}_port") for part in ("airflow", "mlflow", "serving")}
    platform = Platform(settings, arguments.host, ports, say=console.print)
    if not arguments.no_run:
        _fill(arguments, settings)
    console.print("Starting PostgreSQL, Airflow, MLflow and the model server.")
    with platform:
        console.print(f"The platform is up after {time.monotonic() - started:.0f} s.")
        yield platform, started


def _end_with(parent: int) -> None:
    """End when make has ended, even where it was killed and could not tell us."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _with_contract(arguments: argparse.Namespace, settings: Settings) -> Settings:
    """Settings of the chosen contract; each has a raw store of its own beside the plant's.

    Raises:
        UsageError: there is no such contract.
    """
    known = {file.stem: file for file in Settings.shipped_sensors.glob("*.toml")}
    chosen = settings.sensors
    if arguments.sensors:
        chosen = known.get(arguments.sensors, Path(arguments.sensors))
    if not chosen.is_file():
        raise UsageError(
            f"--sensors: there is no contract {str(chosen)!r}; expected a file, or one of "
            f"{', '.join(sorted(known))}."
        )
    changed: dict[str, Any] = {"sensors": chosen.resolve()}
    name = load_contract(chosen).name
    if settings.raw_url is None and name != "plant":
        changed["raw_url"] = f"sqlite:///{settings.root / f'raw-{name}.db'}"
    return Settings(**{**settings.model_dump(), **changed})


def _fill(arguments: argparse.Namespace, settings: Settings) -> None:
    """Fill the raw store; what was loaded before is not loaded again.

    Raises:
        UsageError: there is nothing to load and nothing loaded.
    """
    from breezeway.readings import loaders, simulate

    name = load_contract(settings.sensors).name
    parser = argparse.ArgumentParser()
    if name == "plant":
        simulate.add_arguments(parser)
        simulate.run(parser.parse_args([]), settings)
        return
    loaders.add_arguments(parser)
    data = arguments.data
    if data and name in SOURCES:
        data = data / name if (data / name).is_dir() else data
        loaders.run(parser.parse_args([str(data), "--format", name]), settings)
        return
    store = RawStore(settings.raw_address)
    store.create()
    if not store.loads():
        hint = (
            f"Name a folder with its files: make demo SENSORS={name} DATA=FOLDER. "
            f"They are found at {SOURCES[name]}."
            if name in SOURCES
            else "Fill it first: breezeway load-readings --help."
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
            raise _failure(client, platform, run_id)
        tasks = task_instances(client, run_id)
    prediction = predict(platform.url("serving"), conf["model_name"], contract, settings)
    _print_summary(results, prediction, tasks, dag_run, time.monotonic() - started)
    _print_addresses(platform)


# One run, by Airflow's REST API.


def trigger(
    client: httpx.Client, contract: Contract, count: int | None = None, **fields: Any
) -> tuple[str, dict[str, Any]]:
    """Start a run with the form's defaults; return its id and what was sent.

    Earlier runs of this kind that were cut off when their platform was killed are failed
    first, or Airflow would go on with them.

    Args:
        count: trials of tune, if not the form's default.
        fields: of the form, in place of their defaults.

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


def _await_dag(client: httpx.Client, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not client.get(f"/api/v2/dags/{DAG}").is_success:
        errors = client.get("/api/v2/importErrors").raise_for_status().json()["import_errors"]
        if errors:
            trace = errors[0]["stack_trace"].strip().splitlines()
            raise ServiceUnavailable(
                f"{errors[0]['filename']} cannot be imported by Airflow: {trace[-1]}"
            )
        if time.monotonic() > deadline:
            raise ServiceUnavailable(f"Airflow did not find the DAG {DAG} in {seconds:.0f} s.")
        time.sleep(0.5)


def task_instances(client: httpx.Client, run_id: str) -> dict[str, dict[str, Any]]:
    """Task by id, in the order in which they started; those that did not stand last."""
    answer = client.get(f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances").raise_for_status()
    tasks = answer.json()["task_instances"]
    tasks.sort(key=lambda task: (task["start_date"] or "9", -(task["priority_weight"] or 0)))
    return {task["task_id"]: task for task in tasks}


def xcom(client: httpx.Client, run_id: str, task: str) -> Any:
    """A task's result; None where it has none."""
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/return_value"
    answer = client.get(path)
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    value = answer.raise_for_status().json()["value"]
    return json.loads(value) if isinstance(value, str) else value


def follow(client: httpx.Client, platform: Platform, run_id: str) -> dict[str, Any]:
    """Show the tasks until the run has ended: a table in a terminal, else a line a change."""
    shown: dict[str, str] = {}
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            dag_run = client.get(f"/api/v2/dags/{DAG}/dagRuns/{run_id}").raise_for_status().json()
            tasks = task_instances(client, run_id)
            if console.is_terminal:
                live.update(_progress(tasks))
            for name, task in tasks.items():
                state = task["state"]
                if shown.get(name) != state and state in SHOWN:
                    shown[name] = state
                    if not console.is_terminal or state in ENDED:
                        console.print(f"  {name:<16}{state:<16}{_seconds(task)}")
            for sentence in platform.watch():
                console.print(sentence, markup=False)
            if dag_run["state"] in ("success", "failed"):
                return dag_run
            time.sleep(0.5)


def _progress(tasks: dict[str, dict[str, Any]]) -> Table:
    table = Table("task", "state", "seconds", box=None)
    for name, task in tasks.items():
        state = task["state"] or "waiting"
        if state not in ENDED:
            table.add_row(name, state, _seconds(task))
    return table


def _seconds(task: dict[str, Any]) -> str:
    if task["duration"] is not None:
        return f"{task['duration']:.1f}"
    if task["start_date"] is None:
        return ""
    start = datetime.fromisoformat(task["start_date"])
    return f"{(datetime.now(UTC) - start).total_seconds():.1f}"


def _failure(client: httpx.Client, platform: Platform, run_id: str) -> DataError:
    """What failed, in the step's own words, and where its log is."""
    for name, task in task_instances(client, run_id).items():
        if task["state"] == "failed":
            file = (
                platform.home / "logs" / "airflow" / f"dag_id={DAG}" / f"run_id={run_id}"
                / f"task_id={name}" / f"attempt={task['try_number']}.log"
            )  # fmt: skip
            return DataError(f"The task {name} failed: {_last_error(file)}\nIts log: {file}")
    return DataError(f"The run {run_id} failed; see {platform.url('airflow')}/dags/{DAG}.")


def _last_error(file: Path) -> str:
    """The last error of a task's log, which holds one JSON object a line."""
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


# One prediction, and what is printed.


def predict(url: str, model: str, contract: Contract, settings: Settings) -> dict[str, Any]:
    """Send the newest good readings of a device from the raw store to the model server.

    Raises:
        ServiceUnavailable: the server does not answer.
        DataError: it refuses the readings.
    """
    store = RawStore(settings.raw_address)
    newest = "SELECT device, time, payload FROM readings {} ORDER BY time DESC LIMIT {}"
    name = _rows(store, newest.format("", 1))[0]["device"]
    quoted = name.replace("'", "''")
    rows = _rows(store, newest.format(f"WHERE device = '{quoted}'", 4 * contract.window))
    good = [row for row in rows if _keeps_to(contract, row["payload"])][: contract.window]
    if not good:
        raise DataError(f"None of the newest {len(rows)} readings of {name} keeps to the contract.")
    readings = [{"time": row["time"].isoformat(), "payload": row["payload"]} for row in good]
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
    return answer.json() | {
        "device": name,
        "time": readings[0]["time"],
        "readings": len(readings),
        "milliseconds": (time.perf_counter() - began) * 1000,
    }


def _keeps_to(contract: Contract, payload: str | None) -> bool:
    try:
        contract.parse(payload)
    except Violation:
        return False
    return True


def _rows(store: RawStore, query: str) -> list[dict[str, Any]]:
    rows = [row for chunk in store.stream(query) for row in chunk.to_pylist()]
    if not rows:
        raise InternalError(f"The raw store {store} is empty after a run that succeeded.")
    return sorted(rows, key=lambda row: row["time"], reverse=True)


COLUMNS = {
    "events hit": lambda card: f"{card['events_hit']} of {card['events']}",
    "promptly": lambda card: _prompt(card),
    "false alarms an hour": lambda card: _figure(card["false_episodes_per_normal_hour"]),
    "time in false alarm": lambda card: _figure(card["false_alarm_rate"]),
    "F1": lambda card: _figure(card["f1"]),
    "average precision": lambda card: _figure(card["average_precision"]),
}


def _prompt(card: dict[str, Any]) -> str:
    name = next(name for name in card if name.startswith("events_hit_within_"))
    return f"{card[name]} in {name.removeprefix('events_hit_within_')}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _print_summary(
    results: dict[str, Any],
    prediction: dict[str, Any],
    tasks: dict[str, dict[str, Any]],
    dag_run: dict[str, Any],
    seconds: float,
) -> None:
    data, train, test = results["preprocess"], results["train"], results["test"]
    rejected = {"promoted": False, "reason": "A person rejected it."}
    promotion, deployment = results["promote"] or rejected, results["deploy"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in data["reasons"].items())
    facts = {
        "dataset": f"{data['tag']}: {data['rows_in']} readings in, {data['rows']} out, "
        f"{data['quarantined']} quarantined{f' ({reasons})' if reasons else ''}",
        "best parameters": ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in results["tune"]["params"].items()
        ),
        "model": f"{train['model_name']} version {train['model_version']}, alarm from score "
        f"{train['threshold']:.4f}",
        "promotion": f"{'promoted' if promotion['promoted'] else 'refused'}: {promotion['reason']}",
        "deployment": deployment["bento"] if deployment else "none; the champion serves on",
        "prediction": f"{prediction['device']} at {prediction['time']}: score "
        f"{prediction['score']:.4f}, {'ALARM' if prediction['alarm'] else 'no alarm'} (version "
        f"{prediction['model_version']}, {prediction['readings']} readings, "
        f"{prediction['milliseconds']:.0f} ms, {prediction['prediction_id']})",
    }
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    for name, fact in facts.items():
        table.add_row(name, fact)
    console.print()
    console.print(table)
    _print_scores(train, test)
    console.print()
    times = (f"{name} {task['duration']:.1f}" for name, task in tasks.items() if task["duration"])
    console.print(f"seconds: {', '.join(times)}")
    start, end = (datetime.fromisoformat(dag_run[key]) for key in ("run_after", "end_date"))
    console.print(
        f"From the trigger to the deployment {(end - start).total_seconds():.1f} s; "
        f"in all {seconds:.0f} s."
    )


def _print_scores(train: dict[str, Any], test: dict[str, Any]) -> None:
    cards = {train["model_name"]: train["metrics"], **train["baselines"]}
    table = Table("", *COLUMNS, title="On readings that training did not see", box=None)
    for name, card in cards.items():
        table.add_row(name.replace("_", " "), *(column(card) for column in COLUMNS.values()))
    console.print()
    console.print(table)
    drifted = ", ".join(test["drifted"]) or "none"
    console.print(f"Drift among {test['judged']} recent readings: {drifted}.")


def _print_addresses(platform: Platform) -> None:
    console.print()
    console.print(f"Airflow       {platform.url('airflow')}   user {USER}, password", end=" ")
    console.print(platform.password, markup=False)
    console.print(f"MLflow        {platform.url('mlflow')}")
    console.print(f"model server  {platform.url('serving')}")
    console.print(f"logs          {platform.home / 'logs'}", markup=False)
