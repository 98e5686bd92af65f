"""What a user's query may do: SELECTs of daily work run, hostile ones are refused or end."""

from datetime import datetime, timedelta

import psycopg
import pyarrow as pa
import pytest
from pymysql.err import MySQLError
from sqlalchemy import make_url

from breezeway.core.errors import BreezewayError, UsageError
from breezeway.readings import mysql as mysql_module
from breezeway.readings import postgres as postgres_module
from breezeway.readings import postgres_rows
from breezeway.readings import store as store_module
from breezeway.readings.postgres_tokens import called_names, split
from breezeway.readings.query import check_query
from breezeway.readings.store import RawStore
from tests.fixtures.fuzz import Round, rounds

ALL = """
SELECT * FROM readings
SELECT device, time, payload FROM readings WHERE time >= '2026-01-01' AND time < '2026-01-03'
SELECT device, time, payload FROM readings WHERE device IN ('mill-0', 'mill-1') ORDER BY time
SELECT device, time, payload FROM readings WHERE time BETWEEN '2026-01-01' AND '2026-01-03'
SELECT r.* FROM readings AS r JOIN labels AS l ON l.device = r.device AND r.time >= l.start_time
SELECT r.device, r.time, payload, CASE WHEN l.device IS NULL THEN 0 ELSE 1 END AS label \
FROM readings r LEFT JOIN labels l ON l.device = r.device AND r.time < l.end_time
SELECT * FROM readings r WHERE EXISTS (SELECT 1 FROM labels l WHERE l.device = r.device)
SELECT * FROM readings WHERE device NOT IN (SELECT device FROM labels)
WITH late AS (SELECT * FROM readings WHERE time > '2026-01-01 12:03') SELECT * FROM late
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) \
SELECT device, time, payload FROM readings JOIN n ON n.i = readings.id
SELECT device, time, payload FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY device \
ORDER BY time DESC) AS place FROM readings) AS ranked WHERE place <= 3
SELECT device, time, payload FROM (SELECT *, LAG(time) OVER (PARTITION BY device ORDER BY time) \
AS earlier FROM readings) AS t WHERE earlier IS NOT NULL
SELECT *, AVG(id) OVER (ORDER BY time ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) FROM readings
SELECT * FROM readings WHERE id < 4 UNION ALL SELECT * FROM readings WHERE id > 6
SELECT device, time, payload FROM readings EXCEPT SELECT 'x', '2026-01-01', 'x'
SELECT device, MAX(time) AS time, MIN(payload) AS payload FROM readings GROUP BY device \
HAVING COUNT(*) > 1
SELECT DISTINCT device, time, payload FROM readings LIMIT 3 OFFSET 2
SELECT UPPER(TRIM(device)) AS device, time, REPLACE(payload, 'e', 'E') AS payload FROM readings
SELECT device, time, COALESCE(NULLIF(payload, ''), '{}') AS payload FROM readings -- the rest
"""
BOTH = """
SELECT device, time, payload FROM readings WHERE JSON_EXTRACT(payload, '$.n') > 3
SELECT device, time, JSON_OBJECT('n', id, 'late', id > 4) AS payload FROM readings
SELECT device, time, JSON_OBJECT('k', device = 'mill-0') AS payload FROM readings
SELECT device, time, JSON_SET(payload, '$.extra', 1) AS payload FROM readings
SELECT device, time, SUBSTR(payload, INSTR(payload, ':') + 1) AS payload FROM readings
"""
SQLITE = """
SELECT r.device, r.time, '' || j.value AS payload FROM readings r, json_each(r.payload, '$.s') j
SELECT device, time, (SELECT json_group_array(value * 2) FROM json_each(payload, '$.s')) \
AS payload FROM readings
SELECT device, time, json_group_object(id, payload) AS payload FROM readings GROUP BY device
SELECT r.device, r.time, t.fullkey AS payload FROM readings r, json_tree(r.payload) AS t
SELECT device, datetime(time, '+1 hour') AS time, payload -> '$.s' AS payload FROM readings
SELECT device, strftime('%Y-%m-%d %H:00:00', time) AS time, group_concat(payload, ';') AS payload \
FROM readings GROUP BY 1, 2
SELECT * FROM readings WHERE device GLOB 'mill-[01]' AND payload LIKE '%"n"%'
SELECT "device", [time], `payload` FROM "readings" WHERE julianday(time) > 2461000
SELECT device, printf('%s', time) AS time, payload FROM readings INDEXED BY readings_time \
WHERE time > ''
SELECT *, sum(id) FILTER (WHERE id > 2) OVER w FROM readings \
WINDOW w AS (PARTITION BY device ORDER BY time)
"""
POSTGRES = """
SELECT device, time, payload FROM readings WHERE (payload::jsonb ->> 'n')::int > 3
SELECT device, time, payload::jsonb -> 's' AS payload FROM readings WHERE payload::jsonb ? 'n'
SELECT device, time, jsonb_build_object('n', id, 'late', id > 4) AS payload FROM readings
SELECT r.device, r.time, j.value AS payload FROM readings r, \
LATERAL jsonb_array_elements_text(r.payload::jsonb #> '{s}') AS j(value)
SELECT device, date_trunc('hour', time) AS time, string_agg(payload, ';' ORDER BY id) AS payload \
FROM readings GROUP BY 1, 2
SELECT DISTINCT ON (device) device, time, payload FROM readings ORDER BY device, time DESC
SELECT device, time + INTERVAL '1 hour' AS time, payload FROM readings
SELECT device, time AT TIME ZONE 'Asia/Kolkata' AS time, payload FROM readings
SELECT "device", "time", $tag$ it's ; 'n' $tag$ AS payload FROM "readings" -- all
SELECT device, time, E'it\\'s \\\\ /* n */' || payload AS payload FROM readings /* a * / b */
SELECT device, time, 'a\\' AS payload FROM readings WHERE payload <> '\\' AND id = 0x3
SELECT device, time, payload FROM readings WHERE device ~ '^mill-[01]$' AND payload ~* '"N"'
SELECT device, time, payload FROM readings WHERE random() < 2 ORDER BY random()
SELECT device, time, payload FROM readings TABLESAMPLE BERNOULLI (100)
SELECT device, time, substring(payload FROM 2 FOR 3) AS payload FROM readings
SELECT device, MAX(time) FILTER (WHERE id > 1) AS time, \
(array_agg(payload ORDER BY time DESC))[1] AS payload FROM readings GROUP BY device
SELECT r.device, r.time, r.payload FROM readings AS r WHERE (r.device, r.time) IN \
(SELECT device, max(time) FROM readings GROUP BY device)
SELECT 'machine' AS device, g AS time, '' AS payload \
FROM generate_series(timestamp '2026-01-01', '2026-01-02', '1h') AS g
(SELECT device, time, payload FROM readings) UNION (SELECT 'x', now(), 'x') ORDER BY time
WITH late AS MATERIALIZED (SELECT * FROM readings) TABLE late
"""
MARIADB = """
SELECT device, MAX(time) AS time, JSON_OBJECTAGG(id, payload) AS payload FROM readings \
GROUP BY device
SELECT device, MAX(time) AS time, JSON_ARRAYAGG(id ORDER BY id LIMIT 3) AS payload FROM readings \
GROUP BY device
SELECT r.device, r.time, j.v AS payload FROM readings r, \
JSON_TABLE(r.payload, '$.s[*]' COLUMNS (v VARCHAR(20) PATH '$')) AS j
SELECT device, time + INTERVAL 1 HOUR AS time, payload FROM readings
SELECT device, DATE_FORMAT(time, '%Y-%m-%d %H:00:00') AS time, \
GROUP_CONCAT(DISTINCT payload ORDER BY id SEPARATOR ';') AS payload FROM readings GROUP BY 1, 2
SELECT * FROM readings WHERE device REGEXP '^mill-[01]$' AND payload RLIKE '"n"'
SELECT device, time, REGEXP_REPLACE(payload, '[^0-9]+', ' ') AS payload FROM readings
SELECT device, time, CONCAT_WS(',', id, IF(id > 2, 'late', 'early')) AS payload FROM readings # all
(SELECT device, time, payload FROM readings) UNION (SELECT 'x', NOW(), 'x') ORDER BY time
SELECT `device`, `time`, CONVERT(payload USING utf8mb4) AS payload FROM `readings` \
FORCE INDEX (readings_time) WHERE time > DATE_SUB('2026-01-09', INTERVAL 30 DAY)
SELECT device, FROM_UNIXTIME(FLOOR(UNIX_TIMESTAMP(time) / 60) * 60) AS time, payload FROM readings
SELECT * FROM readings WHERE TIMESTAMPDIFF(DAY, time, {d '2026-02-01'}) < 99
"""
DAILY = [
    pytest.param(name, query, id=f"{name}-{number}")
    for name, texts in (
        ("sqlite", ALL + BOTH + SQLITE),
        ("mariadb", ALL + BOTH + MARIADB),
        ("postgres", ALL + POSTGRES),
    )
    for number, query in enumerate(filter(None, texts.splitlines()))
]

TEXT = "'x'"
READING = "SELECT 'a' AS device, '2026-01-01' AS time, {} AS payload"
FIVE = "(SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5)"
JOIN = f"(SELECT COUNT(*) FROM {', '.join(f'{FIVE} AS t{number}' for number in range(14))})"
NINE = "json_each('[1,2,3,4,5,6,7,8,9]')"
ENDLESS = [
    ("sqlite", f"'' || {JOIN}"),
    ("sqlite", "(WITH RECURSIVE n AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT COUNT(*) FROM n)"),
    ("sqlite", f"(SELECT COUNT(*) FROM {', '.join(f'{NINE} AS j{n}' for n in range(12))})"),
    ("mariadb", f"CONCAT({JOIN})"),
    ("mariadb", "CONCAT(SLEEP(600))"),
    ("mariadb", "(SELECT JSON_ARRAYAGG(a.seq) FROM seq_1_to_99999 a, seq_1_to_99999 b)"),
    ("mariadb", "CONCAT(MASTER_GTID_WAIT('0-1-999', 600))"),
    ("postgres", f"CONCAT({JOIN})"),
    (
        "postgres",
        "CONCAT((WITH RECURSIVE n AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT COUNT(*) FROM n))",
    ),
]

HOSTILE = [
    *("SLEEP(600)", "BENCHMARK(1e12, MD5('a'))", "GET_LOCK('a', 600)", "RELEASE_ALL_LOCKS()"),
    *("LOAD_FILE('/etc/passwd')", "load_extension('x')", "readfile('/etc/passwd')"),
    *("fts3_tokenizer('simple')", "hex(zeroblob(1000000000))", "MASTER_GTID_WAIT('0-1-9', 600)"),
    *("1 INTO OUTFILE 'x'", "1 INTO DUMPFILE 'x'", "1 INTO @x", "1 FROM readings FOR UPDATE"),
    *("1 FROM readings LOCK IN SHARE MODE", "1; DELETE FROM readings", "1 /*! , SLEEP(600) */"),
    *("pg_sleep(600)", "(SELECT pg_sleep(600))", "pg_advisory_lock(1)", "lo_import('/etc/passwd')"),
    *("pg_read_file('/etc/passwd')", "nextval('readings_id_seq')", "TREAT(600 AS pg_sleep)"),
    *("set_config('transaction_read_only', 'off', false)", "1 FROM readings FOR NO KEY UPDATE"),
    *("query_to_xml('SELECT pg_sleep(600)', true, true, '')", "pg_notify('a', 'b')"),
    *("1) TO PROGRAM 'touch /tmp/x' --", "$$open", "1 /* /* */", 'U&"pg\\005fsleep"(600)'),
    *("(((", "'open", "(" * 3000 + "1" + ")" * 3000, f"'' {'|| 1' * 30_000}", JOIN),
]


def filled(address, query_seconds=60.0):
    store = RawStore(address, query_seconds)
    store.create()
    start = datetime(2026, 1, 1, 12)
    rows = [
        {
            "device": f"mill-{number % 3}",
            "time": start + timedelta(minutes=number),
            "payload": f'{{"n": {number}, "s": [{number}, 2]}}',
        }
        for number in range(9)
    ]
    fault = {"device": "mill-0", "start": start, "end": start + timedelta(hours=1)}
    store.append(pa.Table.from_pylist(rows), labels=pa.Table.from_pylist([fault]))
    return store


@pytest.fixture
def address_of(request, tmp_path):
    def address(name):
        if name == "sqlite":
            return f"sqlite:///{tmp_path / 'raw.db'}"
        if name == "postgres":
            return request.getfixturevalue("postgres").database("queries")
        return request.getfixturevalue("mariadb").database("queries").url

    return address


@pytest.mark.parametrize(("name", "query"), DAILY)
def test_a_select_of_daily_work_runs(address_of, name, query):
    assert sum(chunk.num_rows for chunk in filled(address_of(name)).stream(query)) > 0


@pytest.mark.parametrize(("name", "payload"), ENDLESS)
def test_the_engine_ends_a_query_that_takes_too_long(address_of, monkeypatch, name, payload):
    store = filled(address_of(name), query_seconds=1)
    monkeypatch.setattr(store_module, "check_query", lambda query, _: query)
    with pytest.raises(UsageError, match=r"ended after 1 s \(BREEZEWAY_QUERY_SECONDS\); select"):
        list(store.stream(READING.format(payload)))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("sqlite", "(WITH RECURSIVE n AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT * FROM n)"),
        ("mariadb", "seq_1_to_999999999"),
        ("postgres", "generate_series(1, 99999) AS t, generate_series(1, 99999)"),
    ],
)
def test_the_limit_of_time_holds_in_the_midst_of_the_rows(address_of, name, rows):
    chunks = filled(address_of(name), 1).stream(f"{READING.format(TEXT)} FROM {rows} AS s")
    next(chunks)
    with pytest.raises(UsageError, match="BREEZEWAY_QUERY_SECONDS"):
        for _ in chunks:
            pass


def test_a_server_that_does_not_end_a_query_is_left(address_of, monkeypatch):
    monkeypatch.setattr(mysql_module, "SILENCE_SECONDS", 1)
    store = filled(address_of("mariadb"), 1)
    text = "REPEAT('a', 120000)"
    locate = f"CONCAT(LOCATE(BINARY CONCAT({text}, 'b'), BINARY CONCAT({text}, {text})))"
    with pytest.raises(UsageError, match=r"was silent; .*BREEZEWAY_QUERY_SECONDS"):
        list(store.stream(READING.format(locate)))


@pytest.mark.parametrize("payload", HOSTILE)
def test_a_hostile_query_is_an_error_that_is_not_retried(address, payload):
    with pytest.raises(BreezewayError) as caught:
        list(filled(address, 1).stream(READING.format(payload)))
    assert not caught.value.retry
    assert len(list(filled(address).stream("SELECT * FROM readings"))) == 1


@pytest.mark.parametrize("function", ["fts3_tokenizer('simple')", "load_extension('x')"])
def test_sqlite_itself_refuses_a_function(address_of, monkeypatch, function):
    store = filled(address_of("sqlite"))
    monkeypatch.setattr(store_module, "check_query", lambda query, _: query)
    with pytest.raises(UsageError, match="not authorized to use function"):
        list(store.stream(READING.format(function)))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sqlite_master SET sql = 'x'",
        "INSERT INTO json_each VALUES (1)",
        "SELECT '' AS device, '' AS time, name AS payload FROM pragma_table_info('readings')",
    ],
)
def test_json_each_opens_no_other_way(address_of, monkeypatch, statement):
    store = filled(address_of("sqlite"))
    monkeypatch.setattr(store_module, "check_query", lambda query, _: query)
    with pytest.raises(UsageError, match=r"not authorized|may not be modified"):
        list(store.stream(statement))


def test_sqlite_bounds_the_memory_of_a_row(address_of):
    values = ", ".join(f"hex(zeroblob(7000000)) AS v{number}" for number in range(100))
    with pytest.raises(UsageError, match="more than 128 MiB of memory; select fewer"):
        list(filled(address_of("sqlite")).stream(f"{READING.format(TEXT)}, {values}"))


def test_sqlite_bounds_a_pattern(address_of):
    query = f"SELECT * FROM readings WHERE payload LIKE '%{'a' * 1001}'"
    with pytest.raises(UsageError, match="pattern too complex"):
        list(filled(address_of("sqlite")).stream(query))


OWN = [
    "CREATE FUNCTION reads(text) RETURNS text STABLE LANGUAGE sql AS 'SELECT $1'",
    "CREATE FUNCTION may_write(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
    "CREATE FUNCTION of_a_row(readings) RETURNS text LANGUAGE sql AS 'SELECT $1.payload'",
    f"CREATE FUNCTION {'long' * 16} (text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
    "CREATE FUNCTION \"ÉÉ\" (text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
]


@pytest.mark.parametrize(
    "payload",
    [
        "pg_sleep(600)",
        "PG_CATALOG . /* x */ PG_Sleep -- y\n (600)",
        '"pg_catalog"."pg_sleep"(600)',
        "pg_try_advisory_lock_shared(1)",
        "pg_stat_reset()",
        "'x' FROM pg_ls_waldir()",
        "'x' FROM ROWS FROM (pg_ls_dir('.'), generate_series(1, 2)) AS t",
        "currval('readings_id_seq')",
        "lo_get(1)",
        "setseed(0.5)",
        "cursor_to_xml('c', 1, true, true, '')",
        "may_write('x')",
        "r.of_a_row FROM readings AS r",
        '(r) . "of_a_row" FROM readings AS r',
        f"{'LONG' * 17}('x')",
        "ÉÉ('x')",
    ],
)
def test_postgresql_says_which_functions_do_more_than_to_compute(address_of, monkeypatch, payload):
    store = filled(address_of("postgres"))
    with store._transaction() as connection:
        for statement in OWN:
            connection.exec_driver_sql(statement)
    assert list(store.stream(READING.format("reads('x')")))
    monkeypatch.setattr(store_module, "check_query", lambda query, _: query)
    with pytest.raises(UsageError, match=r"the function '.*' is volatile .* declare it STABLE"):
        list(store.stream(READING.format(payload)))


def test_a_server_of_postgresql_that_does_not_end_a_query_is_left(address_of, monkeypatch):
    monkeypatch.setattr(postgres_module, "SILENCE_SECONDS", 1)
    monkeypatch.setattr(postgres_rows, "LEAVE_SECONDS", 1)
    store = filled(address_of("postgres"), 1)
    position = "CONCAT(position('b' || repeat('a', 150000) IN repeat('a', 300000)))"
    with pytest.raises(UsageError, match=r"was silent; .*BREEZEWAY_QUERY_SECONDS"):
        list(store.stream(READING.format(position)))


LOCK = "GET_LOCK('mine', 0)"
CALLS = [LOCK, "`GET_LOCK`('mine', 0)", 'GET_LOCK("mine",0)', "get_lock /*x*/ (0x6d696e65, 0)"]
OPENINGS = ["", "1,", "t.begin execute,", "1--", "1-", "1 /", "'", "1 #", "1 -- ", "(", "{x ", "/*"]
ENDS = ["", " FROM (SELECT 1 AS begin, 2 AS a) AS t", "'", "*/", "}", "\n", "\n'", " #'", "-- '"]
PIECES = [
    *(" ", "\n", "\r", "\t", "\x0b", "\x0c", "\xa0", "\u2003", "\x00", "\x01", "\x1c", "\x85"),
    *("--", "-- ", "--\x01", "#", "/*", "*/", "/**/", "/*!", "/*M!", "/*+", "/*/", "//"),
    *(
        "{",
        "}",
        "{#",
        "#}",
        "{{",
        "{%",
        "%}",
        "'",
        '"',
        "`",
        "\\",
        "\\'",
        "''",
        "N'",
        "x'",
        "_utf8",
    ),
    *("@", ":=", "begin ", "execute ", "show ", "call ", "fetch ", "a", "t.", ",", "(", ")", "."),
    *("1", "1e", "0x", "$$", "[", "]", ";", "*", "/", "-", "!", "~", "FROM t ", " AS ", "SELECT "),
    *("\\N", "||", "&&", "DUAL", "UNION SELECT ", "IF(", "é", "😀", "?", "%s"),
]


def odd_query(chance: Round, calls: list[str], pieces: list[str]) -> str:
    """A query that calls for a lock, among what parsers and servers may read in different ways."""
    before, after = (
        "".join(chance.choice(pieces) for _ in range(chance.randint(0, 5))) for _ in range(2)
    )
    call, opening, end = chance.choice(calls), chance.choice(OPENINGS), chance.choice(ENDS)
    return f"SELECT {opening}{before}{call}{after}{end}"


@pytest.mark.fuzz
def test_no_query_that_passes_the_check_takes_a_lock(mariadb):
    with mariadb.root() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        for chance in rounds(20_000):
            try:
                query = check_query(odd_query(chance, CALLS, PIECES), "mariadb")
            except UsageError:
                continue
            try:
                cursor.execute(query)
            except MySQLError:
                continue  # the server does not run it
            cursor.execute("SELECT IS_USED_LOCK('mine')")
            assert cursor.fetchone() == (None,), f"round {chance.number}: {query!r}"


POSTGRES_LOCK = "pg_advisory_lock(1)"
POSTGRES_CALLS = [
    POSTGRES_LOCK,
    '"pg_advisory_lock"(1)',
    "pg_catalog . PG_advisory_lock /*x*/ (1)",
    'U&"pg\\005fadvisory_lock"(1)',
    "TREAT(1 AS pg_advisory_lock)",
]
POSTGRES_PIECES = [
    *PIECES,
    *("E'", "e'\\''", "E'\\", "U&'", 'u&"', "B'", "N'", "'\n'", "E'a'\n'", "'a' -- c\n'"),
    *(
        "$$",
        "$a$",
        "$a",
        "a$a$",
        "$1",
        "/* /*",
        "*/ */",
        "--/*",
        "/*--",
        "::",
        "1.",
        ".5",
        "..",
        "$é$",
    ),
    *("@>", "->>", "?", "#", "{", "|", "&", "~", "TREAT(", " AS ", "::int", "::text", "ARRAY["),
]


@pytest.mark.fuzz
def test_no_query_that_passes_the_check_takes_a_lock_of_postgresql(postgres):
    url = make_url(postgres.database("fuzz"))
    _, options = url.get_dialect()().create_connect_args(url)
    ran = 0
    with psycopg.connect(**options, autocommit=True) as connection:
        connection.execute("SET standard_conforming_strings = on")
        connection.execute("SET default_transaction_read_only = on")
        for chance in rounds(20_000):
            try:
                query = check_query(
                    odd_query(chance, POSTGRES_CALLS, POSTGRES_PIECES), "postgresql"
                )
            except UsageError:
                continue
            if "pg_advisory_lock" in called_names(split(query)):
                continue  # the server says what it is
            try:
                connection.execute(query.encode(), prepare=True)
            except psycopg.Error:
                continue  # the server does not run it
            ran += 1
            locks = connection.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'")
            assert locks.fetchone() is None, f"round {chance.number}: {query!r}"
    assert ran
