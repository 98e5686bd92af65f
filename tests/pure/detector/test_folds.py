"""Folds that do not leak."""

import numpy as np
import pytest

from breezeway.core.errors import DataError
from breezeway.detector import scorecard
from breezeway.detector.folds import split
from tests.fixtures.plant import plant_contract, rows_from


def test_no_device_on_both_sides_and_each_row_scored_once(table):
    folds = split(table.rows, plant_contract("device"))
    assert len(folds) == 3
    for fold in folds:
        assert not set(table.rows.device[fold.fit]) & set(table.rows.device[fold.scored])
    scored = np.concatenate([fold.scored for fold in folds])
    np.testing.assert_array_equal(np.sort(scored), np.arange(len(table.features)))


def test_single_readings_are_dealt_evenly():
    label = (np.random.default_rng(0).random((900, 1)) < 0.034).astype(int)
    rows = rows_from(label)
    folds = split(rows, plant_contract("device"))
    positives = [int(rows.label[fold.scored].sum()) for fold in folds]
    sizes = [len(fold.scored) for fold in folds]
    assert max(positives) - min(positives) <= 1
    assert max(sizes) - min(sizes) <= 1


def test_the_order_of_devices_does_not_matter():
    label = np.random.default_rng(0).integers(0, 2, (12, 5))
    frame = {
        "device": np.repeat([f"mill-{i}" for i in range(12)], 5),
        "time": np.tile(np.datetime64("2026-01-01") + np.arange(5), 12),
        "label": label.ravel(),
    }
    backwards = {name: column[::-1] for name, column in frame.items()}

    def dealt(columns: dict) -> list[set]:
        rows = scorecard.rows_of(columns)
        folds = split(rows, plant_contract("device"))
        return [set(rows.names[rows.device[fold.scored]]) for fold in folds]

    assert dealt(frame) == dealt(backwards)


def test_the_past_is_fitted_with_a_gap(table):
    rows = table.rows
    folds = split(rows, plant_contract())
    assert len(folds) == 3
    previous_end = 0
    for fold in folds:
        cut = rows.time[fold.scored].min()
        assert rows.time[fold.fit].max() < cut - 10 * 60 * 1_000_000
        assert cut > previous_end
        previous_end = rows.time[fold.scored].max()


def test_an_event_that_spans_the_cut_is_not_fitted():
    label = np.zeros((1, 400), dtype=int)
    label[0, 20:30] = 1
    label[0, 60:140] = 1  # the first cut of four stretches is at 100
    rows = rows_from(label)
    first = split(rows, plant_contract())[0]
    assert first.scored[0] == 100
    assert first.fit[-1] == 59


def test_folds_without_both_classes_to_fit_are_left_out():
    label = np.zeros((1, 400), dtype=int)
    label[0, 150:160] = 1
    assert len(split(rows_from(label), plant_contract())) == 2


def test_no_fold_at_all_is_refused():
    label = np.zeros((1, 400), dtype=int)
    label[0, 390:] = 1
    with pytest.raises(DataError, match='by = "time" with 3 folds leaves no fold'):
        split(rows_from(label), plant_contract())
