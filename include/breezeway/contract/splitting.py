"""Takes the readings out of payloads that hold several, or their own time and device.

From then on each is a payload of the same form with one reading, so that all else reads one kind
of payload: in files, in preprocessing, in a request.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import orjson

from breezeway.contract.parser import MAX_PAYLOAD_BYTES, checked_text, read_json
from breezeway.contract.paths import NoValue, Segment, find, parse_readings_path, shown, spread
from breezeway.contract.schema import Payload
from breezeway.contract.time_formats import ISO, read_time
from breezeway.contract.values import Violation

MOST_BYTES = 16 * MAX_PAYLOAD_BYTES
"""Of all readings of a payload: what stands beside their list is in each."""
SHOWN_LETTERS = 60
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


class PayloadSplitter:
    """Splits payloads by the rules of a contract.

    Args:
        payload: these rules.
    """

    def __init__(self, payload: Payload):
        self._format, self._zone = payload.time_format, ZoneInfo(payload.time_zone)
        self._readings = parse_readings_path(payload.readings) if payload.readings else ()
        self._time, self._device = (
            payload.path_of(path, "payload") if path else None
            for path in (payload.time_path, payload.device_path)
        )
        example = f"such as {TIME_EXAMPLE}" if self._format == ISO else f"as {self._format!r}"
        self._expected = f"expected a time {example}"

    def split(self, payload: str | None) -> list[Sent]:
        """The readings of a payload, in its order; at least one.

        Raises:
            Violation: it is not JSON, or holds no reading.

        >>> splitter = PayloadSplitter(Payload(format="json", readings="sent[*]"))
        >>> [sent.payload for sent in splitter.split('{"sent": [{"a": 1}, {"a": 2}]}')]
        ['{"sent":[{"a":1}]}', '{"sent":[{"a":2}]}']
        """
        document = read_json(checked_text(payload))
        sent: list[Sent] = []
        size = 0
        try:
            for one, _ in spread(document, self._readings):
                text = orjson.dumps(one).decode()
                size += len(text)
                if size > MOST_BYTES:
                    raise Violation(
                        "payload",
                        "too_long",
                        f"payload: its readings take more than {MOST_BYTES} bytes, as each is "
                        "written with what stands beside their list",
                    )
                sent.append(self._sent(text, one))
        except orjson.JSONEncodeError as error:  # deeper than can be written
            raise Violation("payload", "not_json", f"payload: {error}") from None
        except NoValue as error:
            raise Violation("payload", "no_readings", f"payload: {error}") from None
        if not sent:
            where = shown(self._readings)
            raise Violation("payload", "no_readings", f"payload: no reading at {where!r}")
        return sent

    def _sent(self, text: str, document: Any) -> Sent:
        device, time, wrong = None, None, None
        if self._device:
            device = _found(document, self._device)
            device = str(device) if type(device) in (str, int) else None
        if self._time:
            value = _found(document, self._time)
            try:
                time = read_time(value, self._format, self._zone)
            except ValueError:
                given = "nothing" if value is None else repr(str(value)[:SHOWN_LETTERS])
                wrong = f"{given} at {shown(self._time)!r}, {self._expected}"
        return Sent(text, device, time, wrong)


def _found(document: Any, path: Sequence[Segment]) -> Any:
    try:
        return find(document, path)
    except NoValue:
        return None
