"""MySQL's rows as Arrow arrays at C speed: PyMySQL connects and asks, numpy cuts the answer.

PyMySQL makes Python objects of every value, ten times the cost of the rest. Here the bytes of a
few thousand rows are taken off the socket as they stand and cut column by column. Only what fits
in a block is held: while the caller is busy, the server waits.
"""

from collections.abc import Iterator
from struct import Struct

import numpy as np
import pyarrow as pa
import pymysql
from pymysql.constants import CR

BLOCK_BYTES = 1 << 20
"""Bytes of rows that are cut at once: large enough that numpy's calls cost nothing a row."""

READ_BYTES = 1 << 18

LARGEST_ROW = 0xFFFFFF
"""A longer packet comes in pieces, which no reading is worth."""

_header = Struct("<I").unpack_from


class Column:
    """A result column: its `name`, and `kind`, one of pymysql.constants.FIELD_TYPE."""

    def __init__(self, name: str, kind: int):
        self.name = name
        self.kind = kind


def execute(connection: pymysql.Connection, query: str) -> list[Column]:
    """Run a query and give its columns; `blocks` gives its rows.

    The connection serves this one result and is to be closed after it, however it ended.

    Raises:
        pymysql.MySQLError: what the server answers instead.
    """
    connection.query(query, unbuffered=True)
    # PyMySQL's own result object would read row by row from here on.
    result = connection._result
    if not result.unbuffered_active:
        raise pymysql.ProgrammingError(0, "the statement gives no rows")
    result.unbuffered_active = False
    return [Column(field.name, field.type_code) for field in result.fields]


def blocks(
    connection: pymysql.Connection, width: int, wanted: set[int]
) -> Iterator[dict[int, pa.BinaryArray]]:
    """The rows of the query that `execute` ran, about a MiB at a time.

    Args:
        connection: the one that was given to `execute`.
        width: columns of the result.
        wanted: the columns to give, by their place in it.

    Yields:
        Column -> its values as the server writes them (text), NULL as null.

    Raises:
        pymysql.MySQLError: the server fails in the midst, or goes away.
    """
    source = connection._rfile
    buffer = bytearray()
    starts: list[int] = []
    end = 0  # of the whole rows in the buffer
    while True:
        received = source.read1(READ_BYTES)
        if not received:
            raise pymysql.OperationalError(
                CR.CR_SERVER_LOST, "the server closed the connection in the middle of the rows"
            )
        buffer += received
        end = _find_packets(buffer, end, starts)
        finished = bool(starts) and _is_final(buffer, starts[-1], end)
        if finished:
            starts.pop()
        if starts and (finished or end >= BLOCK_BYTES):
            with memoryview(buffer) as whole:
                block = bytes(whole[:end])
            del buffer[:end]
            yield _cut(block, np.array(starts, dtype=np.int64), width, wanted)
            starts = []
            end = 0
        if finished:
            return


def _find_packets(buffer: bytearray, position: int, starts: list[int]) -> int:
    """Add to `starts` the whole packets from `position` on; give where the last one ends.

    A packet is three bytes of length, one of sequence, and its body.
    """
    last = len(buffer) - 4
    while position <= last:
        length = _header(buffer, position)[0] & 0xFFFFFF
        if length == LARGEST_ROW:
            raise pymysql.DataError(0, "a row of 16 MiB or more")
        following = position + 4 + length
        if following > last + 4:
            break
        starts.append(position)
        position = following
    return position


def _is_final(buffer: bytearray, start: int, end: int) -> bool:
    """Whether a packet ends the rows; nothing follows it, so only the last one can.

    Raises:
        pymysql.MySQLError: it tells of an error.
    """
    first = buffer[start + 4]
    if first == 0xFF:
        pymysql.err.raise_mysql_exception(bytes(buffer[start + 4 : end]))
    return first == 0xFE and end - start - 4 < 9  # a row that begins so is longer


def _cut(
    block: bytes, starts: np.ndarray, width: int, wanted: set[int]
) -> dict[int, pa.BinaryArray]:
    """Cut rows into columns.

    Args:
        block: whole packets, one a row.
        starts: (rows,), where each packet begins.
        width: columns of a row.
        wanted: those to give.
    """
    octets = np.frombuffer(block, np.uint8)
    position = starts + 4
    columns = {}
    for column in range(width):
        # A value is its length and its bytes. The length is one byte up to 250; 252 and 253
        # announce two and three more; 251 is NULL.
        length = octets[position].astype(np.int64)
        begin = position + 1
        null = length == 251
        length[null] = 0
        long = np.flatnonzero(length > 251)
        if long.size:
            at = position[long]
            two = octets[at + 1] | octets[at + 2].astype(np.int64) << 8
            is_three = length[long] == 253
            length[long] = np.where(is_three, two | octets[at + 3].astype(np.int64) << 16, two)
            begin[long] += np.where(is_three, 3, 2)
        position = begin + length
        if column in wanted:
            columns[column] = _gather(block, begin, position, null)
    return columns


def _gather(block: bytes, begin: np.ndarray, end: np.ndarray, null: np.ndarray) -> pa.BinaryArray:
    """The slices [begin, end) of a block as one array; Arrow copies them in C.

    Every other element of an array over the whole block is a slice that is wanted.
    """
    rows = len(begin)
    offsets = np.empty(2 * rows, np.int32)
    offsets[0::2] = begin
    offsets[1::2] = end
    everything = pa.Array.from_buffers(
        pa.binary(), 2 * rows - 1, [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    )
    valid = pa.py_buffer(np.packbits(~null, bitorder="little")) if null.any() else None
    wanted = pa.py_buffer(np.arange(0, 2 * rows, 2, dtype=np.int32))
    return everything.take(pa.Array.from_buffers(pa.int32(), rows, [valid, wanted]))
