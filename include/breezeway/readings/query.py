"""The check of a query for readings: one SELECT. It needs no connection, so a form can use it."""

import logging
import re

from sqlglot import Token, TokenType, exp, parse, tokenize
from sqlglot.errors import SqlglotError

from breezeway.core.errors import UsageError

DIALECTS = {"mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}
"""The SQL dialect for each scheme of a store's address."""

FILE_FUNCTIONS = frozenset({"load_file", "load_extension", "readfile", "writefile"})
"""They read or write files of the server, and no query for readings needs them."""

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # unknown statements are refused below


def dialect_of(address: str) -> str:
    """`mysql` or `sqlite`, from a SQLAlchemy address.

    Raises:
        UsageError: another kind of store.
    """
    scheme = address.partition(":")[0]
    dialect = DIALECTS.get(scheme.partition("+")[0])
    if dialect is None:
        raise UsageError(
            "BREEZEWAY_RAW_URL: expected mysql+pymysql://…, mariadb+pymysql://… or sqlite:///…, "
            f"got {scheme[:40]!r}."
        )
    return dialect


def check_query(query: str, address: str) -> str:
    """Make sure that a query is exactly one SELECT that only reads.

    WITH … SELECT and UNION are allowed. The check does not know which tables and columns exist. It
    is not what protects the store: the engine does that when the query runs.

    Args:
        query: the SQL text.
        address: SQLAlchemy address of the store, for its dialect.

    Returns:
        The statement, unchanged but without its final semicolon.

    Raises:
        UsageError: anything else; the message says what was found.
    """
    dialect = dialect_of(address)
    try:
        tokens = tokenize(query, dialect=dialect)
        # A semicolon here is only a comment after the last statement.
        parsed = parse(query, dialect=dialect)
        statements = [s for s in parsed if s and not isinstance(s, exp.Semicolon)]
    except (SqlglotError, RecursionError) as error:
        # The parser does not know MySQL's INTO OUTFILE.
        into = re.search(r"(?i)\binto\b", query)
        hint = " (a SELECT INTO writes, and is refused)" if into else ""
        reason = _first_line(error)
        raise UsageError(
            f"--query: expected one SELECT; as {dialect} SQL it does not parse{hint}: {reason}"
        ) from None
    if not statements:
        raise UsageError("--query is empty: expected one SELECT.")
    if len(statements) > 1:
        raise UsageError(f"--query: expected one SELECT, got {len(statements)} statements.")
    statement = statements[0]
    if not isinstance(statement.unnest(), exp.Select | exp.SetOperation):
        raise UsageError(f"--query: expected one SELECT, got {_kind(statement, tokens)}.")
    if any(
        comment.lstrip().startswith(("!", "M!")) for token in tokens for comment in token.comments
    ):
        raise UsageError("--query: a comment of the form /*! … */ would be executed; leave it out.")
    for node in statement.walk():
        _refuse_more_than_reading(node)
    semicolon = next((t for t in tokens if t.token_type == TokenType.SEMICOLON), None)
    return query[: semicolon.start if semicolon else None].strip()


def _refuse_more_than_reading(node: exp.Expr) -> None:
    if isinstance(node, exp.Lock):
        raise UsageError("--query: a SELECT that locks rows (FOR UPDATE, FOR SHARE) is refused.")
    if isinstance(node, exp.Into):
        raise UsageError("--query: a SELECT INTO writes; leave the INTO out.")
    if isinstance(node, exp.DML | exp.DDL | exp.Command) and not isinstance(node, exp.Query):
        raise UsageError(f"--query: expected one SELECT, got {node.key.upper()} inside it.")
    if isinstance(node, exp.Func):
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
        if name.lower() in FILE_FUNCTIONS:
            raise UsageError(f"--query: the function {name.upper()} reads files and is refused.")


def _kind(statement: exp.Expr, tokens: list[Token]) -> str:
    written = tokens[0].text.upper()
    return statement.key.upper() if isinstance(statement, exp.DML) else repr(written)


def _first_line(error: Exception) -> str:
    # The parser marks the place of the error with terminal colours.
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text.replace("\x1b[4m", "").replace("\x1b[0m", "").strip()
