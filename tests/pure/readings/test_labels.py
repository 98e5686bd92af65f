"""Labels come back from a table or from an export of Label Studio; what is wrong is named."""

import json
from datetime import UTC, datetime

import pytest

from breezeway.core.errors import DataError, UsageError
from breezeway.readings.arrow import REVIEWS
from breezeway.readings.labels import read

HEADER = "device,start,end,label\n"


def csv_file(folder, *lines: str):
    path = folder / "queue.csv"
    path.write_text(HEADER + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_table_filled_in(tmp_path):
    path = csv_file(
        tmp_path,
        "a,2026-01-01T10:00,2026-01-01T11:00,Fault ",
        "b,2026-01-01T10:00+02:00,2026-01-01T11:00Z,normal",
        "c,2026-01-01,2026-01-02,",
    )
    found = read(path, "ann")
    assert found.schema == REVIEWS
    rows = found.to_pylist()
    assert [(row["device"], row["fault"], row["labelled_by"]) for row in rows] == [
        ("a", True, "ann"),
        ("b", False, "ann"),
    ]
    assert rows[1]["start"] == datetime(2026, 1, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,2026-01-01,2026-01-02,broken", "row 1: label: 'broken', expected fault or normal"),
        ("a,yesterday,2026-01-02,fault", "row 1: start: 'yesterday'"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path, line, message):
    with pytest.raises(DataError, match=message):
        read(csv_file(tmp_path, line), "ann")


def test_a_missing_column_is_named(tmp_path):
    path = tmp_path / "queue.csv"
    path.write_text("device,start,end\na,2026-01-01,2026-01-02\n")
    with pytest.raises(DataError, match="'label' is missing"):
        read(path, "ann")


def test_an_export_has_the_stretch_and_the_faults_marked_in_it(tmp_path):
    fault = {"start": 1767261600000, "end": 1767265200000, "timeserieslabels": ["fault"]}
    task = {
        "data": {"device": "a", "start": "2026-01-01T09:00Z", "end": "2026-01-01T12:00Z"},
        "annotations": [
            {"was_cancelled": True},
            {
                "completed_by": {"email": "bob@plant"},
                "updated_at": "2026-01-03T00:00:00Z",
                "result": [{"value": fault}, {"value": {"choices": ["normal"]}}],
            },
            {"completed_by": 7, "result": []},
        ],
    }
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task]))
    rows = read(path, "ann").to_pylist()
    assert [(row["fault"], row["labelled_by"]) for row in rows] == [
        (False, "bob@plant"),
        (True, "bob@plant"),
        (False, "ann"),
    ]
    assert rows[1]["start"] == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert rows[1]["labelled_at"] == datetime(2026, 1, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("x.json", "{", DataError),
        ("x.json", '[{"data": {}}, 3]', DataError),
        ("x.json", '[{"data": {}, "annotations": [{"result": []}]}]', DataError),
        ("x.txt", "", UsageError),
    ],
)
def test_a_file_that_holds_no_labels_is_refused(tmp_path, name, text, error):
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=name):
        read(tmp_path / name, "ann")
