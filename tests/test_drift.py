"""Evidently's reports say which feature moved, and can be opened by a person."""

import json

import numpy as np
import pyarrow as pa
import pytest

from breezeway import drift
from breezeway.errors import DataError


def rows(count: int, seed: int, shift: float = 0.0) -> pa.Table:
    generator = np.random.default_rng(seed)
    return pa.table(
        {
            "calm": generator.normal(0, 1, count),
            "moved": generator.normal(shift, 1, count),
            "absent": np.full(count, np.nan),
        }
    )


def test_the_feature_that_moved_is_named(tmp_path):
    found = drift.report_drift(
        rows(2000, 1), rows(2000, 2, shift=1.0), ["calm", "moved", "absent"], tmp_path
    )
    assert (found.drifted, found.columns) == (["moved"], 2)
    assert json.loads((tmp_path / "drift.json").read_text(encoding="utf-8"))["metrics"]
    assert "<html" in (tmp_path / "drift.html").read_text(encoding="utf-8")[:2000]


def test_few_rows_are_compared_by_a_p_value(tmp_path):
    found = drift.report_drift(rows(300, 1), rows(300, 2, shift=1.0), ["calm", "moved"], tmp_path)
    assert found.drifted == ["moved"]


def test_nothing_to_compare(tmp_path):
    with pytest.raises(DataError, match="nothing to compare"):
        drift.report_drift(rows(10, 1), rows(10, 2), ["absent"], tmp_path)


def test_classification_report(tmp_path):
    generator = np.random.default_rng(0)
    label = (generator.random(500) < 0.2).astype(np.int8)
    score = np.clip(label * 0.4 + generator.random(500) * 0.6, 0, 1)
    drift.report_classification(label, score, 0.5, tmp_path)
    assert (tmp_path / "classification.html").stat().st_size > 100_000
    assert "Precision" in (tmp_path / "classification.json").read_text(encoding="utf-8")


def test_a_sample_is_the_same_each_time():
    table = rows(20_000, 1).select(["calm", "moved"])
    assert drift.sample(table).equals(drift.sample(table))
    assert len(drift.sample(table)) == drift.SAMPLE_ROWS
    assert drift.sample(table.slice(0, 7)).equals(table.slice(0, 7))
