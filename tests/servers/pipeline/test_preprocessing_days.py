"""A dataset of days: those that are there are taken, and the others are made."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from breezeway.contract.contract import load_contract
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.detector import model
from breezeway.detector.table import Table, read_table
from breezeway.pipeline import preprocessing
from breezeway.preprocessing import days
from breezeway.preprocessing.profile import Profile
from breezeway.readings import plant
from breezeway.readings.store import RawStore
from tests.fixtures.readings import midnight

FIRST = date(2026, 3, 1)
LAST = FIRST + timedelta(days=3)


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """Four days of two machines; from the second day on also of one whose name comes first."""
    # No MLflow: without the address, that of another platform on this machine would be asked.
    settings = Settings(home=tmp_path / "home", threads=1, mlflow_url="http://127.0.0.1:9")
    RawStore(settings.raw_address).create()
    for k in range(4):
        live(settings, FIRST + timedelta(days=k), ("01", "02") if k == 0 else ("00", "01", "02"))
    return settings


def live(settings: Settings, day: date, machines: tuple[str, ...] = ("00", "01", "02")) -> None:
    for machine in machines:
        part = plant.simulate(f"machine-{machine}", day)
        every_tenth = part.readings.take(pa.array(range(0, len(part.readings), 10)))
        RawStore(settings.raw_address).append(every_tenth, labels=part.labels)


def make(settings: Settings, tag: str, first: date = FIRST, last: date = LAST) -> dict[str, Any]:
    return preprocessing.make_range(settings, load_contract(settings.sensors), first, last, tag)


def table(settings: Settings, folder: str) -> Table:
    return read_table(Path(folder), load_contract(settings.sensors))


def test_the_days_give_the_model_of_one_run_over_all_to_the_byte(home):
    contract = load_contract(home.sensors)
    query = days.range_query(RawStore(home.raw_address), contract, FIRST, LAST, contract.zone)
    whole = preprocessing.make_version(home, contract, query, "whole")
    composed = make(home, "composed")
    assert composed["rows"] == whole["rows"] == (4 * 3 - 1) * 144
    once, joined = table(home, whole["folder"]), table(home, composed["folder"])
    assert joined.scope == once.scope
    np.testing.assert_array_equal(joined.features.view(np.int32), once.features.view(np.int32))
    profile = Profile.read(Path(composed["folder"]))
    assert profile is not None and profile == Profile.read(Path(whole["folder"]))
    of_once, of_joined = (
        model.model_bytes(
            model.fit(
                part.features, part.rows.label, contract, model.DEFAULT_PARAMS, rounds=5, threads=1
            )
        )
        for part in (once, joined)
    )
    assert of_joined == of_once


def test_only_what_is_new_is_read(home, monkeypatch):
    assert make(home, "first")["made_count"] == 4
    live(home, LAST + timedelta(days=1))
    queries: list[str] = []
    stream = RawStore.stream

    def spy(self, query, **options):
        queries.append(query)
        return stream(self, query, **options)

    monkeypatch.setattr(RawStore, "stream", spy)
    made = make(home, "second", FIRST + timedelta(days=1), LAST + timedelta(days=1))
    assert (made["made"], made["days"]) == (["2026-03-05"], 4)
    assert len(queries) == 1 and "time >= '2026-03-05'" in queries[0]
    assert make(home, "third", FIRST + timedelta(days=1), LAST + timedelta(days=1))["made"] == []


@pytest.mark.parametrize(
    ("minute", "stale"), [(300, ["2026-03-02"]), (1439, ["2026-03-02", "2026-03-03"])]
)
def test_a_stale_day_is_made_again_and_one_whose_windows_reach_into_it(home, minute, stale):
    make(home, "first")
    at = midnight(FIRST + timedelta(days=1)) + timedelta(minutes=minute, seconds=30)
    late = plant.simulate("machine-02", FIRST).readings.slice(0, 1)
    late = late.set_column(1, "time", pa.array([at]).cast(late.schema.field("time").type))
    RawStore(home.raw_address).append(late)
    made = make(home, "second")
    assert made["made"] == stale
    assert made["rows"] == (4 * 3 - 1) * 144 + 1
    tags = [version.tag for version in versions.list_versions(home)]
    assert "plant-day-20260302-2" in tags


def test_a_range_without_readings_is_refused(home):
    with pytest.raises(UsageError, match="2026-02-01"):
        make(home, "none", date(2026, 2, 1), date(2026, 2, 2))


def test_after_another_zone_was_named_each_day_is_made_again(home, tmp_path):
    make(home, "first")
    sensors = tmp_path / "sensors.toml"
    zone = 'time_zone = "Asia/Kathmandu"\n'
    sensors.write_text(zone + home.sensors.read_text("utf-8"), encoding="utf-8")
    moved = home.model_copy(update={"sensors": sensors})
    last = LAST + timedelta(days=1)  # there it has begun when LAST ends in UTC
    made = make(moved, "moved", FIRST, last)
    assert (made["made_count"], made["days"], made["rows"]) == (5, 5, (4 * 3 - 1) * 144)
    assert make(moved, "again", FIRST, last)["made"] == []


def test_days_that_are_made_on_the_way_have_no_page_among_the_reports(home):
    def pages() -> list[str]:  # without MLflow they stay beside the datasets
        return sorted(page.parent.name for page in home.work.glob("*/profile.html"))

    assert make(home, "first")["made_count"] == 4
    assert pages() == ["first"]
    preprocessing.make_day(home, load_contract(home.sensors), FIRST, {})
    assert pages() == ["first", "plant-day-20260301"]
