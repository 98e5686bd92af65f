"""Raw readings on disk, in sorted runs that are merged as they are read.

An external merge sort: each chunk of readings is sorted when it arrives and written as one batch of
an Arrow file. When the runs are read, only the keys are sorted again. Written by hand: DuckDB can
sort too, but it copies the payloads through its tables and its sort, and needs more memory
(`make bench ONLY=preprocess`); `docs/decisions/staging.md` has the figures.
"""

import functools
import itertools
import json
import mmap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breezeway.core.files import writing
from breezeway.readings.arrow import ID, READINGS, UNREADABLE

RUNS_IN_MEMORY = 16
"""After reading from this many runs their pages are released; another read maps them again. The
system maps 16 pages around each page that is read, so many runs would take much memory."""
BLOCK_BYTES = 64 << 20
"""Payloads of a block: of the usual length, they never reach this."""
STAGED = READINGS.append(UNREADABLE).append(ID)
_NO_TIME = np.iinfo(np.int64).min
_RUNS, _COUNTS = "runs.arrow", "devices.json"


def stage(chunks: Iterable[pa.Table], folder: Path) -> int:
    """Write raw readings to a folder; return their number.

    Args:
        chunks: tables of device, time, payload and label, in any order; a missing label is null,
            a time without a zone is UTC. Tables may have the columns `UNREADABLE` and `ID`.
        folder: an empty one.
    """
    counts: Counter[str] = Counter()
    rows = 0
    with (
        writing(folder / _RUNS),
        pa.OSFile(str(folder / _RUNS), "wb") as file,
        pa.ipc.new_file(file, STAGED) as writer,
    ):
        for chunk in chunks:
            for column in (READINGS.field("label"), UNREADABLE, ID):
                if column.name not in chunk.column_names:
                    chunk = chunk.append_column(column, pa.nulls(len(chunk), column.type))
            table = chunk.select(STAGED.names).cast(STAGED).combine_chunks()
            codes, names = _codes([table["device"].combine_chunks()])
            gather = functools.partial(_take, table)
            writer.write_table(gather(_order(codes, _times(table), gather, _sizes(table))))
            known = np.bincount(codes[codes >= 0], minlength=len(names))
            counts.update(dict(zip(names, known.tolist(), strict=True)))
            rows += len(table)
    text = json.dumps(dict(sorted(counts.items())))
    with writing(folder / _COUNTS):
        (folder / _COUNTS).write_text(text, encoding="utf-8")
    return rows


def device_counts(folder: Path) -> dict[str, int]:
    """The number of staged readings of each device, in order of names."""
    counts: dict[str, int] = json.loads((folder / _COUNTS).read_text(encoding="utf-8"))
    return counts


def sorted_blocks(
    folder: Path, first: str | None, last: str | None, nameless: bool, rows: int
) -> Iterator[pa.Table]:
    """Staged readings by device, time, id (the latest first), payload, label, unreadable time.

    Yields:
        Tables as `STAGED`.

    Args:
        first, last: the devices from `first` to `last`; None for none.
        nameless: whether to include readings without a device.
        rows: of a block; the last one has fewer, and so has one that would have more than
            `BLOCK_BYTES` of payloads.
    """
    with (folder / _RUNS).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    batches = pa.ipc.open_file(pa.py_buffer(mapped))

    def in_turn(items: Iterable[Any]) -> Iterator[Any]:
        """Each run, or its number; the caller must copy what it keeps."""
        for number, item in enumerate(items, start=1):
            yield item
            if number % RUNS_IN_MEMORY == 0:
                mapped.madvise(mmap.MADV_DONTNEED)

    runs = [
        _wanted(batches.get_batch(number), first, last, nameless)
        for number in in_turn(range(batches.num_record_batches))
    ]
    runs = [run for run in runs if len(run)]
    if not runs:
        return
    begins = np.cumsum([0, *(len(run) for run in runs)])

    def gather(wanted: np.ndarray) -> pa.Table:
        of_run = np.searchsorted(begins, wanted, side="right") - 1
        groups, places = [], []
        for numbers in itertools.batched(np.unique(of_run).tolist(), RUNS_IN_MEMORY):
            pieces = []
            for number in numbers:
                here = np.flatnonzero(of_run == number)
                positions = wanted[here] - begins[number]
                if (np.diff(positions) == 1).all():  # successive rows, as in a block
                    pieces.append(runs[number].slice(int(positions[0]), len(positions)))
                else:
                    pieces.append(_take(runs[number], positions))
                places.append(here)
            groups.append(pa.concat_tables(pieces).combine_chunks())
            mapped.madvise(mmap.MADV_DONTNEED)
        return _take(pa.concat_tables(groups), np.argsort(np.concatenate(places)))

    codes, _ = _codes(run["device"].combine_chunks() for run in in_turn(runs))
    times = np.concatenate([_times(run).copy() for run in in_turn(runs)])
    sizes = np.concatenate([_sizes(run) for run in in_turn(runs)])
    order = _order(codes, times, gather, sizes)
    for start, end in _bounded(sizes[order], rows):
        block = gather(order[start:end])
        mapped.madvise(mmap.MADV_DONTNEED)
        yield block


def _sizes(run: pa.Table) -> np.ndarray:
    lengths: np.ndarray = (
        pc.binary_length(run["payload"].combine_chunks()).fill_null(0).to_numpy().copy()
    )
    return lengths


def _bounded(sizes: np.ndarray, rows: int) -> Iterator[tuple[int, int]]:
    """Bounds of blocks of at most so many rows, and of at most `BLOCK_BYTES` or one row."""
    ends = np.append(0, np.cumsum(sizes, dtype=np.int64))
    start = 0
    while start < len(sizes):
        end = int(np.searchsorted(ends, ends[start] + BLOCK_BYTES, side="right")) - 1
        end = min(max(end, start + 1), start + rows, len(sizes))
        yield start, end
        start = end


def _wanted(run: pa.RecordBatch, first: str | None, last: str | None, nameless: bool) -> pa.Table:
    """A run's readings of the devices from `first` to `last`, which are successive rows."""
    device = run["device"]
    begin = end = device.null_count
    if first is not None and last is not None:
        begin = _position(device, first, after=False)
        end = _position(device, last, after=True)
    if nameless:
        begin = 0
    return pa.Table.from_batches([run.slice(begin, end - begin)])


def _take(table: pa.Table, rows: np.ndarray) -> pa.Table:
    return table.take(pa.array(rows)).combine_chunks()


def _position(names: pa.StringArray, name: str, after: bool) -> int:
    """The position of a name, or where it would be, in sorted names with nulls first."""
    low, high = int(names.null_count), len(names)
    while low < high:
        middle = (low + high) // 2
        found = names[middle].as_py()
        if found < name or (after and found == name):
            low = middle + 1
        else:
            high = middle
    return low


def _codes(columns: Iterable[pa.StringArray]) -> tuple[np.ndarray, list[str]]:
    """The position of each name in the sorted names, -1 for null; and these names."""
    encoded = [column.dictionary_encode() for column in columns]
    names = sorted({name for one in encoded for name in one.dictionary.to_pylist()})
    place = {name: code for code, name in enumerate(names)}
    small = np.int16 if len(names) < 1 << 15 else np.int32  # NumPy sorts 16 bits faster
    codes = []
    for one in encoded:
        places = np.array([*(place[name] for name in one.dictionary.to_pylist()), -1], small)
        codes.append(places[one.indices.fill_null(len(places) - 1).to_numpy()])
    return np.concatenate(codes), names


def _times(table: pa.Table) -> np.ndarray:
    times = table["time"].combine_chunks().cast(pa.int64())
    values: np.ndarray = times.fill_null(_NO_TIME).to_numpy()
    return values


def _order(
    codes: np.ndarray,
    times: np.ndarray,
    gather: Callable[[np.ndarray], pa.Table],
    sizes: np.ndarray,
) -> np.ndarray:
    """The order of the rows. `gather` returns rows by position; ties need the other columns.

    Ties are sorted some at a time, and those of one device and time together.
    """
    order = np.lexsort((times, codes))
    same = (np.diff(codes[order]) == 0) & (np.diff(times[order]) == 0)
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
        group = np.append(0, np.cumsum(~same))[tied]
        bytes_before = np.cumsum(sizes[order[tied]], dtype=np.int64) // BLOCK_BYTES
        firsts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
        batch = np.repeat(bytes_before[firsts], np.diff(np.append(firsts, len(tied))))
        for places in np.split(tied, np.flatnonzero(np.diff(batch)) + 1):
            order[places] = order[places][_tie_order(gather(order[places]), places, same)]
    return order


def _tie_order(rows: pa.Table, places: np.ndarray, same: np.ndarray) -> np.ndarray:
    names = ["payload", "label", UNREADABLE.name]
    group = np.append(0, np.cumsum(~same[places[0] : places[-1]]))[places - places[0]]
    table = rows.select([ID.name, *names]).append_column("group", pa.array(group))
    keys = [("group", "ascending", "at_start"), (ID.name, "descending", "at_end")]
    keys += [(name, "ascending", "at_start") for name in names]
    ordered: np.ndarray = pc.sort_indices(table, sort_keys=keys).to_numpy()
    return ordered
