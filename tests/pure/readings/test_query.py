import pytest

from breezeway.core.errors import UsageError
from breezeway.readings.postgres_tokens import called_names, split
from breezeway.readings.query import check_query

MYSQL = "mysql+pymysql://u:p@h/d"
POSTGRES = "postgresql+psycopg://u:p@h/d"
SQLITE = "sqlite:///x.db"


@pytest.mark.parametrize("address", [MYSQL, POSTGRES, SQLITE])
@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM readings",
        "select device, time, payload from readings where time >= '2026-01-01' limit 5",
        "WITH recent AS (SELECT * FROM readings) SELECT * FROM recent",
        "(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1",
        "SELECT '; DROP TABLE readings' AS payload",
        "SELECT '/*! no comment */' AS payload",
        "SELECT 1 -- and nothing else",
        "SELECT 'sleep (1), moved into hall 3, FOR UPDATE' AS payload",
        "SELECT sleep, a.benchmark FROM nights AS a",
        "SELECT JSON_OBJECT('k', x = 'y') FROM readings",
    ],
)
def test_one_select_is_fine(query, address):
    assert check_query(query, address) == query


@pytest.mark.parametrize(
    "query", ["SELECT 1;", " SELECT 1 ; ", "SELECT 1; -- done", "SELECT 1;;", "; SELECT 1"]
)
def test_the_last_semicolon_goes(query):
    assert check_query(query, SQLITE) == "SELECT 1"


@pytest.mark.parametrize("address", [MYSQL, POSTGRES, SQLITE])
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "empty"),
        (" ; ", "empty"),
        ("-- nothing", "empty"),
        ("INSERT INTO readings VALUES (1)", "got 'INSERT'"),
        ("UPDATE readings SET label = 1", "got 'UPDATE'"),
        ("DELETE FROM readings", "got 'DELETE'"),
        ("WITH x AS (SELECT 1) DELETE FROM readings", "got 'DELETE'"),
        ("REPLACE INTO readings VALUES (1)", "got 'REPLACE'"),
        ("CREATE TABLE x AS SELECT 1", "got 'CREATE'"),
        ("DROP TABLE readings", "got 'DROP'"),
        ("TRUNCATE TABLE readings", "got 'TRUNCATE'"),
        ("SET GLOBAL x = 1", "got 'SET'"),
        ("CALL wipe()", "got 'CALL'"),
        ("PRAGMA writable_schema = 1", "got 'PRAGMA'"),
        ("EXPLAIN SELECT 1", "got 'EXPLAIN'"),
        ("VALUES (1)", "got 'VALUES'"),
        ("BEGIN", "got 'BEGIN'"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("SELECT 1; DROP TABLE readings", "2 statements"),
        ("SELECT * FROM readings FOR UPDATE", "locks rows"),
        ("SELECT 1 UNION SELECT 2 FOR UPDATE", "locks rows"),
        ("SELECT payload INTO OUTFILE '/tmp/x' FROM readings", "INTO writes"),
        ("SELECT * FROM readings INTO OUTFILE '/tmp/x'", "INTO writes"),
        ("SELECT LOAD_FILE('/etc/passwd') AS payload", "LOAD_FILE"),
        ("SELECT * FROM (SELECT load_extension('x')) AS y", "LOAD_EXTENSION"),
        ("SELECT SLEEP(5)", "SLEEP keeps the store waiting"),
        ("SELECT Sleep/* so */\n(5)", "SLEEP keeps"),
        ("SELECT 1 FROM (SELECT BENCHMARK(1e9, MD5('a'))) AS x", "BENCHMARK keeps"),
        ("SELECT GET_LOCK('x', 9)", "GET_LOCK takes or frees locks"),
        ("SELECT fts3_tokenizer('simple')", "FTS3_TOKENIZER shows"),
        ("SELECT 'a", "not closed"),
        ("give me everything", "SELECT"),
    ],
)
def test_all_else_is_refused_with_a_reason(query, said, address):
    with pytest.raises(UsageError, match="--query") as caught:
        check_query(query, address)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT 1 /*! INTO OUTFILE '/tmp/x' */", "would be executed"),
        ("SELECT 1 /*M!100000 INTO OUTFILE '/tmp/x' */", "would be executed"),
        ("SELECT /*+ MAX_EXECUTION_TIME(0) */ 1", "would be executed"),
        ("SELECT 1--\xa0x, SLEEP(5)", "not what the server would read"),
        ("SELECT 1 --\x01, SLEEP(5)", "not what the server would read"),
        ("SELECT {# x SLEEP(5) } #}", "not what the server would read"),
        ("SELECT {# \n x SLEEP(5) }", "not closed"),
        ("SELECT SLEEP\x0b(5)", "not what the server would read"),
        ("SELECT # \r ' \n SLEEP(5) # '", "SLEEP keeps"),
        ("SELECT t.begin execute, SLEEP(5) FROM (SELECT 1 AS begin) AS t", "would read"),
        ("SELECT 1--SLEEP(5)", "SLEEP keeps"),
    ],
)
def test_what_mysql_reads_in_another_way_is_refused(query, said):
    with pytest.raises(UsageError, match="--query") as caught:
        check_query(query, MYSQL)
    assert said in str(caught.value)


@pytest.mark.parametrize("address", [MYSQL, SQLITE])
def test_a_function_in_backticks_is_one(address):
    with pytest.raises(UsageError, match="SLEEP keeps"):
        check_query("SELECT `sleep` (5)", address)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT E'a'\n'\\' || ' , pg_sleep(9) --'", "beside each other"),
        ("SELECT 'a' /* x */ 'b'", "beside each other"),
        ('SELECT U&"pg\\005fsleep"(9)', "in another way"),
        ("SELECT U&'a'", "in another way"),
        ("SELECT 1 /* /* */ , pg_sleep(9) */", "in another way"),
        ("SELECT $1", "in another way"),
        ("SELECT $a$ pg_sleep(9) $b$", "in another way"),
        ("SELECT 1pg_sleep(9)", "in another way"),
        ("SELECT 'a\0'", "not a character"),
        ("SELECT 'a\ud800'", "not a character"),
        ("SELECT TREAT(9 AS pg_sleep)", "TREAT calls any function"),
        ('SELECT "PG_SLEEP" /* */ (9)', "PG_SLEEP keeps the store waiting"),
        ("SELECT 1 FROM readings FOR NO KEY UPDATE", "locks rows"),
        ("WITH x AS (SELECT 1) MERGE INTO readings USING x ON true", "got 'MERGE'"),
    ],
)
def test_what_postgresql_may_read_in_another_way_is_refused(query, said):
    with pytest.raises(UsageError, match=said):
        check_query(query, POSTGRES)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT $x$; DELETE FROM readings$x$ AS payload",
        "SELECT $$it's$$ AS payload, a$b$c AS time FROM t",
        "SELECT E'it\\'s' AS payload -- ; DELETE",
        "SELECT 'a\\' AS payload, \"into\" FROM t",
        "SELECT payload::jsonb #>> '{a,b}' AS payload FROM t WHERE payload @> '{}' AND n = 1.5e-3",
    ],
)
def test_what_postgresql_reads_in_one_way_is_fine(query):
    assert check_query(query, POSTGRES) == query


def test_the_names_that_postgresql_may_call():
    query = """SELECT a.b, lower ( x ), "Q""q"(1), $$no(1)$$, 'no(1)' -- no(1)
        FROM pg_catalog . PG_LS_DIR /* no(1) */ ('.') WHERE count IN (1) AND ÉA(1) < 2"""
    names = ["b", "in", "lower", "pg_ls_dir", 'q"q', "Éa", "éa"]
    assert called_names(split(query)) == names
    assert called_names(split(f"SELECT {'é' * 40}(1)")) == ["é" * 31]


def test_attach_is_refused():
    with pytest.raises(UsageError, match="ATTACH"):
        check_query("ATTACH 'x.db' AS x", SQLITE)


def test_another_kind_of_store_is_named():
    with pytest.raises(UsageError, match="'oracle'"):
        check_query("SELECT 1", "oracle://u:secret@h/d")
