"""Reads one value of a payload by the rules of its field."""

import math
import re
import sys
from typing import Any, NoReturn, Self

import numpy as np

from breezeway.contract.other_forms import is_hexadecimal
from breezeway.contract.schema import NullValue, Payload, SensorField
from breezeway.core.errors import DataError

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"(-?[0-9]+)\.0+")
"""A number in text: ASCII, no blanks, no NaN and no infinity."""
BETWEEN_GROUPS = {".": "[.]", ",": ",", "'": "['\u2019]", " ": "[ \u00a0\u202f]"}
"""The mark of thousands → the pattern of it in text."""
MISSING_VECTOR = np.array([math.nan])
"""Every figure of it is NaN."""
TRUE_WORDS = frozenset({"true", "on", "1"})
FALSE_WORDS = frozenset({"false", "off", "0"})
_SHOWN = 60
_HINTS = {
    bool: ' (true or false? type = "bool")',
    dict: " (one of its members? a path to it)",
    list: ' (one of its elements? a path such as "name[0]"; all of them? type = "vector")',
}
"""By the type of a value that is no number."""
_LIST_HINTS: dict[type, str] = {
    dict: " (a field for each member? with a path to it)",
    str: " (numbers in a text, or in Base64? Decode it before it is stored or sent)",
}
"""By the type of a value that is no vector."""


def grouped(thousands: str, decimal: str) -> str:
    """The pattern of numbers in text that have a mark between groups of three digits."""
    between = BETWEEN_GROUPS[thousands]
    return rf"[+-]?[0-9]{{1,3}}(?:{between}[0-9]{{3}})+(?:[{decimal}][0-9]*)?"


def marks_of(text: str) -> list[str]:
    """The settings by which a text is a number in groups of digits; none if it is none."""
    for thousands in BETWEEN_GROUPS:
        for decimal in ".,".replace(thousands, ""):
            if re.fullmatch(grouped(thousands, decimal), text):
                is_told = decimal == "." or decimal not in text
                return [f'thousands = "{thousands}"', *([] if is_told else ['decimal = ","'])]
    return []


class Violation(DataError):
    """A reading that breaks the contract.

    Args:
        field: the contract's field, or `payload`, `device`, `time`, `label`.
        reason: one of a few stable words; quarantined rows are counted by it.
        message: one sentence for a person.
    """

    def __init__(self, field: str, reason: str, message: str):
        super().__init__(message)
        self.field = field
        self.reason = reason

    def to_keep(self) -> Self:
        """This violation without its traceback, which keeps all variables of its frames alive."""
        self.__context__ = None
        return self.with_traceback(None)


class ValueReader:
    """Reads the values of one field.

    Args:
        name: of the field.
        field: its rules.
        payload: the rules of all fields.

    Attributes:
        lowest, highest: a float of JSON between these is a good value as it is.
        words: what the words of a category or a bool mean; those of a bool are in lower case.
        null_texts: what stands for a null.
        has_comma: whether numbers in text have a decimal comma.
        grouped: whether a text is a number in groups of digits; None if the contract has none.
        unit: may follow a number in text.
    """

    def __init__(self, name: str, field: SensorField, payload: Payload):
        self._name, self._field = name, field
        self.has_comma, self.unit = payload.decimal == ",", field.unit
        self.grouped, self._between_groups = None, ""
        if payload.thousands:
            self._between_groups = BETWEEN_GROUPS[payload.thousands]
            self.grouped = re.compile(grouped(payload.thousands, payload.decimal)).fullmatch
        nulls: list[NullValue] = [*payload.null_values, *field.null_values]
        self.null_texts = {value.strip() for value in nulls if isinstance(value, str)}
        self._null_numbers = {value for value in nulls if isinstance(value, float)}
        self.words = {text.strip(): float(n) for n, text in enumerate(field.categories)}
        if field.type == "bool":
            self.words = dict.fromkeys(FALSE_WORDS, 0.0) | dict.fromkeys(TRUE_WORDS, 1.0)
            self.words |= {word.strip().casefold(): 0.0 for word in field.false_values}
            self.words |= {word.strip().casefold(): 1.0 for word in field.true_values}
        self._lowest, self._highest = field.range or (-math.inf, math.inf)
        self.lowest, self.highest = math.inf, -math.inf
        if field.type == "float" and not self.converts:
            self.lowest = max(self._lowest, -sys.float_info.max)
            self.highest = min(self._highest, sys.float_info.max)
        readers = {"category": self._category, "bool": self._bool, "vector": self._vector}
        self._read = readers.get(field.type)

    def read(self, value: Any, missing: list[Violation]) -> float | np.ndarray | None:
        """The value that a parsed payload holds.

        Args:
            value: of JSON, or the text between two separators; None for a null.
            missing: extended by what is wrong with an element that counts as missing.

        Returns:
            A float, an array of elements, or None for a null.

        Raises:
            Violation: it breaks the rules of its field, or is a null that the contract rejects.
        """
        if value is not None:
            found = self._read(value, missing) if self._read else self._number(value)
            if found is not None:
                return found
        if self._field.invalid == "reject":
            raise Violation(
                self._name, "null", f"{self._name}: null, expected a {self._field.type}"
            )
        return None

    @property
    def words_for_null(self) -> list[str]:
        """The categories or words of a bool that would be taken for a null."""
        is_bool = self._field.type == "bool"
        nulls = {text.casefold() if is_bool else text for text in self.null_texts}
        return sorted(nulls & self.words.keys())

    @property
    def converts(self) -> bool:
        """Whether a number may mean something else than itself."""
        return bool(self._null_numbers or self._field.is_converted)

    def converted(self, numbers: np.ndarray) -> np.ndarray:
        """What numbers mean, as they were sent: NaN for a null; infinite for no register's value.

        Args:
            numbers: float64, of any shape.
        """
        field, meant = self._field, numbers
        if field.twos_complement:
            top = float(1 << field.twos_complement)
            fits = (np.floor(numbers) == numbers) & (-top / 2 <= numbers) & (numbers < top)
            meant = np.where(fits, np.where(numbers >= top / 2, numbers - top, numbers), np.inf)
        if field.is_converted:
            meant = meant * field.scale + field.offset
        nulls = np.isin(numbers, list(self._null_numbers)) | np.isnan(numbers)
        return np.where(nulls, np.nan, meant)

    def is_good(self, numbers: np.ndarray) -> np.ndarray:
        """Which numbers, as they are meant, keep the rules; NaN does not."""
        good: np.ndarray = (numbers >= self._lowest) & (numbers <= self._highest)
        good &= np.isfinite(numbers)
        return good & (np.floor(numbers) == numbers) if self._field.type == "int" else good

    def _number(self, value: Any) -> float | None:
        if type(value) is str:
            text = value.strip()
            if text in self.null_texts:
                return None
            value = self._of_text(text)
        elif type(value) is not float and type(value) is not int:  # a bool is an int to isinstance
            self._refuse(value, f"expected a number{_HINTS.get(type(value), '')}")
        number = float(value)
        if number in self._null_numbers:
            return None
        if self._field.is_converted:
            number = self._converted(number)
        if not math.isfinite(number):
            self._refuse(value, "which is not finite")
        if self._field.type == "int" and not number.is_integer():
            self._refuse(value, "expected an integer")
        if not self._lowest <= number <= self._highest:
            raise Violation(
                self._name,
                "out_of_range",
                f"{self._name}: {number!r} {self._field.unit}".rstrip()
                + f" is outside {self._lowest!r} to {self._highest!r}",
            )
        return number

    def _of_text(self, text: str) -> float:
        number = text
        if self._field.unit and number.endswith(self._field.unit):
            number = number.removesuffix(self._field.unit).rstrip()
        if self.grouped:
            number = self.ungrouped(number)
        if self.has_comma:
            number = "" if "." in number else number.replace(",", ".", 1)
        if not NUMBER.fullmatch(number):
            self._refuse(text, f"expected a number{self._hint(text)}")
        return float(number)

    def ungrouped(self, text: str) -> str:
        """A number in text without what stands between its groups of digits."""
        if self.grouped and self.grouped(text):
            return re.sub(self._between_groups, "", text)
        return text

    def _hint(self, text: str) -> str:
        """The setting that would help with a text that is no number."""
        if text[:1] in ("{", "["):
            return " (JSON in a text? a path to one of its members)"
        if not self.has_comma and NUMBER.fullmatch(text.replace(",", ".", 1)):
            return ' (a decimal comma? payload.decimal = ",")'
        if self.has_comma and NUMBER.fullmatch(text):
            return ' (the contract says payload.decimal = ",")'
        if marks := marks_of(text):
            return f" (thousands? {' and '.join(f'payload.{mark}' for mark in marks)})"
        if is_hexadecimal(text):
            return " (hexadecimal? Expected a decimal number)"
        if found := NUMBER.match(text.replace(",", ".", 1) if self.has_comma else text):
            rest = text[found.end() :].strip()
            begins_as_unit = rest[:1].isalpha() or rest[:1] in tuple("%‰°")
            if begins_as_unit and len(rest) <= 10 and rest.isprintable():
                return f' (a unit? unit = "{rest}")'
        if len(text) <= 10 and not any(map(str.isdigit, text)):
            return f' (a null? null_values = ["{text}"])'
        return ""

    def _converted(self, number: float) -> float:
        field = self._field
        if field.twos_complement:
            top = 1 << field.twos_complement
            if not (number.is_integer() and -top // 2 <= number < top):
                self._refuse(number, f"expected a register of {field.twos_complement} bits")
            number = number - top if number >= top // 2 else number
        return number * field.scale + field.offset

    def _category(self, value: Any, _: list[Violation]) -> float | None:
        text = self._word(value, "expected a string or a whole number")
        if text is None:
            return None
        if text not in self.words:
            text = _whole(text)
        if text not in self.words:
            known = ", ".join(self._field.categories)
            raise Violation(
                self._name,
                "unknown_category",
                f"{self._name}: {shown(value)}, expected one of {known}",
            )
        return self.words[text]

    def _bool(self, value: Any, _: list[Violation]) -> float | None:
        expected = (
            "expected true or false, on or off, 1 or 0, or one of its true_values and false_values"
        )
        text = self._word(value, expected)
        if text is None:
            return None
        found = self.words.get(text.casefold(), self.words.get(_whole(text)))
        if found is None:
            self._refuse(value, expected)
        return found

    def _word(self, value: Any, expected: str) -> str | None:
        """The text of a scalar; None for one that stands for a null."""
        if type(value) is str:
            text = value.strip()
        elif type(value) is bool:
            text = "true" if value else "false"
        elif type(value) is int or (type(value) is float and value.is_integer()):
            if value in self._null_numbers:
                return None
            text = str(int(value))
        else:
            self._refuse(value, expected)
        return None if text in self.null_texts else text

    def _vector(self, value: Any, missing: list[Violation]) -> np.ndarray | None:
        field = self._field
        if not isinstance(value, list):
            hint = _LIST_HINTS.get(type(value), "")
            self._refuse(value, f"expected a list{hint}")
        if not field.length[0] <= len(value) <= field.length[1]:
            raise Violation(
                self._name,
                "length",
                f"{self._name}: {len(value)} elements, expected {field.length[0]} to "
                f"{field.length[1]}",
            )
        if not self.converts and set(map(type, value)) <= {int, float}:
            elements = list(map(float, value))
            if min(elements) >= self._lowest and max(elements) <= self._highest:
                return np.array(elements)
        return self._elements(value, missing)

    def _elements(self, value: list[Any], missing: list[Violation]) -> np.ndarray | None:
        """The elements one by one; without those that count as missing, of which one is told."""
        elements, wrong = [], None
        for position, element in enumerate(value):
            try:
                number = None if element is None else self._number(element)
                if number is not None:
                    elements.append(number)
                elif self._field.invalid == "reject":
                    raise Violation(self._name, "null", f"{self._name}: null, expected a number")
            except Violation as violation:
                text = str(violation).removeprefix(self._name)
                named = Violation(self._name, violation.reason, f"{self._name}[{position}]{text}")
                if self._field.invalid == "reject":
                    raise named from None
                wrong = wrong or named
        if wrong:
            missing.append(wrong)
        return np.array(elements) if elements else None

    def _refuse(self, value: Any, expected: str) -> NoReturn:
        raise Violation(self._name, "wrong_type", f"{self._name}: {shown(value)}, {expected}")


def _whole(text: str) -> str:
    """A whole number without the zeros behind its point; tables that have gaps write them."""
    found = _WHOLE.fullmatch(text)
    return found[1] if found else text


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "…"
