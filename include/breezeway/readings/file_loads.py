"""Readings from files: a file is loaded whole or not at all, and no reading twice.

All files are read and checked first, each into a table on disk; then each is loaded in one
transaction. So a file is read once, and what changes it meanwhile changes nothing.
"""

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.core.files import writing
from breezeway.core.quoting import sql_string
from breezeway.core.scratch import scratch
from breezeway.core.settings import Settings
from breezeway.readings.arrow import READINGS
from breezeway.readings.file_mistakes import SHOWN, Mistake, Mistakes, shown
from breezeway.readings.file_payloads import NULL, payload_sql, quality_of
from breezeway.readings.file_rows import BLOCK_ROWS, read_rows
from breezeway.readings.file_text import find_files, plain_file
from breezeway.readings.load_store import ID_LETTERS, Counts, LoadStore
from breezeway.readings.source import refuse_writing

log = logging.getLogger(__name__)

MEMORY = "1GB"
"""Of DuckDB; what needs more goes to the disk."""
PROGRESS_SECONDS = 5.0
TRIED_ROWS, TRIED_BYTES = 200_000, 64 << 20
"""Rows of a file that is tried out, and their bytes; the last table may have more."""


@dataclass
class _Stage:
    """A file's readings on disk, and what is known of them."""

    file: Path
    path: Path
    content: str = ""
    rows: int = 0


def load(
    settings: Settings,
    paths: Sequence[Path],
    contract: Contract,
    *,
    device: str | None = None,
    replace: bool = False,
) -> dict[str, int]:
    """Check all files, then load each in one transaction.

    Args:
        paths: files, or folders of them.
        contract: says how files are read.
        device: of all readings, in place of what the contract says.
        replace: whether readings take the place of others of the same device and time.

    Returns:
        How many `files` there are and how many of them were `loaded` now; and how many `readings`
        are new, how many were `known`, and how many were `replaced`.

    Raises:
        UsageError: a file is not there; or readings are in a database of the user's own.
        DataError: the first ten mistakes, with file, line and column; nothing is loaded then. Or a
            reading has another content in the store; nothing of this file or the following is
            loaded then.
    """
    refuse_writing(contract, settings, "load-readings")
    files = find_files(paths, contract.files.format)
    total = Counts()
    loaded = 0
    with scratch(settings, "load-readings") as folder:
        stages = _stage_all(files, contract, device, folder, settings.threads)
        store = LoadStore(settings.raw_address)
        store.create()
        for stage in stages:
            counts = store.load(_progress(stage), stage.content, str(stage.file), replace=replace)
            stage.path.unlink()
            _tell(store, stage, counts)
            if counts is not None:
                loaded += 1
                for each in fields(Counts):
                    setattr(
                        total, each.name, getattr(total, each.name) + getattr(counts, each.name)
                    )
    return {
        "files": len(files),
        "loaded": loaded,
        "readings": total.new,
        "known": total.known,
        "replaced": total.replaced,
    }


class TriedOut(NamedTuple):
    """What was seen of a file that was read without loading it.

    Attributes:
        rows: its first rows, at most about `TRIED_ROWS` and `TRIED_BYTES`, in tables as of
            `read_rows`; without the tables in which there is a mistake.
        is_whole: whether these are all.
        mistakes: what would be said of the first ten; empty if there are none.
    """

    rows: list[pa.Table]
    is_whole: bool
    mistakes: str

    def first_times(self) -> list[float]:
        """The times of the first device in the first table, in seconds."""
        if not self.rows or not len(self.rows[0]):
            return []
        first = self.rows[0]
        rows = first.filter(pc.equal(first["device"], first["device"][0]))
        return [time / 1e6 for time in rows["time"].to_pylist()]


def try_out(file: Path, contract: Contract, folder: Path) -> TriedOut:
    """Read a file without loading it."""
    mistakes = Mistakes()
    rows: list[pa.Table] = []
    is_whole, said = True, ""
    count = size = wrong = 0
    with closing(_connect(folder, 1)) as connection:
        try:
            plain = plain_file(file, contract.files, folder)
            for table in read_rows(plain, contract, None, connection, mistakes):
                if mistakes.count == wrong and count < TRIED_ROWS and size < TRIED_BYTES:
                    rows.append(table)
                    count, size = count + len(table), size + table.nbytes
                else:
                    is_whole, wrong = False, mistakes.count
            if contract.files.tag_column and rows:
                long = pa.concat_tables(rows).cast(_long(rows[0].schema)).to_reader()
                found = _by_device_and_time(file, contract, long, connection, mistakes)
                rows = [t.set_column(1, "time", t["time"].cast(pa.int64())) for t in found]
            mistakes.refuse()
        except DataError as error:
            is_whole, said = False, str(error)
    return TriedOut(rows, is_whole, said)


def _tell(store: LoadStore, stage: _Stage, counts: Counts | None) -> None:
    name = stage.content[:ID_LETTERS]
    if counts is None:
        later = store.count_replaced(stage.content)
        note = f"; later loads replaced {later} of its readings" if later else ""
        log.info("%s: loaded before, as %s%s", stage.file, name, note)
        return
    log.info(
        "%s: load %s, %d readings are new, %d were known, %d were replaced",
        *(stage.file, name, counts.new, counts.known, counts.replaced),
    )


def _connect(folder: Path, threads: int) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": threads})
    connection.execute(f"SET memory_limit = '{MEMORY}'; SET TimeZone = 'UTC'")
    connection.execute(f"SET temp_directory = {sql_string(str(folder / 'duckdb'))}")
    # It would make a join of each list of words: with hundreds of fields, minutes and gigabytes.
    connection.execute("SET disabled_optimizers = 'in_clause'")
    return connection


def _stage_all(
    files: Sequence[Path], contract: Contract, device: str | None, folder: Path, threads: int
) -> list[_Stage]:
    mistakes = Mistakes()
    stages = []
    with closing(_connect(folder, threads)) as connection:
        for number, file in enumerate(files):
            stage = _Stage(file, folder / f"{number}.arrow")
            _stage(stage, contract, device, connection, mistakes)
            stages.append(stage)
            if mistakes.count >= SHOWN:
                break
    mistakes.refuse()
    return stages


def _stage(
    stage: _Stage,
    contract: Contract,
    device: str | None,
    connection: duckdb.DuckDBPyConnection,
    mistakes: Mistakes,
) -> None:
    """Write a file's readings to disk, with their digest."""
    plain = plain_file(stage.file, contract.files, stage.path.parent)
    before = mistakes.count
    rows = read_rows(plain, contract, device, connection, mistakes)
    tables: Iterable[pa.Table] = (
        _pivoted(stage, contract, rows, connection, mistakes)
        if contract.files.tag_column
        else map(_readings, rows)
    )
    digest = hashlib.sha256()
    summary = _Summary(stage.file)
    with writing(stage.path), _writer(stage.path, READINGS) as writer:
        for table in tables:
            if mistakes.count > before:
                continue  # the rest of the rows is only looked at for further mistakes
            _update(digest, table)
            writer.write_table(table)
            summary.add(table)
    if plain.path != plain.file:
        plain.path.unlink()
    stage.content = digest.hexdigest()
    stage.rows = summary.rows
    if mistakes.count == before:
        summary.tell()


def _writer(path: Path, schema: pa.Schema) -> pa.ipc.RecordBatchFileWriter:
    return pa.ipc.new_file(str(path), schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))


def _readings(rows: pa.Table) -> pa.Table:
    columns = [
        rows["device"],
        rows["time"].cast(pa.timestamp("us")).cast(READINGS.field("time").type),
        rows["payload"],
        rows["label"].cast(pa.int64()),
    ]
    # Where rows have mistakes, nulls are among them; nothing of them is kept.
    return pa.table([c.cast(f.type) for c, f in zip(columns, READINGS, strict=True)], READINGS)


def _pivoted(
    stage: _Stage,
    contract: Contract,
    rows: Iterable[pa.Table],
    connection: duckdb.DuckDBPyConnection,
    mistakes: Mistakes,
) -> Iterator[pa.Table]:
    """Readings from rows that hold the value of one field each, by device and time."""
    before = mistakes.count
    path = stage.path.with_suffix(".rows")
    writer = None
    for table in rows:
        if writer is None:
            schema = _long(table.schema)
            writer = _writer(path, schema)
        writer.write_table(table.cast(schema))
    if writer is None:
        return
    writer.close()
    if mistakes.count == before:
        with pa.memory_map(str(path)) as source:
            found = pa.ipc.open_file(source)
            batches = (found.get_batch(n) for n in range(found.num_record_batches))
            reader = pa.RecordBatchReader.from_batches(found.schema, batches)
            yield from _by_device_and_time(stage.file, contract, reader, connection, mistakes)
    path.unlink()


LONG = (pa.string(), pa.int64(), pa.string(), pa.int64(), pa.int32())


def _long(schema: pa.Schema) -> pa.Schema:
    """The types of rows that hold the value of one field each."""
    return pa.schema([field.with_type(t) for field, t in zip(schema, LONG, strict=True)])


def _by_device_and_time(
    file: Path,
    contract: Contract,
    rows: pa.RecordBatchReader,
    connection: duckdb.DuckDBPyConnection,
    mistakes: Mistakes,
) -> Iterator[pa.Table]:
    names = list(contract.fields)
    values = ", ".join(
        f'max(payload) FILTER (field = {n}) AS "v {name}", '
        f'min(payload) FILTER (field = {n}) AS "o {name}"'
        for n, name in enumerate(names)
    )
    known = {name: f'coalesce("v {name}", {NULL})' for name in names}
    known |= {
        # The value of another quality is null already.
        quality_of(name): sql_string(orjson.dumps(field.quality.good_values[0]).decode())
        for name, field in contract.fields.items()
        if field.quality
    }
    payload = payload_sql(contract, known)
    twice = " ".join(f"""WHEN "v {name}" <> "o {name}" THEN {n}""" for n, name in enumerate(names))
    connection.register("rows", rows)
    sql = (
        f"SELECT device, time, {payload} AS payload, label, CASE {twice} END AS twice FROM "
        f"(SELECT device, time, max(label) AS label, {values} FROM rows WHERE field IS NOT NULL "
        "GROUP BY device, time) ORDER BY device, time"
    )
    any_row = False
    for block in connection.sql(sql).to_arrow_reader(BLOCK_ROWS):
        table = pa.table(block)
        any_row = True
        if table["twice"].null_count < len(table):
            for row in table.filter(table["twice"].is_valid()).slice(0, SHOWN).to_pylist():
                when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row["time"])
                said = (
                    f"{shown(row['device'])} has two values of {names[row['twice']]!r} at "
                    f"{when:%Y-%m-%dT%H:%M:%S}: expected one"
                )
                mistakes.add(Mistake(file, said, column=contract.files.value_column))
        yield _readings(table)
    connection.unregister("rows")
    if not any_row:
        tags = ", ".join(contract.files.columns.get(name, name) for name in names[:20])
        raise DataError(
            f"{file}: no row has the tag of a field: expected {tags} in the column "
            f"{contract.files.tag_column!r}, or other tags in [files.columns]. Nothing was loaded."
        )


class _Summary:
    """What a file holds, for the log: a wrong unit of time or a wrong label shows here."""

    def __init__(self, file: Path):
        self._file = file
        self.rows = 0
        self._times: list[int] = []
        self._labels = {0: 0, 1: 0, None: 0}
        self._told = time.monotonic()

    def add(self, table: pa.Table) -> None:
        self.rows += len(table)
        bounds = pc.min_max(table["time"].cast(pa.int64())).as_py()
        self._times = [
            min([*self._times[:1], bounds["min"]]),
            max([*self._times[1:], bounds["max"]]),
        ]
        for each in pc.value_counts(table["label"]).to_pylist():
            self._labels[each["values"]] += each["counts"]
        if time.monotonic() > self._told + PROGRESS_SECONDS:
            self._told = time.monotonic()
            log.info("%s: %d readings so far", self._file, self.rows)

    def tell(self) -> None:
        first, last = (
            f"{datetime(1970, 1, 1) + timedelta(microseconds=each):%Y-%m-%d %H:%M:%S}"
            for each in self._times
        )
        faults, normal, unknown = (self._labels[label] for label in (1, 0, None))
        log.info(
            "%s: %d readings from %s to %s UTC; %d with a fault, %d without, %d without a label",
            *(self._file, self.rows, first, last, faults, normal, unknown),
        )


def _progress(stage: _Stage) -> Iterator[pa.Table]:
    """The readings of a stage; the log tells how far they are."""
    done = 0
    told = time.monotonic()
    with pa.memory_map(str(stage.path)) as source:
        found = pa.ipc.open_file(source)
        for number in range(found.num_record_batches):
            table = pa.Table.from_batches([found.get_batch(number)])
            yield table
            done += table.num_rows
            if time.monotonic() > told + PROGRESS_SECONDS:
                told = time.monotonic()
                log.info("%s: %d of %d readings are stored", stage.file, done, stage.rows)


def _update(digest: "hashlib._Hash", table: pa.Table) -> None:
    """Add readings to a digest that is the same however a file writes them."""
    columns = table.set_column(1, "time", table["time"].cast(pa.int64())).columns
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    digest.update("".join(map(repr, rows)).encode())
