"""Files are loaded by reading: each once, with another content only on demand, and taken back."""

import argparse
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
import sqlalchemy as sa

from breezeway.commands import loads as command_loads
from breezeway.core.errors import DataError, TryAgain, UsageError
from breezeway.core.settings import Settings
from breezeway.readings import load_store, mysql, postgres, simulate, sql_tables, sqlite
from breezeway.readings.arrow import READINGS
from breezeway.readings.load_store import LoadStore
from breezeway.readings.store import RawStore
from tests.fixtures.fuzz import rounds
from tests.fixtures.readings import load, stored

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def own(address, tmp_path):
    return Settings(home=tmp_path, raw_url=address)


@pytest.fixture
def write(tmp_path):
    def write(*rows, header="device,time,payload,broken", name="a.csv"):
        file = tmp_path / name
        file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return file

    return write


def contents(own):
    return [
        (row["device"], f"{row['time']:%M}", row["payload"], row["label"])
        for row in stored(own).sort_by([(name, "ascending") for name in READINGS.names]).to_pylist()
    ]


def loads(own):
    return [each["load"] for each in LoadStore(own.raw_address).loads()]


def take_back(own, load):
    return LoadStore(own.raw_address).take_back(load)


ONE, TWO = "m,2026-01-01T12:01,x,0", "m,2026-01-01T12:02,y,1"
LABELLED = {"files": 'label_column = "broken"'}


# -- the same reading


def test_a_file_that_is_loaded_twice_is_loaded_once(own, write):
    file = write(ONE, TWO)
    first = load(own, file)
    assert first == {"files": 1, "loaded": 1, "readings": 2, "known": 0, "replaced": 0}
    again = load(own, file)
    assert again == {"files": 1, "loaded": 0, "readings": 0, "known": 0, "replaced": 0}
    assert len(contents(own)) == 2


def test_the_same_readings_written_in_another_way_are_the_same_load(own, write):
    load(own, write(ONE, TWO), **LABELLED)
    rows = ["y;1.0;2026-01-01T13:02:00+01:00;m", "x;0;2026-01-01 12:01:00.000;m"]
    other = write(*reversed(rows), header="text;bad;at;sensor", name="b.csv")
    files = """
        separator = ";"
        device_column = "sensor"
        time_column = "at"
        payload_column = "text"
        label_column = "bad"
    """
    assert load(own, other, files=files)["loaded"] == 0


def test_files_that_overlap_bring_what_they_have_in_common_once(own, write):
    load(own, write(ONE, TWO))
    three = "m,2026-01-01T12:03,x,0"
    second = load(own, write(TWO, three, TWO, name="b.csv"))
    assert (second["readings"], second["known"]) == (1, 2)
    assert [row[1] for row in contents(own)] == ["01", "02", "03"]


def test_what_the_store_has_without_a_load_is_known(own, write):
    simulate.fill(own, devices=1, days=1, end=datetime(2026, 1, 2, tzinfo=UTC).date())
    before = stored(own)
    row = before.slice(5, 1).to_pylist()[0]
    payload = row["payload"].replace('"', '""')
    file = write(f'{row["device"]},{row["time"].isoformat()},"{payload}",')
    assert load(own, file)["known"] == 1
    take_back(own, loads(own)[0])
    assert stored(own) == before


def test_devices_differ_by_case_and_by_spaces(own, write):
    rows = [f"{device},2026-01-01T12:01,{n},0" for n, device in enumerate(["m", "M", "m ", "é"])]
    assert load(own, write(*rows))["readings"] == 4
    with pytest.raises(DataError, match=r"'M' at .* another content"):
        load(own, write("M,2026-01-01T12:01,0,0", name="b.csv"))


@pytest.mark.parametrize("other", ["X", "x ", "é", "", "xx"])
def test_contents_differ_letter_by_letter(own, write, other):
    load(own, write("m,2026-01-01T12:01,x,0", "n,2026-01-01T12:01,e\u0301,0"))
    for device in "mn":
        with pytest.raises(DataError, match="another content"):
            load(own, write(f"{device},2026-01-01T12:01,{other},0", name="b.csv"))


# -- another content


def test_another_content_is_refused_with_an_example(own, write):
    load(own, write(ONE, TWO))
    before = contents(own)
    common = "0123456789" * 20
    file = write("n,2026-01-01T12:00,z,", f"m,2026-01-01T12:02,{common},", name="b.csv")
    said = (
        r"b\.csv: 'm' at 2026-01-01 12:02:00\.000000 has another content: the raw store has 'y' "
        r"\(no label\), this file has '0123456789.*'… \(no label\)\. Nothing .* --replace"
    )
    with pytest.raises(DataError, match=said) as refused:
        load(own, file)
    assert len(str(refused.value)) < 500 + len(str(file))
    assert contents(own) == before
    assert len(loads(own)) == 1


def test_an_example_shows_where_long_contents_differ(own, write):
    same = "a" * 10_000
    load(own, write(f"m,2026-01-01T12:02,{same}b,"))
    with pytest.raises(DataError, match=r"…'a+b' .*…'a+c' ") as refused:
        load(own, write(f"m,2026-01-01T12:02,{same}c,", name="b.csv"))
    assert len(str(refused.value)) < 1000
    with pytest.raises(DataError, match=r"has \(a payload of 10001\)|has '\(a payload of 10001\)'"):
        load(own, write("m,2026-01-01T12:02,c,", name="b.csv"))


def test_a_file_with_labels_is_no_second_copy_of_one_without(own, write):
    file = write(ONE, TWO)
    load(own, file)
    with pytest.raises(DataError, match=r"\(no label\), .* \(label 0\)"):
        load(own, file, **LABELLED)
    corrected = load(own, file, "--replace", **LABELLED)
    assert (corrected["readings"], corrected["replaced"]) == (2, 2)
    assert contents(own) == [("m", "01", "x", 0), ("m", "02", "y", 1)]


def test_two_contents_in_one_file_are_refused_or_the_last_one_counts(own, write, monkeypatch):
    rows = [f"m,2026-01-01T12:01,{letter},0" for letter in "abcab"]
    for batch in (500, 2):
        monkeypatch.setattr(load_store, "BATCH_ROWS", batch)
        file = write(*rows, TWO, name=f"{batch}.csv")
        with pytest.raises(DataError, match=r"an earlier line has 'a' .*this file has 'b'"):
            load(own, file)
        result = load(own, file, "--replace")
        assert (result["readings"], result["replaced"]) == (2, 0)
        assert contents(own) == [("m", "01", "b", None), ("m", "02", "y", None)]
        assert take_back(own, loads(own)[0])["removed"] == 2
        assert stored_rows(own) == 0


def stored_rows(own):
    return sum(t.num_rows for t in RawStore(own.raw_address).stream("SELECT * FROM readings"))


def test_readings_that_were_doubled_are_one_again(own, write):
    twice = {"device": ["m"] * 3, "time": [START] * 3, "payload": ["x"] * 3, "label": [None, 0, 0]}
    store = RawStore(own.raw_address)
    store.create()
    store.append(pa.table(twice).cast(READINGS))
    before = contents(own)
    file = write("m,2026-01-01T12:00,x,0")
    assert load(own, file, **LABELLED)["known"] == 1
    take_back(own, loads(own)[0])
    assert load(own, file, "--replace", **LABELLED)["replaced"] == 3
    assert contents(own) == [("m", "00", "x", 0)]
    take_back(own, loads(own)[0])
    assert contents(own) == before


def test_what_changes_a_file_meanwhile_changes_nothing(own, write, monkeypatch):
    file = write(ONE)
    load_staged = LoadStore.load

    def change_and_load(store, *arguments, **options):
        write(TWO)
        return load_staged(store, *arguments, **options)

    monkeypatch.setattr(LoadStore, "load", change_and_load)
    load(own, file)
    assert [row[1] for row in contents(own)] == ["01"]


# -- taking back


def test_a_load_that_is_taken_back_leaves_the_store_as_it_was(own, write):
    load(own, write(ONE))
    before = contents(own)
    load(own, write(TWO, "m,2026-01-01T12:01,other,", name="b.csv"), "--replace")
    result = take_back(own, loads(own)[1])
    assert (result["removed"], result["restored"]) == (2, 1)
    assert contents(own) == before


def test_a_load_is_taken_back_once_and_may_come_again(own, write):
    file = write(ONE)
    load(own, file)
    (name,) = loads(own)
    take_back(own, name)
    with pytest.raises(UsageError, match=f"there is no load that begins with '{name}'"):
        take_back(own, name)
    assert load(own, file)["readings"] == 1
    assert loads(own) == [name]


def test_loads_by_the_command(own, write):
    def command(*words):
        parser = argparse.ArgumentParser()
        command_loads.add_arguments(parser)
        return command_loads.run(parser.parse_args(words), own)

    file = write(ONE, TWO)
    load(own, file)
    (there,) = command()
    assert (there["source"], there["readings"]) == (str(file), 2)
    taken = {"load": there["load"], "source": str(file), "removed": 2, "restored": 0}
    assert command("--take-back", there["load"]) == taken
    assert command() == []


@pytest.mark.parametrize("name", ["", "%", "1", "../../x", "f" * 65, "0" * 12, "3F2A9C0B71DE"])
def test_a_load_that_there_is_not_is_named(own, write, name):
    load(own, write(ONE))
    with pytest.raises(UsageError, match="--take-back"):
        take_back(own, name)
    assert stored_rows(own) == 1


def test_a_simulated_day_is_no_load_of_a_file(own):
    simulate.fill(own, devices=1, days=1)
    assert loads(own) == []
    content = next(iter(RawStore(own.raw_address).loads()))
    with pytest.raises(UsageError, match="there is no load"):
        take_back(own, content)


def test_an_empty_store_has_no_loads(own, address, tmp_path):
    if address.startswith("sqlite"):
        (tmp_path / "a folder").mkdir()
    assert loads(own) == []
    with pytest.raises(UsageError, match="there is no load"):
        take_back(own, "3f2a9c0b71de")


def test_a_reading_that_another_load_has_stays(own, write):
    load(own, write(ONE, TWO))
    load(own, write(TWO, name="b.csv"))
    first, second = loads(own)
    assert take_back(own, first)["removed"] == 1
    assert contents(own) == [("m", "02", "y", None)]
    assert take_back(own, second)["removed"] == 1
    assert stored_rows(own) == 0


def test_a_store_of_an_older_release_gets_what_loads_need(own, write):
    store = RawStore(own.raw_address)
    store.create()
    store.append(pa.table({"device": ["m"], "time": [START], "payload": ["x"]}), "old")
    index = "DROP INDEX readings_load" + (" ON readings" if "mysql" in own.raw_address else "")
    with store._transaction() as connection:
        for statement in (
            index,
            "ALTER TABLE readings DROP COLUMN load_id",
            "ALTER TABLE loads DROP COLUMN id",
            "ALTER TABLE loads DROP COLUMN readings",
        ):
            connection.exec_driver_sql(statement)
    assert loads(own) == []
    assert load(own, write("m,2026-01-01T12:00,x,", TWO)) == {
        **{"files": 1, "loaded": 1, "readings": 1, "known": 1, "replaced": 0}
    }
    assert take_back(own, loads(own)[0])["removed"] == 1
    assert contents(own) == [("m", "00", "x", None)]


class Model:
    """What a store should hold: at each device and time a pile of contents, the top one visible."""

    def __init__(self):
        self.piles = {}

    def load(self, name, rows):
        for device, minute, payload in rows:
            pile = self.piles.setdefault((device, minute), [])
            if not pile or pile[-1][0] != payload:
                pile.append((payload, set()))
            pile[-1][1].add(name)
            last = pile[-1]
            # What an earlier line of the same file put there was never loaded.
            for content in [c for c in pile if c is not last and c[1] == {name}]:
                pile.remove(content)

    def take_back(self, name):
        for pile in self.piles.values():
            for content in list(pile):
                content[1].discard(name)
                if not content[1]:
                    pile.remove(content)

    def visible(self):
        return sorted((*key, pile[-1][0]) for key, pile in self.piles.items() if pile)


@pytest.mark.fuzz
def test_any_order_of_loads_and_of_taking_them_back(own, write, monkeypatch):
    monkeypatch.setattr(load_store, "BATCH_ROWS", 3)
    LoadStore(own.raw_address).create()
    for chance in rounds(1):
        model = Model()
        for _ in range(40):
            there = loads(own)
            if there and chance.random() < 0.4:
                name = chance.choice(there)
                model.take_back(name)
                take_back(own, name)
            else:
                keys = [(device, f"{minute:02}") for device in "aAb" for minute in range(3)]
                chosen = chance.choices(keys, k=chance.randint(1, 7))
                rows = [(*key, f"{chance.randrange(3)}") for key in chosen]
                lines = [
                    f"{device},2026-01-01T12:{time},{payload}," for device, time, payload in rows
                ]
                load(own, write(*lines), "--replace")
                for name in set(loads(own)) - set(there):
                    model.load(name, rows)
            found = [row[:3] for row in contents(own)] if stored_rows(own) else []
            assert sorted(found) == model.visible(), chance.number
        for name in loads(own):
            take_back(own, name)
        assert rows_of_loads(own) == [0] * len(LoadStore.written), chance.number


def rows_of_loads(own):
    with LoadStore(own.raw_address)._transaction() as connection:
        return [
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar()
            for table in LoadStore.written
        ]


# -- kills, races, memory

KILLED = """
import sys
import pyarrow as pa
from breezeway.readings import load_store
from breezeway.readings.load_store import LoadStore
from tests.servers.readings.test_load_store import many

def tables():
    yield many(2000, "new")
    print("half", flush=True)
    sys.stdin.read()

LoadStore(sys.argv[1]).load(tables(), "f" * 64, "b.csv", replace=True)
"""


def many(count, payload):
    times = [START + timedelta(seconds=n) for n in range(count)]
    columns = {"device": ["m"] * count, "time": times, "payload": [payload] * count}
    return pa.table({**columns, "label": pa.nulls(count, pa.int64())}).cast(READINGS)


KILLED_BACK = """
import sys
from breezeway.readings.load_store import LoadStore

class Slow(LoadStore):
    def _restore(self, *arguments):
        super()._restore(*arguments)
        print("half", flush=True)
        sys.stdin.read()

Slow(sys.argv[1]).take_back("f" * 64)
"""


def kill_half_way(script, own):
    with subprocess.Popen(
        [sys.executable, "-c", script, own.raw_address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)


def test_what_is_killed_leaves_the_store_as_it_was_and_may_be_done_again(own):
    store = LoadStore(own.raw_address)
    store.create()
    store.load([many(3000, "old")], "0" * 64, "a.csv")
    before = stored(own)
    kill_half_way(KILLED, own)
    assert stored(own) == before
    counts = store.load([many(2000, "new")], "f" * 64, "b.csv", replace=True)
    assert (counts.new, counts.replaced) == (2000, 2000)
    after = stored(own)
    kill_half_way(KILLED_BACK, own)
    assert stored(own) == after
    assert store.take_back("f" * 64)["restored"] == 2000
    assert stored(own) == before


def test_files_that_are_loaded_at_once_bring_each_reading_once(own):
    LoadStore(own.raw_address).create()
    found = []

    def bring(number):
        store = LoadStore(own.raw_address)
        found.append(store.load([many(1000 + number, "x")], f"{number}" * 64, "a.csv"))

    threads = [threading.Thread(target=bring, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts.new for counts in found) == 1003 == stored_rows(own)


def test_a_load_that_waits_for_another_for_long_may_be_tried_again(own, monkeypatch):
    store = LoadStore(own.raw_address)
    store.create()
    for module in (mysql, postgres, sqlite):
        monkeypatch.setattr(module, "BUSY_SECONDS", 0)
    with store._alone(), pytest.raises(TryAgain, match=r"locked|[Aa]nother process"):
        LoadStore(own.raw_address).load([many(1, "x")], "0" * 64, "a.csv")
    counts = store.load([many(1, "x")], "0" * 64, "a.csv")
    assert counts.new == 1


def test_a_batch_is_short_where_payloads_are_long(monkeypatch):
    monkeypatch.setattr(load_store, "BATCH_BYTES", 100)
    table = many(6, "").set_column(2, "payload", pa.array(["x" * n for n in (9, 60, 9, 9, 200, 1)]))
    rows = map(load_store.Row, *load_store._columns(table))
    assert [len(batch) for batch in load_store._batches(rows)] == [1, 1, 2, 1, 1]


# -- the first load, whose indexes are made at the end


def is_whole(settings):
    with LoadStore(settings.raw_address)._transaction() as connection:
        return sql_tables.is_whole(connection, sql_tables.readings)


def test_after_the_first_load_all_indexes_are_there(own):
    store = LoadStore(own.raw_address)
    store.create()
    counts = store.load([many(3000, "x").slice(k, 700) for k in range(0, 3000, 700)], "0" * 64, "a")
    assert counts.new == 3000 == stored_rows(own)
    assert is_whole(own)


@pytest.mark.parametrize("devices", [["m", "m"], ["m", "n"]])
def test_rows_of_the_first_load_are_compared_with_those_before_in_any_order(own, devices):
    store = LoadStore(own.raw_address)
    store.create()
    late, early = many(3000, "x").slice(1500), many(3000, "x").slice(0, 2000)
    early = early.set_column(0, "device", pa.array([devices[1]] * len(early)))
    counts = store.load([late, early], "0" * 64, "a.csv")
    known = 500 if devices[1] == "m" else 0
    assert (counts.new, counts.known) == (3500 - known, known)
    assert stored_rows(own) == 3500 - known and is_whole(own)


def test_a_first_load_that_is_refused_or_killed_leaves_the_indexes(own):
    store = LoadStore(own.raw_address)
    store.create()
    with pytest.raises(DataError, match="another content"):
        store.load([many(100, "x"), many(100, "y")], "0" * 64, "a.csv")
    assert is_whole(own) and stored_rows(own) == 0
    kill_half_way(KILLED, own)
    assert is_whole(own) and stored_rows(own) == 0
    assert store.load([many(100, "x")], "0" * 64, "a.csv").new == 100


def test_a_table_that_the_store_has_in_part_is_compared_row_by_row(own):
    store = LoadStore(own.raw_address)
    store.create()
    store.load([many(100, "x").slice(50, 3)], "0" * 64, "a.csv")
    counts = store.load([many(100, "x")], "1" * 64, "b.csv")
    assert (counts.new, counts.known, stored_rows(own)) == (97, 3, 100)
