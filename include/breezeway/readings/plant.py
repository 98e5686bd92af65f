"""A simulated plant: readings, faults, drift and bad payloads, for users without sensors.

Its readings follow the shipped contract `plant.toml`. A machine's day depends only on the seed, the
machine and the day.
"""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pyarrow as pa

from breezeway.core.days import UTC_ZONE, day_end, day_start
from breezeway.readings.arrow import LABELS, READINGS

VERSION = 1
"""Increase it when the same arguments give other readings than before."""

MINUTE = timedelta(minutes=1)
BURST = 16
"""Elements of a vibration burst, plus or minus two."""

MODES = np.array(["idle", "normal", "boost"])
_SPEED = np.array([600.0, 1500.0, 1900.0])  # rpm in each mode
_TORQUE = np.array([8.0, 40.0, 55.0])  # Nm
_FAULTS = ("bearing", "overheating", "leak")


@dataclass(frozen=True)
class MachineDay:
    """What one machine did on one day.

    Attributes:
        readings: a row for each minute, as `READINGS`, without labels.
        labels: its faults, as `LABELS`; each starts with its first effect and ends with the
            repair, within the day.
    """

    device: str
    day: date
    readings: pa.Table
    labels: pa.Table


def simulate(
    device: str,
    day: date,
    *,
    seed: int = 0,
    drift: float = 0.0,
    bad_share: float = 0.0,
    zone: ZoneInfo = UTC_ZONE,
) -> MachineDay:
    """One machine's day, with a reading each minute.

    The machine is run by the clock: on a day on which clocks are set it has an hour less or more.

    Args:
        device: its name; it determines the machine's character.
        day: of the zone.
        seed: another seed is another plant.
        drift: °C by which the thermometer reads too high on this day.
        bad_share: share of readings whose payload breaks the contract, from 0 to 1.
        zone: of the day.

    Example:
        >>> simulate("machine-01", date(2026, 1, 5)).readings.num_rows
        1440
    """
    machine = np.random.default_rng(_entropy(seed, device))
    rng = np.random.default_rng(_entropy(seed, device, day.isoformat()))
    offset = {
        "temperature": machine.normal(0, 4),
        "pressure": machine.normal(0, 0.4),
        "speed": machine.normal(0, 40),
        "vibration": machine.uniform(0.8, 1.25),
    }
    second = int(machine.integers(0, 60))
    start = day_start(day, zone)
    clock = _clock_minutes(start, day_end(day, zone), zone)
    minute = np.arange(len(clock))
    faults = _draw_faults(rng, len(clock))
    severity = {kind: np.zeros(len(clock)) for kind in _FAULTS}
    for fault in faults:
        severity[fault.kind] += fault.severity_at(minute)

    mode, load = _operation(rng, clock, day)
    speed = _SPEED[mode] + offset["speed"] + 25 * _wander(rng, len(clock), 5)
    torque = _TORQUE[mode] * (0.92 + 0.15 * load) + 1.5 * _wander(rng, len(clock), 3)
    power = speed * torque * 0.10472  # W
    warmth = offset["temperature"], drift
    temperature = _temperature(rng, clock, power, severity, warmth)
    pressure = _pressure(rng, load, severity["leak"], offset["pressure"])
    vibration = _vibration(rng, speed, offset["vibration"], severity["bearing"])
    lengths = rng.integers(BURST - 2, BURST + 3, len(clock))

    payloads = _payloads(temperature, pressure, speed, torque, mode, vibration, lengths)
    if bad_share:
        spoiler = np.random.default_rng(_entropy(seed, device, day.isoformat(), "bad"))
        _spoil(payloads, bad_share, spoiler)
    return _as_tables(device, day, start + timedelta(seconds=second), payloads, faults, start)


def _clock_minutes(start: datetime, end: datetime, zone: ZoneInfo) -> np.ndarray:
    """The minute of the day that clocks show in each minute between two moments."""
    shown = [(start + n * MINUTE).astimezone(zone) for n in range((end - start) // MINUTE)]
    return np.array([60 * moment.hour + moment.minute for moment in shown])


def _as_tables(
    device: str,
    day: date,
    first: datetime,
    payloads: list[str | None],
    faults: "list[_Fault]",
    start: datetime,
) -> MachineDay:
    """A reading each minute from the first on, and the faults as labels."""
    times = (int(first.timestamp()) + 60 * np.arange(len(payloads))) * 1_000_000
    readings = pa.table(
        [
            pa.repeat(device, len(payloads)),
            pa.array(times).cast(READINGS.field("time").type),
            pa.array(payloads, pa.string()),
            pa.nulls(len(payloads), pa.int64()),
        ],
        schema=READINGS,
    )
    labels = [
        {
            "device": device,
            "start": start + fault.start * MINUTE,
            "end": start + fault.end * MINUTE,
        }
        for fault in faults
    ]
    return MachineDay(device, day, readings, pa.Table.from_pylist(labels, schema=LABELS))


def _entropy(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:16])


# -- how the machines run


def _season(clock: np.ndarray, peak_hour: float) -> np.ndarray:
    """A day's sine, -1 to 1."""
    return np.asarray(np.cos(2 * np.pi * (clock / 60 - peak_hour) / 24))


def _operation(
    rng: np.random.Generator, clock: np.ndarray, day: date
) -> tuple[np.ndarray, np.ndarray]:
    """Mode (index into MODES) and load (0 to 1): less at night and at weekends."""
    weekend = 0.45 if day.weekday() >= 5 else 1.0
    load = weekend * (0.5 + 0.45 * _season(clock, 13))
    demand = load[::30] + rng.normal(0, 0.15, len(load[::30]))  # decided every half hour
    mode = np.repeat(np.digitize(demand, [0.18, 0.72]), 30)[: len(load)]
    return mode, load


def _wander(rng: np.random.Generator, length: int, minutes: float) -> np.ndarray:
    """Noise of standard deviation 1, autocorrelated over some minutes."""
    noise = rng.normal(0, 1, length + int(8 * minutes))
    smooth = np.convolve(noise, _memory(minutes), mode="valid")[:length]
    return np.asarray(smooth / np.sqrt(np.sum(_memory(minutes) ** 2)))


def _follow(values: np.ndarray, minutes: float) -> np.ndarray:
    """The values, smoothed, as a slow quantity follows them."""
    kernel = _memory(minutes)
    padded = np.concatenate([np.full(len(kernel) - 1, values[0]), values])
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def _memory(minutes: float) -> np.ndarray:
    return np.exp(-np.arange(int(8 * minutes)) / minutes)


def _pump_switches(rng: np.random.Generator, length: int) -> np.ndarray:
    """Short dips of pressure that are not faults, in bar."""
    dips = np.zeros(length)
    for start in rng.integers(0, length - 15, rng.poisson(2)):
        dips[start : start + rng.integers(4, 12)] += rng.uniform(0.4, 1.2)
    return dips


def _vibration(
    rng: np.random.Generator, speed: np.ndarray, level: float, wear: np.ndarray
) -> np.ndarray:
    """Bursts of acceleration in g, (minutes, BURST + 2).

    A worn bearing shakes more, and knocks: single elements are large. Now and then so does the
    cable of a good one.
    """
    length = len(speed)
    rms = level * (0.25 + 0.35 * speed / 1500) * np.exp(rng.normal(0, 0.12, length))
    burst = rng.normal(0, 1, (length, BURST + 2)) * (rms * (1 + 0.9 * wear))[:, None]
    knocks = rng.random(length) < 0.004 + 0.5 * np.minimum(wear, 1)
    place = rng.integers(0, BURST - 2, length)
    height = rms * rng.uniform(2, 5, length) * rng.choice([-1, 1], length)
    burst[np.arange(length), place] += knocks * height
    return np.clip(burst, -50, 50)


# -- faults


@dataclass(frozen=True)
class _Fault:
    """Minutes of the day; the severity climbs during `onset` to `peak`."""

    kind: str
    start: int
    onset: int
    end: int
    peak: float

    def severity_at(self, minute: np.ndarray) -> np.ndarray:
        growing = np.clip((minute - self.start) / self.onset, 0, 1)
        return self.peak * growing * ((minute >= self.start) & (minute < self.end))


def _draw_faults(rng: np.random.Generator, minutes: int) -> list[_Fault]:
    """One fault a day, sometimes two, never at the same time."""
    count = 2 if rng.random() < 0.25 else 1
    width = minutes // count
    faults = []
    for index in range(count):
        onset = int(rng.integers(20, 91))
        length = onset + int(rng.integers(30, 151))
        start = index * width + int(rng.integers(0, width - length))
        kind = _FAULTS[rng.integers(len(_FAULTS))]
        faults.append(_Fault(kind, start, onset, start + length, rng.uniform(0.7, 1.6)))
    return faults


# -- payloads


def _temperature(
    rng: np.random.Generator,
    clock: np.ndarray,
    power: np.ndarray,
    severity: dict[str, np.ndarray],
    offsets: tuple[float, float],
) -> np.ndarray:
    """°C by the minute: the room's, and what power (W) and faults add to it.

    Args:
        offsets: of the machine, and of its thermometer on this day.
    """
    machine, thermometer = offsets
    ambient = 18 + 6 * _season(clock, 15) + rng.normal(0, 1.5)
    return np.asarray(
        ambient
        + machine
        + 25
        + 0.003 * _follow(power, 45)
        + 18 * severity["overheating"]
        + 3 * severity["bearing"]
        + 0.8 * _wander(rng, len(clock), 20)
        + thermometer
    )


def _pressure(
    rng: np.random.Generator, load: np.ndarray, leak: np.ndarray, offset: float
) -> np.ndarray:
    """Bar by the minute."""
    dips, noise = _pump_switches(rng, len(load)), 0.12 * _wander(rng, len(load), 4)
    return np.asarray(6 + offset + 0.8 * load - 1.3 * leak - dips + noise)


def _payloads(
    temperature: np.ndarray,
    pressure: np.ndarray,
    speed: np.ndarray,
    torque: np.ndarray,
    mode: np.ndarray,
    vibration: np.ndarray,
    lengths: np.ndarray,
) -> list[str | None]:
    columns = zip(
        temperature.round(2).tolist(),
        np.clip(pressure, 0, 20).round(3).tolist(),
        np.clip(speed, 0, 4000).round(1).tolist(),
        np.clip(torque, 0, 200).round(2).tolist(),
        MODES[mode].tolist(),
        vibration.round(4).tolist(),
        lengths.tolist(),
        strict=True,
    )
    return [
        orjson.dumps(
            {
                "env": {"temperature": t, "pressure": p},
                "rotational_speed": s,
                "torque": q,
                "mode": m,
                "vibration": v[:n],
            }
        ).decode()
        for t, p, s, q, m, v, n in columns
    ]


def _spoil(payloads: list[str | None], share: float, rng: np.random.Generator) -> None:
    """Break a share of the payloads, each in one of the usual ways."""
    count = round(share * len(payloads))
    for row in rng.choice(len(payloads), count, replace=False):
        payloads[row] = _broken(payloads[row], rng)


def _broken(payload: str, rng: np.random.Generator) -> str | None:
    reading = orjson.loads(payload)
    match rng.integers(9):
        case 0:
            return None
        case 1:
            return payload[: rng.integers(1, len(payload))]
        case 2:
            reading["env"]["temperature"] = "hot"
        case 3:
            del reading["torque"]
        case 4:
            reading["rotational_speed"] = None
        case 5:
            reading["env"]["temperature"] = 999.0
        case 6:
            reading["mode"] = "reverse"
        case 7:
            reading["vibration"] = reading["vibration"][:2]
        case _:
            # Many JSON writers write this for a sensor without a value.
            return payload.replace('"torque":', '"torque":NaN,"_":', 1)
    return orjson.dumps(reading).decode()
