"""Takes the readings out of payloads that hold several, or their own time and device.

From then on each is a payload of the same form with one reading, so that all else reads one kind
of payload: in files, in preprocessing, in a request.
"""

import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import orjson

from breezeway.contract.parser import MAX_PAYLOAD_BYTES, checked_text, read_json
from breezeway.contract.paths import Each, NoValue, divide, entered, find, shown, spread
from breezeway.contract.schema import Payload
from breezeway.contract.senml import resolved
from breezeway.contract.time_formats import ISO, as_unit, read_time, unit_of
from breezeway.contract.values import Violation

MOST_BYTES = 16 * MAX_PAYLOAD_BYTES
"""Of all readings of a payload: what stands beside their list is in each."""
SHOWN_LETTERS = 60
_PLACE = secrets.token_hex(16)
"""Stands for a reading; no payload can have it."""
TIME_EXAMPLE = "2026-01-31T12:00:00Z"


class Sent(NamedTuple):
    """A reading that was sent.

    Attributes:
        payload: with this reading alone.
        device: its own; None if it has none.
        time: its own, UTC; None if it has none, or none that can be read.
        wrong_time: what is wrong with its time.
    """

    payload: str
    device: str | None = None
    time: datetime | None = None
    wrong_time: str | None = None


class _Own:
    """A reading's own time or device: it stands in the reading, or beside the readings."""

    def __init__(self, payload: Payload, path: str):
        self.shown = path
        self._path = payload.own_path(path.removesuffix("~"), "payload")
        self._is_key = path.endswith("~")
        to_reading = payload.to_own
        self._is_in_reading = self._path[: len(to_reading)] == to_reading and not self._is_key
        if self._is_in_reading:
            self._path = self._path[len(to_reading) :]

    def found(self, document: Any, reading: Any) -> Any:
        """The value; None if there is none."""
        try:
            if self._is_key:
                return next(iter(find(document, self._path[:-1])), None)
            return find(reading if self._is_in_reading else document, self._path)
        except NoValue:
            return None


class PayloadSplitter:
    """Splits payloads by the rules of a contract.

    Args:
        payload: these rules.
    """

    def __init__(self, payload: Payload):
        self._format, self._zone = payload.time_format, ZoneInfo(payload.time_zone)
        self._readings, self._has_records = payload.to_own, payload.records is not None
        self._is_senml = payload.senml
        self._time, self._device = (
            _Own(payload, path) if path else None
            for path in (payload.time_path, payload.device_path)
        )
        example = f"such as {TIME_EXAMPLE}" if self._format == ISO else f"as {self._format!r}"
        self._expected = f"expected a time {example}"
        keys = [key for key in self._readings if isinstance(key, str) and not key.isdecimal()]
        self._keys = keys if self._readings == (*keys, Each.ELEMENT) else None
        """Keys that lead to the list, where nothing else does."""

    def split(self, payload: str | None) -> list[Sent]:
        """The readings of a payload, in its order; at least one.

        Raises:
            Violation: it is not JSON, or holds no reading.

        >>> splitter = PayloadSplitter(Payload(format="json", readings="sent[*]"))
        >>> [sent.payload for sent in splitter.split('{"sent": [{"a": 1}, {"a": 2}]}')]
        ['{"sent":[{"a":1}]}', '{"sent":[{"a":2}]}']
        """
        document = read_json(checked_text(payload))
        if self._is_senml:
            document = resolved(document)
        sent: list[Sent] = []
        size = 0
        try:
            found = self._together(document) if self._has_records else self._alone(document)
            for each in found:
                size += len(each.payload)
                if size > MOST_BYTES:
                    raise Violation(
                        "payload",
                        "too_long",
                        f"payload: its readings take more than {MOST_BYTES} bytes, as each is "
                        "written with what stands beside their list",
                    )
                sent.append(each)
        except orjson.JSONEncodeError as error:  # deeper than can be written
            raise Violation("payload", "not_json", f"payload: {error}") from None
        except NoValue as error:
            raise Violation("payload", "no_readings", f"payload: {error}") from None
        if not sent:
            where = shown(self._readings)
            raise Violation("payload", "no_readings", f"payload: no reading at {where!r}")
        return sent

    def _alone(self, document: Any) -> Iterator[Sent]:
        for text, one, reading in self._texts(document):
            yield Sent(text, *self._own(one, reading))

    def _together(self, document: Any) -> Iterator[Sent]:
        """The records of one time and device as one reading."""
        groups = [self._own(one, record) for one, record in spread(document, self._readings)]
        parts = divide(document, self._readings, iter(groups))
        for group, part in parts.items():
            yield Sent(orjson.dumps(part).decode(), *group)

    def _texts(self, document: Any) -> Iterator[tuple[str, Any, Any]]:
        """The payload with each reading alone, as text and parsed, and the reading."""
        readings = None if self._keys is None else find(document, self._keys)
        if self._keys is None or not isinstance(readings, list):
            for one, reading in spread(document, self._readings):
                yield orjson.dumps(one).decode(), one, reading
            return
        # What stands beside the list is the same in each, so it is written once.
        one = orjson.dumps(_with(document, self._keys, [_PLACE])).decode()
        before, _, behind = one.partition(f'"{_PLACE}"')
        for reading in readings:
            yield f"{before}{orjson.dumps(reading).decode()}{behind}", document, reading

    def _own(self, document: Any, reading: Any) -> tuple[str | None, datetime | None, str | None]:
        """A reading's own device and time, and what is wrong with its time."""
        device, time, wrong = None, None, None
        if self._device:
            device = self._device.found(document, reading)
            device = str(device) if type(device) in (str, int) else None
        if self._time:
            value = self._time.found(document, reading)
            try:
                time = read_time(value, self._format, self._zone)
            except ValueError:
                given = "nothing" if value is None else repr(str(value)[:SHOWN_LETTERS])
                hint = hint_of_unit(value, "payload.time_format")
                wrong = f"{given} at {self._time.shown!r}, {self._expected}{hint}"
        return device, time, wrong


def hint_of_unit(value: Any, key: str) -> str:
    """The format in which a time that cannot be read is one of our days.

    Args:
        key: of the contract, which would tell it.
    """
    text = str(value).strip()[:SHOWN_LETTERS]
    if unit := unit_of(text):
        then = as_unit(text, unit)
        return f' (as {unit} it is {then:%Y-%m-%dT%H:%M:%S}: {key} = "{unit}"?)'
    return ""


def _with(document: Any, keys: Sequence[str], value: Any) -> Any:
    """A document that has this value at a path of keys."""
    if not keys:
        return value
    document = entered(document) if type(document) is str else document
    return document | {keys[0]: _with(document[keys[0]], keys[1:], value)}
