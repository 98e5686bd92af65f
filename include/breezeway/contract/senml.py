"""The records of SenML (RFC 8428), each with the base values that hold for it.

A base value stands once and counts for all records that follow, until there is another.
"""

from typing import Any

from breezeway.contract.values import Violation

RELATIVE_BELOW = 2**28
"""A lesser time is not since 1970, but from when the message is received (section 4.5.3)."""
_SUMS = {"bt": "t", "bv": "v", "bs": "s"}
"""The key of a base value → that of the value it is added to."""


def resolved(document: Any) -> Any:
    """The records with their own time, value and unit; the base name stays a member of its own.

    Args:
        document: parsed JSON.

    Raises:
        Violation: it is no list of records, or a time or a base value is no number, or a time is
            relative to when the message comes.

    >>> resolved([{"bn": "m:", "bt": 1769860800, "n": "a", "v": 1}, {"n": "b", "t": -5, "v": 2}])
    ... # doctest: +NORMALIZE_WHITESPACE
    [{'bn': 'm:', 'n': 'a', 'v': 1, 't': 1769860800},
     {'bn': 'm:', 'n': 'b', 't': 1769860795, 'v': 2}]
    """
    if not isinstance(document, list) or not all(isinstance(record, dict) for record in document):
        raise _wrong("expected a list of SenML records")
    base: dict[str, Any] = {}
    records = []
    for given in document:
        base |= {key: given[key] for key in ("bn", "bu", *_SUMS) if key in given}
        record = {"bn": base["bn"]} if "bn" in base else {}
        record |= {key: value for key, value in given.items() if key not in ("bu", "bn", *_SUMS)}
        if "bu" in base:
            record.setdefault("u", base["bu"])
        for key, name in _SUMS.items():
            if key in base and (name in record or key != "bv"):
                record[name] = _sum(base, key, record, name)
        if "t" in record and _sum({}, "bt", record, "t") < RELATIVE_BELOW:
            raise _wrong(
                f"t = {record['t']!r} is a time from when the message comes, expected seconds "
                "since 1970, or a base time bt before it"
            )
        records.append(record)
    return records


def _sum(base: dict[str, Any], key: str, record: dict[str, Any], name: str) -> float:
    parts = [base.get(key, 0), record.get(name, 0)]
    for part in parts:
        if type(part) not in (int, float):
            raise _wrong(f"{key} or {name} = {str(part)[:60]!r}, expected a number")
    total: float = sum(parts)
    return total


def _wrong(said: str) -> Violation:
    return Violation("payload", "not_senml", f"payload: {said}")
