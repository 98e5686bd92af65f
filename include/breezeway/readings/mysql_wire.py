"""MySQL's rows as Arrow arrays at C speed: PyMySQL connects and asks, numpy cuts the answer.

PyMySQL makes Python objects of every value, ten times the cost of the rest. Here the bytes of a
few thousand rows are taken off the socket as they stand and cut column by column. Only what fits
in a block is held: while the caller is busy, the server waits. `docs/decisions/mysql-rows.md` has
the figures.

This is the one module that knows private parts of PyMySQL: `Connection._result`, to stop it from
reading the rows itself, and `Connection._rfile`, the buffered socket, with what was read ahead.
PyMySQL has no public way to the bytes of a row: its cursors give Python objects, `SSCursor` too.
tests/servers/readings/test_mysql_wire.py fails when an upgrade moves them; pyproject.toml bounds
the version.
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
"""Bytes of rows that are cut at once: large enough that numpy's calls cost nothing a row."""

READ_BYTES = 1 << 18

PAUSE_SECONDS = 0.0005
"""How long to leave the socket alone where little had come: what a slower server has written by
then comes at once, not in ten pieces with a wait for each, which takes a quarter of the CPU."""

LARGEST_ROW = 0xFFFFFF
"""A longer packet comes in pieces, which no reading is worth."""

LONGEST_END = 1 << 10
"""Bytes of the packet that ends the rows; an error's message has 512 at most."""

_header = Struct("<I").unpack_from
_first_octet = re.compile(rb"[\xfe\xff]")


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
        connection: the one that was given to `execute`.
        width: columns of the result.
        wanted: the columns to give, by their place in it.

    Yields:
        Column -> its values as the server writes them (text), NULL as null.

    Raises:
        pymysql.MySQLError: the server fails in the midst, or goes away.
    """
    # What PyMySQL has read ahead; from here on the socket is read without it.
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
            elif is_full:  # a row that is longer than all this
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
    """Whether a packet may end here that begins as only the last one does.

    To wait for more after the last one would be to wait for ever. What it begins with is no
    UTF-8, so there is little to look at.
    """
    tail = bytes(received[-LONGEST_END:])
    return any(
        int.from_bytes(tail[mark.start() - 4 : mark.start() - 1], "little")
        == len(tail) - mark.start()
        for mark in _first_octet.finditer(tail, 4)
    )


def _is_final(packet: memoryview) -> bool:
    """Whether a packet ends the rows; nothing follows it, so only the last one can.

    Raises:
        pymysql.MySQLError: it tells of an error.
    """
    if packet[4] == 0xFF:
        pymysql.err.raise_mysql_exception(bytes(packet[4:]))
    return packet[4] == 0xFE and len(packet) - 4 < 9  # a row that begins so is longer


def _find_packets(octets: np.ndarray) -> tuple[np.ndarray, int]:
    """Where the whole packets begin, the first at 0, and where the last one ends.

    A packet is three bytes of length, one of sequence, and its body. The third is 0, and text has
    no other 0, so that those are looked for first: one packet after the other takes twice as
    long. What is found is taken as far as it is a chain.
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
    """As `_find_packets`, from a position on, whatever the packets hold."""
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
    """Cut rows into columns.

    Args:
        octets: uint8, whole packets among them, one a row.
        starts: (rows,), where each packet begins.
        width: columns of a row.
        wanted: those to give.
    """
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
            columns[column] = _gather(octets, begin, position, null)
    return columns


def _gather(
    octets: np.ndarray, begin: np.ndarray, end: np.ndarray, null: np.ndarray
) -> pa.BinaryArray:
    """The slices [begin, end) of a block as one array; Arrow copies them in C.

    Every other element of an array over the whole block is a slice that is wanted.
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
