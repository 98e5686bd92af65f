"""MySQL's rows as Arrow arrays at C speed: PyMySQL sends the query, numpy splits the answer.

PyMySQL makes a Python object of every value, which costs ten times as much as the rest. This module
reads the bytes of a few thousand rows from the socket and splits them column by column. Only one
block is in memory: while the caller is busy, the server waits. `docs/decisions/mysql-rows.md` has
the figures.

This is the only module that uses private parts of PyMySQL: `Connection._result`, to stop it from
reading the rows itself, and `Connection._rfile`, the buffered socket, with what was read ahead.
PyMySQL has no public access to the bytes of a row: all its cursors, also `SSCursor`, return Python
objects. tests/servers/readings/test_mysql_wire.py fails when an upgrade changes this;
pyproject.toml bounds the version.
"""

import io
import re
import time
from collections.abc import Iterator
from struct import Struct
from typing import Any

import numpy as np
import pyarrow as pa
import pymysql
from pymysql.constants import CR

BLOCK_BYTES = 1 << 21
"""Bytes of rows that are split at once: enough to make numpy's calls cheap per row."""

READ_BYTES = 1 << 18

PAUSE_SECONDS = 0.0005
"""How long to wait if the last read gave little. A slow server then has written more, which is read
at once and not in ten pieces with a wait for each. This takes a quarter of the CPU."""

LARGEST_ROW = 0xFFFFFF
"""A longer packet comes in pieces, which is not supported."""

LONGEST_END = 1 << 10
"""The most bytes of the packet that ends the rows; an error's message has at most 512."""

_header = Struct("<I").unpack_from
_first_octet = re.compile(rb"[\xfe\xff]")


class Column:
    """A result column: its `name`, and `kind`, one of pymysql.constants.FIELD_TYPE."""

    def __init__(self, name: str, kind: int):
        self.name = name
        self.kind = kind


def execute(connection: pymysql.Connection, query: str) -> list[Column]:
    """Run a query and return its columns; `blocks` returns its rows.

    Use the connection only for this result, and close it afterwards in any case.

    Raises:
        pymysql.MySQLError: the server answers with an error.
    """
    connection.query(query, unbuffered=True)
    # From here on PyMySQL's own result object would read row by row.
    result: Any = connection._result  # type: ignore[attr-defined]
    if not result.unbuffered_active:
        raise pymysql.ProgrammingError(0, "the statement gives no rows")
    result.unbuffered_active = False
    return [Column(field.name, field.type_code) for field in result.fields]


def blocks(
    connection: pymysql.Connection, width: int, wanted: set[int]
) -> Iterator[dict[int, pa.BinaryArray]]:
    """The rows of the query that `execute` ran, about two MiB at a time.

    Args:
        connection: the one of `execute`.
        width: number of columns of the result.
        wanted: positions of the columns to return.

    Yields:
        Column -> its values as the server writes them (text), NULL as null.

    Raises:
        pymysql.MySQLError: the server fails or closes the connection before the end.
    """
    # It holds what PyMySQL has read ahead; from here on we read the socket ourselves.
    stream: io.BufferedReader = connection._rfile  # type: ignore[attr-defined]
    ahead = np.frombuffer(stream.peek(), np.uint8)
    octets = np.concatenate([ahead, np.empty(BLOCK_BYTES, np.uint8)])
    filled = received = len(ahead)
    while True:
        is_full = len(octets) - filled < READ_BYTES
        if is_full or _may_end(octets.data[:filled]):
            starts, end = _find_packets(octets[:filled])
            finished = bool(len(starts)) and _is_final(octets.data[starts[-1] : end])
            if finished:
                starts = starts[:-1]
            if len(starts):
                yield _cut(octets, starts, width, wanted)
                octets[: filled - end] = octets[end:filled]
                filled -= end
            elif is_full:  # a row that is longer than the buffer
                octets = np.concatenate([octets, np.empty_like(octets)])
            if finished:
                return
        if received < READ_BYTES // 2:
            time.sleep(PAUSE_SECONDS)
        received = stream.raw.readinto(octets.data[filled:]) or 0
        if not received:
            raise pymysql.OperationalError(
                CR.CR_SERVER_LOST, "the server closed the connection in the middle of the rows"
            )
        filled += received


def _may_end(received: memoryview) -> bool:
    """Whether the last packet may end here: only that one starts like this.

    To read on after the last packet would wait for ever. Its first byte is not valid UTF-8, so
    there are few places to check.
    """
    tail = bytes(received[-LONGEST_END:])
    return any(
        int.from_bytes(tail[mark.start() - 4 : mark.start() - 1], "little")
        == len(tail) - mark.start()
        for mark in _first_octet.finditer(tail, 4)
    )


def _is_final(packet: memoryview) -> bool:
    """Whether a packet ends the rows; then nothing follows it.

    Raises:
        pymysql.MySQLError: it reports an error.
    """
    if packet[4] == 0xFF:
        pymysql.err.raise_mysql_exception(bytes(packet[4:]))
    return packet[4] == 0xFE and len(packet) - 4 < 9  # a row that starts like this is longer


def _find_packets(octets: np.ndarray) -> tuple[np.ndarray, int]:
    """Where the complete packets begin, the first at 0, and where the last one ends.

    A packet has three bytes of length, one of sequence, and its body. The third byte is 0, and text
    contains no 0, so we search for zeros first: to go from packet to packet takes twice as long.
    What is found counts as long as it forms a chain of packets.
    """
    starts = np.flatnonzero(octets[2:-1] == 0)
    ends = starts + 4 + (octets[starts] | octets[starts + 1].astype(np.int64) << 8)
    following = np.minimum(ends, len(octets) - 4)
    is_packet = octets[following + 2] == 0
    is_packet &= octets[following + 3] == octets[starts + 3] + np.uint8(1)
    is_packet |= following < ends
    is_packet &= ends <= len(octets)
    starts, ends = starts[is_packet], ends[is_packet]
    expected = np.append(0, ends)
    links = int(np.argmin(np.append(starts == expected[:-1], False)))
    rest, end = _follow_packets(octets.data, int(expected[links]))
    return np.append(starts[:links], rest), end


def _follow_packets(octets: memoryview, position: int) -> tuple[np.ndarray, int]:
    """Like `_find_packets`, from a position on, for any content of the packets."""
    starts = []
    while position + 4 <= len(octets):
        length = _header(octets, position)[0] & 0xFFFFFF
        if length == LARGEST_ROW:
            raise pymysql.DataError(0, "a row of 16 MiB or more")
        following = position + 4 + length
        if following > len(octets):
            break
        starts.append(position)
        position = following
    return np.array(starts, np.int64), position


def _cut(
    octets: np.ndarray, starts: np.ndarray, width: int, wanted: set[int]
) -> dict[int, pa.BinaryArray]:
    """Split rows into columns.

    Args:
        octets: uint8, with complete packets in it, one for each row.
        starts: (rows,), where each packet begins.
        width: columns of a row.
        wanted: positions of the columns to return.
    """
    position = starts + 4
    columns = {}
    for column in range(width):
        # A value is its length and its bytes. A length up to 250 is one byte; after 252 or 253 it
        # is in the next two or three bytes; 251 is NULL.
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
            columns[column] = _gather(octets, begin, position, null)
    return columns


def _gather(
    octets: np.ndarray, begin: np.ndarray, end: np.ndarray, null: np.ndarray
) -> pa.BinaryArray:
    """The slices [begin, end) of a block as one array; Arrow copies them in C.

    It makes an array over the whole block in which every second element is a wanted slice.
    """
    rows = len(begin)
    offsets = np.empty(2 * rows, np.int32)
    offsets[0::2] = begin
    offsets[1::2] = end
    everything = pa.Array.from_buffers(
        pa.binary(), 2 * rows - 1, [None, pa.py_buffer(offsets), pa.py_buffer(octets)]
    )
    valid = pa.py_buffer(np.packbits(~null, bitorder="little")) if null.any() else None
    wanted = pa.py_buffer(np.arange(0, 2 * rows, 2, dtype=np.int32))
    return everything.take(pa.Array.from_buffers(pa.int32(), rows, [valid, wanted]))
