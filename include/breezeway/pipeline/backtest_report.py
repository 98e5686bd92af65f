"""Records backtests in MLflow: one run for each date, with a table and a plot of all dates."""

import base64
import html
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from pydantic import TypeAdapter, ValidationError

from breezeway.contract.contract import load_contract
from breezeway.core.errors import DataError
from breezeway.core.files import write_json
from breezeway.core.settings import Settings
from breezeway.detector.alarm_rate import NOT_JUDGED
from breezeway.detector.plots import BLUE, ORANGE, PALE, RED, STYLE, new_figure, save
from breezeway.pipeline.backtest import PERIOD_DAYS, BacktestFigures, judge
from breezeway.tracking import mlflow_client, runs

if TYPE_CHECKING:
    from mlflow.entities import Run

REPORTS = {
    "backtest.html": "Backtest: table and plot",
    "backtest.png": "Backtest: picture",
    "backtest.json": "Backtest: figures (JSON)",
}
CSS = """\
body { font-family: sans-serif; color: #1f2933 } img { max-width: 100% }
table { border-collapse: collapse } th, td { padding: 0.3em 0.8em; text-align: right }
tr { border-bottom: 1px solid #eceff2 }
"""

_FIGURES = TypeAdapter(BacktestFigures)

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
    """Backtest a date and log its metrics; the same metrics are logged only once.

    Args:
        moment: the date of the training.
        days: days from the date on for the evaluation; None for `PERIOD_DAYS`.

    Returns:
        The result of the step.

    Raises:
        UsageError: the period is not over yet, or a day is not made yet.
        DataError: a model cannot learn from what was known then.
        ServiceUnavailable: MLflow or a store does not answer.
    """
    started = time.time()
    days = days or PERIOD_DAYS
    contract = load_contract(settings.sensors)
    figures = judge(settings, contract, moment, days)
    run_id = _run_of(settings, contract.name, figures, days)
    if run_id is None:
        run_id = _record(settings, contract.name, figures, days, started)
    # Read them after ours is logged: of several at the same time, the last finds all.
    by_date = _figures_by_date(settings, contract.name, days)
    with tempfile.TemporaryDirectory(prefix="breezeway-backtest-") as folder:
        note = "" if contract.has_labels else NOT_JUDGED
        write_reports(contract.name, by_date, Path(folder), note)
        runs.add_reports(
            settings, run_id, Path(folder), REPORTS, step="backtest", about=contract.name
        )
    shown = {name: value for name, value in asdict(figures).items() if name != "sources"}
    told = {"model_name": contract.name, **shown, "dates": len(by_date), "run_id": run_id}
    return told if contract.has_labels else {**told, "not_judged": NOT_JUDGED}


def _record(
    settings: Settings, name: str, figures: BacktestFigures, days: int, started: float
) -> str:
    tags = {"figures": json.dumps(asdict(figures)), "period_days": str(days)}
    run_name = f"backtest {name} {figures.date}"
    with runs.recorded(settings, name, run_name, started=started, tags=tags) as run_id:
        import mlflow

        numbers = {k: v for k, v in asdict(figures).items() if isinstance(v, int | float)}
        read = figures.known_rows + figures.rows
        mlflow.log_metrics(numbers | {"rows_read": read, "seconds": time.time() - started})
    return run_id


def _runs(settings: Settings, experiment: str, days: int) -> list[tuple[str, BacktestFigures]]:
    """Ids and metrics of the runs with the same number of days, the oldest first."""
    client = mlflow_client.client(settings)
    found: list[Run] = []
    token = None
    with mlflow_client.errors(settings):
        kept = client.get_experiment_by_name(experiment)
        while kept:
            page = client.search_runs(
                [kept.experiment_id],
                f"tags.`breezeway.period_days` = '{days}'",
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            found += page
            token = page.token
            if not token:
                break
    return [(run.info.run_id, _figures_of(run)) for run in found]


def _figures_of(run: "Run") -> BacktestFigures:
    try:
        return _FIGURES.validate_json(run.data.tags["breezeway.figures"])
    except (KeyError, ValidationError) as error:
        raise DataError(f"breezeway.figures of the run {run.info.run_id}: {error}") from None


def _run_of(settings: Settings, experiment: str, figures: BacktestFigures, days: int) -> str | None:
    """The newest run of the date, if it has exactly these metrics."""
    newest = None
    for run_id, found in _runs(settings, experiment, days):
        if found.date == figures.date:
            newest = run_id if found == figures else None
    return newest


def _figures_by_date(settings: Settings, experiment: str, days: int) -> list[BacktestFigures]:
    """The newest metrics of each date, by date."""
    newest = {figures.date: figures for _, figures in _runs(settings, experiment, days)}
    return [newest[each] for each in sorted(newest)]


def write_reports(
    name: str, figures: Sequence[BacktestFigures], folder: Path, note: str = ""
) -> None:
    """Write table and plot; the same metrics give the same bytes.

    Args:
        note: a sentence about all of them.
    """
    write_json(folder / "backtest.json", [asdict(each) for each in figures])
    draw_backtest(figures, folder / "backtest.png")
    header, lines = table_lines(figures)
    cells = ["".join(f"<th>{html.escape(cell)}</th>" for cell in header)]
    cells += ["".join(f"<td>{html.escape(cell)}</td>" for cell in line) for line in lines]
    rows = "\n".join(f"<tr>{row}</tr>" for row in cells)
    picture = base64.b64encode((folder / "backtest.png").read_bytes()).decode()
    title = html.escape(f"Backtest of {name}")
    told = f"<p>{html.escape(note)}</p>\n" if note else ""
    document = (
        f"<!doctype html>\n<meta charset='utf-8'><title>{title}</title>\n"
        f"<style>{CSS}</style>\n<h1>{title}</h1>\n"
        "<p>Each line: a model trained on what was known at the date, evaluated on the days that "
        f"follow.</p>\n{told}<table>\n{rows}\n</table>\n"
        f"<img src='data:image/png;base64,{picture}'>\n"
    )
    (folder / "backtest.html").write_text(document, encoding="utf-8")


def table_lines(figures: Sequence[BacktestFigures]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the table, as text, by date."""
    lines = []
    for found in sorted(figures, key=lambda each: each.date):
        shown = asdict(found) | {
            "average_precision": _decimals(found.average_precision, 3),
            "false_episodes_per_day": _decimals(found.false_episodes_per_day, 3),
            "events_hit": f"{found.events_hit} of {found.events}",
            "median_delay_seconds": _decimals(found.median_delay_seconds, 1, 60),
        }
        lines.append([str(shown[name]) for name in COLUMNS])
    return list(COLUMNS.values()), lines


def _decimals(value: float | None, places: int, unit: float = 1) -> str:
    return "-" if value is None else f"{value / unit:.{places}f}"


def draw_backtest(figures: Sequence[BacktestFigures], path: Path) -> None:
    """Plot the metrics of the model of each date on the period that followed."""
    dates = np.array([each.date for each in figures], dtype="datetime64[D]")
    drawn = (
        ("average precision", [each.average_precision for each in figures], 1, BLUE),
        ("false episodes a day, device", [f.false_episodes_per_day for f in figures], 1, RED),
        ("median delay, minutes", [f.median_delay_seconds for f in figures], 60, ORANGE),
    )
    with rc_context(STYLE):
        figure, panels = new_figure(12, 3.6, 4)
        for panel, (title, values, unit, colour) in zip(panels, drawn, strict=False):
            heights = [np.nan if value is None else value / unit for value in values]
            panel.plot(dates, heights, "o-", color=colour)
            panel.margins(y=0.2)
            panel.set(title=title)
            panel.set_ylim(bottom=0)
        panels[-1].bar(dates, [each.events for each in figures], color=PALE, label="events")
        panels[-1].bar(dates, [each.events_hit for each in figures], color=BLUE, label="hit")
        panels[-1].set(title="events")
        panels[-1].legend()
        marked = dates[:: -(-len(dates) // 3)]
        for panel in panels:
            panel.set_xticks(marked, [str(each) for each in marked], fontsize=8)
        figure.supxlabel("trained as of", fontsize=10)
        save(figure, path)
