"""Who is measured in the bench of preprocessing: ours, what one would write instead, the floors.

Each function prepares, and gives the work that is measured. What a process does once belongs to
the preparation, of all of them: imports, also those that a library makes at its first call (Arrow
imports pandas, 0.3 CPU-s, where a column first becomes NumPy's), and the start of Ray's workers.
"""

import cProfile
import json
import os
import pstats
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench import readings

FEW = "SELECT device, time, payload FROM readings LIMIT 100"
RAY_PROCESSES = 2
PROFILE_LINES = 12


# -- parse, check, features of a reading


def _distinct(path: str) -> pa.StringArray:
    with pa.OSFile(path) as file:
        return pa.ipc.open_file(file).read_all()["payload"].combine_chunks()


def parse_ours(path: str, form: str, rows: int) -> Callable[[], list[int]]:
    from breezeway.contract.features import History
    from breezeway.preprocessing.payloads import PayloadParser

    contract, payloads = readings.contract(form), _distinct(path)
    parser, history = PayloadParser(contract), History(contract)
    parser.parse(payloads[:100])

    def work() -> list[int]:
        made = refused = 0
        for first in range(0, rows, readings.DISTINCT):
            _, values, violations = parser.parse(payloads[: rows - first])
            features = history.features(["machine"], np.zeros(1, np.int64), values)
            made += len(features)
            refused += len(violations)
        return [made, refused]

    return work


def parse_in_a_loop(path: str, form: str, rows: int) -> Callable[[], list[int]]:
    import pandas as pd

    frame = pd.DataFrame({"payload": _distinct(path).to_pylist()[:rows]})

    def work() -> list[int]:
        made = []
        for _, row in frame.iterrows():
            made.append(readings.features_of(form, row["payload"]))
        good = np.array([features for features in made if features is not None], dtype=float)
        return [len(good), len(made) - len(good)]

    return work


def parse_by_map(path: str, form: str, rows: int) -> Callable[[], list[int]]:
    import pandas as pd

    series = pd.Series(_distinct(path).to_pylist()[:rows])

    def work() -> list[int]:
        made = series.map(lambda payload: readings.features_of(form, payload))
        good = np.array(made[made.notna()].tolist(), dtype=float)
        return [len(good), len(made) - len(good)]

    return work


def parse_by_ray(path: str, form: str, rows: int) -> Callable[[], list[int]]:
    import ray

    payloads = (_distinct(path).to_pylist() * (rows // readings.DISTINCT + 1))[:rows]
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
    texts = [text.encode() for text in _distinct(path).to_pylist()[:rows]]
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
_FIELDS = "\n".join(f'[fields.{name}]\ntype = "float"\nnulls = "allow"' for name in ROLLING)
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

    def work() -> int:
        made = 0
        for first in range(0, rows, readings.CHUNK_ROWS):
            last = min(first + readings.CHUNK_ROWS, rows)
            begins = [first, *range((first // each + 1) * each, last, each)]
            block = {name: column[first:last] for name, column in columns.items()}
            names = [f"machine-{begin // each}" for begin in begins]
            made += len(history.features(names, np.array(begins) - first, block))
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


# -- reading


def read_ours(url: str, query: str) -> Callable[[], int]:
    from breezeway.readings.store import RawStore

    def rows(query: str) -> int:
        return sum(len(chunk) for chunk in RawStore(url).stream(query))

    rows(FEW)
    return lambda: rows(query)


def read_by_sqlalchemy(url: str, query: str) -> Callable[[], int]:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)

    def read(query: str) -> int:
        rows = 0
        with engine.connect().execution_options(yield_per=10_000) as connection:
            for part in connection.execute(sqlalchemy.text(query)).partitions():
                columns = list(zip(*part, strict=True))
                rows += len(columns[0])
        return rows

    read(FEW)
    return lambda: read(query)


def read_by_c_client(url: str, query: str) -> Callable[[], None]:
    """The `mariadb` client, written in C, throws the rows away."""
    from sqlalchemy import make_url

    address = make_url(url)
    command = [
        *("mariadb", "--quick", "--batch", "--skip-column-names", "--raw", f"--execute={query}"),
        *(f"--socket={address.query['unix_socket']}", f"--user={address.username}"),
        address.database,
    ]
    environment = os.environ | {"MYSQL_PWD": address.password}

    def work() -> None:
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)

    return work


# -- the whole


def whole_ours(url: str, query: str, folder: str) -> Callable[[], list[int]]:
    """MariaDB to a dataset under a git tag, its bytes in a remote."""
    from breezeway.core.settings import Settings
    from breezeway.datasets.versions import publish
    from breezeway.preprocessing.dataset import make_dataset
    from breezeway.readings.store import RawStore

    settings = Settings(home=Path(folder) / "home", raw_url=url)
    contract = readings.contract("json")
    nothing = pa.table(
        {"device": pa.array([], pa.string())}
        | {name: pa.array([], pa.timestamp("us", tz="UTC")) for name in ("start", "end")}
    )

    def dataset(query: str, aside: Path) -> dict[str, Any]:
        aside.mkdir(parents=True)
        chunks = RawStore(url).stream(query)
        return make_dataset(chunks, contract, nothing, query, aside, 1, 10**12)

    dataset(FEW, Path(folder) / "first")

    def work() -> list[int]:
        aside = Path(folder) / "aside"
        manifest = dataset(query, aside)
        publish(settings, aside, "v1")
        return [manifest["rows"], manifest["quarantined"]]

    return work


def whole_plain(url: str, query: str, folder: str) -> Callable[[], list[int]]:
    """What one writes first: fetch all, a loop over the rows in Ray, `dvc add`."""
    import pandas as pd
    import pymysql
    import ray
    from sqlalchemy import make_url

    address = make_url(url)
    place = Path(folder)
    place.mkdir(parents=True)
    environment = os.environ | {
        name: "bench@localhost" if name.endswith("EMAIL") else "bench"
        for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME")
    }
    environment["GIT_COMMITTER_EMAIL"] = "bench@localhost"

    def run(*command: str) -> None:
        subprocess.run(command, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)

    def dvc(*arguments: str) -> None:
        run(sys.executable, "-m", "dvc", *arguments)

    run("git", "init", "--quiet")
    dvc("init", "--quiet")
    dvc("remote", "add", "--quiet", "--default", "storage", str(place.parent / "plain-remote"))
    ray.init(num_cpus=RAY_PROCESSES, include_dashboard=False, log_to_driver=False)

    @ray.remote
    def features(part: list[tuple]) -> list:
        made = ((row[0], row[1], readings.features_of("json", row[2])) for row in part)
        return [(device, time, *found) for device, time, found in made if found is not None]

    ray.get([features.remote([]) for _ in range(RAY_PROCESSES * 2)])

    def work() -> list[int]:
        with (
            pymysql.connect(
                unix_socket=address.query["unix_socket"],
                user=address.username,
                password=address.password,
                database=address.database,
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query)
            rows = cursor.fetchall()
        step = -(-len(rows) // (RAY_PROCESSES * 4))
        parts = [features.remote(rows[k : k + step]) for k in range(0, len(rows), step)]
        made = pd.DataFrame([row for part in ray.get(parts) for row in part])
        made = made.rename(columns=str).sort_values(["0", "1"])
        made.to_parquet(place / "features.parquet")
        dvc("add", "--quiet", "features.parquet")
        run("git", "add", ".")
        run("git", "commit", "--quiet", "--message", "features")
        run("git", "tag", "v1")
        dvc("push", "--quiet")
        return [len(made), len(rows) - len(made)]

    return work


def profiled(contender: str, of_rows: int, **arguments: Any) -> Callable[[], list[list[Any]]]:
    """The functions of another contender that take the most time themselves.

    Its value: the name, CPU µs a row by itself, and with what it calls; the profiler's own
    share included.
    """
    profiler = cProfile.Profile(time.process_time)
    prepared = globals()[contender](**arguments)

    def run() -> list[list[Any]]:
        profiler.runcall(prepared)
        found = pstats.Stats(profiler).stats
        longest = sorted(found.items(), key=lambda item: -item[1][2])[:PROFILE_LINES]
        return [
            [f"{Path(file).stem} {name}".strip("~ "), own / of_rows * 1e6, whole / of_rows * 1e6]
            for (file, _, name), (_, _, own, whole, _) in longest
        ]

    return run


def hash_floor(rows: int, path: str) -> Callable[[], None]:
    """Each raw byte through SHA-256 once."""
    import hashlib

    payloads = _distinct(path)
    block = payloads.buffers()[2]

    def work() -> None:
        digest = hashlib.sha256()
        for _ in range(rows // len(payloads)):
            digest.update(block)

    return work
