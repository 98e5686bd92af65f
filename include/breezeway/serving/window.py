"""The readings of a request that make up the window: the same that history takes."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from breezeway.contract.contract import Contract
from breezeway.contract.values import Violation
from breezeway.core.times import from_iso
from breezeway.serving.refusal import Refusal

Readings = Sequence[Mapping[str, str]]
"""With `time` and `payload`, in the order in which they arrived."""
Flags = list[dict[str, Any]]
"""What the answer says of readings and values that do not count: `reading` (its index), `field`,
`reason`, `error`, and `action`, which is `missing` for a value and `left_out` for a reading."""
Known = dict[str, dict[str, Any]]
"""Payload → its values, for one contract; only payloads without a flag. In a batch of one device's
windows each payload occurs as often as the window is long."""

LEAST_READINGS = 5
"""With fewer nothing is said of the times between them."""
FAR = 2.0
"""So many times longer or shorter than the contract says is told."""


def window_of(
    contract: Contract, readings: Readings, flags: Flags, known: Known | None = None
) -> tuple[list[dict[str, Any]], list[datetime]]:
    """The window of the last reading: it and the good ones before it, as history takes them.

    They are put in the order of their times. Of several of one time the last one that arrived and
    is good counts. A reading that is later than the last one, or that the contract rejects, is left
    out, and an older one takes its place. The window ends at a gap that the contract names.

    Args:
        contract: of the model that is asked.
        readings: at least one; the last is the one to be scored. There may be more than a window.
        flags: extended.
        known: payloads that were parsed before; extended.

    Returns:
        The values of at most `contract.window` readings, oldest first, and their times.

    Raises:
        Refusal: 422, the last reading breaks the contract.
    """
    last = len(readings) - 1
    found: Flags = []
    furthest = contract.features.max_gap_seconds or math.inf
    try:
        end = accepted = _time(readings[last]["time"])
        window = [_values(contract, last, readings[last]["payload"], found, known)]
        times = [end]
    except Violation as violation:
        raise Refusal.of(violation, last) from None
    for time, index in reversed(_until(end, readings, found)):
        if len(window) == contract.window or (accepted - time).total_seconds() > furthest:
            break
        try:
            if time == accepted:
                raise Violation("time", "duplicate_time", "time: a later one has the same")
            window.append(_values(contract, index, readings[index]["payload"], found, known))
        except Violation as violation:
            found.append(_flag(index, violation, "left_out"))
        else:
            accepted = time
            times.append(time)
    if found:
        flags += sorted(found, key=lambda flag: flag["reading"])
    if len(window) < contract.window and contract.features.rolling:
        error = f"readings: {len(window)} good ones, the window has {contract.window}."
        flags.append({"field": "readings", "reason": "short_window", "error": error})
    if len(times) >= LEAST_READINGS and contract.features.rolling:
        flags += _unusual_interval(contract.interval_seconds, times)
    return window[::-1], times[::-1]


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


def _until(end: datetime, readings: Readings, flags: Flags) -> list[tuple[datetime, int]]:
    """The times and places of all readings but the last, by time; those after `end` are flagged."""
    before = []
    for index in range(len(readings) - 1):
        try:
            time = _time(readings[index]["time"])
            if time > end:
                raise Violation("time", "later", "time: later than that of the last reading")
            before.append((time, index))
        except Violation as violation:
            flags.append(_flag(index, violation, "left_out"))
    before.sort()
    return before


def _values(
    contract: Contract, index: int, payload: str, flags: Flags, known: Known | None
) -> dict[str, Any]:
    if known and payload in known:
        return known[payload]
    missing: list[Violation] = []
    values = contract.parser.parse(payload, missing)
    if missing:
        flags += [_flag(index, violation, "missing") for violation in missing]
    elif known is not None:
        known[payload] = values
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


def _flag(index: int, violation: Violation, action: str) -> dict[str, Any]:
    return {
        "reading": index,
        "field": violation.field,
        "reason": violation.reason,
        "error": f"{violation}.",
        "action": action,
    }
