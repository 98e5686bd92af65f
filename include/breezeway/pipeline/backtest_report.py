"""The figures of backtests, kept in MLflow: one run a date, with table and picture of all dates."""

import base64
import html
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from breezeway.contract.contract import load_contract
from breezeway.core.files import write_json
from breezeway.core.settings import Settings
from breezeway.detector.plots import draw_backtest
from breezeway.pipeline.backtest import PERIOD_DAYS, judge
from breezeway.tracking import mlflow_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FIGURES_TAG = "breezeway.figures"
PERIOD_TAG = "breezeway.period_days"
REPORTS = {
    "backtest.html": "Backtest: table and picture",
    "backtest.png": "Backtest: picture",
    "backtest.json": "Backtest: figures",
}
STYLE = """\
body { font-family: sans-serif; color: #1f2933 } img { max-width: 100% }
table { border-collapse: collapse } th, td { padding: 0.3em 0.8em; text-align: right }
tr { border-bottom: 1px solid #eceff2 }
"""

COLUMNS = {
    "date": "trained as of",
    "until": "judged until",
    "trained_rows": "rows trained on",
    "rows": "rows judged",
    "average_precision": "average precision",
    "alarms": "alarms",
    "false_episodes_per_day": "false episodes a day",
    "events_hit": "events hit",
    "median_delay_seconds": "median delay (min)",
}


def backtest(settings: Settings, moment: date, days: int | None = None) -> dict[str, Any]:
    """Judge a date and keep its figures; the same figures are kept once.

    Args:
        moment: the date that the model is trained as of.
        days: from the date on, that it is judged on; `PERIOD_DAYS` if not given.

    Returns:
        The result of the step.

    Raises:
        UsageError: the period is not over yet, or a day is not made yet.
        DataError: what was known then teaches nothing.
        ServiceUnavailable: MLflow or a store does not answer.
    """
    started = time.time()
    days = days or PERIOD_DAYS
    contract = load_contract(settings.sensors)
    figures = judge(settings, contract, moment, days)
    client = mlflow_client.client(settings)
    import mlflow

    with mlflow_client.errors(settings):
        experiment = mlflow.set_experiment(contract.name).experiment_id
        run_id = _run_of(client, experiment, figures, days)
        if run_id is None:
            tags = {FIGURES_TAG: json.dumps(figures), PERIOD_TAG: str(days)}
            name = f"backtest {contract.name} {moment}"
            created = client.create_run(experiment, int(started * 1000), tags, name)
            run_id = created.info.run_id
            read = figures["known_rows"] + figures["rows"]
            measured = {"rows_read": read, "seconds": time.time() - started}
            with mlflow.start_run(run_id=run_id):
                numbers = {k: v for k, v in figures.items() if isinstance(v, int | float)}
                mlflow.log_metrics(numbers | measured)
        # Read after ours is there: of several at once, the last finds all.
        table = _figures_by_date(client, experiment, days)
        with tempfile.TemporaryDirectory(prefix="breezeway-backtest-") as folder:
            write_reports(contract.name, table, Path(folder))
            for file in REPORTS:
                client.log_artifact(run_id, str(Path(folder) / file))
        for key, value in mlflow_client.report_tags(
            settings, "backtest", contract.name, REPORTS
        ).items():
            client.set_tag(run_id, key, value)
    shown = {name: value for name, value in figures.items() if name != "sources"}
    return {"model_name": contract.name, **shown, "dates": len(table), "run_id": run_id}


def _runs(client: "MlflowClient", experiment: str, days: int) -> list["Run"]:
    """Runs with figures on as many days, the oldest first."""
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment],
            f"tags.`{PERIOD_TAG}` = '{days}'",
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        found += page
        token = page.token
        if not token:
            return found


def _run_of(
    client: "MlflowClient", experiment: str, figures: dict[str, Any], days: int
) -> str | None:
    """The run that has these very figures, if it is the date's newest."""
    newest = None
    for run in _runs(client, experiment, days):
        found = json.loads(run.data.tags[FIGURES_TAG])
        if found["date"] == figures["date"]:
            newest = run.info.run_id if found == figures else None
    return newest


def _figures_by_date(client: "MlflowClient", experiment: str, days: int) -> list[dict[str, Any]]:
    """The newest figures of each date, by date."""
    found = [json.loads(run.data.tags[FIGURES_TAG]) for run in _runs(client, experiment, days)]
    newest = {figures["date"]: figures for figures in found}
    return [newest[each] for each in sorted(newest)]


def write_reports(name: str, figures: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write table and picture; the same figures give the same bytes."""
    write_json(folder / "backtest.json", list(figures))
    draw_backtest(figures, folder / "backtest.png")
    header, lines = table_lines(figures)
    cells = ["".join(f"<th>{html.escape(cell)}</th>" for cell in header)]
    cells += ["".join(f"<td>{html.escape(cell)}</td>" for cell in line) for line in lines]
    rows = "\n".join(f"<tr>{row}</tr>" for row in cells)
    picture = base64.b64encode((folder / "backtest.png").read_bytes()).decode()
    title = html.escape(f"Backtest of {name}")
    document = (
        f"<!doctype html>\n<meta charset='utf-8'><title>{title}</title>\n"
        f"<style>{STYLE}</style>\n<h1>{title}</h1>\n"
        "<p>Each line: a model trained on what was known at the date, judged on the days that "
        f"follow.</p>\n<table>\n{rows}\n</table>\n<img src='data:image/png;base64,{picture}'>\n"
    )
    (folder / "backtest.html").write_text(document, encoding="utf-8")


def table_lines(figures: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the table, as text, by date."""
    lines = []
    for found in sorted(figures, key=lambda each: each["date"]):
        shown = {name: found[name] for name in COLUMNS} | {
            "average_precision": _decimals(found["average_precision"], 3),
            "false_episodes_per_day": _decimals(found["false_episodes_per_day"], 3),
            "events_hit": f"{found['events_hit']} of {found['events']}",
            "median_delay_seconds": _decimals(found["median_delay_seconds"], 1, 60),
        }
        lines.append([str(value) for value in shown.values()])
    return list(COLUMNS.values()), lines


def _decimals(value: float | None, places: int, unit: float = 1) -> str:
    return "-" if value is None else f"{value / unit:.{places}f}"
