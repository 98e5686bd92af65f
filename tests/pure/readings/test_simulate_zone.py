"""The days of a simulated plant are those of the contract's time zone."""

from datetime import date

import pytest
from pydantic import SecretStr

from breezeway.contract.contract import load_contract
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.readings.simulate import fill
from breezeway.readings.store import RawStore

SENSORS = Settings.shipped_sensors / "plant.toml"


def test_days_are_those_of_the_contracts_zone(settings, tmp_path):
    sensors = tmp_path / "plant.toml"
    sensors.write_text(f'time_zone = "Europe/Berlin"\n{SENSORS.read_text("utf-8")}')
    there = settings.model_copy(update={"sensors": sensors})
    filled = fill(there, devices=1, days=2, end=date(2026, 3, 30))
    assert filled["readings"] == (24 + 23) * 60
    assert filled["to"] == "2026-03-30"
    counted = RawStore(there.raw_address).count_by_day(
        date(2026, 3, 27), date(2026, 3, 31), load_contract(sensors).zone
    )
    assert counted == {date(2026, 3, 28): 24 * 60, date(2026, 3, 29): 23 * 60}
    assert fill(there, devices=1, days=2, end=date(2026, 3, 30))["readings"] == 0
    in_utc = settings.model_copy(update={"raw_url": SecretStr(there.raw_address)})
    with pytest.raises(UsageError, match=r"machine-01 on 2026-03-28 .* or time zone"):
        fill(in_utc, devices=1, days=2, end=date(2026, 3, 30))


def test_a_day_that_a_zone_has_left_out_is_not_simulated(settings, tmp_path):
    sensors = tmp_path / "plant.toml"
    sensors.write_text(f'time_zone = "Pacific/Apia"\n{SENSORS.read_text("utf-8")}')
    there = settings.model_copy(update={"sensors": sensors})
    filled = fill(there, devices=1, days=2, end=date(2011, 12, 31))  # without the 30th
    assert filled["readings"] == 24 * 60
