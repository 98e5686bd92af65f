"""Who reads, stages and makes a whole dataset: ours, what one would write instead, the floors.

As in `contenders`: each function prepares, and gives the work that is measured.
"""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from bench import readings
from bench.contenders import RAY_PROCESSES, distinct

FEW = "SELECT device, time, payload FROM readings LIMIT 100"
PAUSE_SECONDS = 3
"""Of a slow consumer, once: long enough for a reader that reads ahead to read everything."""
BATCH_ROWS = 10_000
DUCKDB_MEMORY = "500MB"


# -- reading


def read_ours(url: str, query: str) -> Callable[[], int]:
    from breezeway.readings.store import RawStore

    def rows(query: str) -> int:
        return sum(len(chunk) for chunk in RawStore(url).stream(query))

    rows(FEW)
    return lambda: rows(query)


def read_slowly(url: str, query: str) -> Callable[[], int]:
    """The same by who does something else after the first chunk."""
    from breezeway.readings.store import RawStore

    return lambda: _with_a_pause(RawStore(url).stream(query))


def _with_a_pause(chunks: Iterable[Any]) -> int:
    rows = 0
    for number, chunk in enumerate(chunks):
        if number == 0:
            time.sleep(PAUSE_SECONDS)
        rows += len(chunk)
    return rows


def _by_connectorx(url: str, query: str) -> Iterable[Any]:
    import connectorx
    from sqlalchemy import make_url

    address = make_url(url)
    password = quote(address.password, safe="")
    return connectorx.read_sql(
        f"mysql://{address.username}:{password}@localhost/{address.database}"
        f"?socket={address.query['unix_socket']}",
        query,
        return_type="arrow_stream",
        batch_size=BATCH_ROWS,
        pre_execution_query="SET SESSION TRANSACTION READ ONLY",
    )


def read_by_connectorx(url: str, query: str) -> Callable[[], int]:
    def rows(query: str) -> int:
        return sum(len(batch) for batch in _by_connectorx(url, query))

    rows(FEW)
    return lambda: rows(query)


def read_slowly_by_connectorx(url: str, query: str) -> Callable[[], int]:
    return lambda: _with_a_pause(_by_connectorx(url, query))


def read_by_sqlalchemy(url: str, query: str) -> Callable[[], int]:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)

    def read(query: str) -> int:
        rows = 0
        with engine.connect().execution_options(yield_per=10_000) as connection:
            for part in connection.execute(sqlalchemy.text(query)).partitions():
                columns = list(zip(*part, strict=True))
                rows += len(columns[0])
        return rows

    read(FEW)
    return lambda: read(query)


def read_by_c_client(url: str, query: str) -> Callable[[], None]:
    """The `mariadb` client, written in C, throws the rows away."""
    from sqlalchemy import make_url

    address = make_url(url)
    command = [
        *("mariadb", "--quick", "--batch", "--skip-column-names", "--raw", f"--execute={query}"),
        *(f"--socket={address.query['unix_socket']}", f"--user={address.username}"),
        address.database,
    ]
    environment = os.environ | {"MYSQL_PWD": address.password}

    def work() -> None:
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)

    return work


# -- staging: readings in the order in which they came, given back by device and time

Order = list[Any]
"""Rows, and the payloads of the first and the last: who sorts otherwise is found out."""


def _order_of(blocks: Iterable[pa.Table | pa.RecordBatch]) -> Order:
    rows, first, last = 0, None, None
    for block in blocks:
        payloads = block.column("payload")
        first = payloads[0].as_py() if first is None else first
        last = payloads[-1].as_py()
        rows += len(block)
    return [rows, first, last]


def stage_ours(rows: int, folder: str) -> Callable[[], Order]:
    from breezeway.preprocessing import staging
    from breezeway.preprocessing.part import BLOCK_ROWS

    tables, place = list(readings.chunks(rows)), Path(folder)

    def work() -> Order:
        staging.stage(tables, place)
        devices = list(staging.device_counts(place))
        return _order_of(staging.sorted_blocks(place, devices[0], devices[-1], True, BLOCK_ROWS))

    return work


def _duckdb(folder: str) -> Any:
    import duckdb

    config = {"threads": 1, "memory_limit": DUCKDB_MEMORY, "temp_directory": folder}
    return duckdb.connect(config=config)


def stage_by_duckdb(rows: int, folder: str) -> Callable[[], Order]:
    """Its sort, in one process; what does not fit into memory goes to disk."""
    from breezeway.preprocessing.part import BLOCK_ROWS

    tables, connection = list(readings.chunks(rows)), _duckdb(folder)

    def work() -> Order:
        batches = (batch for table in tables for batch in table.to_batches())
        reader = pa.RecordBatchReader.from_batches(tables[0].schema, batches)  # noqa: F841
        query = "SELECT * FROM reader ORDER BY device, time, payload"
        return _order_of(connection.sql(query).to_arrow_reader(BLOCK_ROWS))

    return work


def stage_by_duckdb_on_disk(rows: int, folder: str) -> Callable[[], Order]:
    """As ours has it: a file, in which other processes find their devices."""
    from breezeway.preprocessing.part import BLOCK_ROWS

    tables, connection = list(readings.chunks(rows)), _duckdb(folder)

    def work() -> Order:
        batches = (batch for table in tables for batch in table.to_batches())
        reader = pa.RecordBatchReader.from_batches(tables[0].schema, batches)  # noqa: F841
        connection.execute(
            "COPY (SELECT * FROM reader ORDER BY device, time, payload) "
            f"TO '{folder}/sorted.parquet' (COMPRESSION uncompressed)"
        )
        connection.execute("SET preserve_insertion_order = true")
        found = connection.sql(f"SELECT * FROM '{folder}/sorted.parquet'")
        return _order_of(found.to_arrow_reader(BLOCK_ROWS))

    return work


def stage_floor(rows: int, folder: str) -> Callable[[], int]:
    """The readings as they came, written to a file of Arrow's and read."""
    tables, path = list(readings.chunks(rows)), f"{folder}/readings.arrow"

    def work() -> int:
        with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, tables[0].schema) as writer:
            for table in tables:
                writer.write_table(table)
        with pa.OSFile(path) as file:
            batches = pa.ipc.open_file(file)
            return sum(len(batches.get_batch(k)) for k in range(batches.num_record_batches))

    return work


# -- the whole


def whole_ours(url: str, query: str, folder: str) -> Callable[[], list[int]]:
    """MariaDB to a dataset under a git tag, its bytes in a remote."""
    from breezeway.core.settings import Settings
    from breezeway.datasets.versions import publish
    from breezeway.preprocessing.dataset import make_dataset
    from breezeway.preprocessing.manifest import Manifest
    from breezeway.preprocessing.spec import DatasetSpec
    from breezeway.readings.store import RawStore

    settings = Settings(home=Path(folder) / "home", raw_url=url, threads=1, ray_min_rows=10**12)
    contract = readings.contract("json")
    nothing = pa.table(
        {"device": pa.array([], pa.string())}
        | {name: pa.array([], pa.timestamp("us", tz="UTC")) for name in ("start", "end")}
    )

    def dataset(query: str, aside: Path) -> Manifest:
        aside.mkdir(parents=True)
        chunks = RawStore(url).stream(query)
        return make_dataset(chunks, DatasetSpec(contract, query, nothing), aside, settings)

    dataset(FEW, Path(folder) / "first")

    def work() -> list[int]:
        aside = Path(folder) / "aside"
        manifest = dataset(query, aside)
        publish(settings, aside, "v1")
        return [manifest.rows, manifest.quarantined]

    return work


def whole_plain(url: str, query: str, folder: str) -> Callable[[], list[int]]:
    """What one writes first: fetch all, a loop over the rows in Ray, `dvc add`."""
    import pandas as pd
    import pymysql
    import ray
    from sqlalchemy import make_url

    address = make_url(url)
    place = Path(folder)
    place.mkdir(parents=True)
    environment = os.environ | {
        name: "bench@localhost" if name.endswith("EMAIL") else "bench"
        for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME")
    }
    environment["GIT_COMMITTER_EMAIL"] = "bench@localhost"

    def run(*command: str) -> None:
        subprocess.run(command, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)

    def dvc(*arguments: str) -> None:
        run(sys.executable, "-m", "dvc", *arguments)

    run("git", "init", "--quiet")
    dvc("init", "--quiet")
    dvc("remote", "add", "--quiet", "--default", "storage", str(place.parent / "plain-remote"))
    ray.init(num_cpus=RAY_PROCESSES, include_dashboard=False, log_to_driver=False)

    @ray.remote
    def features(part: list[tuple]) -> list:
        made = ((row[0], row[1], readings.features_of("json", row[2])) for row in part)
        return [(device, time, *found) for device, time, found in made if found is not None]

    ray.get([features.remote([]) for _ in range(RAY_PROCESSES * 2)])

    def work() -> list[int]:
        with (
            pymysql.connect(
                unix_socket=address.query["unix_socket"],
                user=address.username,
                password=address.password,
                database=address.database,
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query)
            rows = cursor.fetchall()
        step = -(-len(rows) // (RAY_PROCESSES * 4))
        parts = [features.remote(rows[k : k + step]) for k in range(0, len(rows), step)]
        made = pd.DataFrame([row for part in ray.get(parts) for row in part])
        made = made.rename(columns=str).sort_values(["0", "1"])
        made.to_parquet(place / "features.parquet")
        dvc("add", "--quiet", "features.parquet")
        run("git", "add", ".")
        run("git", "commit", "--quiet", "--message", "features")
        run("git", "tag", "v1")
        dvc("push", "--quiet")
        return [len(made), len(rows) - len(made)]

    return work


def hash_floor(rows: int, path: str) -> Callable[[], None]:
    """Each raw byte through SHA-256 once."""
    payloads = distinct(path)
    block = payloads.buffers()[2]

    def work() -> None:
        digest = hashlib.sha256()
        for _ in range(rows // len(payloads)):
            digest.update(block)

    return work
