"""Devices are dealt to parts, and the batch as a whole is checked."""

import json
from collections import Counter

import pyarrow as pa
import pytest

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway.preprocessing import dataset
from breezeway.preprocessing.dataset import broken_expectations, make_dataset, plan_parts
from breezeway.preprocessing.manifest import Manifest, RawSummary
from breezeway.preprocessing.part import PartResult
from breezeway.preprocessing.profile import FieldTotals
from breezeway.preprocessing.spacing import IntervalTally
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.preprocessing.staging import stage
from breezeway.readings.arrow import READINGS


@pytest.fixture
def contract() -> Contract:
    text = (Settings.shipped_sensors / "plant.toml").read_text("utf-8")
    return Contract.from_text(text, "plant.toml")


def readings(**counts: int) -> pa.Table:
    names = [name for name, count in counts.items() for _ in range(count)]
    rows = len(names)
    nothing = [pa.nulls(rows, field.type) for field in list(READINGS)[1:]]
    return pa.table([pa.array(names, pa.string()), *nothing], schema=READINGS)


def test_a_part_ends_with_the_device_that_fills_it(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "PART_ROWS", 5)
    stage([readings(c=9, a=3, b=2, d=1)], tmp_path)
    parts = [(part.number, part.first, part.last) for part in plan_parts(tmp_path)]
    assert parts == [(0, "a", "b"), (1, "c", "c"), (2, "d", "d")]


def test_readings_without_a_device_have_a_part(tmp_path):
    stage([readings(a=3).slice(0, 0)], tmp_path)
    assert [(part.first, part.last) for part in plan_parts(tmp_path)] == [(None, None)]


def test_the_reasons_with_the_most_rows_are_told_with_an_example(contract, tmp_path, caplog):
    good = '{"env":{"temperature":60,"pressure":5},"rotational_speed":1,"torque":2,"mode":"idle",'
    good += '"vibration":[1,2,3,4]}'
    bad = [good.replace("60", '"57,7"')] * 3 + [good.replace("2,", "null,", 1)] * 2 + ["{"]
    times = pa.array(range(len(bad) + 1), READINGS.field("time").type)
    table = pa.table([["machine-01"] * 7, times, [good, *bad], pa.nulls(7, pa.int64())], READINGS)
    (tmp_path / "dataset").mkdir()
    with pytest.raises(DataError) as error:
        make_dataset([table], DatasetSpec(contract, "test"), tmp_path / "dataset", Settings())
    said = str(error.value)
    assert said.startswith("quarantine.max_share: 6 of 7 rows were rejected, more than 20.0%: 3 wr")
    hint = '(a decimal comma? payload.decimal = ",")'
    assert f"temperature: '57,7', expected a number {hint}" in said
    assert said.index("57,7") < said.index("torque: null") < said.index("payload: not JSON")
    assert [r for r in caplog.messages if "57,7" in r]
    manifest = Manifest.of(json.loads((tmp_path / "dataset/manifest.json").read_text()), "x")
    assert [(r.field, r.reason, r.rows) for r in manifest.rejected] == [
        ("temperature", "wrong_type", 3),
        ("torque", "null", 2),
        ("payload", "not_json", 1),
    ]


def of_batch(totals: FieldTotals, rows: int, bad: int) -> tuple[Manifest, list[PartResult]]:
    raw = RawSummary(rows=rows + bad, first_time=None, last_time=None, sha256="")
    manifest = Manifest(
        contract="plant",
        query="",
        raw=raw,
        rows=rows,
        quarantined=bad,
        reasons={"not_json": bad},
        features=[],
    )
    fields = {"temperature": totals}
    return manifest, [
        PartResult(IntervalTally(60), field_totals=fields, reasons=Counter(not_json=bad))
    ]


@pytest.mark.parametrize(
    ("totals", "bad", "expected"),
    [
        (FieldTotals(count=9, nulls=0, sum=9 * 50.0), 1, []),
        (FieldTotals(count=9, nulls=0, sum=9 * 99.0), 0, ["fields.temperature.batch.mean"]),
        (FieldTotals(count=9, nulls=0, sum=9 * 50.0), 8, ["quarantine.max_share"]),
        (FieldTotals(count=9, nulls=8, sum=50.0), 0, ["fields.temperature.batch.null_share"]),
    ],
)
def test_what_breaks_the_contract_as_a_whole_is_named(contract, totals, bad, expected):
    text = contract.text.replace("mean = [20, 90]", "mean = [20, 90], null_share = 0.5")
    assert text != contract.text
    fields = {"temperature": Contract.from_text(text, "x").fields["temperature"]}
    alone = contract.model_copy(update={"fields": fields})
    manifest, results = of_batch(totals, rows=9, bad=bad)
    found = [sentence.split(":")[0] for sentence in broken_expectations(alone, manifest, results)]
    assert found == expected


def test_no_row_makes_no_dataset(contract, tmp_path):
    folder = tmp_path / "dataset"
    folder.mkdir()
    with pytest.raises(DataError, match="no row"):
        make_dataset([], DatasetSpec(contract, "SELECT 1"), folder, Settings())
    assert list(folder.iterdir()) == []
