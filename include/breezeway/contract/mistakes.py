"""All mistakes of a contract at once: line, key, what is wrong, and the nearest name."""

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

MOST_MISTAKES = 20
_NAMED = 30


def mistakes_of(error: ValidationError, model: type[BaseModel], text: str) -> str:
    """The mistakes that a contract's text has, as one message.

    Args:
        error: from validating the text's table.
        model: what it was validated by.
        text: the TOML.
    """
    # Unknown keys first: one may be the reason why another key is missing.
    found = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    told = []
    for each in found:
        place = [str(part) for part in each["loc"] if part != "function-before"]
        for reason in _reasons(each, model):
            key, _, rest = reason.partition(": ") if not place else ("", "", "")
            at = place or (key.split(".") if rest else [])
            told.append(": ".join(filter(None, (".".join(place), reason))) + _line(text, at))
    more = len(told) - MOST_MISTAKES
    if more > 0:
        told = [*told[:MOST_MISTAKES], f"and {more} more"]
    return told[0] if len(told) == 1 else f"{len(told)} mistakes:\n" + "\n".join(told)


def _reasons(error: Any, model: type[BaseModel]) -> list[str]:
    if error["type"] != "extra_forbidden":
        return str(error["msg"]).removeprefix("Value error, ").split("\n")
    *outer, name = error["loc"]
    known = _keys(model, outer)
    nearest = difflib.get_close_matches(str(name), known, 1)
    meant = f"did you mean {nearest[0]!r}? " if nearest else ""
    if not nearest and (elsewhere := _sections_with(str(name), model)):
        meant = f"it stands in {' or '.join(f'[{section}]' for section in elsewhere)}. "
    listed = ", ".join(known[:_NAMED]) + (", …" if len(known) > _NAMED else "")
    return [f"no such key; {meant}Known are {listed}"]


def _sections_with(name: str, model: type[BaseModel]) -> list[str]:
    """The sections of a contract that know a key."""
    sections = [(section,) for section in model.model_fields]
    named = [(section, "<name>") for section in model.model_fields]
    return [".".join(place) for place in (*sections, *named) if name in _keys(model, place)]


def _keys(model: type[BaseModel], outer: Sequence[str | int]) -> list[str]:
    """The keys of the table at a place."""
    kind: Any = model
    for part in outer:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field else None
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        kind = next((a for a in (kind, *get_args(kind)) if _is_table(a)), None)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [name for name, field in kind.model_fields.items() if not field.exclude]
    return []


def _is_table(kind: Any) -> bool:
    return get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, BaseModel))


def _line(text: str, place: Sequence[str]) -> str:
    """Where a key stands, or the table that it belongs to; nothing for a place that is not found,
    such as one in a table within a line."""
    lines = list(_headed(text))
    for depth in range(len(place), 0, -1):
        for number, table, key in lines:
            if [*table, *([key] if key else [])] == [*place[:depth]]:
                return f" (line {number})"
    return ""


def _headed(text: str) -> Iterator[tuple[int, list[str], str]]:
    """Number, table and key of each line that begins a table or a key."""
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if found := re.match(r"\s*\[\[?([^\[\]]+)\]", line):
            table = [part.strip(" \"'") for part in found[1].split(".")]
            yield number, table, ""
        elif found := re.match(r"\s*([A-Za-z0-9_.\"'-]+)\s*=", line):
            *inner, key = (part.strip(" \"'") for part in found[1].split("."))
            yield number, [*table, *inner], key
