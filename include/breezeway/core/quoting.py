"""Texts within other languages: strings of SQL, and JSON pointers."""

from collections.abc import Iterable


def sql_string(text: str) -> str:
    """A string of standard SQL, as SQLite, DuckDB and PostgreSQL read it.

    >>> print(sql_string("it's"))
    'it''s'
    """
    return "'" + text.replace("'", "''") + "'"


def json_pointer(keys: Iterable[str]) -> str:
    """A JSON pointer (RFC 6901) to the value below some keys.

    >>> json_pointer(["env", "m/s"])
    '/env/m~1s'
    """
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)
