"""The readings of a request that make up the window: the same that history takes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

from breezeway.contract.contract import Contract
from breezeway.contract.splitting import PayloadSplitter
from breezeway.contract.values import Violation
from breezeway.core.times import from_iso
from breezeway.serving.refusal import Refusal

Readings = Sequence[Mapping[str, str]]
"""With `time` and `payload`, in the order in which they arrived."""
Flags = list[dict[str, Any]]
"""What the answer says of readings and values that do not count: `reading` (its index), `field`,
`reason`, `error`, and `action`, which is `missing` for a value and `left_out` for a reading. Where
a payload may hold several readings, `time` says which."""
_NEVER = datetime.min.replace(tzinfo=UTC)
Known = dict[str, dict[str, Any]]
"""Payload → its values, for one contract; only payloads without a flag. In a batch of one device's
windows each payload occurs as often as the window is long."""

LEAST_READINGS = 5
"""With fewer nothing is said of the times between them."""
FAR = 2.0
"""So many times longer or shorter than the contract says is told."""


class _Arrived(NamedTuple):
    """A reading of a request: sorted, the newest is the last."""

    time: datetime
    place: int
    payload: str


def window_of(
    contract: Contract,
    device: str,
    readings: Readings,
    flags: Flags,
    known: Known | None = None,
) -> tuple[list[dict[str, Any]], list[datetime]]:
    """The window of the last reading: it and the good ones before it, as history takes them.

    They are put in the order of their times. Of several of one time the last one that arrived and
    is good counts. A reading that is later than the last one, or that the contract rejects, is left
    out, and an older one takes its place. The window ends at a gap that the contract names. Of a
    payload with several readings those of the device count; of the last payload, the newest one is
    the last reading.

    Args:
        contract: of the model that is asked.
        device: whose readings they are.
        readings: at least one; the last is the one to be scored. There may be more than a window.
        flags: extended.
        known: payloads that were parsed before; extended.

    Returns:
        The values of at most `contract.request_readings` readings, oldest first, and their times.

    Raises:
        Refusal: 422, the last reading breaks the contract.
    """
    found: Flags = []
    arrived = _arrived(contract, device, readings, found)
    window = _accepted(contract, arrived, found, known)
    if contract.carried:
        _carry_forward(contract, window, arrived, found)
    if found:
        flags += sorted(found, key=lambda flag: flag["reading"])
    if len(window) < contract.request_readings and contract.request_readings > 1:
        error = f"readings: {len(window)} good ones, a score needs {contract.request_readings}."
        flags.append({"field": "readings", "reason": "short_window", "error": error})
    times = [reading.time for reading, _ in window]
    if len(times) >= LEAST_READINGS and contract.features.rolling:
        flags += _unusual_interval(contract.interval_seconds, times)
    return [values for _, values in reversed(window)], times[::-1]


def _unusual_interval(claim: float, times: Sequence[datetime]) -> Flags:
    """A flag if most readings, latest first, are not as far apart as the contract says."""
    mean = (times[0] - times[-1]).total_seconds() / (len(times) - 1)
    if claim / FAR <= mean <= claim * FAR:  # enough in nearly all requests
        return []
    apart = sorted((b - a).total_seconds() for a, b in pairwise(reversed(times)))
    median = apart[len(apart) // 2]
    if claim / FAR <= median <= claim * FAR:
        return []
    error = f"time: the readings are {median:.6g} s apart, interval_seconds is {claim:g}."
    return [{"field": "time", "reason": "unusual_interval", "error": error}]


def _accepted(
    contract: Contract, arrived: list[_Arrived], flags: Flags, known: Known | None
) -> list[tuple[_Arrived, dict[str, Any]]]:
    """The readings of the window with their values, newest first; those left out are flagged.

    Raises:
        Refusal: the last one is rejected.
    """
    last, wrong = arrived[-1], None
    window: list[tuple[_Arrived, dict[str, Any]]] = []
    furthest = contract.features.max_gap_seconds or math.inf
    for reading in reversed(arrived):
        if window and len(window) == contract.request_readings:
            break
        newer = window[-1][0].time if window else last.time
        if (newer - reading.time).total_seconds() > furthest:
            break
        try:
            if window and reading.time == newer:
                raise Violation("time", "duplicate_time", "time: a later one has the same")
            window.append((reading, _values(contract, reading, flags, known)))
        except Violation as violation:
            wrong = wrong or violation
            flags.append(_flag(contract, reading, violation, "left_out"))
    if wrong and (not window or not _is_sent_with(last, window[0][0])):
        raise Refusal.of(wrong, last.place)
    return window


def _is_sent_with(last: _Arrived, reading: _Arrived) -> bool:
    """Whether a reading has the payload and the time of the last one."""
    return reading[:2] == last[:2]


def _carry_forward(
    contract: Contract,
    window: list[tuple[_Arrived, dict[str, Any]]],
    arrived: list[_Arrived],
    flags: Flags,
) -> None:
    """Put the last known value, if it is not too old, in the place of one that is missing."""
    oldest = window[-1][0].time
    since = oldest - max(contract.carried.values())
    earlier, accepted = [], oldest
    for reading in reversed(arrived):
        if since <= reading.time < accepted:
            try:
                earlier.append((reading, _values(contract, reading, [], None)))
                accepted = reading.time
            except Violation:
                continue  # it is not in the window, so nobody has to know
    latest: dict[str, tuple[datetime, Any]] = {}
    found = set()
    for number, (reading, values) in reversed(list(enumerate([*window, *earlier]))):
        filled = {}
        for name, age in contract.carried.items():
            if not math.isnan(values[name]):
                latest[name] = (reading.time, values[name])
            elif name in latest and reading.time - latest[name][0] <= age:
                filled[name] = latest[name][1]
                found.add((reading.place, name, _told_time(contract, reading)))
        if filled and number < len(window):
            window[number] = (reading, values | filled)
    flags[:] = [
        flag
        for flag in flags
        if flag["action"] != "missing"
        or (flag["reading"], flag["field"], flag.get("time")) not in found
    ]


def _arrived(contract: Contract, device: str, readings: Readings, flags: Flags) -> list[_Arrived]:
    """The readings until the last one, which is the one to be scored, by time.

    Those without a time, and those that are later than the last, are flagged.

    Raises:
        Refusal: the last reading has no time, or its payload holds no reading of the device.
    """
    splitter = contract.splitter
    if splitter is None:
        arrived = _arrived_alone(contract, readings, flags)
        end = arrived[-1].time
    else:
        arrived = _arrived_together(contract, splitter, device, readings, flags)
        end = max(reading.time for reading in arrived if reading.place == len(readings) - 1)
    if max(arrived).time > end:
        wrong = Violation("time", "later", "time: later than that of the last reading")
        flags += [_flag(contract, each, wrong, "left_out") for each in arrived if each.time > end]
        arrived = [reading for reading in arrived if reading.time <= end]
    if splitter:  # history takes those of one payload and time in the order of their text
        arrived.sort(key=lambda reading: reading.payload, reverse=True)
    return sorted(arrived, key=itemgetter(0, 1)) if splitter else sorted(arrived)


def _arrived_alone(contract: Contract, readings: Readings, flags: Flags) -> list[_Arrived]:
    """Where each payload is a reading, those with a time."""
    arrived = []
    for index, reading in enumerate(readings):
        try:
            arrived.append(_Arrived(_time(reading["time"]), index, reading["payload"]))
        except Violation as violation:
            if index == len(readings) - 1:
                raise Refusal.of(violation, index) from None
            flags.append(_flag(contract, _Arrived(_NEVER, index, ""), violation, "left_out"))
    return arrived


def _arrived_together(
    contract: Contract,
    splitter: PayloadSplitter,
    device: str,
    readings: Readings,
    flags: Flags,
) -> list[_Arrived]:
    """Where a payload may hold several readings, those of the device that have a time."""
    arrived: list[_Arrived] = []
    for index, reading in enumerate(readings):
        is_last = index == len(readings) - 1
        before, wrong = len(arrived), None
        try:
            for time, payload in _readings_of(contract, splitter, device, reading):
                if isinstance(time, Violation):
                    wrong = time
                    flags.append(
                        _flag(contract, _Arrived(_NEVER, index, payload), time, "left_out")
                    )
                else:
                    arrived.append(_Arrived(time, index, payload))
        except Violation as violation:
            wrong = violation
            flags.append(_flag(contract, _Arrived(_NEVER, index, ""), violation, "left_out"))
        if is_last and len(arrived) == before:
            said = f"payload: no reading of {device!r}"
            raise Refusal.of(wrong or Violation("payload", "no_readings", said), index) from None
    return arrived


def _readings_of(
    contract: Contract, splitter: PayloadSplitter, device: str, reading: Mapping[str, str]
) -> Iterator[tuple[datetime | Violation, str]]:
    """The time of each reading of the device in a payload, or what is wrong with it; and a payload
    with this reading alone."""
    for sent in splitter.split(reading["payload"]):
        if contract.payload.device_path and sent.device != device:
            continue
        if sent.wrong_time:
            yield Violation("time", "wrong_type", f"time: {sent.wrong_time}"), sent.payload
        else:
            yield sent.time or _time(reading["time"]), sent.payload


def _values(
    contract: Contract, reading: _Arrived, flags: Flags, known: Known | None
) -> dict[str, Any]:
    if known and reading.payload in known:
        return known[reading.payload]
    missing: list[Violation] = []
    values = contract.parser.parse(reading.payload, missing)
    if missing:
        flags += [_flag(contract, reading, violation, "missing") for violation in missing]
    elif known is not None:
        known[reading.payload] = values
    return values


def _time(text: str) -> datetime:
    try:
        return from_iso(text)
    except ValueError:
        raise Violation(
            "time",
            "wrong_type",
            f"time: {text[:60]!r}, expected an ISO 8601 time such as 2026-01-31T12:00:00Z",
        ) from None


def _flag(
    contract: Contract, reading: _Arrived, violation: Violation, action: str
) -> dict[str, Any]:
    flag = {
        "reading": reading.place,
        "field": violation.field,
        "reason": violation.reason,
        "error": f"{violation}.",
        "action": action,
    }
    if told := _told_time(contract, reading):
        flag["time"] = told
    return flag


def _told_time(contract: Contract, reading: _Arrived) -> str | None:
    """Which of a payload's readings it is, if there may be several."""
    if contract.splitter is None or reading.time == _NEVER:
        return None
    return f"{reading.time:%Y-%m-%dT%H:%M:%S.%fZ}"
