"""Files that are read without a database."""

from datetime import datetime, timedelta

import orjson
import pytest

from breezeway.contract.contract import Contract
from breezeway.readings.file_loads import TriedOut, try_out
from tests.fixtures.payloads import HEAD

FLOAT = 'a = { type = "float", invalid = "missing" }'


@pytest.fixture
def tried(tmp_path):
    """A file that is read by the rules of `[files]`."""

    def tried(data, files="", fields=FLOAT, name="a.csv", payload="") -> TriedOut:
        file = tmp_path / name
        file.write_bytes(data if isinstance(data, bytes) else data.encode())
        sections = f'[payload]\nformat = "json"\n{payload}\n[files]\n{files}\n[fields]\n{fields}'
        return try_out(file, Contract.from_text(HEAD + sections, "x"), tmp_path)

    return tried


@pytest.fixture
def read(tried):
    """Its readings: device, time, label and the values of the payload."""

    def read(*arguments, **options):
        found = tried(*arguments, **options)
        assert not found.mistakes
        return [
            (
                row["device"],
                f"{datetime(1970, 1, 1) + timedelta(microseconds=row['time'])}",
                row["label"],
                *orjson.loads(row["payload"]).values(),
            )
            for table in found.rows
            for row in table.to_pylist()
        ]

    return read
