"""Each device's own baseline: the same bits in history and in a request, and in days."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from breezeway.contract.baselines import BASELINES_FILE, DeviceBaseline, read_baselines
from breezeway.contract.contract import Contract
from breezeway.contract.features import latest_features
from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway.datasets.history import _baselines
from breezeway.preprocessing import days
from breezeway.preprocessing.dataset import make_dataset, make_features
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.arrow import ID
from breezeway.readings.store import RawStore
from breezeway.serving.window import window_of
from tests.fixtures.meaning import of_history

START = datetime(2026, 3, 1, tzinfo=UTC)
FIRST = START.date()
TEXT = """
name = "pump"
interval_seconds = 60
device_pattern = "pump-[0-9]"
alarm = { false_episodes_per_day = 1 }
split = { by = "time" }
label = { column = "label" }
quarantine = { max_share = 0.9 }
[features]
window = 3
[features.baseline]
readings = 5
[features.reading]
a = "a"
both = "a + b"
[features.rolling]
a = ["from_baseline", "baseline_zscore:2", "mean"]
both = ["baseline_zscore", "from_baseline:3", "from_baseline:2min"]
[payload]
format = "json"
[fields]
a = { type = "float", range = [0, 100], invalid = "missing", carry_forward_seconds = 120 }
b = { type = "float", range = [0, 100] }
"""
CONTRACT = Contract.from_text(TEXT, "pump.toml")
OF_BASELINE = ["a_from_baseline", "a_baseline_zscore_2", "both_baseline_zscore"]

Message = tuple[int, int, float | None, float]
messages = st.tuples(
    st.integers(1, 2),
    st.integers(0, 20),
    st.sampled_from([20.25, 30.1, 150.5, None, 0.1]),
    st.sampled_from([1.5, 2.7, 900.0]),
)


def rows_of(sent: list[Message]) -> list[tuple[str, datetime, str]]:
    return [
        (f"pump-{m[0]}", START + timedelta(minutes=m[1]), json.dumps({"a": m[2], "b": m[3]}))
        for m in sent
    ]


def made(
    rows: list[tuple[str, datetime, str]], folder: Path, contract: Contract = CONTRACT
) -> dict[str, DeviceBaseline | None]:
    """The baselines of the dataset of some rows."""
    devices, times, payloads = zip(*rows, strict=True)
    when = pa.array(times, pa.timestamp("us", "UTC"))
    table = pa.table({"device": devices, "time": when, "payload": payloads})
    table = table.append_column("label", pa.nulls(len(rows), pa.int64()))
    table = table.append_column(ID, pa.array(range(len(rows)), ID.type))
    folder.mkdir(parents=True)
    make_features([table], DatasetSpec(contract, "test"), folder, Settings())
    return read_baselines(contract, folder)


def steady(device: int, minutes: range) -> list[Message]:
    generator = np.random.default_rng(device)
    return [(device, m, round(float(generator.uniform(10, 20)), 2), 1.5) for m in minutes]


@settings(max_examples=25, deadline=None)
@given(st.lists(messages, min_size=1, max_size=30))
@example([*steady(1, range(9)), (1, 4, None, 2.7), (1, 6, 150.5, 2.7), (2, 3, 30.1, 900.0)])
def test_a_request_beside_its_baseline_gives_the_bits_of_history(tmp_path_factory, sent):
    rows = rows_of(sent)
    found, _ = of_history(CONTRACT, rows)
    if not found:
        return
    baselines = made(rows, tmp_path_factory.mktemp("made") / "dataset")
    for (device, time), row in found.items():
        arrived = [each for each in rows if each[0] == device and each[1] <= time]
        readings = [{"time": t.isoformat(), "payload": text} for _, t, text in arrived]
        # The good reading of that time is the last one that arrived and is good.
        good = [r for r in arrived if r[1] == time and json.loads(r[2])["b"] <= 100]
        readings.append({"time": time.isoformat(), "payload": good[-1][2]})
        values, times = window_of(CONTRACT, device, readings, [])
        request = latest_features(CONTRACT, values, times, baseline=baselines.get(device))[0]
        assert request.tobytes() == np.array(row).tobytes()


def test_readings_of_the_baseline_itself_are_not_compared(tmp_path):
    rows = rows_of(steady(1, range(9)))
    found, manifest = of_history(CONTRACT, rows)
    places = [CONTRACT.feature_names.index(name) for name in OF_BASELINE]
    compared = [[row[place] == row[place] for place in places] for row in found.values()]
    assert compared == [[False] * 3] * 5 + [[True] * 3] * 4
    first = np.array([m[2] for m in steady(1, range(5))])
    last = steady(1, range(9))[-1][2]
    assert [*found.values()][-1][places[0]] == last - first.mean()
    z = ((last + 1.5) - (first + 1.5).mean()) / (first + 1.5).std()
    assert [*found.values()][-1][places[2]] == pytest.approx(z, rel=1e-12)
    assert (manifest.devices_with_baseline, manifest.devices_without_baseline) == (1, 0)


def test_a_device_with_too_few_good_readings_has_none(tmp_path):
    bad = [(1, 4, 15.0, 900.0), (1, 2, 15.0, 900.0)]
    baselines = made(rows_of([*steady(1, range(4)), *bad, *steady(2, range(6))]), tmp_path / "d")
    assert baselines["pump-1"] is None
    assert baselines["pump-2"] is not None


def test_later_readings_change_nothing(tmp_path):
    rows = rows_of([*steady(1, range(12)), *steady(2, range(3))])
    later = rows_of([(1, 30, 99.0, 99.0), *((2, m, 99.0, 99.0) for m in range(20, 30))])
    before, _ = of_history(CONTRACT, rows)
    after, _ = of_history(CONTRACT, [*rows, *later])
    assert {key: repr(after[key]) for key in before} == {k: repr(v) for k, v in before.items()}


def test_what_does_not_vary_has_a_difference_but_no_zscore():
    found, _ = of_history(CONTRACT, rows_of([(1, m, 0.1, 0.2) for m in range(8)]))
    row = dict(zip(CONTRACT.feature_names, [*found.values()][-1], strict=True))
    assert row["a_from_baseline"] == 0.0
    assert np.isnan(row["both_baseline_zscore"])
    assert np.isnan(row["a_baseline_zscore_2"])


def test_baselines_may_begin_on_a_day(tmp_path):
    text = TEXT.replace("readings = 5", "readings = 5\nsince = 2026-03-02")
    contract = Contract.from_text(text, "pump.toml")
    rows = rows_of([*steady(1, range(9)), *steady(1, range(1440, 1449))])
    own = made(rows, tmp_path / "d", contract)["pump-1"]
    assert own is not None
    day = int((START + timedelta(days=1)).timestamp() * 1_000_000)
    assert (own.first, own.last) == (day, day + 4 * 60_000_000)
    found, _ = of_history(contract, rows)
    place = contract.feature_names.index("a_from_baseline")
    assert [row[place] == row[place] for row in found.values()] == [False] * 14 + [True] * 4


def home(tmp_path: Path, rows: list[tuple[str, datetime, str]]) -> tuple[Settings, RawStore]:
    place = Settings(home=tmp_path / "home", threads=1)
    store = RawStore(place.raw_address)
    store.create()
    add(store, rows)
    return place, store


def add(store: RawStore, rows: list[tuple[str, datetime, str]]) -> None:
    devices, times, payloads = zip(*rows, strict=True)
    when = pa.array(times, pa.timestamp("us", "UTC"))
    store.append(pa.table({"device": devices, "time": when, "payload": payloads}))


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def three_days() -> list[tuple[str, datetime, str]]:
    """The first device has its baseline on the first day, the second on the second."""
    generator, sent = np.random.default_rng(3), []
    for day in range(3):
        for device, count in ((1, 9), (2, 4)):
            for minute in range(count):
                a = None if generator.random() < 0.3 else round(float(generator.random()), 3)
                b = 900.0 if generator.random() < 0.2 else 1.5
                sent.append((device, 1440 * day + minute, a, b))
    return rows_of(sent)


def make(place: Settings, day: int, folder: Path):
    folder.mkdir()
    return days.make_day(place, CONTRACT, FIRST + timedelta(days=day), folder)


def test_days_in_any_order_are_one_run_over_all(tmp_path):
    place, store = home(tmp_path, three_days()[:13])
    early = tmp_path / "early"
    make(place, 0, early)
    add(store, three_days()[13:])
    for day in (2, 0, 1):
        make(place, day, tmp_path / f"day-{day}")
    # What came later changes no byte of a day that was made before.
    assert files(early) == files(tmp_path / "day-0")
    whole = tmp_path / "whole"
    whole.mkdir()
    query = days.range_query(store, CONTRACT, FIRST, FIRST + timedelta(days=2), CONTRACT.zone)
    chunks = store.stream(query, label="label", with_ids=True)
    make_dataset(chunks, DatasetSpec(CONTRACT, query), whole, place)
    features = [row for day in range(3) for row in rows(tmp_path / f"day-{day}")]
    assert sorted(features) == rows(whole)
    folders = [Opened(tmp_path / f"day-{day}") for day in range(3)]
    assert _baselines(CONTRACT, folders) == read_baselines(CONTRACT, whole)
    assert None not in read_baselines(CONTRACT, whole).values()


class Opened:
    """A published day, as far as its baselines are asked for."""

    tag = "day"

    def __init__(self, folder: Path):
        self.folder = folder


def rows(folder: Path) -> list[str]:
    return sorted(map(repr, pq.read_table(folder / "features").to_pylist()))


def test_a_late_reading_within_a_baseline_makes_all_its_days_stale(tmp_path):
    place, store = home(tmp_path, three_days())
    made_days = [make(place, day, tmp_path / f"day-{day}") for day in range(3)]
    published = {FIRST + timedelta(days=n): day.fingerprint for n, day in enumerate(made_days)}
    assert days.stale_days(place, CONTRACT, published) == {}
    add(store, rows_of([(1, -1440, 50.0, 50.0)]))
    expected = {
        FIRST: "the readings before it and the baselines of its devices changed",
        FIRST + timedelta(days=1): "the baselines of its devices changed",
        FIRST + timedelta(days=2): "the baselines of its devices changed",
    }
    found = days.stale_days(place, CONTRACT, published)
    assert found == expected
    assert days.stale_days(place, CONTRACT, published, FIRST - timedelta(days=1)) == expected
    counts = store.count_by_day(FIRST, FIRST + timedelta(days=2), CONTRACT.zone)
    assert days.days_to_make(place, CONTRACT, published, counts) == expected
    make(place, 2, tmp_path / "again")
    with pytest.raises(DataError, match="the baseline of pump-1 is another one"):
        _baselines(CONTRACT, [Opened(tmp_path / "day-0"), Opened(tmp_path / "again")])


GOOD = {"first": 1, "last": 2, "features": {"a": {"mean": 1.0, "std": 0.5, "count": 5}}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "the file: Input should be an object"),
        ("{", "the file: Invalid JSON"),
        ('{"p": {"first": 3, "last": 2, "features": {}}}', "p: Value error, first: later"),
        (json.dumps({"p": GOOD}).replace("0.5", "-0.5"), "p.features.a.std"),
        (json.dumps({"p": GOOD}).replace("1.0", "NaN"), "p.features.a.mean"),
        (json.dumps({"p": GOOD}).replace("1.0", "1e999"), "p.features.a.mean"),
        (json.dumps({"p": GOOD}).replace("1.0", '"1"'), "p.features.a.mean"),
        (json.dumps({"p": GOOD}).replace('"last": 2', f'"last": {2**70}'), "p.last"),
        (json.dumps({"p": GOOD}).replace('"count": 5', '"count": 6'), "count: 6, at most 5"),
        (json.dumps({"p": GOOD}).replace('"a"', '"b"'), "p.features.b: the contract compares"),
        (json.dumps({"p" * 300: GOOD}), "at most 255 characters"),
        ("[" * 100_000, "the file"),
    ],
)
def test_hostile_baselines_are_refused(tmp_path, content, message):
    (tmp_path / BASELINES_FILE).write_text(content)
    with pytest.raises(DataError, match=message):
        read_baselines(CONTRACT, tmp_path)


def test_a_missing_file_of_baselines_is_told(tmp_path):
    with pytest.raises(DataError, match=r"baselines\.json: .* cannot be read"):
        read_baselines(CONTRACT, tmp_path)


def test_a_file_that_is_too_large_is_not_parsed(tmp_path, monkeypatch):
    (tmp_path / BASELINES_FILE).write_text(json.dumps({"p": GOOD}))
    assert read_baselines(CONTRACT, tmp_path)["p"] is not None
    monkeypatch.setattr("breezeway.contract.baselines.FILE_BYTES", 20)
    with pytest.raises(DataError, match="20 bytes or more"):
        read_baselines(CONTRACT, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[features.baseline]\nreadings = 5\n", "", "from_baseline needs .features.baseline"),
        ("readings = 5", "readings = 1", "features.baseline.readings"),
        ("readings = 5", "readings = 10001", "features.baseline.readings"),
        ("readings = 5", "readings = 5\nsince = 7.5", "features.baseline.since"),
        ('format = "json"', 'format = "json"\ntime_path = "at"', "one reading each"),
        ('"from_baseline", "baseline_zscore:2", "mean"', '"from_baseline:2:1"', "expected"),
    ],
)
def test_a_contract_that_asks_wrongly_is_refused(old, new, message):
    with pytest.raises(DataError, match=message):
        Contract.from_text(TEXT.replace(old, new, 1), "pump.toml")


def test_a_baseline_that_nothing_compares_with_is_refused():
    text = TEXT[: TEXT.index("[features.rolling]")] + TEXT[TEXT.index("[payload]") :]
    with pytest.raises(DataError, match=r"no statistic of features\.rolling is of it"):
        Contract.from_text(text, "pump.toml")
