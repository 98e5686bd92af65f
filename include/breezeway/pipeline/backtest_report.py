"""Train as of a date and judge on the days that follow, as it would have been then.

The figures of the date are an MLflow run; in it lie table and picture of all dates so far that
were judged on as many days.
"""

import argparse
import base64
import html
import json
import logging
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from breezeway.contract.contract import load_contract
from breezeway.core.arguments import positive_count
from breezeway.core.settings import Settings
from breezeway.pipeline.backtest import PERIOD_DAYS
from breezeway.steps.runner import run_step
from breezeway.tracking import mlflow_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger("breezeway")

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--date", type=date.fromisoformat, required=True, help="YYYY-MM-DD, UTC")
    parser.add_argument(
        "--days",
        type=positive_count,
        default=PERIOD_DAYS,
        help="days from the date on that the model is judged on (7)",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    started = time.time()
    mlflow_client.check(settings)
    contract = load_contract(settings.sensors)
    from breezeway.pipeline import backtest  # takes a second: a server that is away is said before

    figures = backtest.judge(settings, contract, arguments.date, arguments.days)
    client = mlflow_client.client(settings)
    import mlflow

    with mlflow_client.errors(settings):
        experiment = mlflow.set_experiment(contract.name).experiment_id
        run_id = _run_of(client, experiment, figures, arguments.days)
        if run_id is None:
            tags = {FIGURES_TAG: json.dumps(figures), PERIOD_TAG: str(arguments.days)}
            name = f"backtest {contract.name} {arguments.date}"
            created = client.create_run(experiment, int(started * 1000), tags, name)
            run_id = created.info.run_id
            read = figures["known_rows"] + figures["rows"]
            measured = {"rows_read": read, "seconds": time.time() - started}
            with mlflow.start_run(run_id=run_id):
                numbers = {k: v for k, v in figures.items() if isinstance(v, int | float)}
                mlflow.log_metrics(numbers | measured)
        # Read after ours is there: of several at once, the last finds all.
        table = _figures_by_date(client, experiment, arguments.days)
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
    from breezeway.detector import plots
    from breezeway.pipeline import backtest

    text = json.dumps(list(figures), indent=1)
    (folder / "backtest.json").write_text(text + "\n", encoding="utf-8")
    plots.draw_backtest(figures, folder / "backtest.png")
    header, lines = backtest.table_lines(figures)
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


if __name__ == "__main__":
    run_step("backtest", __doc__, add_arguments, run)
