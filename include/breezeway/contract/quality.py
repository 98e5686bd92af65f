"""Whether a payload says that a value is good, as by the StatusCode of OPC UA or `valid: true`."""

from collections.abc import Mapping, Sequence
from typing import Any

from breezeway.contract.paths import NoValue, Segment, find, is_absent
from breezeway.contract.schema import Payload, SensorField
from breezeway.contract.values import NUMBER, Violation
from breezeway.contract.values import shown as shown_value


def told(value: Any) -> str | float | None:
    """What a quality says: a text in small letters, or the number that it holds; None for nothing
    and for what is no scalar.

    >>> told(" Good "), told("192"), told(True)
    ('good', 192.0, 'true')
    """
    if type(value) is bool:
        return str(value).lower()
    if type(value) is int or type(value) is float:
        return float(value)
    if type(value) is not str:
        return None
    text = value.strip().casefold()
    return float(text) if NUMBER.fullmatch(text) else text


class QualityReader:
    """Reads the qualities of one field.

    Args:
        name: of the field, which has a quality.
        field: its rules.
        payload: the form of the payload.

    Attributes:
        path: where they stand in JSON.
        good: what is told by a good one.
        required: whether there has to be one.
    """

    def __init__(self, name: str, field: SensorField, payload: Payload):
        quality = field.quality
        assert quality is not None
        self._name, self._said = name, quality.path
        self.path: Sequence[Segment] = field.quality_segments(name, payload)
        self.good, self.required = {told(value) for value in quality.good_values}, quality.required
        self._expected = " or ".join(map(repr, quality.good_values[:10]))

    def check_json(self, document: Any) -> None:
        """Raises `Violation` if a parsed document says that the value is not good."""
        try:
            value = find(document, self.path)
        except NoValue as error:
            if self.required or not is_absent(document, self.path):
                raise self._wrong(f"{error}") from None
        else:
            self._check(value)

    def check_delimited(self, values: Mapping[str, str | None]) -> None:
        """The same of the texts of a delimited payload."""
        self._check(values[self._said])

    def _check(self, value: Any) -> None:
        if value is None and not self.required:
            return
        if told(value) not in self.good or value is None:
            raise self._wrong(shown_value(value))

    def _wrong(self, found: str) -> Violation:
        return Violation(
            self._name,
            "bad_quality",
            f"{self._name}: its quality at {self._said!r}: {found}, expected {self._expected}",
        )
