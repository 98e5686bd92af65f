"""Where a value stands in a JSON payload.

The paths of RFC 9535 (JSONPath) that lead to one value, without the `$.`: keys, places in a list,
and the element of a list that has one equal member. A path of keys alone needs no quotes around
them. `docs/decisions/json-paths.md` says why this is written by hand.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

MOST_SEGMENTS = 32
_NAME = r"[^.\[\]'\"]+"
_LITERAL = r"'[^']*'|\"[^\"]*\"|-?[0-9]+(?:\.[0-9]+)?|true|false|null"
_SEGMENT = re.compile(
    rf"\[\?\s*@(?P<inner>(?:\.{_NAME}?|\[[^\]]*\])+?)\s*==\s*(?P<literal>{_LITERAL})\s*\]"
    rf"|\[\s*(?P<index>-?[0-9]{{1,9}})\s*\]"
    rf"|\[\s*(?P<quoted>'[^']*'|\"[^\"]*\")\s*\]"
    rf"|(?:(?<=.)\.|^)(?P<name>{_NAME})"
)


class Where(NamedTuple):
    """The one element of a list in which the value at a path equals a literal."""

    path: tuple[str | int, ...]
    value: str | float | bool | None

    def __str__(self) -> str:
        dot = "." if isinstance(self.path[0], str) else ""
        return f"[?@{dot}{shown(self.path)}=={self.value!r}]"


Segment = str | int | Where
"""A key of an object, a place in a list (from its end if negative), or its element that fits."""


class NoValue(Exception):
    """A path leads to no value, or to several; `reason` is the violation's."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def parse_path(text: str) -> tuple[Segment, ...]:
    """The segments of a path.

    Raises:
        ValueError: it is none.

    >>> parse_path("env.temperature")
    ('env', 'temperature')
    >>> parse_path("metrics[?@.name=='Temp'].value")
    ('metrics', Where(path=('name',), value='Temp'), 'value')
    """
    if "[" not in text:
        keys = tuple(text.split("."))
        if not all(keys):
            raise ValueError(f"{text!r}: a key is empty")
        return _bounded(text, keys)
    return _bounded(text, tuple(_segments(text)))


def _segments(text: str) -> Iterator[Segment]:
    place = 0
    while place < len(text):
        found = _SEGMENT.match(text, place)
        if not found:
            raise ValueError(
                f"{text!r}: no path from {text[place : place + 30]!r} on; expected .key, ['key'], "
                "[0] or [?@.key=='text']"
            )
        place = found.end()
        if found["index"] is not None:
            yield int(found["index"])
        elif found["inner"] is not None:
            inner = tuple(_segments(found["inner"].removeprefix(".")))
            keys = tuple(segment for segment in inner if not isinstance(segment, Where))
            if len(keys) < len(inner):
                raise ValueError(f"{text!r}: one condition within another")
            yield Where(keys, _of(found["literal"]))
        else:
            yield found["name"] if found["quoted"] is None else found["quoted"][1:-1]


def _of(literal: str) -> str | float | bool | None:
    if literal[0] in "'\"":
        return literal[1:-1]
    words = {"true": True, "false": False, "null": None}
    return words[literal] if literal in words else float(literal)


def _bounded(text: str, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    if len(segments) > MOST_SEGMENTS:
        raise ValueError(f"{text[:60]!r}…: {len(segments)} segments; {MOST_SEGMENTS} are allowed")
    return segments


def find(document: Any, path: Sequence[Segment]) -> Any:
    """The value at a path of a parsed document.

    Raises:
        NoValue: there is none, or there are several elements that fit.

    >>> find({"metrics": [{"name": "Temp", "value": 21.5}]}, parse_path("metrics[0].value"))
    21.5
    """
    value = document
    for segment in path:
        if type(value) is dict and segment in value:
            value = value[segment]
        elif isinstance(segment, Where):
            value = _element(value, segment, path)
        elif isinstance(value, list):
            value = _at(value, segment, path)
        else:
            raise NoValue("missing", f"no {shown(path)!r} in the payload")
    return value


def _at(value: list[Any], segment: str | int, path: Sequence[Segment]) -> Any:
    # A key of digits is a place too, for those who write `messages.0.value`.
    if isinstance(segment, str) and segment.isdecimal() and len(segment) < 10:
        segment = int(segment)
    if isinstance(segment, str) or not -len(value) <= segment < len(value):
        raise NoValue("missing", f"no {shown(path)!r} in the payload")
    return value[segment]


def _element(value: Any, where: Where, path: Sequence[Segment]) -> Any:
    found = []
    for element in value if isinstance(value, list) else ():
        try:
            other = find(element, where.path)
        except NoValue:
            continue
        if other == where.value and isinstance(other, bool) == isinstance(where.value, bool):
            found.append(element)
    if len(found) > 1:
        raise NoValue("ambiguous", f"{len(found)} elements fit {shown(path)!r}, expected one")
    if not found:
        raise NoValue("missing", f"no {shown(path)!r} in the payload")
    return found[0]


def shown(path: Sequence[Segment]) -> str:
    """A path as text."""
    text = ""
    for segment in path:
        if isinstance(segment, str):
            text += f".{segment}"
        else:
            text += str(segment) if isinstance(segment, Where) else f"[{segment}]"
    return text.removeprefix(".")
