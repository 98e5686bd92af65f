"""Evidently's reports for a person, and ours on a night."""

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from breezeway.core.errors import DataError
from breezeway.drift import report


def rows(count: int, seed: int, shift: float = 0.0) -> pa.Table:
    generator = np.random.default_rng(seed)
    return pa.table(
        {
            "calm": generator.normal(0, 1, count),
            "moved": generator.normal(shift, 1, count),
            "absent": np.full(count, np.nan),
        }
    )


def unpacked(path: Path) -> str:
    packed = re.search('const packed = "([^"]+)"', path.read_text(encoding="utf-8"))
    assert packed
    return gzip.decompress(base64.b64decode(packed[1])).decode()


def test_the_report_shows_the_columns_that_can_be_compared(tmp_path):
    report.report_drift(
        rows(2000, 1), rows(2000, 2, shift=1.0), ["calm", "moved", "absent"], tmp_path
    )
    page = unpacked(tmp_path / "drift.html")
    assert "Data Drift Summary" in page
    shown = {name for name in ("calm", "moved", "absent") if f'"column_name": "{name}"' in page}
    assert shown == {"calm", "moved"}
    assert page.count("DATA DISTRIBUTION") == len(shown), "each is drawn"
    (metric,) = json.loads((tmp_path / "drift.json").read_text(encoding="utf-8"))["metrics"]
    assert (metric["config"]["columns"], metric["value"]["count"]) == (["calm", "moved"], 1)


def test_a_page_is_packed_and_its_preface_can_be_read_without_scripts(tmp_path):
    page = tmp_path / "drift.html"
    report.report_drift(rows(99, 1), rows(99, 2), ["calm"], tmp_path, preface="<p>A quiet day.</p>")
    whole = unpacked(page)
    assert "<body><p>A quiet day.</p>" in page.read_text(encoding="utf-8")
    assert "<body><p>A quiet day.</p>" in whole
    assert page.stat().st_size < len(whole) / 2


def test_nothing_to_compare(tmp_path):
    with pytest.raises(DataError, match="nothing to compare"):
        report.report_drift(rows(10, 1), rows(10, 2), ["absent"], tmp_path)


def test_classification_report(tmp_path):
    generator = np.random.default_rng(0)
    label = (generator.random(500) < 0.2).astype(np.int8)
    score = np.clip(label * 0.4 + generator.random(500) * 0.6, 0, 1)
    report.report_classification(label, score, 0.5, tmp_path)
    assert "Classification Quality" in unpacked(tmp_path / "classification.html")
    assert "Precision" in (tmp_path / "classification.json").read_text(encoding="utf-8")


def test_a_sample_is_the_same_each_time():
    table = rows(20_000, 1).select(["calm", "moved"])
    taken = report.sample(table.to_batches(777), len(table))
    assert taken.equals(report.sample(table.to_batches(), len(table)))
    assert len(taken) == report.SAMPLE_ROWS
    few = table.slice(0, 7)
    assert report.sample(few.to_batches(), len(few)).equals(few)
