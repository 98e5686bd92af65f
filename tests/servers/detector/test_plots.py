"""Pictures: the same data gives the same bytes, and each shows what it is for."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb

from breezeway.detector import plots
from breezeway.detector.alarm_reasons import AlarmReasons, FieldReasons
from breezeway.detector.calibration import calibration
from breezeway.detector.delays import DelayCurve
from breezeway.detector.groups import Group, Share
from breezeway.detector.scorecard import Rows
from breezeway.detector.search import FamilyResult
from breezeway.detector.thresholds import Choice, threshold_curve
from tests.fixtures.plant import plant_contract

MINUTE = 60_000_000


def shows(picture: Path, colour: str) -> bool:
    """Whether a colour stands in a picture, by itself and not as the edge of something."""
    pixels = image.imread(picture)[..., :3]
    return int((np.abs(pixels - to_rgb(colour)).max(axis=2) < 0.01).sum()) > 20


def rows_of(devices: int, readings: int) -> tuple[Rows, np.ndarray]:
    """Labelled readings with one event each, and their scores."""
    device = np.repeat(np.arange(devices), readings)
    position = np.tile(np.arange(readings), devices)
    label = (position > readings // 2) & (position < readings // 2 + 5)
    names = np.array([f"m-{number}" for number in range(devices)])
    rows = Rows(position == 0, device, position * MINUTE, label, np.arange(len(device)), names)
    return rows, np.where(label, 0.9, 0.1)


def trial(*curve: float, ended: str = "") -> SimpleNamespace:
    return SimpleNamespace(curve=list(curve), ended=ended)


SEARCH = [trial(0.2, 0.4), trial(0.3, 0.6), trial(0.1, ended="behind")]
ROWS, SCORE = rows_of(3, 200)
NOISY = SCORE * np.random.default_rng(0).random(len(SCORE))
CURVE = threshold_curve(ROWS, NOISY, plant_contract())
CHOICE = Choice(0.7, 0.6, 0.8)
DELAYS = DelayCurve(
    false_per_day=np.array([0.0, 0.1, 0.5]),
    found=np.array([0.0, 0.6, 1.0]),
    prompt=np.array([0.0, 0.2, 0.4]),
    median_seconds=np.array([np.nan, 600.0, 120.0]),
    p90_seconds=np.array([np.nan, 900.0, 300.0]),
)
GROUPS = [
    Group("device", "m-0", 200, 4, Share(1.0, 0.5, 1.0), Share(0.1, 0.05, 0.15), False),
    Group("device", "m-1", 200, 4, Share(0.1, 0.0, 0.2), Share(0.2, 0.15, 0.25), True),
    Group("mode", "idle", 100, 0, None, None, False),
]
REASONS = AlarmReasons(
    9000,
    2000,
    [
        FieldReasons("vibration", 0.7, 0.9, 0.1, 0.6),
        FieldReasons("torque", 0.3, 0.1, 0.9, 0.4),
    ],
)

DRAWN: dict[str, Callable[[Path], None]] = {
    "search": lambda path: plots.draw_search(SEARCH, 1, 20, path),
    "families": lambda path: plots.draw_families(
        [FamilyResult("forest", 3, 0.8, 4.2), FamilyResult("boosted trees", 5, 0.7, 9.1)], path
    ),
    "training of a model without rounds": lambda path: plots.draw_training(
        np.array([[[0.8], [0.6]], [[0.9], [0.7]]]), 1, 10, path
    ),
    "training": lambda path: plots.draw_training(
        np.linspace(0.2, 0.8, 12).reshape(2, 2, 3), 60, 20, path
    ),
    "precision and recall": lambda path: plots.draw_precision_recall(
        ROWS.label, SCORE, 0.5, 1.0, path
    ),
    "threshold": lambda path: plots.draw_threshold(CURVE, CHOICE, path),
    "score over time": lambda path: plots.draw_score_over_time(
        ROWS, SCORE, np.full(len(SCORE), 0.5), path
    ),
    "confusion": lambda path: plots.draw_confusion(ROWS.label, SCORE > 0.5, path),
    "importance": lambda path: plots.draw_importance({"strain": 3.0, "torque": 1.0}, path),
    "reliability": lambda path: plots.draw_reliability(calibration(ROWS.label, SCORE), path),
    "delays": lambda path: plots.draw_delays(DELAYS, 0.5, 0.2, path),
    "groups": lambda path: plots.draw_groups(GROUPS, path),
    "reasons": lambda path: plots.draw_reasons(REASONS, path),
    "note": lambda path: plots.draw_note("There is nothing to show.", path),
    "table": lambda path: plots.draw_table(
        "Scores", ["", "F1"], [["model", "0.9"]], path, "A note."
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_data_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    for file in ("one.png", "two.png"):
        DRAWN[name](tmp_path / file)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    height, width, _ = image.imread(tmp_path / "one.png").shape
    assert (height > 150, width > 150) == (True, True)


def test_the_best_trial_stands_out_and_one_stopped_early_steps_back(tmp_path: Path) -> None:
    plots.draw_search(SEARCH, 1, 20, tmp_path / "search.png")
    assert shows(tmp_path / "search.png", plots.ORANGE)
    assert shows(tmp_path / "search.png", plots.PALE)
    plots.draw_search(SEARCH[:2], 1, 20, tmp_path / "whole.png")
    assert not shows(tmp_path / "whole.png", plots.PALE)


def test_a_search_of_one_trial_can_be_drawn(tmp_path: Path) -> None:
    plots.draw_search([trial(0.5)], 0, 20, tmp_path / "one.png")
    assert shows(tmp_path / "one.png", plots.ORANGE)


def test_a_threshold_above_every_score_is_no_point(tmp_path: Path) -> None:
    plots.draw_precision_recall(ROWS.label, SCORE, 0.5, 1.0, tmp_path / "with.png")
    plots.draw_precision_recall(ROWS.label, SCORE, 2.0, 1.0, tmp_path / "without.png")
    assert shows(tmp_path / "with.png", plots.ORANGE)
    assert not shows(tmp_path / "without.png", plots.ORANGE)


def test_without_an_event_a_threshold_can_still_be_drawn(tmp_path: Path) -> None:
    normal = ROWS._replace(label=np.zeros_like(ROWS.label))
    none = threshold_curve(normal, NOISY, plant_contract())
    plots.draw_threshold(none, CHOICE, tmp_path / "threshold.png")
    assert shows(tmp_path / "threshold.png", plots.BLUE)


def test_of_many_devices_few_are_drawn(tmp_path: Path) -> None:
    def height(devices: int) -> int:
        rows, score = rows_of(devices, 50)
        plots.draw_score_over_time(rows, score, np.full(len(score), 0.5), tmp_path / "score.png")
        return image.imread(tmp_path / "score.png").shape[0]

    assert height(1) < height(plots.SHOWN_DEVICES) == height(20)


def test_a_long_curve_is_thinned_and_keeps_its_alarms() -> None:
    points = 20 * plots.SHOWN_POINTS
    alarms = np.zeros(points, bool)
    alarms[[7, 12_345]] = True
    shown = plots._thin(points, keep=alarms)
    assert len(shown) <= plots.SHOWN_POINTS + 2
    assert {0, 7, 12_345, points - 1} <= set(shown.tolist())
    assert plots._thin(10).tolist() == list(range(10))


def test_of_many_features_the_first_are_drawn_and_the_title_says_so(tmp_path: Path) -> None:
    gain = {f"feature {number}": float(number) for number in range(50)}
    plots.draw_importance(gain, tmp_path / "many.png")
    plots.draw_importance(dict(list(gain.items())[-20:]), tmp_path / "few.png")
    many, few = (image.imread(tmp_path / f"{name}.png").shape for name in ("many", "few"))
    assert many[0] == few[0]


def test_a_model_without_a_tree_has_no_feature_to_draw(tmp_path: Path) -> None:
    plots.draw_importance({}, tmp_path / "none.png")
    assert (tmp_path / "none.png").is_file()


def test_a_group_that_is_served_worse_is_red(tmp_path: Path) -> None:
    plots.draw_groups(GROUPS, tmp_path / "worse.png")
    assert shows(tmp_path / "worse.png", plots.RED)
    plots.draw_groups([GROUPS[0], GROUPS[2]], tmp_path / "even.png")
    assert not shows(tmp_path / "even.png", plots.RED)


def test_reasons_of_right_and_of_false_alarms_stand_apart(tmp_path: Path) -> None:
    plots.draw_reasons(REASONS, tmp_path / "both.png")
    assert shows(tmp_path / "both.png", plots.ORANGE)
    alone = [field._replace(false=None, right=None) for field in REASONS.fields]
    plots.draw_reasons(REASONS._replace(fields=alone), tmp_path / "unlabelled.png")
    assert not shows(tmp_path / "unlabelled.png", plots.ORANGE)
    plots.draw_reasons(AlarmReasons(0, 0, []), tmp_path / "none.png")
    assert not shows(tmp_path / "none.png", plots.BLUE)


def test_delays_stand_beside_the_budget_if_there_is_one(tmp_path: Path) -> None:
    plots.draw_delays(DELAYS, 0.5, 0.2, tmp_path / "budget.png")
    assert shows(tmp_path / "budget.png", plots.RED)
    plots.draw_delays(DELAYS, 0.5, None, tmp_path / "costs.png")
    assert not shows(tmp_path / "costs.png", plots.RED)
