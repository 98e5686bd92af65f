"""Which rows a detector learns from, and what is refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from breezeway.core.errors import DataError
from breezeway.detector.table import read_table
from tests.fixtures.plant import plant_contract


def test_labelled_rows_in_order(table, plant_dataset):
    parts = [pq.read_table(p) for p in sorted((plant_dataset / "features").iterdir())]
    whole = pa.concat_tables(parts)
    labelled = whole.filter(whole["label"].is_valid())
    assert len(labelled) < len(whole)
    may_learn = table.scope.covers(labelled["device"], labelled["time"])
    assert 0.75 < may_learn.mean() < 0.85
    labelled = labelled.filter(pa.array(may_learn))
    assert table.features.dtype == np.float32
    np.testing.assert_array_equal(
        table.features[:, 1], labelled["torque"].to_numpy().astype(np.float32)
    )
    np.testing.assert_array_equal(table.rows.label, labelled["label"].to_numpy() == 1)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([0, 0, None], "one class only: 0 of 2 rows are positive"),
        ([1, None, 1], "one class only: 2 of 2 rows are positive"),
        ([0, 0, 1], "one class only: 0 of 2 rows to train on"),
        ([None, None, None], "label: no row has one"),
    ],
)
def test_one_class_is_refused_with_counts(tmp_path, label, message):
    contract = plant_contract()
    columns = {name: [1.0, 2.0, 3.0] for name in contract.feature_names}
    at = pa.array([0, 1, 2], pa.timestamp("us", "UTC"))
    rows = pa.table(
        {"device": ["mill-1"] * 3, "time": at, **columns, "label": pa.array(label, pa.int8())}
    )
    (tmp_path / "features").mkdir()
    pq.write_table(rows, tmp_path / "features" / "part-00000.parquet")
    with pytest.raises(DataError, match=message):
        read_table(tmp_path, contract)


def test_a_missing_column_is_named(plant_dataset, tmp_path):
    (tmp_path / "features").mkdir()
    part = pq.read_table(plant_dataset / "features" / "part-00000.parquet")
    pq.write_table(part.drop_columns("strain"), tmp_path / "features" / "part-00000.parquet")
    with pytest.raises(DataError, match=r"part-00000.parquet: the column strain is missing"):
        read_table(tmp_path, plant_contract())


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"expected features/part-\*.parquet"):
        read_table(tmp_path, plant_contract())
