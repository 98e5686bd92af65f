"""Readings as a plant sends them on a bad day: what the benches of preprocessing work on.

A vector of 16 elements and four scalars. As JSON the vector's length varies, keys come in any
order, a string in a hundred has an escape. In both forms some numbers have an exponent, a scalar
in fifty is null, and one row in a hundred breaks the contract.
"""

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from breezeway.contract.contract import Contract

DEVICES = 200
DISTINCT = 50_000
"""Payloads that are made; more rows repeat them, for making one costs more than parsing it."""
CHUNK_ROWS = 65_536
VECTOR = [f"v{number:02}" for number in range(16)]
MODES = ["run", "idle", "brake"]

_FIELDS = """
[fields.temperature]
type = "float"
range = [-40, 150]
invalid = "missing"

[fields.pressure]
type = "float"
range = [0, 1e6]
invalid = "missing"

[fields.cycles]
type = "int"
range = [0, 2000000000]

[fields.mode]
type = "category"
categories = ["run", "idle", "brake"]
"""
_REST = """
temperature = "temperature"
pressure = "pressure"
cycles = "cycles"
mode = "mode"

[label]
table = "labels"

[alarm]
false_episodes_per_day = 1

[split]
by = "time"
folds = 2
holdout = 0.2

[quarantine]
max_share = 0.05
"""


def contract(form: str) -> Contract:
    """The contract of payloads in that form, `json` or `delimited`: nine features of a reading."""
    head = f'name = "bench"\ninterval_seconds = 1\n\n[payload]\nformat = "{form}"\n'
    if form == "json":
        fields = '[fields.vibration]\ntype = "vector"\nrange = [-100, 100]\nlength = [8, 24]\n'
        features = [
            f'{name} = "{name}(vibration)"' for name in ("mean", "std", "max", "rms", "kurtosis")
        ]
    else:
        fields = "".join(
            f'\n[fields.{name}]\ntype = "float"\nrange = [-100, 100]\n' for name in VECTOR
        )
        squares = " + ".join(f"{name} * {name}" for name in VECTOR)
        features = [
            f'mean = "({" + ".join(VECTOR)}) / 16"',
            f'square = "({squares}) / 16"',
            'first = "v00"',
            'change = "v15 - v00"',
            'ratio = "v08 / v07"',
        ]
    opening = "\n[features]\nwindow = 1\n\n[features.reading]\n" + "\n".join(features)
    return Contract.from_text(head + _FIELDS + fields + opening + _REST, "bench")


def payloads(form: str, count: int) -> pa.StringArray:
    """That many payloads; the first `DISTINCT` are made, and repeated."""
    generator = np.random.default_rng(7)
    made = [_payload(form, generator, n % 100 == 99) for n in range(min(count, DISTINCT))]
    positions = pa.array(np.arange(count) % len(made))
    return pa.array(made).take(positions)


def chunks(rows: int) -> Iterator[pa.Table]:
    """So many readings as a plant sends them: in order of time, the devices in turn."""
    names = pa.array([f"machine-{number:03}" for number in range(DEVICES)])
    distinct = payloads("json", DISTINCT)
    for first in range(0, rows, CHUNK_ROWS):
        row = np.arange(first, min(first + CHUNK_ROWS, rows))
        seconds = pa.array(row // len(names) * 1_000_000)
        yield pa.table(
            {
                "device": names.take(pa.array(row % len(names))),
                "time": seconds.cast(pa.timestamp("us")),
                "payload": distinct.take(pa.array(row % len(distinct))),
            }
        )


def _payload(form: str, generator: np.random.Generator, broken: bool) -> str:
    length = int(generator.integers(8, 25)) if form == "json" else 16
    number = "{:.4e}" if generator.random() < 0.05 else "{:.4f}"
    vector = [number.format(x) for x in generator.normal(0, 3, length)]
    null = "null" if form == "json" else ""
    warmth, pressure = (
        null if generator.random() < 0.02 else number.format(x)
        for x in (generator.normal(60, 5), generator.uniform(1e3, 1e5))
    )
    cycles = str(int(generator.integers(0, 2_000_000_000)))
    mode = MODES[int(generator.integers(3))]
    if broken:
        kind = int(generator.integers(4))
        warmth = "1e9" if kind == 0 else warmth
        cycles = "7.5" if kind == 1 else cycles
        mode = "off" if kind == 2 else mode
        vector = vector[:1] if kind == 3 else vector
    if form == "delimited":
        return ";".join([warmth, pressure, cycles, mode, *vector])
    text = json.dumps(mode)
    if generator.random() < 0.01:
        text = f'"\\u{ord(mode[0]):04x}{mode[1:]}"'
    pairs = [
        f'"temperature": {warmth}',
        f'"pressure": {pressure}',
        f'"cycles": {cycles}',
        f'"mode": {text}',
        f'"vibration": [{", ".join(vector)}]',
    ]
    return "{" + ", ".join(pairs[k] for k in generator.permutation(5)) + "}"


def features_of(form: str, payload: str) -> list[float] | None:
    """The nine features of one payload, as a person would write it; None where it is bad."""
    values = _of_json(payload) if form == "json" else _of_delimited(payload)
    if values is None:
        return None
    warmth, pressure, cycles, mode, vector = values
    if not (
        (warmth is None or -40 <= warmth <= 150)
        and (pressure is None or 0 <= pressure <= 1e6)
        and cycles is not None
        and cycles == int(cycles)
        and 0 <= cycles <= 2e9
        and mode in MODES
        and np.all(np.abs(vector) <= 100)
    ):
        return None
    scalars = [
        np.nan if warmth is None else warmth,
        np.nan if pressure is None else pressure,
        cycles,
        MODES.index(mode),
    ]
    if form == "delimited":
        return [
            vector.mean(),
            np.square(vector).mean(),
            vector[0],
            vector[15] - vector[0],
            vector[8] / vector[7] if vector[7] else np.nan,
            *scalars,
        ]
    mean = vector.mean()
    squares = np.square(vector - mean)
    variance = squares.mean()
    kurtosis = np.square(squares).mean() / variance**2 - 3 if variance else np.nan
    rms = np.sqrt(np.square(vector).mean())
    return [mean, np.sqrt(variance), vector.max(), rms, kurtosis, *scalars]


def _of_json(payload: str) -> tuple | None:
    try:
        found = json.loads(payload)
        vector = np.array(found["vibration"], dtype=float)
        scalars = [found[name] for name in ("temperature", "pressure", "cycles", "mode")]
    except (ValueError, TypeError, KeyError):
        return None
    return (*scalars, vector) if vector.ndim == 1 and 8 <= len(vector) <= 24 else None


def _of_delimited(payload: str) -> tuple | None:
    parts = payload.split(";")
    if len(parts) != 20:
        return None
    try:
        warmth, pressure, cycles = (float(part) if part else None for part in parts[:3])
        vector = np.array([float(part) for part in parts[4:]])
    except ValueError:
        return None
    return warmth, pressure, cycles, parts[3], vector
