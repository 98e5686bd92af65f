"""What a person sees in the shell: progress of a run, its summary, and all addresses."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
from rich.console import Console
from rich.live import Live
from rich.table import Table

from breezeway.contract.contract import Contract
from breezeway.laptop.dag_run import DAG, task_instances
from breezeway.laptop.platform import Platform
from breezeway.laptop.programs import USER

DAY_SECONDS = 86_400
ENDED = ("success", "failed", "upstream_failed", "skipped", "removed")
SHOWN = (*ENDED, "running", "up_for_retry", "awaiting_input")

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 110)


def follow(client: httpx.Client, platform: Platform, run_id: str) -> dict[str, Any]:
    """Show the tasks until the run has ended: a table in a terminal, else a line per change."""
    shown: dict[str, str] = {}
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            answer = client.get(f"/api/v2/dags/{DAG}/dagRuns/{run_id}").raise_for_status()
            dag_run: dict[str, Any] = answer.json()
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


def _duration(seconds: float | None) -> str:
    """In the largest unit of which there are at least two."""
    if seconds is None:
        return "-"
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "events hit": lambda card: f"{card['events_hit']} of {card['events']}",
    "half of them within": lambda card: _duration(card["median_delay_seconds"]),
    "90 % within": lambda card: _duration(card["p90_delay_seconds"]),
    "false alarms an hour": lambda card: _figure(card["false_episodes_per_normal_hour"]),
    "time in false alarm": lambda card: _figure(card["false_alarm_rate"]),
    "F1": lambda card: _figure(card["f1"]),
    "average precision": lambda card: _figure(card["average_precision"]),
}


def print_summary(
    results: dict[str, Any],
    prediction: dict[str, Any],
    tasks: dict[str, dict[str, Any]],
    dag_run: dict[str, Any],
    seconds: float,
    contract: Contract,
) -> None:
    data, train, test = results["preprocess"], results["train"], results["test"]
    rejected = {"promoted": False, "reason": "A person rejected it."}
    promotion, deployment = results["promote"] or rejected, results["deploy"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in data["reasons"].items())
    facts = {
        "dataset": f"{data['tag']}: {data['rows_in']} readings in, {data['rows']} out, "
        f"{data['copies']} copies, {data['quarantined']} quarantined"
        + (f" ({reasons})" if reasons else ""),
        "warnings": "; ".join(data["warnings"]) or "none",
        "best parameters": ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in results["tune"]["params"].items()
        )
        or "the defaults",
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
    _print_scores(train, test, contract)
    console.print()
    times = (f"{name} {task['duration']:.1f}" for name, task in tasks.items() if task["duration"])
    console.print(f"seconds: {', '.join(times)}")
    start, end = (datetime.fromisoformat(dag_run[key]) for key in ("run_after", "end_date"))
    console.print(
        f"From the trigger to the deployment {(end - start).total_seconds():.1f} s; "
        f"in all {seconds:.0f} s."
    )


def _print_scores(train: dict[str, Any], test: dict[str, Any], contract: Contract) -> None:
    drifted = ", ".join(test["drifted"]) or "none"
    recent = f"Drift among {test['judged']} recent readings: {drifted}."
    if "not_judged" in train:
        console.print()
        console.print(_promise_in_a_line(train["metrics"]))
        console.print(train["not_judged"])
        console.print(recent)
        return
    cards = {train["model_name"]: train["metrics"], **train["baselines"]}
    table = Table("", *COLUMNS, title="On readings that training did not see", box=None)
    for name, card in cards.items():
        table.add_row(name.replace("_", " "), *(column(card) for column in COLUMNS.values()))
    console.print()
    console.print(table)
    console.print(_in_a_line(train["metrics"], contract))
    if train["beside_clock"]:
        console.print(train["beside_clock"], style="yellow")
    console.print(recent)


def _promise_in_a_line(figures: dict[str, Any]) -> str:
    """What is promised, and what was measured; nothing was if no row was held out."""
    promised = f"promised are {figures['promised_episodes_per_day']:.2g}"
    if "alarm_episodes" not in figures:
        return f"Alarms a day of a device: {promised}."
    episodes = figures["alarm_episodes"]
    return (
        f"{episodes} {'alarm' if episodes == 1 else 'alarms'} in {figures['device_days']:.3g} days "
        f"of a device that training did not see, {figures['alarm_episodes_per_day']:.2g} a day; "
        f"{promised}."
    )


def _in_a_line(card: dict[str, Any], contract: Contract) -> str:
    """What was found, how soon and at which price, beside the price that the contract allows."""
    found = f"{card['events_hit']} of {card['events']} faults found"
    if card["events_hit"]:
        found += f", half of them within {_duration(card['median_delay_seconds'])} of their start"
    days = card["rows"] * contract.interval_seconds / DAY_SECONDS
    alarm = contract.alarm
    if alarm.false_episodes_per_day is not None:
        allowed = f"the budget is {alarm.false_episodes_per_day:g}"
    elif alarm.missed_event_cost is not None:
        allowed = (
            f"a missed fault counts {alarm.missed_event_cost:g}, a false alarm "
            f"{alarm.false_episode_cost:g}"
        )
    else:
        allowed = f"at most {alarm.max_alarm_share:.0%} of normal time may be in alarm"
    per_day = card["false_episodes"] / days
    return f"{found}, at {per_day:.2g} false alarms a day of a device; {allowed}."


def print_addresses(platform: Platform) -> None:
    console.print()
    console.print(f"Airflow       {platform.url('airflow')}   user {USER}, password", end=" ")
    console.print(platform.password, markup=False)
    console.print(f"MLflow        {platform.url('mlflow')}")
    console.print(f"model server  {platform.url('serving')}")
    console.print(f"logs          {platform.home / 'logs'}", markup=False)
