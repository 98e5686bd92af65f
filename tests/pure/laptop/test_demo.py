"""Which contract and which readings a demo takes, and what it says where there are none."""

import argparse
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from breezeway.contract.contract import load_contract
from breezeway.core.errors import DataError, InternalError, ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.laptop import demo
from breezeway.readings.store import RawStore
from tests.fixtures.processes import new_port
from tests.fixtures.readings import contract_text, load


def chosen(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    return parser.parse_args(words)


def store_of(settings: Settings, device: str, *payloads: str) -> None:
    store = RawStore(settings.raw_address)
    store.create()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {"device": device, "time": start + timedelta(minutes=number), "payload": payload}
        for number, payload in enumerate(payloads)
    ]
    if rows:
        store.append(pa.Table.from_pylist(rows))


def test_a_shipped_contract_is_known_by_its_name_and_has_a_store_of_its_own(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path).with_sensors("skab")
    assert settings.sensors.name == "skab.toml"
    assert settings.raw_address.endswith("raw-skab.db")
    assert settings.root == Settings(home=tmp_path).root


def test_a_contract_may_be_a_file_and_a_store_that_is_named_stays(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text((Settings.shipped_sensors / "skab.toml").read_text())
    before = Settings(home=tmp_path, raw_url="sqlite:////elsewhere.db")
    settings = before.with_sensors(str(own))
    assert (settings.sensors, settings.raw_address) == (own, "sqlite:////elsewhere.db")


def test_a_contract_that_there_is_not_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no contract 'moon'; .* one of ai4i, plant, skab"):
        Settings(home=tmp_path).with_sensors("moon")


def test_without_public_data_it_is_said_where_they_are_found(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path).with_sensors("skab")
    with pytest.raises(UsageError, match=r"make demo SENSORS=skab DATA=FOLDER\. .*SKAB"):
        demo._fill(chosen(), settings)


def test_without_readings_of_an_own_contract_it_is_said_how_to_load_some(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    text = (Settings.shipped_sensors / "skab.toml").read_text()
    own.write_text(text.replace('name = "skab"', 'name = "mine"'))
    settings = Settings(home=tmp_path).with_sensors(str(own))
    with pytest.raises(UsageError, match=r"no readings for mine\. .*load-readings FILE") as raised:
        demo._fill(chosen(), settings)
    assert f"load-readings FILE --sensors {own}" in str(raised.value)
    assert settings.raw_address.endswith("raw-mine.db")
    store_of(Settings(home=tmp_path, sensors=own), "mill-1", "{}")
    demo._fill(chosen(), settings)


def test_the_readings_that_a_start_loads_are_those_of_load_readings(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(contract_text('time_column = "at"'))
    file = tmp_path / "june.csv"
    file.write_text("device,at,a\nm,2026-06-01,1\n")
    settings = Settings(home=tmp_path).with_sensors(str(own))
    demo._fill(chosen("--data", str(file)), settings)
    again = load(Settings(home=tmp_path), file, "--sensors", own)
    assert (again["loaded"], again["files"]) == (0, 1)


def test_a_store_that_the_user_names_gets_no_simulated_readings(tmp_path: Path) -> None:
    theirs = Settings(home=tmp_path, raw_url=f"sqlite:///{tmp_path / 'theirs.db'}")
    store_of(theirs, "mill-1")
    settings = theirs.with_sensors(None)
    with pytest.raises(UsageError, match="no readings for plant"):
        demo._fill(chosen(), settings)
    store_of(theirs, "mill-1", "{}")
    demo._fill(chosen(), settings)
    assert RawStore(theirs.raw_address).count_by_day(
        date(2026, 1, 1), date(2027, 1, 1), ZoneInfo("UTC")
    ) == {date(2026, 1, 1): 1}


def test_a_contract_of_the_same_name_as_a_shipped_one_is_not_simulated(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text((Settings.shipped_sensors / "plant.toml").read_text())
    settings = Settings(home=tmp_path).with_sensors(str(own))
    with pytest.raises(UsageError, match="no readings for plant"):
        demo._fill(chosen(), settings)


def test_readings_that_break_the_contract_are_not_sent(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    store_of(settings, "machine-01", "{", "[]", "null")
    with pytest.raises(DataError, match="None of the newest 3 readings of machine-01 keeps"):
        demo.predict("http://127.0.0.1:9", "plant", load_contract(settings.sensors), settings)


def test_an_empty_store_after_a_run_is_a_defect(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    store_of(settings, "machine-01")
    with pytest.raises(InternalError, match="is empty after a run that succeeded"):
        demo.predict("http://127.0.0.1:9", "plant", load_contract(settings.sensors), settings)


def test_a_model_server_that_is_away_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path)
    store_of(settings, "machine-01", "{}")
    monkeypatch.setattr(demo, "_keeps_to", lambda *_: True)
    url = f"http://127.0.0.1:{new_port()}"
    with pytest.raises(ServiceUnavailable, match=f"model server at {url} does not answer"):
        demo.predict(url, "plant", load_contract(settings.sensors), settings)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::"])
def test_an_address_that_others_reach_has_to_be_wanted(tmp_path: Path, host: str) -> None:
    settings = Settings(home=tmp_path / "home")
    with (
        pytest.raises(UsageError, match=r"without a password\. Add --open"),
        demo._platform(chosen("--host", host), settings),
    ):
        pass
    assert not settings.root.exists()
