"""What a person sees in the shell: progress of a run, its summary, and all addresses."""

import json
import sys
import time
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
from breezeway.tracking.run_summary import COLUMNS, TITLE, facts_of, scores_of, sentences_of

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


def print_summary(
    results: dict[str, Any],
    prediction: dict[str, Any],
    tasks: dict[str, dict[str, Any]],
    dag_run: dict[str, Any],
    seconds: float,
    contract: Contract,
) -> None:
    facts = facts_of(results) | {
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
    _print_scores(results["train"], results["test"], contract)
    console.print()
    times = (f"{name} {task['duration']:.1f}" for name, task in tasks.items() if task["duration"])
    console.print(f"seconds: {', '.join(times)}")
    start, end = (datetime.fromisoformat(dag_run[key]) for key in ("run_after", "end_date"))
    console.print(
        f"From the trigger to the deployment {(end - start).total_seconds():.1f} s; "
        f"in all {seconds:.0f} s."
    )


def print_facts(
    results: dict[str, Any],
    prediction: dict[str, Any],
    tasks: dict[str, dict[str, Any]],
    dag_run: dict[str, Any],
    seconds: float,
) -> None:
    """Print on standard output, as JSON, what `print_summary` tells people."""
    facts = {
        "run": dag_run["dag_run_id"],
        "results": results,
        "prediction": prediction,
        "task_seconds": {name: task["duration"] for name, task in tasks.items()},
        "seconds": seconds,
    }
    print(json.dumps(facts, indent=2, ensure_ascii=False), flush=True)


def _print_scores(train: dict[str, Any], test: dict[str, Any], contract: Contract) -> None:
    console.print()
    if "not_judged" not in train:
        table = Table("", *COLUMNS, title=TITLE, box=None)
        for row in scores_of(train):
            table.add_row(*row)
        console.print(table)
    for sentence in sentences_of(train, test, contract):
        console.print(sentence, style="yellow" if sentence == train.get("beside_clock") else "")


def print_addresses(platform: Platform) -> None:
    console.print()
    console.print(f"Airflow       {platform.url('airflow')}   user {USER}, password", end=" ")
    console.print(platform.password, markup=False)
    console.print(f"MLflow        {platform.url('mlflow')}")
    console.print(f"model server  {platform.url('serving')}")
    console.print(f"logs          {platform.home / 'logs'}", markup=False)
