"""What preprocessing costs, part by part: beside what one would write instead, and its limit.

Parsing with checks and features of a reading, rolling features, reading from MariaDB, staging
(readings given back by device and time), and the whole. A contender whose cost per row does not
depend on their number works on fewer rows.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench import contenders, readings, store, stored
from bench.frame import (
    ROUNDS,
    Cost,
    Target,
    alternate,
    measure,
    medians,
    picture,
    table,
    write_result,
)
from breezeway.detector.plots import BLUE, GREY, INK, STYLE

FORMS = ("json", "delimited")
MILLION = 1_000_000
PEER_ROWS = 5_000
RAY_ROWS = 20_000
SQL_ROWS = 100_000
PLAIN_ROWS = 50_000
PROFILED_ROWS = 200_000


def _file_of_payloads(folder: Path, form: str) -> Path:
    path = folder / f"{form}.arrow"
    payloads = readings.payloads(form, readings.DISTINCT)
    batch = pa.record_batch([payloads], names=["payload"])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    return path


def run(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        scratch = Path(name)
        files = {form: str(_file_of_payloads(scratch, form)) for form in FORMS}
        costs = {f"parse {form}": _measure_parse(form, files[form]) for form in FORMS}
        costs["rolling"] = _measure_rolling()
        costs["stage"] = _measure_staging(scratch)
        profiles = {
            f"parse {form}": _profile(
                contenders.parse_ours, path=path, form=form, rows=PROFILED_ROWS
            )
            for form, path in files.items()
        }
        profiles["rolling"] = _profile(contenders.rolling_ours, rows=PROFILED_ROWS)
        with store.filled_mariadb() as url:
            costs |= _measure_database(url, scratch, files["json"])
            costs["whole"]["floor: read"] = costs["read"]["ours"]
            costs["whole"]["floor: parse"] = costs["parse json"]["ours"]
            place = str(scratch / "profiled")
            query = f"{store.query(1)} LIMIT {PROFILED_ROWS}"
            profiles["whole"] = _profile(stored.whole_ours, url=url, query=query, folder=place)
    print(
        table(
            ["", "rows", "CPU µs a row", "wall µs a row", "peak MiB"],
            [
                [f"{part}: {name}", f"{c['rows']:,}", *(f"{c[k]:.3g}" for k in FIGURES)]
                for part, each in costs.items()
                for name, c in each.items()
            ],
        )
    )
    _draw(costs, picture(folder, "preprocess"))
    packages = [
        "connectorx",
        "duckdb",
        "numpy",
        "pandas",
        "pyarrow",
        "pymysql",
        "pysimdjson",
        "ray",
    ]
    result = {"costs": costs, "profiles": profiles, "parts": _parts(costs)}
    write_result(folder, "preprocess", result, _targets(costs), packages)


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


def _measure(works: dict[str, tuple[Callable, int, dict[str, Any]]], rounds: int = ROUNDS) -> Costs:
    """Of work, the rows that it has, and its arguments."""
    found = alternate(
        {
            name: lambda work=work, arguments=arguments: measure(work, **arguments)
            for name, (work, _, arguments) in works.items()
        },
        rounds,
    )
    return _costs(found, {name: rows for name, (_, rows, _) in works.items()})


def _profile(contender: Callable, **arguments: Any) -> list[list[Any]]:
    """Where the time of a contender goes, by function; it has `PROFILED_ROWS`."""
    return measure(
        contenders.profiled, contender=contender, of_rows=PROFILED_ROWS, **arguments
    ).value


def _measure_parse(form: str, path: str) -> Costs:
    print(f"parse {form}", file=sys.stderr)

    def of(work: Callable, rows: int) -> tuple:
        return work, rows, {"path": path, "form": form, "rows": rows}

    costs = _measure(
        {
            "ours": of(contenders.parse_ours, MILLION),
            "loop": of(contenders.parse_in_a_loop, PEER_ROWS),
            "Series.map": of(contenders.parse_by_map, PEER_ROWS),
            "floor": of(contenders.parse_floor, readings.DISTINCT),
        }
    )
    if form == "json":
        once = {
            "ours, 10 M": of(contenders.parse_ours, 10 * MILLION),
            "Ray tasks": of(contenders.parse_by_ray, RAY_ROWS),
        }
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
            "ours": of(contenders.rolling_ours, MILLION),
            "pandas, apply": of(contenders.rolling_by_apply, 20_000),
            "pandas, by means": of(contenders.rolling_by_means, 200_000),
            "floor": of(contenders.rolling_floor, MILLION),
        }
    )


def _measure_staging(scratch: Path) -> Costs:
    print("staging", file=sys.stderr)

    def in_new_folder(work: Callable) -> Callable[[], Cost]:
        def stage() -> Cost:
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                return measure(work, rows=MILLION, folder=folder)

        return stage

    works = {
        "ours": stored.stage_ours,
        "DuckDB": stored.stage_by_duckdb,
        "DuckDB, on disk": stored.stage_by_duckdb_on_disk,
        "floor": stored.stage_floor,
    }
    found = alternate({name: in_new_folder(work) for name, work in works.items()})
    costs = _costs(found, dict.fromkeys(works, MILLION))
    if not costs["ours"]["value"] == costs["DuckDB"]["value"] == costs["DuckDB, on disk"]["value"]:
        raise AssertionError(f"they sort in different ways: {costs}")
    return costs


def _measure_database(url: str, folder: Path, path: str) -> dict[str, Costs]:
    """What reads from MariaDB, and the whole."""
    print("read, and the whole", file=sys.stderr)
    numbers = iter(range(1000))

    def read(work: Callable, query: str) -> Callable[[], Cost]:
        return lambda: measure(work, url=url, query=query)

    def whole(work: Callable, query: str) -> Callable[[], Cost]:
        def in_new_folder() -> Cost:
            place = folder / str(next(numbers))
            try:
                return measure(work, url=url, query=query, folder=str(place / "work"))
            finally:
                shutil.rmtree(place)

        return in_new_folder

    one, ten = store.query(1), store.query(10)
    found = alternate(
        {
            "read ours": read(stored.read_ours, one),
            "read connectorx": read(stored.read_by_connectorx, one),
            "read SQLAlchemy": read(stored.read_by_sqlalchemy, f"{one} LIMIT {SQL_ROWS}"),
            "read floor": read(stored.read_by_c_client, one),
            "hash": lambda: measure(stored.hash_floor, path=path, rows=MILLION),
            "whole": whole(stored.whole_ours, one),
        },
        ROUNDS,
    )
    once = {
        "read 10 M": read(stored.read_ours, ten),
        "read connectorx 10 M": read(stored.read_by_connectorx, ten),
        "read slowly": read(stored.read_slowly, one),
        "read slowly connectorx": read(stored.read_slowly_by_connectorx, one),
        "whole 10 M": whole(stored.whole_ours, ten),
        "plain": whole(stored.whole_plain, f"{one} LIMIT {PLAIN_ROWS}"),
    }
    found |= alternate(once, rounds=1)

    def costs(runs: dict[str, tuple[str, int]]) -> Costs:
        """By name: the name above, and the rows."""
        return _costs(
            {name: found[run] for name, (run, _) in runs.items()},
            {name: rows for name, (_, rows) in runs.items()},
        )

    return {
        "read": costs(
            {
                "ours": ("read ours", MILLION),
                "connectorx": ("read connectorx", MILLION),
                "SQLAlchemy": ("read SQLAlchemy", SQL_ROWS),
                "floor": ("read floor", MILLION),
                "ours, 10 M": ("read 10 M", 10 * MILLION),
                "connectorx, 10 M": ("read connectorx 10 M", 10 * MILLION),
                "ours, slow consumer": ("read slowly", MILLION),
                "connectorx, slow consumer": ("read slowly connectorx", MILLION),
            }
        ),
        "whole": costs(
            {
                "ours": ("whole", MILLION),
                "floor: hash": ("hash", MILLION),
                "plain": ("plain", PLAIN_ROWS),
                "ours, 10 M": ("whole 10 M", 10 * MILLION),
            }
        ),
    }


def _ratio(costs: Costs, name: str, other: str = "ours") -> float:
    return costs[name]["cpu_us"] / costs[other]["cpu_us"]


def _sum_of_floors(whole: Costs) -> float:
    return sum(cost["cpu_us"] for name, cost in whole.items() if name.startswith("floor"))


def _targets(costs: dict[str, Costs]) -> list[Target]:
    targets = []
    for form in FORMS:
        parse = costs[f"parse {form}"]
        limit, floor = parse["Series.map"]["cpu_us"] / 20, parse["floor"]["cpu_us"]
        targets += [
            Target(
                f"parse {form}: times less CPU than the loop",
                50,
                _ratio(parse, "loop"),
                True,
            ),
            Target(
                f"parse {form}: times less CPU than Series.map",
                20,
                _ratio(parse, "Series.map"),
                True,
                f"it would have to take {limit:.3g} µs; the floor takes {floor:.3g}",
            ),
            Target(f"parse {form}: times the floor", 5, 1 / _ratio(parse, "floor"), False),
        ]
    parse, rolling, stage, read, whole = (
        costs[part] for part in ("parse json", "rolling", "stage", "read", "whole")
    )
    slope = (whole["ours, 10 M"]["cpu_us"] * 10 - whole["ours"]["cpu_us"]) / 9
    return [
        *targets,
        Target("parse: peak MiB at 1 M rows", 500, parse["ours"]["peak_mib"], False),
        Target(
            "parse: peak at 10 M rows, times that at 1 M",
            1.1,
            parse["ours, 10 M"]["peak_mib"] / parse["ours"]["peak_mib"],
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
        Target(
            "read: times less CPU than SQLAlchemy",
            10,
            _ratio(read, "SQLAlchemy"),
            True,
            f"at 10 M rows it is {read['ours, 10 M']['cpu_us']:.3g} µs a row",
        ),
        Target(
            "read: peak at 10 M rows, times that at 1 M",
            1.1,
            read["ours, 10 M"]["peak_mib"] / read["ours"]["peak_mib"],
            False,
            f"{read['ours']['peak_mib']:.0f} MiB and {read['ours, 10 M']['peak_mib']:.0f} MiB",
        ),
        Target(
            "read: peak with a slow consumer, times that of a fast one",
            1.1,
            read["ours, slow consumer"]["peak_mib"] / read["ours"]["peak_mib"],
            False,
            f"{read['ours']['peak_mib']:.0f} MiB and "
            f"{read['ours, slow consumer']['peak_mib']:.0f} MiB",
        ),
        Target("stage: times less CPU than DuckDB", 2, _ratio(stage, "DuckDB"), True),
        Target(
            "stage: times less CPU than DuckDB, on disk",
            2,
            _ratio(stage, "DuckDB, on disk"),
            True,
        ),
        Target("whole: times less CPU than the plain way", 20, _ratio(whole, "plain"), True),
        Target(
            "whole: times its floors",
            1.3,
            whole["ours"]["cpu_us"] / _sum_of_floors(whole),
            False,
            "the rest is writing readings to disk in sorted runs and merging these, some 1.8 µs, "
            "Parquet, 0.3, and publishing; from 1 M to 10 M rows a row takes "
            f"{slope:.3g} µs, {slope / _sum_of_floors(whole):.3g} times the floors",
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
            f"{whole['ours']['peak_mib']:.0f} MiB and {whole['ours, 10 M']['peak_mib']:.0f} MiB",
        ),
    ]


def _parts(costs: dict[str, Costs]) -> list[dict[str, str]]:
    def told(part: str, name: str) -> str:
        cost = costs[part][name]
        return f"{cost['cpu_us']:.3g} µs"

    def mib(part: str, name: str) -> str:
        return f"{costs[part][name]['peak_mib']:.0f} MiB"

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
            "peers": f"connectorx {told('read', 'connectorx')}, "
            f"SQLAlchemy {told('read', 'SQLAlchemy')}",
            "floor": f"C client {told('read', 'floor')}",
        },
        {
            "part": "staging: by device and time, from disk",
            "ours": f"{told('stage', 'ours')}, {mib('stage', 'ours')}",
            "peers": f"DuckDB {told('stage', 'DuckDB')}, {mib('stage', 'DuckDB')}; to a file "
            f"{told('stage', 'DuckDB, on disk')}, {mib('stage', 'DuckDB, on disk')}",
            "floor": f"written and read as they came {told('stage', 'floor')}",
        },
        {
            "part": "the whole, published",
            "ours": f"{told('whole', 'ours')}; 10 M rows {told('whole', 'ours, 10 M')}",
            "peers": f"plain {told('whole', 'plain')} ({PLAIN_ROWS:,} rows, three starts of DVC "
            "among it)",
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
        for part, each in costs.items():
            for name, cost in each.items():
                if ("10 M" in name and part != "whole") or "slow" in name:
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
