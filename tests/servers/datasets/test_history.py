import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from breezeway import cli
from breezeway.contract.contract import Contract, load_contract
from breezeway.core.days import day_start
from breezeway.core.errors import DataError, UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import history, versions
from breezeway.pipeline import preprocessing
from breezeway.preprocessing import days
from breezeway.preprocessing.dataset import make_dataset
from breezeway.preprocessing.manifest import Manifest
from breezeway.preprocessing.spacing import of_all
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import RawStore
from tests.fixtures.plant import CONTRACT
from tests.fixtures.readings import midnight

FIRST = date(2026, 3, 1)
DAYS = 5
LAST = FIRST + timedelta(days=DAYS - 1)
EVERY = history.day_range(FIRST, LAST)


def payload(generator: np.random.Generator) -> str:
    warmth = None if generator.random() < 0.1 else round(generator.normal(60, 5), 3)
    return json.dumps({"env": {"temperature": warmth}, "torque": round(generator.normal(40, 3), 3)})


def readings() -> list[dict]:
    """Of one device all day, of one that has fewer than a window a day, of one that is silent for
    days; around midnight bad ones and two of one time."""
    generator = np.random.default_rng(5)
    rows = []
    for number, day in enumerate(EVERY):
        begin = midnight(day)
        times = {
            "mill-0": [begin + timedelta(minutes=30 * n) for n in range(48)],
            "mill-1": [begin + timedelta(hours=8 * n) for n in range(3)],
            "mill-2": [begin + timedelta(minutes=n) for n in range(20) if number in (0, 4)],
            "pump": [begin],
        }
        rows += [
            {"device": device, "time": time, "payload": payload(generator)}
            for device, each in times.items()
            for time in each
        ]
        for minute in range(1, 15):
            late = begin + timedelta(days=1, minutes=-minute)
            rows.append({"device": "mill-0", "time": late, "payload": "broken"})
        twice = begin + timedelta(hours=23, minutes=30)
        rows += [
            {"device": "mill-0", "time": twice, "payload": payload(generator)} for _ in range(2)
        ]
    return rows


FAULT = {
    "device": "mill-0",
    "start": midnight(FIRST) + timedelta(hours=22),
    "end": midnight(FIRST) + timedelta(hours=27),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home with a contract, and a raw store with five days of readings and a fault."""
    text = CONTRACT.format(by="time").replace('column = "label"', 'table = "labels"')
    text += "\n[quarantine]\nmax_share = 0.4\n"
    sensors = tmp_path / "sensors.toml"
    sensors.write_text(text, encoding="utf-8")
    settings = Settings(home=tmp_path / "a home", sensors=sensors)
    store = RawStore(settings.raw_address)
    store.create()
    store.append(pa.Table.from_pylist(readings()), labels=pa.Table.from_pylist([FAULT]))
    return settings


def contract_of(settings: Settings) -> Contract:
    return load_contract(settings.sensors)


def make(settings: Settings, day: date) -> Path:
    folder = settings.work / str(day) / "dataset"
    number = len(list(folder.parent.glob("dataset*"))) if folder.parent.exists() else 0
    folder = folder.with_name(f"dataset{number}")
    folder.mkdir(parents=True)
    days.make_day(settings, contract_of(settings), day, folder)
    return folder


def publish(settings: Settings, *made: date) -> list[str]:
    return [history.publish_day(settings, make(settings, d), d, 2, "made").tag for d in made]


def late(settings: Settings, time: datetime, device: str = "mill-0") -> None:
    text = '{"env": {"temperature": 61}, "torque": 39}'
    row = {"device": device, "time": time, "payload": text}
    RawStore(settings.raw_address).append(pa.Table.from_pylist([row]))


def stale(settings: Settings) -> dict[date, str]:
    contract = contract_of(settings)
    return days.stale_days(settings, contract, history.fingerprints(settings, contract.name, EVERY))


def table(folders: list[Path]) -> pa.Table:
    parts = [pq.read_table(part) for f in folders for part in sorted((f / "features").iterdir())]
    return pa.concat_tables(parts).sort_by([("device", "ascending"), ("time", "ascending")])


def bits(column: pa.ChunkedArray) -> list:
    if pa.types.is_floating(column.type):
        return column.to_numpy().view(np.int64).tolist()
    return column.to_pylist()


def test_days_laid_end_to_end_are_one_run_over_all_bit_by_bit(home, tmp_path):
    contract, store = contract_of(home), RawStore(home.raw_address)
    whole = tmp_path / "whole"
    whole.mkdir()
    query = days.range_query(store, contract, FIRST, LAST, contract.zone)
    spec = DatasetSpec(contract, query, LabelStore(home.raw_address).labels())
    once = make_dataset(store.stream(query, with_ids=True), spec, whole, home)
    folders = [make(home, day) for day in EVERY]
    joined, expected = table(folders), table([whole])
    assert joined.schema == expected.schema
    assert len(joined) == once.rows > 150
    for name in joined.column_names:
        assert bits(joined[name]) == bits(expected[name]), name
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in folders]
    assert sum(manifest["rows"] for manifest in manifests) == once.rows
    assert sum(manifest["quarantined"] for manifest in manifests) == once.quarantined
    assert sum(manifest["raw"]["rows"] for manifest in manifests) == len(readings())
    of_days = of_all(Manifest.of(manifest, "day").spacing for manifest in manifests)
    assert of_days == once.spacing


def test_the_reading_that_arrived_later_is_kept_by_its_day_and_by_the_next_ones_windows(home):
    at = midnight(FIRST + timedelta(days=1)) - timedelta(minutes=20)
    for torque in (77, 5):  # by its text the first would be 5, then 77
        text = f'{{"env": {{"temperature": 61}}, "torque": {torque}}}'
        row = {"device": "mill-9", "time": at, "payload": text}
        RawStore(home.raw_address).append(pa.Table.from_pylist([row] * 2))
    for torque in (5, 77):
        row["payload"] = f'{{"env": {{"temperature": 61}}, "torque": {torque}}}'
        row["time"] = at + timedelta(minutes=10)
        RawStore(home.raw_address).append(pa.Table.from_pylist([row]))
    folder = make(home, FIRST)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["copies"] == 2
    bad = pq.read_table(folder / "quarantine")
    of_mill = bad.filter(pc.equal(bad["device"], "mill-9"))["payload"].to_pylist()
    assert [json.loads(text)["torque"] for text in of_mill] == [77, 5]
    store = RawStore(home.raw_address)
    before = days.lead_in(store, contract_of(home), {"mill-9"}, midnight(FIRST + timedelta(days=1)))
    kept = [json.loads(text)["torque"] for text in before["payload"].to_pylist()]
    assert kept == [5, 77][-(contract_of(home).window - 1) :]


def test_a_window_reaches_over_days_of_silence(home):
    before = days.lead_in(RawStore(home.raw_address), contract_of(home), {"mill-2"}, midnight(LAST))
    assert len(before) == contract_of(home).window - 1
    assert before["time"].to_pylist()[-1].date() == FIRST


def test_the_same_day_again_publishes_nothing_and_a_late_reading_a_revision(home):
    assert publish(home, FIRST) == publish(home, FIRST) == ["mill-day-20260301-1"]
    late(home, midnight(FIRST) + timedelta(hours=2, seconds=1))
    assert publish(home, FIRST) == ["mill-day-20260301-2"]
    assert history.published_days(home, "mill") == {FIRST: "mill-day-20260301-2"}


def test_late_readings_and_labels_make_days_stale(home):
    publish(home, *EVERY[:3])
    assert stale(home) == {}
    # The windows of the next day begin with it: that day is stale as well, and no other.
    late(home, midnight(EVERY[1]) + timedelta(hours=23, minutes=40))
    assert stale(home) == {
        EVERY[1]: "its readings changed",
        EVERY[2]: "the readings before it changed",
    }
    # Whoever made the first day is told of the one whose windows reach back to it alone.
    contract = contract_of(home)
    made = history.fingerprints(home, contract.name, EVERY)
    assert days.stale_days(home, contract, {EVERY[2]: made[EVERY[2]]}, made=EVERY[1]).keys() == {
        EVERY[2]
    }
    publish(home, *EVERY[1:3])
    assert stale(home) == {}
    start = midnight(EVERY[2]) - timedelta(hours=1)
    fault = {"device": "mill-1", "start": start, "end": start + timedelta(hours=2)}
    LabelStore(home.raw_address).append(pa.Table.from_pylist([fault]))
    assert stale(home) == dict.fromkeys(EVERY[1:3], "its labels changed")


def test_days_that_were_missed_have_to_be_made(home):
    """Of the days around a made one: with readings and not published, and no other."""
    publish(home, EVERY[1])
    contract = contract_of(home)
    silent = FIRST - timedelta(days=1)
    asked = dict.fromkeys([silent, *EVERY[:4]], "") | history.fingerprints(home, "mill", EVERY)
    made = preprocessing.make_day(home, contract, LAST, asked)
    missed = [FIRST, EVERY[2], EVERY[3]]
    assert made["stale"] == {str(day): "it is not published" for day in missed}
    publish(home, *missed)
    assert stale(home) == {}


def test_a_day_that_was_refused_is_not_made_again_every_night(home):
    """Only when its readings or the contract have changed."""
    contract = contract_of(home)
    day = date(2026, 2, 10)
    row = {"device": "mill-0", "time": midnight(day), "payload": "broken"}
    RawStore(home.raw_address).append(pa.Table.from_pylist([row]))

    def missed() -> list[str]:
        return list(preprocessing.make_day(home, contract_of(home), LAST, {day: ""})["stale"])

    assert missed() == [str(day)]
    with pytest.raises(DataError, match=r"quarantine\.max_share: 1 of 1"):
        preprocessing.make_day(home, contract, day, {})
    assert missed() == []
    text = home.sensors.read_text()
    home.sensors.write_text(text.replace("max_share = 0.4", "max_share = 0.5"))
    assert missed() == [str(day)]
    home.sensors.write_text(text)
    assert missed() == []
    late(home, midnight(day) + timedelta(hours=1))
    assert missed() == [str(day)]


def test_text_that_is_no_time_is_quarantined_on_its_day_and_makes_no_day_stale(home):
    late(home, midnight(date(2026, 2, 28)) + timedelta(hours=1))
    with RawStore(home.raw_address)._transaction() as connection:
        for text in ("2026-03-01 soon", "2026-02-9 07:00", "soon"):
            connection.exec_driver_sql(
                "INSERT INTO readings (device, time) VALUES ('mill-0', ?)", (text,)
            )
    tags = publish(home, date(2026, 2, 28), FIRST)  # '2026-02-9' sorts between these two days
    unreadable = [
        versions.find_version(home, tag).manifest["reasons"].get("unreadable_time") for tag in tags
    ]
    assert unreadable == [None, 1]
    assert stale(home) == {}


def test_days_are_not_made_of_numbers(home):
    with RawStore(home.raw_address)._transaction() as connection:
        connection.exec_driver_sql("UPDATE readings SET time = STRFTIME('%s', time) + 0")
    with pytest.raises(DataError, match="'time' has the type integer"):
        make(home, FIRST)
    with pytest.raises(DataError, match="'time' has the type integer"):
        history.plan(home, FIRST, LAST)


def test_a_contract_that_makes_other_features_makes_every_day_stale(home):
    publish(home, FIRST)
    text = home.sensors.read_text()
    home.sensors.write_text(
        text.replace("false_episodes_per_day = 2", "false_episodes_per_day = 3")
    )
    assert stale(home) == {}
    home.sensors.write_text(text.replace('"std", "max"', '"std", "min"'))
    assert stale(home) == {FIRST: "the sensor contract changed"}


BERLIN = ZoneInfo("Europe/Berlin")
CLOCKS_SET = [(date(2026, 3, 28), [48, 46, 48]), (date(2026, 10, 24), [48, 50, 48])]


def of_berlin(settings: Settings) -> None:
    text = settings.sensors.read_text()
    settings.sensors.write_text(f'time_zone = "Europe/Berlin"\n{text}')


@pytest.fixture(params=CLOCKS_SET, ids=["forward", "back"])
def plant_of_berlin(home, request) -> list[date]:
    """Three days of Berlin, the second of 23 or 25 hours, with a reading each half hour."""
    of_berlin(home)
    first, rows = request.param
    generator = np.random.default_rng(1)
    begin = day_start(first, BERLIN)
    readings = [
        {
            "device": "mill-7",
            "time": begin + timedelta(minutes=30 * n),
            "payload": payload(generator),
        }
        for n in range(-4, sum(rows) + 4)
    ]
    RawStore(home.raw_address).append(pa.Table.from_pylist(readings))
    return history.day_range(first, first + timedelta(days=2))


def test_days_of_a_zone_are_one_run_over_all_bit_by_bit(home, plant_of_berlin, tmp_path):
    contract, store = contract_of(home), RawStore(home.raw_address)
    whole = tmp_path / "whole"
    whole.mkdir()
    query = days.range_query(store, contract, plant_of_berlin[0], plant_of_berlin[-1], BERLIN)
    start = day_start(plant_of_berlin[0], BERLIN)
    before = days.lead_in(store, contract, {"mill-7"}, start)
    spec = DatasetSpec(contract, query, LabelStore(home.raw_address).labels(), since=start)
    make_dataset([before, *store.stream(query, with_ids=True)], spec, whole, home)
    folders = [make(home, day) for day in plant_of_berlin]
    rows = dict(CLOCKS_SET)[plant_of_berlin[0]]
    assert [len(table([folder])) for folder in folders] == rows
    joined, expected = table(folders), table([whole])
    for name in expected.column_names:
        assert bits(joined[name]) == bits(expected[name]), name
    publish(home, *plant_of_berlin)
    composed = history.compose(home, plant_of_berlin[0], plant_of_berlin[-1])
    assert (composed.manifest["query"], composed.manifest["rows"]) == (query, sum(rows))


def test_a_late_reading_makes_its_day_of_the_zone_stale(home, plant_of_berlin):
    publish(home, *plant_of_berlin)
    late(home, day_start(plant_of_berlin[1], BERLIN) + timedelta(minutes=1), "mill-7")
    contract = contract_of(home)
    published = history.fingerprints(home, contract.name, plant_of_berlin)
    found = days.stale_days(home, contract, published)
    assert found == {plant_of_berlin[1]: "its readings changed"}


def test_another_zone_makes_every_day_stale_and_mixes_no_days_of_two(home):
    publish(home, *EVERY[:2])
    of_berlin(home)
    found = stale(home)
    assert list(found) == EVERY[:2]
    assert all(reason.endswith("the sensor contract changed") for reason in found.values())
    with pytest.raises(DataError, match="another time zone than Europe/Berlin"):
        history.compose(home, *EVERY[:2])
    publish(home, *EVERY[:2])
    assert history.published_days(home, "mill") == {
        day: f"mill-day-{day:%Y%m%d}-2" for day in EVERY[:2]
    }
    assert stale(home) == {}
    assert history.compose(home, *EVERY[:2]).manifest["days"].keys() == {str(d) for d in EVERY[:2]}


def test_a_day_that_is_empty_in_the_new_zone_is_no_part_of_a_range(home):
    early = LAST + timedelta(days=1)
    late(home, midnight(early) + timedelta(hours=1))  # in Chicago the evening before
    publish(home, LAST, early)
    text = home.sensors.read_text()
    home.sensors.write_text(f'time_zone = "America/Chicago"\n{text}')
    publish(home, LAST)
    assert list(history.compose(home, LAST, early).manifest["days"]) == [str(LAST)]


def test_a_range_has_the_same_content_in_whatever_order_its_days_were_made(home, tmp_path):
    made = EVERY[:3]
    publish(home, FIRST)
    late(home, midnight(FIRST) + timedelta(hours=2, seconds=1))
    publish(home, *reversed(made))
    whole = history.compose(home, FIRST, made[-1])
    assert whole.tag == "mill-days-20260301-20260303-1"
    assert history.compose(home, FIRST, made[-1]) == whole
    other = Settings(home=tmp_path / "other", raw_url=home.raw_address, sensors=home.sensors)
    publish(other, *made)
    assert history.compose(other, FIRST, made[-1]).hash == whole.hash

    opened = versions.open_dataset(home, whole.tag)
    assert len(table([opened.folder])) == whole.manifest["rows"]
    recorded = json.loads((opened.folder / "examples.json").read_text())
    assert {example["device"] for example in recorded} == {"mill-0", "mill-1", "mill-2"}


def test_a_range_with_a_day_that_is_not_made_is_refused(home):
    publish(home, FIRST)
    with pytest.raises(UsageError, match="2026-03-02, 2026-03-03, 2026-03-04, 2026-03-05"):
        history.compose(home, FIRST, LAST)
    with pytest.raises(UsageError, match="no reading from 2026-02-01 to 2026-02-02: load"):
        history.compose(home, date(2026, 2, 1), date(2026, 2, 2))


def test_a_day_without_readings_is_empty(home):
    folder = home.work / "none"
    folder.mkdir(parents=True)
    assert days.make_day(home, contract_of(home), date(2026, 2, 1), folder) is None
    assert list(folder.iterdir()) == []


def test_a_dry_run_names_days_rows_and_the_time(home, monkeypatch, capsys):
    monkeypatch.setenv("BREEZEWAY_HOME", str(home.home))
    monkeypatch.setenv("BREEZEWAY_SENSORS", str(home.sensors))
    words = ["history", "--first", str(FIRST), "--last", str(LAST)]

    def said() -> dict:
        with pytest.raises(SystemExit):
            cli.main(words)
        return json.loads(capsys.readouterr().out)

    before = said()
    assert [day["day"] for day in before["days"]] == [str(day) for day in EVERY]
    assert before["rows"] == sum(day["rows"] for day in before["days"]) == len(readings())
    assert before["seconds"] == "unknown"
    publish(home, FIRST)
    after = said()
    assert after["days"][0]["published"] == "mill-day-20260301-1"
    rate = before["days"][0]["rows"] / 2  # it was published as made in 2 s
    assert after["seconds"] == pytest.approx(len(readings()) / rate, abs=0.1)
    late(home, datetime(2026, 3, 1, 5, 0, 1, tzinfo=UTC))
    assert said()["days"][0]["stale"] == "its readings changed"
