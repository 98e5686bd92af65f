"""Columns of JSON payloads whose text is not of the expected shape: words, missing and other keys.

msgspec takes the contract's values out of each payload and passes over all others; what takes the
time of `ReadingParser`, to look at values one by one, is done here by columns. A row is taken only
if all of its values are good; `ReadingParser` reads the others, and says why.

In two cases msgspec takes what `ReadingParser` does not, or in another way: large numbers (`LARGE`)
and deep nesting. Such rows are left out at once. What it refuses, such as a text in place of an
object on the way to a value, is left to `ReadingParser` too.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import compress
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET, UnsetType

from breezeway.contract.contract import Contract
from breezeway.contract.parser import ReadingParser
from breezeway.contract.paths import NoValue, Segment, Where, entered, find
from breezeway.contract.quality import QualityReader, told
from breezeway.contract.values import NUMBER, ValueReader, Violation
from breezeway.preprocessing.payload_formats import WORDS

LARGE = r"[eE]\+?[0-9]{3}|[0-9]{20}|-[0-9]{19}"
"""What may be a number that is infinite, or has more than 64 bits."""
SHALLOW_BYTES = 1000
"""A text cannot be deeper than it is long; `ReadingParser` has a limit of 1024."""
LONGEST_BYTES = 4096
"""A document may take forty times as much memory as its text; longer ones are left out."""
ROWS = 1024
"""Documents at a time: they and their values fit in the processor's cache."""
NUMERIC = "0123456789+-.eE"
"""A text of these alone is a number to Python if it is one of `NUMBER`."""


class _Unsure:
    """Stands for a value that is left to `ReadingParser`."""


UNSURE = _Unsure()
Column = list[Any]
"""A value of each document, as JSON has it; `UNSET` where there is none."""


class _Step(NamedTuple):
    """One segment of a path, and names of the places before and after it.

    Args:
        attribute: of the object that msgspec makes; None where it makes a dict or a list.
    """

    segment: Segment
    before: str
    after: str
    attribute: str | None


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
        parser: of the contract.
    """

    def __init__(self, contract: Contract, parser: ReadingParser):
        self._fields = contract.fields
        self._readers, self._qualities = parser.readers, parser.qualities
        payload = contract.payload
        paths = {name: field.segments(name, payload) for name, field in contract.fields.items()}
        attributes: dict[str, str] = {}
        keyed = any(isinstance(path[0], str) for path in paths.values() if path)
        every = [*paths.values(), *(tuple(quality.path) for quality in self._qualities.values())]
        every += [payload.to_reading] if payload.readings else []
        root = _type_of(every, (), attributes)
        self._decode = msgspec.json.Decoder(root if attributes else dict if keyed else list).decode
        self._nothing: Any = root() if attributes else {} if keyed else []
        self._steps = {name: _steps(path, attributes) for name, path in paths.items()}
        self._to_quality = {
            name: _steps(tuple(quality.path), attributes)
            for name, quality in self._qualities.items()
        }
        self._to_reading = _steps(payload.to_reading, attributes)

    @staticmethod
    def likely(payloads: pa.StringArray) -> np.ndarray:
        """Which payloads, bool, may be read; only a quick check."""
        sizes = pc.binary_length(payloads).to_numpy()
        likely = ~pc.match_substring_regex(payloads, LARGE).to_numpy(zero_copy_only=False)
        if sizes.max(initial=0) >= SHALLOW_BYTES:
            opened = pc.count_substring_regex(payloads, r"[\[{]").to_numpy()
            likely &= (sizes <= LONGEST_BYTES) & (opened < SHALLOW_BYTES)
        return np.asarray(likely)

    def read(self, payloads: list[str]) -> Read:
        """What payloads mean, as far as it is sure."""
        pieces = [
            self._read(payloads[first : first + ROWS]) for first in range(0, len(payloads), ROWS)
        ]
        return Read(
            np.concatenate([piece.sure for piece in pieces]),
            {n: np.concatenate([piece.values[n] for piece in pieces]) for n in self._fields},
            {n: np.concatenate([piece.absent[n] for piece in pieces]) for n in self._fields},
        )

    def _read(self, payloads: list[str]) -> Read:
        sure = np.ones(len(payloads), bool)
        known = {repr(()): self._documents(payloads, sure)}
        if self._to_reading:
            column = _at(self._to_reading, known)
            sure &= [value is not UNSET and value is not UNSURE for value in column]
        values, absent = {}, {}
        for name, field in self._fields.items():
            column = _at(self._steps[name], known)
            kinds = set(map(type, column))
            read = _words if field.type in WORDS else _numbers
            values[name], good = read(self._readers[name], column, kinds)
            absent[name] = _which(UNSET, column, kinds)
            if field.invalid == "missing":
                sure &= good | absent[name] | _which(None, column, kinds)
            else:
                sure &= good & ~np.isnan(values[name])
            if name in self._qualities:
                sure &= _are_good(self._qualities[name], self._to_quality[name], known)
        return Read(sure, values, absent)

    def _documents(self, payloads: list[str], sure: np.ndarray) -> Column:
        """What payloads hold; nothing for those that cannot be read, which are not `sure`."""
        try:
            return list(map(self._decode, payloads))
        except (msgspec.DecodeError, RecursionError):
            pass
        documents = []
        for row, payload in enumerate(payloads):
            try:
                documents.append(self._decode(payload))
            except (msgspec.DecodeError, RecursionError):
                documents.append(self._nothing)
                sure[row] = False
        return documents


def _are_good(
    quality: QualityReader, steps: Sequence[_Step], known: dict[str, Column]
) -> np.ndarray:
    """Which qualities, bool, are surely good; `known` as for `_follow`."""
    column = _at(steps, known)
    meant = {id(word): told(word) in quality.good for word in column if word is not UNSET}
    if quality.required:
        return np.array([meant.get(id(word), False) and word is not None for word in column])
    return np.array(
        [
            word is None
            or (meant[id(word)] if word is not UNSET else _is_absent(row, steps, known))
            for row, word in enumerate(column)
        ]
    )


def _is_absent(row: int, steps: Sequence[_Step], known: dict[str, Column]) -> bool:
    """Whether there is nothing at a path of one document, not even something else on the way."""
    for step in reversed(steps):
        before = known[step.before][row]
        if before is not UNSET:
            keyed = type(before) is dict and isinstance(step.segment, str)
            return keyed or step.attribute is not None
    return False


def _type_of(
    paths: Sequence[tuple[Segment, ...]], place: tuple[Segment, ...], attributes: dict[str, str]
) -> Any:
    """The type that msgspec makes of what is at a place.

    Args:
        paths: of the values, from there on.
        attributes: by the name of a place, that of the object's attribute; extended.
    """
    keys = {path[0] if path else None for path in paths}
    if not all(isinstance(key, str) and _is_simple(key) for key in keys):
        return Any
    members, names = [], {}
    for number, key in enumerate(sorted(map(str, keys))):
        there, attribute = (*place, key), f"f{number}"
        inner = _type_of([path[1:] for path in paths if path[0] == key], there, attributes)
        members.append((attribute, inner if inner is Any else inner | UnsetType, UNSET))
        attributes[repr(there)], names[attribute] = attribute, key
    return msgspec.defstruct("Document", members, rename=names, gc=False)


def _is_simple(key: str) -> bool:
    """Whether msgspec takes a key as a name."""
    return key.isprintable() and not set(key) & {'"', "\\"}


def _which(wanted: Any, column: Column, kinds: set[type]) -> np.ndarray:
    """Which values, bool, are the one that is wanted."""
    if type(wanted) not in kinds:
        return np.zeros(len(column), bool)
    return np.array([value is wanted for value in column])


def _steps(path: tuple[Segment, ...], attributes: Mapping[str, str]) -> list[_Step]:
    # By their texts: to Python a condition for 1 equals one for true.
    places = [repr(path[:depth]) for depth in range(len(path) + 1)]
    return [
        _Step(segment, before, after, attributes.get(after))
        for segment, before, after in zip(path, places, places[1:], strict=False)
    ]


def _at(steps: Sequence[_Step], known: dict[str, Column]) -> Column:
    """The values at the end of a path; `known` as for `_follow`."""
    for step in steps:
        if step.after not in known:
            known[step.after] = _follow(step, known)
    return known[steps[-1].after]


def _follow(step: _Step, known: dict[str, Column]) -> Column:
    """The values one segment further.

    Args:
        known: the values at each place that was looked at before; extended.
    """
    values, segment = known[step.before], step.segment
    if step.attribute:
        get = attrgetter(step.attribute)
        try:
            return list(map(get, values))
        except AttributeError:
            return [UNSET if value is UNSET else get(value) for value in values]
    if isinstance(segment, Where) and _is_plain(segment):
        index = f"{step.before} by {segment.path}"
        if index not in known:
            known[index] = [_index(value, segment.path[0]) for value in values]
        return [
            value if value is UNSURE else by.get(segment.value, UNSET)
            for value, by in zip(values, known[index], strict=True)
        ]
    if isinstance(segment, str):
        with suppress(KeyError, TypeError):
            return list(map(itemgetter(segment), values))  # only an object takes a text
    return [_one(value, segment) for value in values]


def _one(value: Any, segment: Segment) -> Any:
    if value is UNSET or value is UNSURE:
        return value
    try:
        return find(value, (segment,))
    except NoValue as error:
        return UNSET if error.reason == "missing" else UNSURE


def _is_plain(where: Where) -> bool:
    """Whether one key of an element must have some text."""
    (key, *more) = where.path
    return isinstance(where.value, str) and isinstance(key, str) and not (more or key.isdecimal())


def _index(value: Any, key: Any) -> dict[Any, Any]:
    """The elements of a list by the text that each has at a key; of several of a text `UNSURE`."""
    value = entered(value) if type(value) is str else value
    if type(value) is not list:
        return {}
    with suppress(KeyError, TypeError):
        texts = [element[key] for element in value]  # only objects take a text
        if set(map(type, texts)) == {str} and len(set(texts)) == len(texts):
            return dict(zip(texts, value, strict=True))
    found: dict[Any, Any] = {}
    for element in value:
        if type(element) is dict and type(text := element.get(key)) is str:
            found[text] = UNSURE if text in found else element
    return found


def _numbers(
    reader: ValueReader, column: Column, kinds: set[type]
) -> tuple[np.ndarray, np.ndarray]:
    """What the numbers of a column mean, NaN for a null, and which of its values are good."""
    if kinds <= {float, int}:
        return _checked(reader, np.fromiter(column, np.float64, len(column)))
    if kinds <= {float, int, UnsetType, type(None)}:
        numbers = np.array([np.nan if v is UNSET or v is None else v for v in column], np.float64)
        return _checked(reader, numbers)
    if kinds == {str}:
        return _texts(reader, column)
    values, good = np.full(len(column), np.nan), np.zeros(len(column), bool)
    is_number = [type(value) is float or type(value) is int for value in column]
    numbers = np.fromiter(compress(column, is_number), np.float64)
    values[is_number], good[is_number] = _checked(reader, numbers)
    if str in kinds:
        is_text = [type(value) is str for value in column]
        values[is_text], good[is_text] = _texts(reader, list(compress(column, is_text)))
    return values, good


def _checked(reader: ValueReader, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    meant = reader.converted(numbers) if reader.converts else numbers
    return meant, reader.is_good(meant) | np.isnan(meant)


def _texts(reader: ValueReader, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The same of numbers in texts."""
    nulls = reader.null_texts
    # An empty text is among the nulls' too, but no number.
    special = {*nulls, reader.unit} - {""}
    if not (reader.has_comma or reader.grouped) and all(text.strip(NUMERIC) for text in special):
        with suppress(ValueError):
            if not "".join(texts).strip(NUMERIC):  # most are such
                return _checked(reader, np.fromiter(map(float, texts), np.float64, len(texts)))
    texts = [text.strip() for text in texts]
    is_null = np.array([text in nulls for text in texts])
    if is_null.all():
        return np.full(len(texts), np.nan), is_null
    if reader.unit:
        texts = [
            text.removesuffix(reader.unit).rstrip() if text.endswith(reader.unit) else text
            for text in texts
        ]
    if reader.grouped:
        texts = list(map(reader.ungrouped, texts))
    if reader.has_comma:
        texts = ["" if "." in text else text.replace(",", ".", 1) for text in texts]
    numbers = np.array([float(t) if NUMBER.fullmatch(t) else np.nan for t in texts])
    meant, good = _checked(reader, numbers)
    return np.where(is_null, np.nan, meant), is_null | (good & ~np.isnan(numbers))


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
    if type(word) is int and not -(2**63) <= word < 2**64:
        return np.inf
    try:
        found = reader.read(word, [])
    except Violation:
        return np.inf
    return np.nan if found is None else float(found)
