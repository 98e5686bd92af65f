"""Rows off the wire are what PyMySQL makes of them, wherever the network cuts them."""

import hypothesis.strategies as st
import numpy as np
import pymysql
import pytest
from hypothesis import HealthCheck, example, given, seed, settings

from breezeway.readings import mysql_wire
from tests.fixtures.fuzz import rounds

hostile = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.sampled_from(["", "\0", "\N{ARABIC-INDIC DIGIT ONE}", '{"a":"\\"[{"}', "NULL", "1e-400"]),
    # around the size at which a length takes more bytes, and what looks like an end of rows
    st.integers(245, 260).map("x".__mul__),
    st.just("\xfe\xff\xfb\xfc\xfd"),
)
rows_of_three = st.lists(st.tuples(hostile, hostile, hostile), max_size=12)


@pytest.fixture(scope="module")
def server(mariadb):
    mariadb.database("wire")
    with mariadb.root() as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE wire.rows (id INT PRIMARY KEY AUTO_INCREMENT, "
            "a LONGTEXT, b LONGTEXT, c LONGTEXT) CHARACTER SET utf8mb4"
        )
    return mariadb


def read(server, wanted: set[int]) -> list[tuple]:
    connection = server.root()
    try:
        columns = mysql_wire.execute(connection, "SELECT a, b, c FROM wire.rows ORDER BY id")
        found: list[tuple] = []
        for block in mysql_wire.blocks(connection, len(columns), wanted):
            parts = [block[index].to_pylist() for index in sorted(wanted)]
            found += zip(*parts, strict=True)
        return found
    finally:
        connection.close()


def test_pymysql_is_as_the_reader_needs_it(server):
    """Its private parts that `mysql_wire` uses; a new version may have moved them."""
    with server.root() as connection:
        connection.query("SELECT 1 AS one", unbuffered=True)
        assert connection._result.unbuffered_active
        assert [field.name for field in connection._result.fields] == ["one"]
        assert connection._rfile.peek()
        assert hasattr(connection._rfile.raw, "readinto")
        assert connection._result._read_rowdata_packet_unbuffered() == (1,)
        assert connection._result._read_rowdata_packet_unbuffered() is None


@pytest.mark.fuzz
def test_rows_are_those_of_pymysql(server, monkeypatch):
    for chance in rounds(1):
        seed(chance.number)(rows_are_those_of_pymysql)(server, monkeypatch)


@settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
@given(
    rows=rows_of_three,
    read_bytes=st.sampled_from([1, 3, 64, 1 << 18]),
    block_bytes=st.sampled_from([1, 100, 1 << 20]),
)
@example(
    rows=[("x" * n, None, "y" * (131_070 - n)) for n in range(65_533, 65_538)],
    read_bytes=4096,
    block_bytes=1 << 20,
)
@example(rows=[], read_bytes=1, block_bytes=1)
@example(rows=[(None, None, None)] * 3, read_bytes=1, block_bytes=1)
@example(rows=[("x" * 251, "", None), ("", None, "x" * 253)], read_bytes=7, block_bytes=1 << 20)
def rows_are_those_of_pymysql(server, monkeypatch, rows, read_bytes, block_bytes):
    monkeypatch.setattr(mysql_wire, "READ_BYTES", read_bytes)
    monkeypatch.setattr(mysql_wire, "BLOCK_BYTES", block_bytes)
    with server.root() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM wire.rows")
        for row in rows:
            cursor.execute("INSERT INTO wire.rows (a, b, c) VALUES (%s, %s, %s)", row)
        cursor.execute("SELECT a, b, c FROM wire.rows ORDER BY id")
        expected = [tuple(v if v is None else v.encode() for v in row) for row in cursor]
    assert len(expected) == len(rows)
    assert read(server, {0, 1, 2}) == expected
    assert read(server, {0, 2}) == [(row[0], row[2]) for row in expected]


def test_a_row_of_16_mib_is_refused(server):
    with server.root() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM wire.rows")
        cursor.execute("INSERT INTO wire.rows (a) VALUES (REPEAT('x', 16777216))")
    with pytest.raises(pymysql.DataError, match="16 MiB"):
        read(server, {0})


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.binary(min_size=250, max_size=260),
            st.sampled_from([b"", b"\0" * 300, b"\0\0\0\1\0\0\0\2", b"x" * 65_536, b"x" * 70_000]),
        ),
        max_size=300,
    ),
    st.integers(0, 255),
    st.integers(0, 30),
)
@example([b"x" * 200] * 600, 250, 0)
@example([b"", b"x", b"x" * 65_536], 0, 0)
@example([b"x", b"x" * 65_536] * 2, 0, 5)
def test_packets_are_found_at_once_where_they_are_one_by_one(bodies, first, missing):
    stream = b"".join(
        len(body).to_bytes(3, "little") + bytes([(first + number) % 256]) + body
        for number, body in enumerate(bodies)
    )
    octets = np.frombuffer(stream[: max(0, len(stream) - missing)], np.uint8)
    starts, end = mysql_wire._find_packets(octets)
    expected, expected_end = mysql_wire._follow_packets(octets.data, 0)
    assert starts.tolist() == expected.tolist()
    assert end == expected_end


def test_an_error_after_many_rows_is_raised(server):
    connection = server.root()
    wrong = "(SELECT 1 UNION SELECT 2)"
    query = f"SELECT IF(seq < 50000, REPEAT('x', 200), {wrong}) FROM wire.seq_1_to_60000"
    mysql_wire.execute(connection, query)
    rows = 0
    with pytest.raises(pymysql.OperationalError, match="more than 1 row"):
        for block in mysql_wire.blocks(connection, 1, {0}):
            rows += len(block[0])
    assert rows > 40_000
    connection.close()
