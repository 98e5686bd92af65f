"""Public data sets are loaded whole: SKAB and AI4I."""

import json
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
from tests.fixtures import ROOT
from tests.fixtures.readings import load, stored

SENSORS = Settings.shipped_sensors
NOTHING = {"known": 0, "replaced": 0}


@pytest.fixture(scope="session")
def real_data():
    """Where real sensor data lies; it is no part of the project."""
    folder = Path(os.environ.get("BREEZEWAY_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs SKAB and AI4I in {folder} (BREEZEWAY_TEST_DATA)")
    return folder


def test_skab_is_loaded_whole_and_once(settings, real_data):
    settings = settings.with_sensors("skab")
    result = load(settings, real_data / "skab")
    assert result == {"files": 35, "loaded": 35, "readings": 46_806, **NOTHING}
    again = load(settings, real_data / "skab" / "valve1")
    assert again == {"files": 16, "loaded": 0, "readings": 0, **NOTHING}
    rows = stored(settings).to_pylist()
    assert len({row["device"] for row in rows}) == 35
    normal = [row for row in rows if row["device"] == "anomaly-free/anomaly-free"]
    assert Counter(row["label"] for row in normal) == {0: 9405}
    assert sum(row["label"] for row in rows) == 13_067
    contract = load_contract(SENSORS / "skab.toml")
    for row in rows:
        contract.check_device(row["device"])
        contract.parser.parse(row["payload"])
    first = next(row for row in rows if row["device"] == "valve1/0")
    assert first["time"] == datetime(2020, 3, 9, 10, 14, 33, tzinfo=UTC)
    assert first["payload"] == "0.0265878;0.0401113;1.3302;0.054711;79.3366;26.0199;233.062;32.0"


def test_ai4i_is_loaded_whole_and_leaks_no_failure_mode(settings, real_data):
    settings = settings.with_sensors("ai4i")
    result = load(settings, real_data / "ai4i")
    assert result == {"files": 1, "loaded": 1, "readings": 10_000, **NOTHING}
    rows = sorted(stored(settings).to_pylist(), key=lambda row: row["time"])
    assert Counter(row["label"] for row in rows) == {0: 9661, 1: 339}
    contract = load_contract(SENSORS / "ai4i.toml")
    keys = set()
    for row in rows:
        contract.check_device(row["device"])
        contract.parser.parse(row["payload"])
        keys |= set(json.loads(row["payload"]))
    assert keys == set(contract.fields)
    assert not keys & {"TWF", "HDF", "PWF", "OSF", "RNF"}
    minutes = [
        (row["time"] - datetime(2020, 1, 1, tzinfo=UTC)).total_seconds() / 60 for row in rows
    ]
    assert minutes == list(range(10_000))
    assert rows[0]["device"] == "M14860"
