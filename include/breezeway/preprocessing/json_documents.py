"""Columns of JSON payloads whose text is not of the expected shape: words, missing and other keys.

Each payload is parsed as `ReadingParser` does it, so the document is the same. What takes the time
there is to look at its values one by one; here the values of a field are looked at together. A row
is taken only if all of its values are good; `ReadingParser` reads the others, and says why.
"""

from collections.abc import Mapping
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import orjson

from breezeway.contract.contract import Contract
from breezeway.contract.paths import NoValue, Segment, Where, find
from breezeway.contract.values import NUMBER, ValueReader, Violation
from breezeway.preprocessing.payload_formats import WORDS

DOCUMENTS = 256
"""Documents at a time: so many fit in the processor's cache."""
LONGEST_BYTES = 4096
"""A document may take forty times as much memory as its text; longer ones are left out."""
COLUMN_ROWS = 8192
"""Values of a field that are looked at together."""
NUMERIC = "0123456789+-.eE"
"""A text of these alone is a number to Python if it is one of `NUMBER`."""


class _Nothing:
    """Stands for a value that a document has not, or that is left to `ReadingParser`."""


ABSENT, UNSURE = _Nothing(), _Nothing()
Column = list[Any]
"""A value of each document, as JSON has it."""


class _Step(NamedTuple):
    """One segment of a path, and names of the places before and after it."""

    segment: Segment
    before: str
    after: str


class Read(NamedTuple):
    """What some payloads mean.

    Attributes:
        sure: bool (rows,): which rows keep the contract, and are read here.
        values: by field, float64 (rows,); NaN is missing.
        absent: by field, bool (rows,): whose value is missing in the document.
    """

    sure: np.ndarray
    values: dict[str, np.ndarray]
    absent: dict[str, np.ndarray]


class JsonDocuments:
    """Reads payloads of one contract without vectors.

    Args:
        contract: the sensor contract.
        readers: of its fields.
    """

    def __init__(self, contract: Contract, readers: Mapping[str, ValueReader]):
        self._fields = contract.fields
        self._readers = readers
        paths = {name: field.segments(name) for name, field in contract.fields.items()}
        self._steps = {name: _steps(path) for name, path in paths.items()}
        keyed = any(isinstance(path[0], str) for path in paths.values() if path)
        self._root = dict if keyed else list

    def read(self, payloads: list[str]) -> Read:
        """What payloads mean, as far as it is sure."""
        pieces = [
            self._read(payloads[first : first + COLUMN_ROWS])
            for first in range(0, len(payloads), COLUMN_ROWS)
        ]
        return Read(
            np.concatenate([piece.sure for piece in pieces]),
            {n: np.concatenate([piece.values[n] for piece in pieces]) for n in self._fields},
            {n: np.concatenate([piece.absent[n] for piece in pieces]) for n in self._fields},
        )

    def _read(self, payloads: list[str]) -> Read:
        columns: dict[str, Column] = {name: [] for name in self._fields}
        for first in range(0, len(payloads), DOCUMENTS):
            documents = [self._document(text) for text in payloads[first : first + DOCUMENTS]]
            known = {repr(()): documents}
            for name, steps in self._steps.items():
                for step in steps:
                    if step.after not in known:
                        known[step.after] = _follow(step, known)
                columns[name] += _without_documents(known[steps[-1].after])
        sure = np.ones(len(payloads), bool)
        values, absent = {}, {}
        for name, field in self._fields.items():
            column, kinds = columns[name], set(map(type, columns[name]))
            read = _words if field.type in WORDS else _numbers
            values[name], good = read(self._readers[name], column, kinds)
            absent[name] = _which(ABSENT, column, kinds)
            if field.invalid == "missing":
                sure &= good | absent[name] | _which(None, column, kinds)
            else:
                sure &= good & ~np.isnan(values[name])
        return Read(sure, values, absent)

    def _document(self, payload: str) -> Any:
        try:
            document = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return UNSURE
        return document if type(document) is self._root else UNSURE


def _which(wanted: Any, column: Column, kinds: set[type]) -> np.ndarray:
    """Which values, bool, are the one that is wanted."""
    if type(wanted) not in kinds:
        return np.zeros(len(column), bool)
    return np.array([value is wanted for value in column])


def _without_documents(values: Column) -> Column:
    """Without objects and lists, which are no value of a field, and would be held for long."""
    if {dict, list}.isdisjoint(map(type, values)):
        return values
    return [UNSURE if type(value) in (dict, list) else value for value in values]


def _steps(path: tuple[Segment, ...]) -> list[_Step]:
    # By their texts: to Python a condition for 1 equals one for true.
    places = [repr(path[:depth]) for depth in range(len(path) + 1)]
    return list(map(_Step, path, places, places[1:]))


def _follow(step: _Step, known: dict[str, Column]) -> Column:
    """The values one segment further.

    Args:
        known: the values at each place that was looked at before; extended.
    """
    values, segment = known[step.before], step.segment
    if isinstance(segment, str):
        try:
            return [value[segment] for value in values]  # only an object takes a text
        except (KeyError, TypeError):
            pass
        return [
            value.get(segment, ABSENT) if type(value) is dict else _one(value, segment)
            for value in values
        ]
    if isinstance(segment, Where) and _is_plain(segment):
        index = f"{step.before} by {segment.path}"
        if index not in known:
            known[index] = [_index(value, segment.path[0]) for value in values]
        return [by.get(segment.value, ABSENT) for by in known[index]]
    return [_one(value, segment) for value in values]


def _one(value: Any, segment: Segment) -> Any:
    if isinstance(value, _Nothing):
        return value
    try:
        return find(value, (segment,))
    except NoValue as error:
        return ABSENT if error.reason == "missing" else UNSURE


def _is_plain(where: Where) -> bool:
    """Whether one key of an element must have some text."""
    (key, *more) = where.path
    return isinstance(where.value, str) and isinstance(key, str) and not (more or key.isdecimal())


def _index(value: Any, key: Any) -> dict[Any, Any]:
    """The elements of a list by the text that each has at a key; of several of a text `UNSURE`."""
    found: dict[Any, Any] = {}
    for element in value if type(value) is list else ():
        if type(element) is dict and type(text := element.get(key)) is str:
            found[text] = UNSURE if text in found else element
    return found


def _numbers(
    reader: ValueReader, column: Column, kinds: set[type]
) -> tuple[np.ndarray, np.ndarray]:
    """What the numbers of a column mean, NaN for a null, and which of its values are good."""
    if kinds <= {float, int}:
        return _checked(reader, np.array(column, np.float64))
    values, good = np.full(len(column), np.nan), np.zeros(len(column), bool)
    is_number = [type(value) is float or type(value) is int for value in column]
    values[is_number], good[is_number] = _checked(
        reader, np.array(list(compress(column, is_number)), np.float64)
    )
    if str in kinds:
        is_text = [type(value) is str for value in column]
        values[is_text], good[is_text] = _texts(reader, list(compress(column, is_text)))
    return values, good


def _checked(reader: ValueReader, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    meant = reader.converted(numbers) if reader.converts else numbers
    return meant, reader.is_good(meant) | np.isnan(meant)


def _texts(reader: ValueReader, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The same of numbers in texts."""
    texts = [text.strip() for text in texts]
    nulls = reader.null_texts
    is_null = np.array([text in nulls for text in texts])
    if reader.unit:
        texts = [
            text.removesuffix(reader.unit).rstrip() if text.endswith(reader.unit) else text
            for text in texts
        ]
    if reader.has_comma:
        texts = ["" if "." in text else text.replace(",", ".", 1) for text in texts]
    numbers = _floats(texts)
    meant, good = _checked(reader, numbers)
    return np.where(is_null, np.nan, meant), is_null | (good & ~np.isnan(numbers))


def _floats(texts: list[str]) -> np.ndarray:
    """The numbers that texts stand for, float64; NaN where that is none."""
    try:
        if not "".join(texts).strip(NUMERIC):
            return np.array(list(map(float, texts)))
    except ValueError:
        pass
    return np.array([float(text) if NUMBER.fullmatch(text) else np.nan for text in texts])


def _words(reader: ValueReader, column: Column, kinds: set[type]) -> tuple[np.ndarray, np.ndarray]:
    """What the words of a column mean, NaN for a null, and which of them are good.

    There are few different ones, so each of these is asked for once.
    """
    values, good = np.full(len(column), np.nan), np.zeros(len(column), bool)
    for kind in kinds & {str, bool, int, float}:  # True, 1 and 1.0 are the same key
        if kinds == {kind}:
            chosen: Any = slice(None)
            here = column
        else:
            chosen = [type(value) is kind for value in column]
            here = list(compress(column, chosen))
        meanings = {word: _meaning(reader, word) for word in set(here)}
        meant = np.array([meanings[word] for word in here])
        values[chosen], good[chosen] = meant, ~np.isinf(meant)
    return values, good


def _meaning(reader: ValueReader, word: Any) -> float:
    """What a word means; NaN for a null, infinity for what breaks the contract."""
    try:
        found = reader.read(word, [])
    except Violation:
        return np.inf
    return np.nan if found is None else float(found)
