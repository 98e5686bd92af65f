"""The tokens of a query as PostgreSQL reads it, and what the query calls.

The rules are those of its manual ("Lexical Structure"), with `standard_conforming_strings` on. What
is not a token by these rules is refused, and so are forms that hide a name or where a string ends:
`U&"…"`, `U&'…'`, a comment in a comment, two strings beside each other, `$1`.
"""

import re
from typing import NamedTuple

from breezeway.core.errors import UsageError

_START, _REST = r"A-Za-z_\x80-\U0010ffff", r"0-9A-Za-z_$\x80-\U0010ffff"
_TOKEN = re.compile(
    rf"""(?xs)
    (?P<gap> (?: [ \t\n\r\f\v]++ | --[^\n\r]*+ | /\*(?:[^*/]|\*(?!/)|/(?!\*))*+\*/ )++ )
    | (?P<string>
        [eE]'(?:[^'\\]|\\.|'')*+'
        | [bBnNxX]?'(?:[^']|'')*+'
        | \$(?P<tag>(?:[{_START}][{_REST.replace("$", "")}]*+)?)\$ .*? \$(?P=tag)\$
      )
    | (?P<quoted> "(?:[^"]|"")++" )
    | (?P<name> (?![uU]&['"]) [{_START}][{_REST}]*+ )
    | (?P<number>
        (?: 0[xXoObB][0-9a-fA-F_]++
          | (?: [0-9][0-9_]*+ (?:\.(?!\.)[0-9_]*+)? | \.[0-9][0-9_]*+ ) (?:[eE][-+]?[0-9]++)?
        ) (?![{_REST}])
      )
    | (?P<mark> (?!--|/\*|\.[0-9]) [-+*/<>=~!@\#%^&|?()\[\],;:.] )
    """
)
NAME_BYTES = 63
_NO_CHARACTER = re.compile(r"[\x00\ud800-\udfff]")


class Token(NamedTuple):
    """A part of a query: its `kind`, its text, and where it is."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def name(self) -> str:
        """What it names, as PostgreSQL writes it; for other tokens their text."""
        if self.kind == "quoted":
            return _cut(self.text[1:-1].replace('""', '"'))
        return _cut(_small(self.text))


def _small(text: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def _cut(name: str) -> str:
    """PostgreSQL takes no more of a name."""
    return name.encode()[:NAME_BYTES].decode(errors="ignore")


def split(query: str) -> list[Token]:
    """The tokens of a query, without spaces and comments.

    Raises:
        UsageError: a part of it is not a token, or may be read in two ways.
    """
    if odd := _NO_CHARACTER.search(query):
        raise UsageError(
            f"--query: {odd[0]!r} at character {odd.start() + 1} is not a character of a text."
        )
    tokens: list[Token] = []
    place = 0
    while place < len(query):
        found = _TOKEN.match(query, place)
        if found is None:
            raise UsageError(
                f"--query: PostgreSQL would read {query[place : place + 40]!r} at character "
                f"{place + 1} in another way, or a quote or a comment there is not closed; use "
                "plain quotes and comments."
            )
        place = found.end()
        # `lastgroup` is the outer one of two, as `string` around `tag`.
        kind = str(found.lastgroup)
        if kind == "gap":
            continue
        if kind == "string" and tokens and tokens[-1].kind == "string":
            raise UsageError(
                f"--query: two strings beside each other at character {found.start() + 1} would "
                "be read as one; join them with ||."
            )
        tokens.append(Token(kind, found[0], found.start(), found.end()))
    return tokens


def called_names(tokens: list[Token]) -> list[str]:
    """The names that may be those of functions, in small letters.

    A name is one if a parenthesis follows; or if a dot stands before, because `row.name` calls a
    function that takes a row. Beyond ASCII, which letters a server makes small depends on its
    encoding: such a name is there in both ways.
    """
    names = set()
    marks = ["", *(token.text for token in tokens), ""]
    for before, token, after in zip(marks, tokens, marks[2:], strict=False):
        if token.kind in ("name", "quoted") and (before == "." or after == "("):
            names |= {_small(token.name), token.name.lower()}
    return sorted(names)
