"""A real MariaDB with a million readings, for the while of a bench."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench import readings
from tests.fixtures.mariadb import start_mariadb

ROWS = 1_000_000


@contextmanager
def filled_mariadb(form: str = "json") -> Iterator[str]:
    """The address of a store whose `readings` come as they were sent: device by device in turn."""
    with tempfile.TemporaryDirectory(prefix="bzdb") as folder:
        server = start_mariadb(Path(folder))
        try:
            database = server.database("bench")
            devices = [f"machine-{n:03}" for n in range(readings.DEVICES)]
            position = np.arange(ROWS)
            seconds = pa.array(1_767_225_600 + position // len(devices), pa.timestamp("s"))
            lines = pc.binary_join_element_wise(
                pa.array(devices).take(pa.array(position % len(devices))),
                pc.strftime(seconds, "%Y-%m-%d %H:%M:%S"),
                readings.payloads(form, ROWS),
                "\t",
            )
            file = Path(folder) / "readings.tsv"
            whole = pa.ListArray.from_arrays([0, len(lines)], lines)
            file.write_bytes(pc.binary_join(whole, "\n")[0].as_buffer())
            with server.root() as connection, connection.cursor() as cursor:
                cursor.execute("USE bench")
                cursor.execute(
                    "CREATE TABLE readings (id BIGINT PRIMARY KEY AUTO_INCREMENT, "
                    "device VARCHAR(255) NOT NULL, time DATETIME(6) NOT NULL, payload TEXT)"
                )
                cursor.execute(
                    f"LOAD DATA INFILE '{file}' INTO TABLE readings FIELDS ESCAPED BY '' "
                    "(device, time, payload)"
                )
            file.unlink()
            yield database.socket_url
        finally:
            server.kill()


def query(millions: int) -> str:
    """That many million readings: those of the store, and again of the days that follow."""
    return (
        "SELECT device, DATE_ADD(time, INTERVAL seq DAY) AS time, payload "
        f"FROM readings JOIN seq_1_to_{millions}"
    )
