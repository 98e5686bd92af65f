"""The check of a query for readings: one SELECT. It needs no connection, so a form can use it.

It does not parse: which SELECT is valid the engine decides, in a session that only reads. The
check refuses what such a session would still do: write files, take locks, wait.
"""

import re
from itertools import groupby

from breezeway.core.errors import UsageError
from breezeway.readings import postgres_tokens
from breezeway.readings.postgres_tokens import Token

DIALECTS = {
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgresql": "postgresql",
    "sqlite": "sqlite",
}
"""The SQL dialect for each scheme of a store's address."""

REFUSED_FUNCTIONS = {
    **dict.fromkeys(
        (
            *("load_file", "load_extension", "readfile", "writefile", "edit"),
            *("pg_read_file", "pg_read_binary_file", "pg_ls_dir", "lo_import", "lo_export"),
        ),
        "reads or writes files",
    ),
    **dict.fromkeys(
        (
            *("sleep", "benchmark", "pg_sleep", "pg_sleep_for", "pg_sleep_until"),
            "master_pos_wait",
            "source_pos_wait",
            "master_gtid_wait",
            "wait_for_executed_gtid_set",
            "wait_until_sql_thread_after_gtids",
        ),
        "keeps the store waiting",
    ),
    **dict.fromkeys(
        (
            *("get_lock", "release_lock", "release_all_locks"),
            *("pg_advisory_lock", "pg_advisory_xact_lock", "pg_try_advisory_lock"),
        ),
        "takes or frees locks of the store",
    ),
    **dict.fromkeys(("sys_exec", "sys_eval", "sys_set"), "runs commands on the server"),
    **dict.fromkeys(("pg_terminate_backend", "pg_cancel_backend"), "ends the work of others"),
    **dict.fromkeys(
        (
            *("dblink", "dblink_exec", "query_to_xml", "ts_stat", "ts_rewrite", "xpath_table"),
            *("crosstab", "crosstab2", "crosstab3", "crosstab4", "crosstab_hash", "connectby"),
        ),
        "runs a text as a query",
    ),
    "set_config": "changes the settings of the session",
    "treat": "calls any function that PostgreSQL has",
    "fts3_tokenizer": "shows where code is in memory",
}
"""Functions that no query for readings needs, and what each does that a session may do though it
cannot write. PostgreSQL has hundreds of these and knows them itself: `postgres` asks it."""

_CALL = re.compile(rf"(?i)(?<![a-z_$])({'|'.join(REFUSED_FUNCTIONS)})[`\"\]]?\s*\(")
_LOCK = re.compile(
    r"(?i)\bFOR\s+(NO\s+KEY\s+UPDATE|KEY\s+SHARE|UPDATE|SHARE)\b|\bLOCK\s+IN\s+SHARE\b"
)
_VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE")

# What MySQL and MariaDB take for space, comments and tokens. Of comments that others see, such as
# `--x`, /*! x */ or {# x #}, they run the content.
_MYSQL_GAP = re.compile(
    r"""(?x)
    (?: [ \t\r\n]++ | /\*(?![!+]|M!)(?:[^*]|\*(?!/))*+\*/ | \#[^\n]*+\n | --(?=[ \t\r\n])[^\n]*+\n
    )*+
    """
)
_MYSQL_TOKEN = re.compile(
    r"""(?xis)
    [nxb]?(?:'(?:[^'\\]|\\.|'')*+' | "(?:[^"\\]|\\.|"")*+")
    | `(?:[^`]|``)*+`
    | (?:(?!/\*|--)(?:[^'"`\#\s\x00-\x1f\x7f] | [ \t\r\n]))++
    """
)


def dialect_of(address: str) -> str:
    """`mysql`, `postgresql` or `sqlite`, from a SQLAlchemy address.

    Raises:
        UsageError: another kind of store.
    """
    scheme = address.partition(":")[0]
    dialect = DIALECTS.get(scheme.partition("+")[0])
    if dialect is None:
        raise UsageError(
            "BREEZEWAY_RAW_URL: expected mysql+pymysql://…, mariadb+pymysql://…, "
            f"postgresql+psycopg://… or sqlite:///…, got {scheme[:40]!r}."
        )
    return dialect


def check_query(query: str, address: str) -> str:
    """Make sure that a query is exactly one SELECT, and does no more than read tables.

    WITH … SELECT and UNION are allowed. The check knows neither the grammar nor tables and columns:
    the engine names such errors when the query runs, and refuses every write.

    Args:
        query: the SQL text.
        address: SQLAlchemy address of the store, for its dialect.

    Returns:
        The statement, unchanged but without its final semicolon.

    Raises:
        UsageError: anything else; the message says what was found.
    """
    dialect = dialect_of(address)
    tokens = _tokens(query, dialect)
    parts = groupby(tokens, lambda token: token.text == ";")
    statements = [list(part) for is_end, part in parts if not is_end]
    if not statements:
        raise UsageError("--query is empty: expected one SELECT.")
    _expect_select([token.text.upper() for token in statements[0]])
    if len(statements) > 1:
        raise UsageError(f"--query: expected one SELECT, got {len(statements)} statements.")
    start, end = _extent(query, tokens)
    if dialect == "mysql":
        _read_as_mysql_does(query[:end], statements[0])
    _refuse_more_than_reading(statements[0])
    return query[start:end].strip()


def _tokens(query: str, dialect: str) -> list[Token]:
    if dialect == "postgresql":
        return postgres_tokens.split(query)
    # Not for a process that reads what the contract names, without a query.
    from sqlglot import tokenize
    from sqlglot.errors import SqlglotError

    try:
        found = tokenize(query, dialect=dialect)
    except SqlglotError:
        raise UsageError(
            "--query: expected one SELECT; a quote or a comment in it is not closed."
        ) from None
    tokens = []
    for token in found:
        text = query[token.start : token.end + 1]
        kind = "string" if text.endswith(("'", '"')) else "name"
        tokens.append(Token(kind, text, token.start, token.end + 1))
    return tokens


def _extent(query: str, tokens: list[Token]) -> tuple[int, int]:
    """Where the first statement starts, and where its semicolon is."""
    ends = [token.start for token in tokens if token.text == ";"]
    start = next(token.start for token in tokens if token.text != ";")
    return start, next((end for end in ends if end > start), len(query))


def _expect_select(words: list[str]) -> None:
    first = next((number for number, word in enumerate(words) if word != "("), 0)
    found = words[first]
    if found == "WITH":
        depth = 0
        for word in words[first + 1 :]:
            depth += (word == "(") - (word == ")")
            if depth <= 0 and word in _VERBS:
                found = word
                break
    if found not in ("SELECT", "WITH"):
        raise UsageError(f"--query: expected one SELECT, got {found[:40]!r}.")


def _read_as_mysql_does(text: str, tokens: list[Token]) -> None:
    """Make sure that the server finds the same tokens, and no other between them."""
    end = tokens[0].start
    for token in tokens:
        _expect(_MYSQL_GAP, text, end, token.start)
        end = token.end
        _expect(_MYSQL_TOKEN, text, token.start, end)
    _expect(_MYSQL_GAP, f"{text}\n", end, len(text) + 1)


def _expect(pattern: re.Pattern[str], text: str, start: int, end: int) -> None:
    part = text[start:end]
    if pattern.fullmatch(part):
        return
    if re.search(r"/\*(?:M?!|\+)", part):
        raise UsageError(
            "--query: a comment of the form /*! … */ or /*+ … */ would be executed; leave it out."
        )
    raise UsageError(
        f"--query: {part.strip()[:40]!r} at character {start + 1} is not what the server would "
        "read; use plain spaces and line breaks, and /* … */ for comments."
    )


def _refuse_more_than_reading(tokens: list[Token]) -> None:
    # Strings do nothing.
    parts = ["''" if token.kind == "string" else token.text for token in tokens]
    if any(re.search(r"(?i)\binto\b", part) for part in parts if part[-1] not in '`]"'):
        raise UsageError("--query: a SELECT INTO writes; leave the INTO out.")
    text = " ".join(parts)
    if _LOCK.search(text):
        raise UsageError("--query: a SELECT that locks rows (FOR UPDATE, FOR SHARE) is refused.")
    if call := _CALL.search(text):
        does = REFUSED_FUNCTIONS[call[1].lower()]
        raise UsageError(
            f"--query: the function {call[1].upper()} {does} and is refused; leave it out."
        )
