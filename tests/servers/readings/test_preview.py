"""A preview of rows from each kind of store."""

import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from pydantic import SecretStr

from breezeway.contract.contract import load_contract
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.pipeline import preview
from tests.fixtures.readings import contract_text

ROWS = 3_000
QUERY = "SELECT device, time, payload, label FROM readings"


@pytest.fixture
def settings(store, address, tmp_path) -> Settings:
    sensors = tmp_path / "x.toml"
    sensors.write_text(contract_text(), encoding="utf-8")
    first = datetime(2026, 3, 2, tzinfo=UTC)
    payloads = [json.dumps({"a": row}) if row % 3 else "hot" for row in range(ROWS)]
    times = [first + timedelta(seconds=row) for row in range(ROWS)]
    columns = {"device": ["pump"] * ROWS, "time": times, "payload": payloads, "label": [0] * ROWS}
    store.append(pa.table(columns))
    return Settings(home=tmp_path, sensors=sensors, raw_url=SecretStr(address))


def test_each_store_gives_the_same_preview(settings, monkeypatch) -> None:
    contract = load_contract(settings.sensors)
    found = preview.look(settings, contract, QUERY)
    assert (found.rows, found.is_all) == (ROWS, True)
    assert (found.accepted, found.quarantined) == (ROWS * 2 // 3, ROWS // 3)
    assert found.rejected[0].reason == "not_json"
    # A query that is left before its end ends, and the store can be asked again.
    monkeypatch.setattr(preview, "CHECKED_ROWS", 100)
    monkeypatch.setattr(preview, "COUNTED_ROWS", 100)
    assert (left := preview.look(settings, contract, QUERY)).rows == 100 and not left.is_all
    with pytest.raises(UsageError, match="nowhere"):
        preview.look(settings, contract, "SELECT nowhere FROM readings")
