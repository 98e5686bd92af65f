"""What a dataset says of itself is checked before it is believed."""

import json

import pytest

from breezeway.core.errors import DataError
from breezeway.preprocessing.manifest import DayManifest, Manifest

DOCUMENT = {
    "contract": "plant",
    "query": "SELECT 1",
    "raw": {"rows": 3, "first_time": None, "last_time": None, "sha256": "0" * 64},
    "rows": 2,
    "copies": 0,
    "quarantined": 1,
    "reasons": {"not_json": 1},
    "rejected": [{"field": "payload", "reason": "not_json", "rows": 1, "example": "payload: x"}],
    "missing": {"torque.out_of_range": 1},
    "spacing": {"intervals": 1, "median_seconds": 60.0, "far_share": 0.0},
    "features": ["torque"],
}


def test_what_is_written_is_what_was_read(tmp_path):
    Manifest.of(DOCUMENT, "x").write(tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text("utf-8")) == DOCUMENT


def test_the_manifest_of_a_day_is_one_of_a_dataset(tmp_path):
    day = DayManifest(**DOCUMENT, day="2026-03-01", fingerprint="3-a-b-c")
    day.write(tmp_path)
    written = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    assert written == {**DOCUMENT, "day": "2026-03-01", "fingerprint": "3-a-b-c"}
    assert Manifest.of(written, "x").rows == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": "many"}, "v1: manifest.json: rows: .*integer"),
        ({"raw": {"rows": 1}}, "v1: manifest.json: raw.first_time: Field required"),
        ({"features": None}, "v1: manifest.json: features: .*list"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(DataError, match=message):
        Manifest.of({**DOCUMENT, **change}, "v1")
