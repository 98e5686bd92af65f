"""Without `[label]` no row has a label, whatever the readings hold."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from breezeway.core.settings import Settings
from breezeway.preprocessing.dataset import make_dataset
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.arrow import ID
from tests.fixtures.unlabelled import make_contract, readings

DAYS = 1


@pytest.mark.parametrize("found", [0, 1])
def test_a_column_of_that_name_says_nothing(found, tmp_path):
    table = readings(DAYS)
    table = table.append_column("label", pa.array([found] * len(table), pa.int64()))
    table = table.append_column(ID, pa.array(range(len(table)), ID.type))
    (folder := tmp_path / "dataset").mkdir()
    manifest = make_dataset([table], DatasetSpec(make_contract(), "x"), folder, Settings())
    rows = pq.read_table(folder / "features")
    assert (manifest.rows, rows["label"].null_count) == (len(table), len(table))
