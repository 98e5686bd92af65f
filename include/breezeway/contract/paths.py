"""Where a value, or each reading, stands in a JSON payload.

The paths of RFC 9535 (JSONPath) that lead to one value, without the `$.`: keys, places in a list,
and the element of a list that has one equal member; to each reading, `[*]` and `.*` besides. A path
of keys alone needs no quotes around them. `docs/decisions/json-paths.md` says why this is our own.
"""

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, NamedTuple

MOST_SEGMENTS = 32
_NAME = r"[^.\[\]'\"]+"
_LITERAL = r"'[^']*'|\"[^\"]*\"|-?[0-9]+(?:\.[0-9]+)?|true|false|null"
_SEGMENT = re.compile(
    rf"\[\?\s*@(?P<inner>(?:\.{_NAME}?|\[[^\]]*\])+?)\s*==\s*(?P<literal>{_LITERAL})\s*\]"
    rf"|\[\s*(?:(?P<index>-?[0-9]{{1,9}})|(?P<each>\*))\s*\]"
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


class Each(Enum):
    """Each element of a list, or each member of an object; an object in place of a list is its one
    element."""

    ELEMENT = "[*]"
    MEMBER = ".*"


Segment = str | int | Where | Each
"""A key of an object, a place in a list (from its end if negative), its element that fits, or each
of its elements."""


class NoValue(Exception):
    """A path leads to no value, or to several; `reason` is the violation's."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


def parse_path(text: str) -> tuple[Segment, ...]:
    """The segments of a path to one value.

    Raises:
        ValueError: it is none.

    >>> parse_path("env.temperature")
    ('env', 'temperature')
    >>> parse_path("metrics[?@.name=='Temp'].value")
    ('metrics', Where(path=('name',), value='Temp'), 'value')
    """
    path = parse_readings_path(text)
    if several := [segment for segment in path if isinstance(segment, Each)]:
        raise ValueError(f"{text!r}: {shown(several)} is several values, expected one")
    return path


def parse_readings_path(text: str) -> tuple[Segment, ...]:
    """The segments of a path that may lead to each element of a list.

    Raises:
        ValueError: it is none.

    >>> parse_readings_path("Messages[*]")
    ('Messages', <Each.ELEMENT: '[*]'>)
    """
    if "[" not in text:
        keys = text.split(".")
        if not all(keys):
            raise ValueError(f"{text!r}: a key is empty")
        return _bounded(text, tuple(map(_named, keys)))
    return _bounded(text, tuple(_segments(text)))


def from_root(text: str) -> str | None:
    """The rest of a path that begins with `$`, the payload as a whole; None for any other."""
    return text[1:].removeprefix(".") if text.startswith(("$.", "$[")) else None


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
        elif found["each"] is not None:
            yield Each.ELEMENT
        elif found["inner"] is not None:
            inner = tuple(_segments(found["inner"].removeprefix(".")))
            keys = tuple(segment for segment in inner if isinstance(segment, (str, int)))
            if len(keys) < len(inner):
                raise ValueError(f"{text!r}: one condition within another")
            yield Where(keys, _of(found["literal"]))
        else:
            yield found["quoted"][1:-1] if found["quoted"] else _named(found["name"])


def _named(name: str) -> Segment:
    return Each.MEMBER if name == "*" else name


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
    """The value at a path of a parsed document; of each element there is one.

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
        elif isinstance(segment, Each) and isinstance(value, (list, dict)):
            value = _only(value, segment, path)
        elif isinstance(value, list):
            value = _at(value, segment, path)
        else:
            raise NoValue("missing", f"no {shown(path)!r} in the payload")
    return value


def spread(document: Any, path: Sequence[Segment]) -> Iterator[tuple[Any, Any]]:
    """Each reading of a document, and the document as it would be with this reading alone.

    Args:
        document: parsed JSON.
        path: where the readings stand.

    Yields:
        The document, which shares all but what is on the way with the given one; the reading.

    Raises:
        NoValue: there is neither a list nor an object at a `[*]` of the path.

    >>> list(spread({"site": 7, "sent": [1, 2]}, parse_readings_path("sent[*]")))
    [({'site': 7, 'sent': [1]}, 1), ({'site': 7, 'sent': [2]}, 2)]
    """
    if not path:
        yield document, document
        return
    segment, rest = path[0], path[1:]
    if isinstance(segment, Each):
        if not isinstance(document, (list, dict)):
            raise NoValue("missing", f"no list at {shown(path)!r} in the payload")
        for key, element in _members(document, segment):
            for one, reading in spread(element, rest):
                if isinstance(document, list):
                    yield [one], reading
                else:
                    yield one if key is None else {key: one}, reading
        return
    inner = find(document, (segment,))
    place = _place_of(document, segment, inner)
    for one, reading in spread(inner, rest):
        copy = document.copy()
        copy[place] = one
        yield copy, reading


def divide(document: Any, path: Sequence[Segment], groups: Iterator[Any]) -> dict[Any, Any]:
    """The document by groups of its records: each with those of one group alone.

    Args:
        document: parsed JSON.
        path: where the records stand.
        groups: of each record, in the order of `spread`, the group that it is of.

    Returns:
        Group → the document, in the order of the first records. Lists and objects on the way that
        would be empty are left out.

    >>> divide({"a": [1, 2], "b": [3]}, parse_readings_path("*[*]"), iter("xyx"))
    {'x': {'a': [1], 'b': [3]}, 'y': {'a': [2]}}
    """
    if not path:
        return {next(groups): document}
    segment, rest = path[0], path[1:]
    parts: dict[Any, Any] = {}
    if not isinstance(segment, Each):
        inner = find(document, (segment,))
        place = _place_of(document, segment, inner)
        for group, part in divide(inner, rest, groups).items():
            parts[group] = document.copy()
            parts[group][place] = part
        return parts
    for key, element in _members(document, segment):
        for group, part in divide(element, rest, groups).items():
            if key is None:
                parts[group] = part
            elif isinstance(document, list):
                parts.setdefault(group, []).append(part)
            else:
                parts.setdefault(group, {})[key] = part
    return parts


def _place_of(document: Any, segment: Segment, inner: Any) -> Any:
    """The key or place of what a segment leads to."""
    if not isinstance(document, list):
        return segment
    return next(n for n, element in enumerate(document) if element is inner)


def _at(value: list[Any], segment: str | int | Each, path: Sequence[Segment]) -> Any:
    # A key of digits is a place too, for those who write `messages.0.value`.
    if isinstance(segment, str) and segment.isdecimal() and len(segment) < 10:
        segment = int(segment)
    if not isinstance(segment, int) or not -len(value) <= segment < len(value):
        raise NoValue("missing", f"no {shown(path)!r} in the payload")
    return value[segment]


def _members(value: Any, each: Each) -> list[tuple[Any, Any]]:
    """The keys of what there is of each, and it; without a key, it is the value itself."""
    if isinstance(value, list):
        return list(enumerate(value)) if each is Each.ELEMENT else []
    return [(None, value)] if each is Each.ELEMENT else list(value.items())


def _only(value: Any, each: Each, path: Sequence[Segment]) -> Any:
    found = [inner for _, inner in _members(value, each)]
    if len(found) != 1:
        raise NoValue("ambiguous", f"{len(found)} elements at {shown(path)!r}, expected one")
    return found[0]


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
        elif isinstance(segment, Each):
            text += segment.value
        else:
            text += str(segment) if isinstance(segment, Where) else f"[{segment}]"
    return text.removeprefix(".")
