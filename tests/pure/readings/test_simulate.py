"""The raw store is filled with a simulated plant, once."""

from datetime import date

import numpy as np
import pytest

from breezeway.contract.contract import load_contract
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from tests.fixtures.readings import fill_until_wednesday, stored

DAY = date(2026, 1, 5)  # a Monday
SENSORS = Settings.shipped_sensors / "plant.toml"


def test_the_store_is_filled_once(settings):
    first = fill_until_wednesday(settings, devices=2, days=2)
    assert first["readings"] == 2 * 2 * 1440
    assert first["faults"] >= 4
    assert fill_until_wednesday(settings, devices=2, days=2)["readings"] == 0
    table = stored(settings)
    assert table.num_rows == 2 * 2 * 1440
    assert set(table["device"].to_pylist()) == {"machine-01", "machine-02"}
    assert table["time"][-1].as_py().date() == date(2026, 1, 6)


def test_more_days_and_machines_add_what_is_missing(settings):
    fill_until_wednesday(settings, devices=1, days=1)
    assert fill_until_wednesday(settings, devices=2, days=2)["readings"] == 3 * 1440


def test_drift_begins_where_it_is_told(settings):
    fill_until_wednesday(settings, devices=1, days=2, drift=30)
    contract = load_contract(SENSORS)
    payloads = stored(settings)["payload"].to_pylist()
    temperatures = np.array([contract.parser.parse(p)["temperature"] for p in payloads])
    assert temperatures[1440:].mean() - temperatures[:1440].mean() > 20


def test_a_day_is_not_simulated_a_second_time_with_other_arguments(settings):
    fill_until_wednesday(settings, devices=1, days=1)
    with pytest.raises(UsageError, match="machine-01 on 2026-01-06"):
        fill_until_wednesday(settings, devices=1, days=1, seed=1)
    assert stored(settings).num_rows == 1440
