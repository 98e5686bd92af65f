"""Files of JSON: objects in lines, in one list, and over several lines."""

import gzip

import pytest

from breezeway.contract.contract import Contract
from breezeway.readings.file_loads import TriedOut, try_out
from tests.fixtures.payloads import HEAD


@pytest.fixture
def tried(tmp_path):
    """A file that is read by the rules of `[payload]`."""

    def tried(data, payload="") -> TriedOut:
        file = tmp_path / "a.json"
        file.write_bytes(data if isinstance(data, bytes) else data.encode())
        fields = 'a = { type = "float" }'
        sections = f'[payload]\nformat = "json"\n{payload}\n[fields]\n{fields}'
        return try_out(file, Contract.from_text(HEAD + sections, "x"), tmp_path)

    return tried


OBJECTS = '{"device":"m","time":"2026-01-31T12:00:00Z","a":1.5}'
SENT = '{"sent":[{"t":1769860800,"a":1.5}],"dev":"m"}'
SPLIT = 'readings = "sent[*]"\ntime_path = "t"\ntime_format = "epoch s"\ndevice_path = "$.dev"'
LISTS = 'readings = "[*]"\ntime_path = "time"\ndevice_path = "device"'


@pytest.mark.parametrize(
    ("data", "rules", "count"),
    [
        (f"{OBJECTS}\n\n{OBJECTS}\n", "", 2),
        (f"[{OBJECTS},{OBJECTS}]", "", 2),
        (f"\ufeff\n[\n {OBJECTS},\n {OBJECTS}\n]\n", "", 2),
        (OBJECTS.replace(",", ",\n ").replace("{", "{\n") * 2, "", 2),
        (gzip.compress(f"{OBJECTS}\n".encode(), mtime=0), "", 1),
        (gzip.compress(f"[\n{OBJECTS}\n]".encode(), mtime=0), "", 1),
        (SENT, SPLIT, 1),
        (SENT.replace("[", "[\n").replace(",", ",\n"), SPLIT, 1),
        (f"[{SENT},\n{SENT}]", SPLIT, 2),
        (f"[{OBJECTS},{OBJECTS}]\n[{OBJECTS}]\n", LISTS, 3),
        (f"[\n{OBJECTS},\n{OBJECTS}\n]\n", LISTS, 2),
    ],
)
def test_json_in_lines_in_a_list_and_over_several_lines(tried, data, rules, count):
    found = tried(data, rules)
    rows = [row for table in found.rows for row in table.to_pylist()]
    assert not found.mistakes
    assert [(r["device"], r["time"]) for r in rows] == [("m", 1_769_860_800_000_000)] * count
    assert all("1.5" in row["payload"] for row in rows)


def test_a_mistake_in_a_list_of_json_is_named_by_its_row(tried):
    text = f"[{OBJECTS},\n{OBJECTS.replace('2026', 'never')}]"
    assert "row 2, column 'time': expected a time" in tried(text).mistakes
