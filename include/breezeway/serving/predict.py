"""One request to one model: from the bytes of a body to the answer, or to a refusal."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import orjson

from breezeway.contract import Contract, Violation
from breezeway.deployments import Pointer
from breezeway.features import window_features

if TYPE_CHECKING:
    from breezeway.model import ScoringModel

LONGEST_DEVICE_NAME = 200
"""Characters; checked before the contract's own pattern sees the name."""


class Refusal(Exception):
    """A request that gets no prediction.

    Args:
        status: the HTTP status: a 4xx, or 503 where the model is not there yet.
        error: one sentence for whoever sent it.
        details: what a program can use: `field`, `reading` (index), `reason`.
    """

    def __init__(self, status: int, error: str, **details: str | int):
        super().__init__(error)
        self.status = status
        self.body = {"error": error, **details}


class LiveModel:
    """A loaded model that answers requests.

    Args:
        model: the model with its contract and threshold.
        pointer: what is told about it in every answer.
        loaded_at: when, for the status page.
    """

    def __init__(self, model: "ScoringModel", pointer: Pointer, loaded_at: datetime):
        self.model = model
        self.pointer = pointer
        self.loaded_at = loaded_at
        self._told = {
            "threshold": model.threshold,
            "model": pointer.model_name,
            "model_version": pointer.model_version,
            "data_tag": pointer.data_tag,
        }

    def score(self, device: str, readings: Sequence[Mapping[str, str]]) -> float:
        """Score the last of a device's readings.

        Args:
            device: its name.
            readings: dicts with `time` and `payload`, oldest first; at least one. The last
                `contract.window` of them count.

        Raises:
            Refusal: the device, a time or a payload breaks the contract.
        """
        contract = self.model.contract
        try:
            contract.check_device(device)
        except Violation as violation:
            raise _refusal(violation) from None
        first = max(0, len(readings) - contract.window)
        parsed = parse_readings(contract, readings[first:], first)
        row = window_features(contract, parsed)
        return float(self.model.score(row[None, :])[0])

    def answer(self, body: bytes) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            Refusal: it is malformed (400) or breaks the model's contract (422).
        """
        device, readings = read_request(body)
        score = self.score(device, readings)
        return {
            "score": score,
            "alarm": score >= self.model.threshold,
            **self._told,
            "prediction_id": f"{self.pointer.model_name}.{self.pointer.model_version}"
            f".{secrets.token_hex(8)}",
        }


def read_request(body: bytes) -> tuple[str, list[dict[str, str]]]:
    """The device and the readings of a body, of the right types.

    Raises:
        Refusal: 400, naming the key.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise Refusal(400, "The body is not a JSON object.")
    device, readings = document.get("device"), document.get("readings")
    if not isinstance(device, str) or len(device) > LONGEST_DEVICE_NAME:
        raise Refusal(
            400,
            f"device: expected a string of at most {LONGEST_DEVICE_NAME} characters.",
            field="device",
        )
    if not isinstance(readings, list) or not readings:
        raise Refusal(400, "readings: expected a list of at least one.", field="readings")
    for index, reading in enumerate(readings):
        _check_shape(index, reading)
    return device, readings


def _check_shape(index: int, reading: Any) -> None:
    if not isinstance(reading, dict):
        raise Refusal(400, f"readings[{index}]: expected an object.", reading=index)
    for key in ("time", "payload"):
        if not isinstance(reading.get(key), str):
            raise Refusal(
                400, f"readings[{index}].{key}: expected a string.", field=key, reading=index
            )


def parse_readings(
    contract: Contract, readings: Sequence[Mapping[str, str]], first: int
) -> list[dict[str, Any]]:
    """Parse each payload and see that time goes forward.

    Args:
        contract: of the model that is asked.
        readings: with `time` and `payload`.
        first: the index of the first of them in the request, for messages.

    Raises:
        Refusal: 422, naming the field and the reading.
    """
    parsed, before = [], None
    for index, reading in enumerate(readings, start=first):
        time = _time(reading["time"], index)
        if before is not None and time <= before:
            _refuse_time(index, "not_increasing", "is not later than that of the one before it")
        before = time
        try:
            parsed.append(contract.parse(reading["payload"]))
        except Violation as violation:
            raise _refusal(violation, index) from None
    return parsed


def _time(text: str, index: int) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        _refuse_time(index, "wrong_type", "is not an ISO 8601 time such as 2026-01-31T12:00:00Z")
    if time.tzinfo is None:
        _refuse_time(index, "wrong_type", "lacks its offset from UTC: 2026-01-31T12:00:00Z")
    return time


def _refuse_time(index: int, reason: str, what: str) -> NoReturn:
    raise Refusal(
        422, f"readings[{index}].time: {what}.", field="time", reading=index, reason=reason
    )


def _refusal(violation: Violation, index: int | None = None) -> Refusal:
    details: dict[str, str | int] = {"field": violation.field, "reason": violation.reason}
    where = ""
    if index is not None:
        details["reading"] = index
        where = f"readings[{index}]: "
    return Refusal(422, f"{where}{violation}.", **details)
