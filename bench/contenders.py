"""Who parses and who makes features: ours, what one would write instead, the floors.

Each function prepares, and gives the work that is measured. What a process does once belongs to
the preparation, of all of them: imports, also those that a library makes at its first call (Arrow
imports pandas, 0.3 CPU-s, where a column first becomes NumPy's), and the start of Ray's workers.
"""

import cProfile
import json
import pstats
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench import readings

RAY_PROCESSES = 2
PROFILE_LINES = 12


# -- parse, check, features of a reading


def distinct(path: str) -> pa.StringArray:
    with pa.OSFile(path) as file:
        return pa.ipc.open_file(file).read_all()["payload"].combine_chunks()


def parse_ours(path: str, form: str, rows: int) -> Callable[[], list[int]]:
    from breezeway.contract.features import History
    from breezeway.preprocessing.payloads import PayloadParser

    contract, payloads = readings.contract(form), distinct(path)
    parser, history = PayloadParser(contract), History(contract)
    parser.parse(payloads[:100])

    def work() -> list[int]:
        made = refused = 0
        for first in range(0, rows, readings.DISTINCT):
            parsed = parser.parse(payloads[: rows - first])
            features = history.features(
                ["machine"], np.zeros(1, np.int64), parsed.values, np.arange(parsed.good.sum())
            )
            made += len(features)
            refused += len(parsed.violations)
        return [made, refused]

    return work


def parse_in_a_loop(path: str, form: str, rows: int) -> Callable[[], list[int]]:
    import pandas as pd

    frame = pd.DataFrame({"payload": distinct(path).to_pylist()[:rows]})

    def work() -> list[int]:
        made = []
        for _, row in frame.iterrows():
            made.append(readings.features_of(form, row["payload"]))
        good = np.array([features for features in made if features is not None], dtype=float)
        return [len(good), len(made) - len(good)]

    return work


def parse_by_map(path: str, form: str, rows: int) -> Callable[[], list[int]]:
    import pandas as pd

    series = pd.Series(distinct(path).to_pylist()[:rows])

    def work() -> list[int]:
        made = series.map(lambda payload: readings.features_of(form, payload))
        good = np.array(made[made.notna()].tolist(), dtype=float)
        return [len(good), len(made) - len(good)]

    return work


def parse_by_ray(path: str, form: str, rows: int) -> Callable[[], list[int]]:
    import ray

    payloads = (distinct(path).to_pylist() * (rows // readings.DISTINCT + 1))[:rows]
    ray.init(num_cpus=RAY_PROCESSES, include_dashboard=False, log_to_driver=False)

    @ray.remote
    def features(part: list[str]) -> list:
        return [readings.features_of(form, payload) for payload in part]

    # Its workers have started and imported when the clock does.
    ray.get([features.remote(payloads[:100]) for _ in range(RAY_PROCESSES * 2)])

    def work() -> list[int]:
        step = -(-rows // (RAY_PROCESSES * 4))
        parts = [features.remote(payloads[k : k + step]) for k in range(0, rows, step)]
        made = [one for part in ray.get(parts) for one in part]
        good = np.array([one for one in made if one is not None], dtype=float)
        return [len(good), len(made) - len(good)]

    return work


def parse_floor(path: str, form: str, rows: int) -> Callable[[], int]:
    """No value is looked at: simdjson (or Arrow's reader of CSV) parses the same bytes."""
    texts = [text.encode() for text in distinct(path).to_pylist()[:rows]]
    if form == "json":
        import simdjson

        parser = simdjson.Parser()

        def work() -> int:
            parsed = 0
            for text in texts:
                try:
                    document = parser.parse(text)
                except ValueError:
                    continue
                parsed += 1
                del document  # it borrows the parser's memory
            return parsed

        return work
    from pyarrow import csv

    names = [str(number) for number in range(20)]
    block = pa.py_buffer(b"\n".join(text for text in texts if text.count(b";") == 19))

    def work() -> int:
        return csv.read_csv(
            pa.BufferReader(block),
            csv.ReadOptions(use_threads=False, column_names=names, block_size=block.size),
            csv.ParseOptions(delimiter=";", quote_char=False),
        ).num_rows

    return work


# -- rolling features

WINDOW = 30
ROLLING = {
    "temperature": ["mean", "std", "slope", "diff"],
    "pressure": ["mean", "std", "slope"],
    "power": ["mean", "std"],
    "vibration_rms": ["mean", "max", "slope"],
    "vibration_kurtosis": ["mean", "max"],
}
"""As the contract of the plant has it."""
_FIELDS = "\n".join(f'[fields.{name}]\ntype = "float"\ninvalid = "missing"' for name in ROLLING)
_READING = "\n".join(f'{name} = "{name}"' for name in ROLLING)
_ROLLING = "\n".join(f"{name} = {json.dumps(wanted)}" for name, wanted in ROLLING.items())
ROLLING_CONTRACT = f"""
name = "bench"
interval_seconds = 60
[payload]
format = "json"
{_FIELDS}
[features]
window = {WINDOW}
[features.reading]
{_READING}
[features.rolling]
{_ROLLING}
[label]
table = "labels"
[alarm]
false_episodes_per_day = 1
[split]
by = "time"
folds = 2
holdout = 0.2
"""


def _columns(rows: int) -> tuple[dict[str, np.ndarray], int]:
    """Sensor values, a pressure in fifty missing, and the readings of each device."""
    generator = np.random.default_rng(3)
    made = {name: generator.normal(60, 5, rows) for name in ROLLING}
    made["pressure"][generator.random(rows) < 0.02] = np.nan
    return made, rows // readings.DEVICES


def rolling_ours(rows: int) -> Callable[[], int]:
    from breezeway.contract.contract import Contract
    from breezeway.contract.features import History

    columns, each = _columns(rows)
    history = History(Contract.from_text(ROLLING_CONTRACT, "bench"))
    times = np.arange(rows) * 60_000_000

    def work() -> int:
        made = 0
        for first in range(0, rows, readings.CHUNK_ROWS):
            last = min(first + readings.CHUNK_ROWS, rows)
            begins = [first, *range((first // each + 1) * each, last, each)]
            block = {name: column[first:last] for name, column in columns.items()}
            names = [f"machine-{begin // each}" for begin in begins]
            starts = np.array(begins) - first
            made += len(history.features(names, starts, block, times[first:last]))
        return made

    return work


def rolling_by_apply(rows: int) -> Callable[[], int]:
    """As pandas' guide to windows has it: its own statistics, and `apply` for the slope."""
    import pandas as pd

    columns, each = _columns(rows)
    frame = pd.DataFrame({"device": np.arange(rows) // each, **columns})

    def slope(window: np.ndarray) -> float:
        position = np.flatnonzero(~np.isnan(window))
        if len(position) < 2:
            return np.nan
        offset = position - position.mean()
        return offset @ window[position] / (offset @ offset)

    def work() -> int:
        grouped = frame.groupby("device", sort=False)
        made = {}
        for name, wanted in ROLLING.items():
            windows = grouped[name].rolling(WINDOW, min_periods=1)
            for statistic in wanted:
                if statistic == "std":
                    column = windows.std(ddof=0)
                elif statistic == "slope":
                    column = windows.apply(slope, raw=True)
                elif statistic == "diff":
                    column = grouped[name].diff()
                else:
                    column = getattr(windows, statistic)()
                made[f"{name}_{statistic}"] = column.to_numpy()
        return len(pd.DataFrame(made))

    return work


def rolling_by_means(rows: int) -> Callable[[], int]:
    """The same by who knows pandas well: the slope out of four rolling means."""
    import pandas as pd

    columns, each = _columns(rows)
    frame = pd.DataFrame({"device": np.arange(rows) // each, **columns})

    def slope(name: str, mean: np.ndarray) -> np.ndarray:
        time = frame.groupby("device", sort=False).cumcount().where(frame[name].notna())
        products = pd.DataFrame({"t": time, "tt": time * time, "tx": time * frame[name]})
        rolling = products.groupby(frame["device"], sort=False).rolling(WINDOW, min_periods=1)
        means = rolling.mean().to_numpy().T
        with np.errstate(invalid="ignore", divide="ignore"):
            return (means[2] - means[0] * mean) / (means[1] - means[0] ** 2)

    def work() -> int:
        grouped = frame.groupby("device", sort=False)
        made = {}
        for name, wanted in ROLLING.items():
            windows = grouped[name].rolling(WINDOW, min_periods=1)
            mean = windows.mean().to_numpy()
            for statistic in wanted:
                if statistic == "mean":
                    column = mean
                elif statistic == "std":
                    column = windows.std(ddof=0).to_numpy()
                elif statistic == "slope":
                    column = slope(name, mean)
                elif statistic == "diff":
                    column = grouped[name].diff().to_numpy()
                else:
                    column = getattr(windows, statistic)().to_numpy()
                made[f"{name}_{statistic}"] = column
        return len(pd.DataFrame(made))

    return work


def rolling_floor(rows: int) -> Callable[[], int]:
    """One pass: each result that is to be, written once."""
    columns, _ = _columns(rows)
    statistics = sum(map(len, ROLLING.values()))

    def work() -> int:
        out = np.empty((statistics, rows))
        position = 0
        for name, wanted in ROLLING.items():
            for _ in wanted:
                np.multiply(columns[name], 0.5, out=out[position])
                position += 1
        return rows

    return work


# -- where the time goes


def profiled(contender: Callable, of_rows: int, **arguments: Any) -> Callable[[], list[list[Any]]]:
    """The functions of another contender that take the most time themselves.

    Its value: the name, CPU µs a row by itself, and with what it calls; the profiler's own
    share included.
    """
    profiler = cProfile.Profile(time.process_time)
    prepared = contender(**arguments)

    def run() -> list[list[Any]]:
        profiler.runcall(prepared)
        found = pstats.Stats(profiler).stats
        longest = sorted(found.items(), key=lambda item: -item[1][2])[:PROFILE_LINES]
        return [
            [f"{Path(file).stem} {name}".strip("~ "), own / of_rows * 1e6, whole / of_rows * 1e6]
            for (file, _, name), (_, _, own, whole, _) in longest
        ]

    return run
