"""Table and picture of a backtest."""

import json
from pathlib import Path

import numpy as np
from matplotlib import image
from matplotlib.colors import to_rgb

from breezeway.detector.plots import RED
from breezeway.pipeline.backtest import BacktestFigures
from breezeway.pipeline.backtest_report import (
    COLUMNS,
    REPORTS,
    draw_backtest,
    table_lines,
    write_reports,
)

FIRST = BacktestFigures(
    date="2026-03-06",
    until="2026-03-08",
    known_rows=1440,
    trained_rows=1152,
    rows=576,
    average_precision=0.71234,
    alarms=7,
    false_episodes_per_day=0.5,
    events=6,
    events_hit=5,
    median_delay_seconds=90.0,
    threshold=0.4,
    sources="0" * 64,
)
QUIET = BacktestFigures(
    date="2026-03-08",
    until="2026-03-10",
    known_rows=2016,
    trained_rows=1600,
    rows=0,
    average_precision=None,
    alarms=0,
    false_episodes_per_day=None,
    events=0,
    events_hit=0,
    median_delay_seconds=None,
    threshold=0.4,
    sources="1" * 64,
)


def shows(picture: Path, colour: str) -> bool:
    pixels = image.imread(picture)[..., :3]
    return int((np.abs(pixels - to_rgb(colour)).max(axis=2) < 0.01).sum()) > 20


def test_the_table_is_by_date_and_says_what_is_not_known():
    header, lines = table_lines([QUIET, FIRST])
    assert header == list(COLUMNS.values())
    assert lines == [
        ["2026-03-06", "2026-03-08", "1152", "576", "0.712", "7", "0.500", "5 of 6", "1.5"],
        ["2026-03-08", "2026-03-10", "1600", "0", "-", "0", "-", "0 of 0", "-"],
    ]


def test_the_same_figures_give_the_same_bytes(tmp_path):
    written = []
    for name in ("once", "again"):
        folder = tmp_path / name
        folder.mkdir()
        write_reports("<mill>", [FIRST, QUIET], folder)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]
    assert written[0].keys() == REPORTS.keys()
    assert [each["date"] for each in json.loads(written[0]["backtest.json"])] == [
        FIRST.date,
        QUIET.date,
    ]
    page = written[0]["backtest.html"].decode()
    assert "Backtest of &lt;mill&gt;" in page
    assert "<mill>" not in page


def test_a_period_without_a_figure_leaves_a_gap(tmp_path):
    draw_backtest([FIRST, QUIET], tmp_path / "backtest.png")
    assert shows(tmp_path / "backtest.png", RED)
    draw_backtest([QUIET], tmp_path / "quiet.png")
    assert not shows(tmp_path / "quiet.png", RED)
