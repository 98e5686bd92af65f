"""Days of payloads with several readings, and of values carried over midnight."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from breezeway.contract.contract import Contract
from breezeway.core.settings import Settings
from breezeway.preprocessing import days
from breezeway.preprocessing.dataset import make_dataset
from breezeway.preprocessing.manifest import Manifest
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.store import RawStore

FIRST = date(2026, 3, 1)
CONTRACT = Contract.from_text(
    """
name = "pump"
interval_seconds = 600
alarm = { false_episodes_per_day = 1 }
split = { by = "time" }
label = { column = "label" }
quarantine = { max_share = 0.9 }
[features]
window = 4
reading = { a = "a", b = "b" }
rolling = { a = ["mean", "slope", "lag:6"] }
[payload]
format = "json"
readings = "sent[*]"
time_path = "at"
[fields]
a = { type = "float", range = [0, 100], invalid = "missing", carry_forward_seconds = 7200 }
b = { type = "float", range = [0, 100] }
""",
    "pump",
)


def home(tmp_path: Path, rows: list[tuple[str, datetime, str]]) -> Settings:
    settings = Settings(home=tmp_path / "home", threads=1)
    store = RawStore(settings.raw_address)
    store.create()
    devices, times, payloads = zip(*rows, strict=True)
    when = pa.array(times, pa.timestamp("us", "UTC"))
    store.append(pa.table({"device": devices, "time": when, "payload": payloads}))
    return settings


def payload(start: datetime, several: list[dict[str, float | None]]) -> str:
    at = [(start + timedelta(minutes=10 * n)).isoformat() for n in range(len(several))]
    return json.dumps({"sent": [{"at": t, **v} for t, v in zip(at, several, strict=True)]})


def features(folder: Path) -> list[tuple]:
    table = pq.read_table(folder / "features")
    rows = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    return sorted(map(repr, rows))


def test_days_put_together_are_one_run_over_all(tmp_path):
    generator = np.random.default_rng(7)
    rows = []
    for hour in range(0, 72, 2):  # twelve readings in each, the first at the hour
        for device in ("p", "q"):
            start = datetime(2026, 3, 1, hour % 24, tzinfo=UTC) + timedelta(days=hour // 24)
            some = [
                {"a": None if generator.random() < 0.6 else round(generator.random(), 3), "b": b}
                for b in generator.choice([1.0, 2.0, 999.0], 12).tolist()
            ]
            rows.append((device, start + timedelta(minutes=110), payload(start, some)))
    settings = home(tmp_path, rows)
    store = RawStore(settings.raw_address)
    last = FIRST + timedelta(days=2)
    query = days.range_query(store, CONTRACT, FIRST, last, CONTRACT.zone)
    whole, made = tmp_path / "whole", []
    whole.mkdir()
    label = CONTRACT.label.column
    chunks = store.stream(query, label=label, with_ids=True)
    manifest = make_dataset(chunks, DatasetSpec(CONTRACT, query), whole, settings)
    assert (manifest.raw.payloads, manifest.raw.rows) == (72, 72 * 12)
    for number in range(3):
        folder = tmp_path / f"day-{number}"
        folder.mkdir()
        of_day = days.make_day(settings, CONTRACT, FIRST + timedelta(days=number), folder)
        assert of_day and of_day.raw.payloads == 24
        made.append(of_day)
    of_days = [row for number in range(3) for row in features(tmp_path / f"day-{number}")]
    assert sorted(of_days) == features(whole)
    assert sum(each.quarantined for each in made) == manifest.quarantined > 0
    published = {FIRST + timedelta(days=n): each.fingerprint for n, each in enumerate(made)}
    assert days.stale_days(settings, CONTRACT, published) == {}


def test_what_is_not_of_its_rows_day_or_device_is_told(tmp_path):
    late = datetime(2026, 3, 1, 23, 45, tzinfo=UTC)
    text = payload(late, [{"a": 1, "b": 1}] * 4)
    settings = home(tmp_path, [("p", late + timedelta(minutes=30), text)])
    folder = tmp_path / "day"
    folder.mkdir()
    made = days.make_day(settings, CONTRACT, FIRST + timedelta(days=1), folder)
    assert made is not None
    assert (made.raw.rows, made.rows, made.reasons) == (4, 2, {"other_day": 2})
    assert "load such payloads by load-readings" in made.rejected[0].example
    own = Contract.from_text(
        CONTRACT.text.replace('time_path = "at"', 'time_path = "at"\ndevice_path = "d"'), "own"
    )
    text = payload(late, [{"a": 1, "b": 1, "d": "p"}, {"a": 1, "b": 1, "d": "q"}])  # type: ignore[dict-item]
    settings = home(tmp_path / "own", [("p", late, text)])
    folder = tmp_path / "day-own"
    folder.mkdir()
    made = days.make_day(settings, own, FIRST, folder)
    assert made is not None
    assert (made.rows, made.reasons) == (1, {"other_device": 1})
    assert Manifest.of(json.loads((folder / "manifest.json").read_text()), "x").raw.payloads == 1
