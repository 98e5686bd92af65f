"""What preprocessing costs, part by part: beside what one would write instead, and its limit.

Parsing with checks and features of a reading, rolling features, reading from MariaDB, and the
whole. A peer whose cost per row does not depend on their number works on fewer rows.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench import readings, store
from bench.frame import ROOT, Cost, Target, alternate, measure, medians, table, write
from breezeway.pictures import BLUE, GREY, INK, STYLE

FORMS = ("json", "delimited")
MILLION = 1_000_000
PEER_ROWS = 20_000
RAY_ROWS = 100_000
SQL_ROWS = 200_000
PLAIN_ROWS = 200_000
RAY_PROCESSES = 2


# -- parse, check, features of a reading


def _file_of_payloads(folder: Path, form: str) -> Path:
    path = folder / f"{form}.arrow"
    payloads = readings.payloads(form, readings.DISTINCT)
    batch = pa.record_batch([payloads], names=["payload"])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    return path


def _distinct(path: str) -> pa.StringArray:
    with pa.OSFile(path) as file:
        return pa.ipc.open_file(file).read_all()["payload"].combine_chunks()


def parse_ours(path: str, form: str, rows: int) -> Callable[[], list[int]]:
    from breezeway.columnar import PayloadParser
    from breezeway.features import History

    contract, payloads = readings.contract(form), _distinct(path)
    parser, history = PayloadParser(contract), History(contract)

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
    from breezeway.contract import Contract
    from breezeway.features import History

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
    from breezeway.raw import RawStore

    return lambda: sum(len(chunk) for chunk in RawStore(url).stream(query))


def read_by_sqlalchemy(url: str, query: str) -> Callable[[], int]:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)

    def work() -> int:
        rows = 0
        with engine.connect().execution_options(yield_per=10_000) as connection:
            for part in connection.execute(sqlalchemy.text(query)).partitions():
                columns = list(zip(*part, strict=True))
                rows += len(columns[0])
        return rows

    return work


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
    from breezeway.datasets import publish
    from breezeway.preprocessing import make_dataset
    from breezeway.raw import RawStore
    from breezeway.settings import Settings

    aside = Path(folder) / "aside"
    aside.mkdir(parents=True)
    settings = Settings(home=Path(folder) / "home", raw_url=url)
    nothing = pa.table(
        {"device": pa.array([], pa.string())}
        | {name: pa.array([], pa.timestamp("us", tz="UTC")) for name in ("start", "end")}
    )

    def work() -> list[int]:
        chunks = RawStore(url).stream(query)
        contract = readings.contract("json")
        manifest = make_dataset(chunks, contract, nothing, query, aside, 1, 10**12)
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


# -- all of it


def run() -> None:
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        files = {form: str(_file_of_payloads(folder, form)) for form in FORMS}
        costs = {f"parse {form}": _measure_parse(form, files[form]) for form in FORMS}
        costs["rolling"] = _measure_rolling()
        with store.filled_mariadb() as url:
            costs["read"] = _measure_read(url)
            costs["whole"] = _measure_whole(url, folder, files["json"])
    print(
        table(
            ["", "rows", "CPU µs a row", "wall µs a row", "peak MiB"],
            [
                [f"{part}: {name}", f"{c['rows']:,}", *(f"{c[k]:.3g}" for k in FIGURES)]
                for part, contenders in costs.items()
                for name, c in contenders.items()
            ],
        )
    )
    _draw(costs, ROOT / "docs" / "preprocess-bench.png")
    packages = ["duckdb", "numpy", "pandas", "pyarrow", "pymysql", "pysimdjson", "ray"]
    write("preprocess", {"costs": costs, "parts": _parts(costs)}, _targets(costs), packages)


FIGURES = ("cpu_us", "wall_us", "peak_mib")
Costs = dict[str, dict[str, Any]]


def _costs(found: dict[str, list[Cost]], rows: dict[str, int]) -> Costs:
    told = {}
    for name, runs in found.items():
        middle = medians(runs)
        told[name] = {
            "rows": rows[name],
            "runs": len(runs),
            "cpu_us": middle.cpu / rows[name] * 1e6,
            "wall_us": middle.wall / rows[name] * 1e6,
            "peak_mib": middle.peak_mib,
            "value": middle.value,
        }
    return told


def _measure(contenders: dict[str, tuple[Callable, int, dict[str, Any]]], rounds: int = 5) -> Costs:
    """Of work, the rows that it has, and its arguments."""
    found = alternate(
        {
            name: lambda work=work, arguments=arguments: measure(work, **arguments)
            for name, (work, _, arguments) in contenders.items()
        },
        rounds,
    )
    return _costs(found, {name: rows for name, (_, rows, _) in contenders.items()})


def _measure_parse(form: str, path: str) -> Costs:
    print(f"parse {form}", file=sys.stderr)

    def of(work: Callable, rows: int) -> tuple:
        return work, rows, {"path": path, "form": form, "rows": rows}

    costs = _measure(
        {
            "ours": of(parse_ours, 200_000),
            "loop": of(parse_in_a_loop, PEER_ROWS),
            "Series.map": of(parse_by_map, PEER_ROWS),
            "floor": of(parse_floor, readings.DISTINCT),
        }
    )
    once = {"ours, 1 M": of(parse_ours, MILLION), "ours, 10 M": of(parse_ours, 10 * MILLION)}
    if form == "json":
        once["Ray tasks"] = of(parse_by_ray, RAY_ROWS)
        costs |= _measure(once, rounds=1)
    for name in ("ours", "loop", "Series.map"):  # all refuse the same rows
        made, refused = costs[name]["value"]
        if refused * 100 != made + refused:
            raise AssertionError(f"{name} of {form}: {refused} of {made + refused} rows refused")
    return costs


def _measure_rolling() -> Costs:
    print("rolling features", file=sys.stderr)

    def of(work: Callable, rows: int) -> tuple:
        return work, rows, {"rows": rows}

    return _measure(
        {
            "ours": of(rolling_ours, MILLION),
            "pandas, apply": of(rolling_by_apply, 50_000),
            "pandas, by means": of(rolling_by_means, MILLION),
            "floor": of(rolling_floor, MILLION),
        }
    )


def _measure_read(url: str) -> Costs:
    print("read", file=sys.stderr)

    def of(work: Callable, rows: int) -> tuple:
        limited = f"{store.query(1)} LIMIT {rows}" if rows < MILLION else ""
        return work, rows, {"url": url, "query": limited or store.query(rows // MILLION)}

    costs = _measure(
        {
            "ours": of(read_ours, MILLION),
            "SQLAlchemy": of(read_by_sqlalchemy, SQL_ROWS),
            "floor": of(read_by_c_client, MILLION),
        }
    )
    return costs | _measure({"ours, 10 M": of(read_ours, 10 * MILLION)}, rounds=1)


def _measure_whole(url: str, folder: Path, path: str) -> Costs:
    print("the whole", file=sys.stderr)
    numbers = iter(range(1000))

    def run_in_new_folder(work: Callable, query: str) -> Cost:
        place = folder / str(next(numbers))
        try:
            return measure(work, url=url, query=query, folder=str(place / "work"))
        finally:
            shutil.rmtree(place)

    found = alternate(
        {
            "ours": lambda: run_in_new_folder(whole_ours, store.query(1)),
            "floor: read": lambda: measure(read_ours, url=url, query=store.query(1)),
            "floor: parse": lambda: measure(parse_ours, path=path, form="json", rows=MILLION),
            "floor: hash": lambda: measure(hash_floor, path=path, rows=MILLION),
        },
        rounds=3,
    )
    few = f"{store.query(1)} LIMIT {PLAIN_ROWS}"
    found["plain"] = [run_in_new_folder(whole_plain, few)]
    found["ours, 10 M"] = [run_in_new_folder(whole_ours, store.query(10))]
    rows = dict.fromkeys(found, MILLION) | {"plain": PLAIN_ROWS, "ours, 10 M": 10 * MILLION}
    return _costs(found, rows)


def _ratio(costs: Costs, name: str, other: str = "ours") -> float:
    return costs[name]["cpu_us"] / costs[other]["cpu_us"]


def _sum_of_floors(whole: Costs) -> float:
    return sum(cost["cpu_us"] for name, cost in whole.items() if name.startswith("floor"))


def _targets(costs: dict[str, Costs]) -> list[Target]:
    targets = []
    for form in FORMS:
        parse = costs[f"parse {form}"]
        targets += [
            Target(f"parse {form}: times less CPU than the loop", 50, _ratio(parse, "loop"), True),
            Target(
                f"parse {form}: times less CPU than Series.map",
                20,
                _ratio(parse, "Series.map"),
                True,
            ),
            Target(f"parse {form}: times the floor", 5, 1 / _ratio(parse, "floor"), False),
        ]
    parse, rolling, read, whole = (
        costs[part] for part in ("parse json", "rolling", "read", "whole")
    )
    slope = (whole["ours, 10 M"]["cpu_us"] * 10 - whole["ours"]["cpu_us"]) / 9
    return [
        *targets,
        Target("parse: peak MiB at 1 M rows", 500, parse["ours, 1 M"]["peak_mib"], False),
        Target(
            "parse: peak at 10 M rows, times that at 1 M",
            1.1,
            parse["ours, 10 M"]["peak_mib"] / parse["ours, 1 M"]["peak_mib"],
            False,
        ),
        Target(
            "rolling: times less CPU than pandas, slope by apply",
            20,
            _ratio(rolling, "pandas, apply"),
            True,
        ),
        Target(
            "rolling: times less CPU than pandas, slope by means",
            20,
            _ratio(rolling, "pandas, by means"),
            True,
            "NumPy goes over the readings about 20 times for a statistic, pandas once, in C; that "
            "once adds and takes away, so that a result depends on all readings before its window",
        ),
        Target("read: times less CPU than SQLAlchemy", 10, _ratio(read, "SQLAlchemy"), True),
        Target(
            "read: peak at 10 M rows, times that at 1 M",
            1.1,
            read["ours, 10 M"]["peak_mib"] / read["ours"]["peak_mib"],
            False,
        ),
        Target("whole: times less CPU than the plain way", 20, _ratio(whole, "plain"), True),
        Target(
            "whole: times its floors", 1.3, whole["ours"]["cpu_us"] / _sum_of_floors(whole), False
        ),
        Target(
            "whole: CPU a row from 1 M to 10 M rows, times that up to 1 M",
            1.1,
            slope / whole["ours"]["cpu_us"],
            False,
        ),
        Target(
            "whole: peak at 10 M rows, times that at 1 M",
            1.1,
            whole["ours, 10 M"]["peak_mib"] / whole["ours"]["peak_mib"],
            False,
        ),
    ]


def _parts(costs: dict[str, Costs]) -> list[dict[str, str]]:
    def told(part: str, name: str) -> str:
        cost = costs[part][name]
        return f"{cost['cpu_us']:.3g} µs"

    parts = [
        {
            "part": f"parse, check, features; {form}",
            "ours": told(f"parse {form}", "ours"),
            "peers": f"loop {told(f'parse {form}', 'loop')}, "
            f"Series.map {told(f'parse {form}', 'Series.map')}",
            "floor": f"{'simdjson' if form == 'json' else 'Arrow CSV'} "
            f"{told(f'parse {form}', 'floor')}",
        }
        for form in FORMS
    ]
    parts[0]["peers"] += f", Ray tasks {told('parse json', 'Ray tasks')}"
    return [
        *parts,
        {
            "part": "14 rolling statistics, 200 devices",
            "ours": told("rolling", "ours"),
            "peers": f"pandas {told('rolling', 'pandas, apply')}, tuned "
            f"{told('rolling', 'pandas, by means')}",
            "floor": f"one pass {told('rolling', 'floor')}",
        },
        {
            "part": "read from MariaDB",
            "ours": told("read", "ours"),
            "peers": f"SQLAlchemy {told('read', 'SQLAlchemy')}",
            "floor": f"C client {told('read', 'floor')}",
        },
        {
            "part": "the whole, published",
            "ours": f"{told('whole', 'ours')}; 10 M rows {told('whole', 'ours, 10 M')}",
            "peers": f"plain {told('whole', 'plain')}",
            "floor": f"read + parse + hash {_sum_of_floors(costs['whole']):.3g} µs",
        },
    ]


def _draw(costs: dict[str, Costs], path: Path) -> None:
    """A bar for each contender of each part, on one logarithmic axis."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 7.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        labels = []
        for part, contenders in costs.items():
            for name, cost in contenders.items():
                if ("10 M" in name and part != "whole") or name == "ours, 1 M":
                    continue
                ours = name.startswith("ours")
                color = BLUE if ours else GREY if name.startswith("floor") else INK
                axes.barh(len(labels), cost["cpu_us"], color=color, height=0.7)
                axes.text(cost["cpu_us"] * 1.1, len(labels), f"{cost['cpu_us']:.3g}", va="center")
                labels.append(f"{part}: {name}")
            labels.append("")
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.margins(x=0.15)
        axes.tick_params(left=False)
        figure.suptitle("CPU microseconds a row", x=0.01, ha="left")
        figure.savefig(path, dpi=110)
