"""A learned clock is good where the time alone tells of events, and poor where it does not."""

import numpy as np

from breezeway.detector.clock import beside_clock, clock_scores, fit_clock
from breezeway.detector.folds import split
from breezeway.detector.holdout import whole_scope
from breezeway.detector.scorecard import Rows, average_precision
from breezeway.detector.table import Table
from tests.fixtures.plant import plant_contract, rows_from

CONTRACT = plant_contract("device")


def events(starts: list[int], readings: int = 200) -> Rows:
    """Readings of a device each, whose event of forty readings starts there."""
    label = np.zeros((len(starts), readings), dtype=bool)
    for device, start in enumerate(starts):
        label[device, start : start + 40] = True
    return rows_from(label)


ALIKE = events([120] * 9)
ANYWHERE = events([5, 30, 50, 70, 90, 110, 130, 150, 160])


def score(rows: Rows) -> np.ndarray:
    nothing = np.empty((len(rows.label), 0), np.float32)
    table = Table(rows, nothing, whole_scope(rows, CONTRACT))
    found = clock_scores(table, split(rows, CONTRACT), threads=1)
    assert (found.fold >= 0).all()
    return found.score


def test_where_every_event_starts_at_the_same_age_the_clock_finds_it():
    assert average_precision(ALIKE.label, score(ALIKE)) > 0.95
    assert average_precision(ANYWHERE.label, score(ANYWHERE)) < 0.4


def test_an_unknown_device_begins_with_its_first_row_and_a_known_one_goes_on():
    clock = fit_clock(ALIKE, whole_scope(ALIKE, CONTRACT), threads=1)
    late = ALIKE.where(np.arange(len(ALIKE.label)) % 200 >= 100)
    assert (clock.score(late) == clock.score(ALIKE)[late.order]).all()
    strange = late._replace(names=np.char.add("new-", late.names))
    first = np.arange(len(ALIKE.label)) % 200 < 100
    assert (clock.score(strange) == clock.score(ALIKE)[first]).all()


def test_devices_with_a_single_reading_are_told_apart_by_its_time():
    label = np.arange(300) % 100 >= 60
    rows = rows_from(label[None, :])
    names = np.array([f"mill-{number:03}" for number in range(300)])
    alone = rows._replace(device=np.arange(300), first=np.ones(300, bool), names=names)
    clock = fit_clock(alone, whole_scope(alone, CONTRACT), threads=1)
    assert average_precision(label, clock.score(alone)) > 0.9
    later = alone._replace(names=np.char.add(names, "9"))
    assert (clock.score(later) == clock.score(alone)).all()


def frame(rows: Rows, scores: np.ndarray) -> dict:
    return {
        "device": rows.names[rows.device],
        "time": rows.time.astype("datetime64[us]"),
        "label": rows.label,
        "score": scores,
    }


def test_a_detector_no_better_than_the_clock_is_told_of():
    of_clock = score(ALIKE)
    found = beside_clock(frame(ALIKE, of_clock), of_clock, CONTRACT)
    assert found.difference == (0, 0, 0)
    assert "average precision" in found.sentence
    assert f"{found.of_clock:.3f} against {found.average_precision:.3f}" in found.sentence


def test_of_a_detector_that_is_clearly_better_nothing_is_said():
    found = beside_clock(frame(ANYWHERE, ANYWHERE.label), score(ANYWHERE), CONTRACT)
    assert found.difference.low > 0
    assert found.sentence == ""


def test_without_an_event_there_is_nothing_to_compare():
    rows = ALIKE._replace(label=np.zeros(len(ALIKE.label), bool))
    assert beside_clock(frame(rows, np.zeros(len(rows.label))), score(ALIKE), CONTRACT) is None
