"""The plant of the bench of drift: seasons, weather, days of their own, noise that remembers.

Devices have a daily and a weekly season, weather that all of them share and that lasts for days,
days of their own, and noise, some of it with heavy tails.
"""

import numpy as np
import pyarrow as pa

from breezeway.drift.hours import DAY

DEVICES, SENSORS = 20, 8
A_DAY = 144
"""Readings of a device."""
FIRST_DAY = 20_454  # a Thursday
SENSOR_NAMES = [f"sensor_{number}" for number in range(SENSORS)]


def _remembering(rng: np.random.Generator, length: int, memory: float) -> np.ndarray:
    """Noise of standard deviation 1, each value correlated by `memory` with the one before."""
    from scipy.signal import lfilter

    shock = rng.normal(size=length) * np.sqrt(1 - memory**2)
    shock[0] = rng.normal()
    return lfilter([1.0], [1.0, -memory], shock)


def plant(seed: int, days: int) -> np.ndarray:
    """Readings: float64 (devices, days * A_DAY, sensors)."""
    rng = np.random.default_rng(seed)
    moment = np.arange(days * A_DAY)
    hour = moment / A_DAY * 24 % 24
    weekday = (FIRST_DAY + 3 + moment // A_DAY) % 7
    working = np.where(weekday >= 5, 0.4, 1.0)
    weather = np.repeat(_remembering(rng, days, 0.7), A_DAY)
    values = np.empty((DEVICES, len(moment), SENSORS))
    for sensor in range(SENSORS):
        daily = [1.5, 1.0, 2.0, 0.5, 0.0, 1.0, 0.8, 1.2][sensor]
        season = daily * np.cos(2 * np.pi * (hour - rng.uniform(0, 24)) / 24)
        season = season * working if sensor % 2 == 0 else season
        season = season + (0.8 * working if sensor in (1, 4, 6) else 0)
        common = weather * [0.6, 0.3, 0.0, 0.0, 0.2, 0.1, 0.0, 0.4][sensor]
        for device in range(DEVICES):
            of_day = np.repeat(rng.normal(0, 0.3, days), A_DAY)
            heavy = sensor % 3 == 0
            noise = rng.standard_t(4, len(moment)) if heavy else rng.normal(size=len(moment))
            values[device, :, sensor] = (
                rng.normal(0, 3)
                + rng.normal(1, 0.2) * season
                + common
                + of_day
                + 0.5 * _remembering(rng, len(moment), 0.95)
                + 0.3 * noise
            )
    return values


def table(values: np.ndarray, first_day: int) -> pa.Table:
    devices, readings, sensors = values.shape
    moment = (FIRST_DAY + first_day) * DAY + np.arange(readings) * (DAY // A_DAY)
    names = pa.array([f"device-{number:02}" for number in range(devices)])
    owner = pa.DictionaryArray.from_arrays(np.repeat(np.arange(devices), readings), names)
    columns = {
        "device": owner.cast(pa.string()),
        "time": pa.array(np.tile(moment, devices)).cast(pa.timestamp("us", "UTC")),
    }
    for sensor in range(sensors):
        columns[SENSOR_NAMES[sensor]] = pa.array(values[:, :, sensor].ravel())
    return pa.table(columns)
