"""The nightly check of drift: false alarms, what is found and after how many nights, its cost.

Beside it stand Evidently's `DataDriftPreset` as its documentation has it, a Kolmogorov-Smirnov test
a column, and the population stability index. The plant is simulated (`plant.py`).
"""

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench import frame
from bench.plant import A_DAY, DEVICES, FIRST_DAY, SENSOR_NAMES, SENSORS, plant, table
from breezeway.contract.schema import Drift
from breezeway.detector.plots import BLUE, GREY, INK, PALE, STYLE
from breezeway.drift import decision
from breezeway.drift.faults import sensor_faults
from breezeway.drift.hours import DAY, Hours
from breezeway.preprocessing.part import BLOCK_ROWS

REFERENCE_DAYS, QUIET_DAYS, INJECTED_DAYS = 56, 84, 14
QUIET_PLANTS, INJECTED_PLANTS = 6, 6
RULE = Drift()
RATE = RULE.false_alarms_per_month / decision.MONTH_DAYS
EVIDENTLY_EVERY = 6
"""Its nights are so slow that only each sixth is judged by it."""

SIZE_COLUMNS, SIZE_DEVICES, SIZE_DAYS = 20, 25, 28
MOVED = {0: 0.2, 1: 0.25, 2: 0.3, 3: 0.4, 4: 0.5, 5: 1.0}
"""Column of the large table → by how many standard deviations it has moved."""


# -- quiet weeks


def _hours(values: np.ndarray, first_day: int) -> Hours:
    return Hours(table(values, first_day).to_reader(), SENSOR_NAMES)


def _nights(reference: Hours, current: Hours) -> tuple[list, list]:
    """Findings and confirmed findings, night by night."""
    found = decision.find_drift(reference, current, false_discovery_rate=RATE, nights=RULE.nights)
    woken = [
        decision.confirmed(found[max(0, night - RULE.nights) : night + 1], RULE.confirmations)
        for night in range(len(found))
    ]
    return found, woken


def _evidently(reference: pa.Table, current: pa.Table, columns: list[str]) -> list[str]:
    """The columns that `DataDriftPreset` calls drifted, all of its defaults kept."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=columns)
    sides = [
        Dataset.from_pandas(side.select(columns).to_pandas(), data_definition=definition)
        for side in (current, reference)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = Report([DataDriftPreset()]).run(*sides).dict()["metrics"]
    drifted = []
    for metric in metrics:
        settings = metric["config"]
        if settings["type"].endswith("ValueDrift"):
            distance = "distance" in settings["method"].lower()
            value, limit = float(metric["value"]), settings["threshold"]
            if value >= limit if distance else value < limit:
                drifted.append(settings["column"])
    return drifted


def quiet() -> dict[str, Any]:
    """Twelve quiet weeks of several plants; Evidently beside, on the first of them."""
    plants = []
    peer: dict[str, Any] = {"nights": 0, "with_a_column": 0, "with_half_the_columns": 0}
    for seed in range(QUIET_PLANTS):
        values = plant(seed, REFERENCE_DAYS + QUIET_DAYS)
        cut = REFERENCE_DAYS * A_DAY
        started = time.process_time()
        reference = _hours(values[:, :cut], 0)
        found, woken = _nights(reference, _hours(values[:, cut:], REFERENCE_DAYS))
        spent = time.process_time() - started
        replayed = decision.replay(reference, false_discovery_rate=RATE, nights=RULE.nights)
        plants.append(
            {
                "nights": len(found),
                "suspected": sum(map(bool, found)),
                "woken": sum(map(bool, woken)),
                "suspected_in_replay": sum(map(bool, replayed)),
                "cpu_seconds_a_night": spent / len(found),
            }
        )
        if seed == 0:
            before = table(values[:, :cut], 0)
            started = time.process_time()
            for night in range(0, QUIET_DAYS, EVIDENTLY_EVERY):
                day = values[:, cut + night * A_DAY : cut + (night + 1) * A_DAY]
                columns = _evidently(before, table(day, REFERENCE_DAYS + night), SENSOR_NAMES)
                peer["nights"] += 1
                peer["with_a_column"] += bool(columns)
                peer["with_half_the_columns"] += len(columns) >= SENSORS / 2
            peer["cpu_seconds_a_night"] = (time.process_time() - started) / peer["nights"]
    nights = sum(part["nights"] for part in plants)
    months = nights / decision.MONTH_DAYS
    return {
        "devices": DEVICES,
        "sensors": SENSORS,
        "plants": plants,
        "nights": nights,
        "suspected_per_month": sum(part["suspected"] for part in plants) / months,
        "woken_per_month": sum(part["woken"] for part in plants) / months,
        "allowed_per_month": RULE.false_alarms_per_month,
        "evidently": peer,
    }


# -- what is found, and when

# Each makes something else of a device's new readings, given those of the reference.


def _shift(new: np.ndarray, old: np.ndarray, size: float) -> np.ndarray:
    return new + size * old.std()


def _widen(new: np.ndarray, old: np.ndarray, size: float) -> np.ndarray:
    """About its hourly mean."""
    hours = new.reshape(-1, A_DAY // 24)
    mean = hours.mean(axis=1, keepdims=True)
    return (mean + size * (hours - mean)).ravel()


def _no_season(new: np.ndarray, old: np.ndarray, size: float) -> np.ndarray:
    course = old.reshape(-1, A_DAY).mean(axis=0) - old.mean()
    return (new.reshape(-1, A_DAY) - size * course).ravel()


def _fahrenheit(new: np.ndarray, old: np.ndarray, size: float) -> np.ndarray:
    return new * 1.8 + 32


def _freeze(new: np.ndarray, old: np.ndarray, size: float) -> np.ndarray:
    return np.full_like(new, new[0])


KINDS = {
    "mean shift, standard deviations": (_shift, (0.25, 0.5, 1.0, 2.0)),
    "variance within the hour, times": (_widen, (1.25, 1.5, 2.0, 3.0)),
    "daily season lost, share": (_no_season, (0.5, 1.0)),
    "unit changed, °C to °F": (_fahrenheit, (1.0,)),
    "stuck": (_freeze, (1.0,)),
}


def injected() -> list[dict[str, Any]]:
    """For each kind and size, on one device of all and on all: nights until it was found.

    On the first plant Evidently judges the last night.
    """
    nights: dict[tuple[str, float, str], list[int | None]] = {}
    peer: dict[tuple[str, float, str], bool] = {}
    for seed in range(100, 100 + INJECTED_PLANTS):
        values = plant(seed, REFERENCE_DAYS + INJECTED_DAYS)
        old, new = np.split(values, [REFERENCE_DAYS * A_DAY], axis=1)
        reference = _hours(old, 0)
        rng = np.random.default_rng(seed)
        sensor = int(rng.choice([0, 1, 2, 3, 5, 6, 7]))  # the fourth has no season to lose
        one = [int(rng.integers(DEVICES))]
        for kind, (change, sizes) in KINDS.items():
            for size in sizes:
                for who, devices in (("one of 20", one), ("all", range(DEVICES))):
                    changed = new.copy()
                    for device in devices:
                        changed[device, :, sensor] = change(
                            new[device, :, sensor], old[device, :, sensor], size
                        )
                    current = _hours(changed, REFERENCE_DAYS)
                    found = _until_found(reference, current, kind, sensor)
                    nights.setdefault((kind, size, who), []).append(found)
                    if (kind, size, who) not in peer:
                        day = table(changed[:, -A_DAY:], REFERENCE_DAYS + INJECTED_DAYS - 1)
                        columns = _evidently(table(old, 0), day, SENSOR_NAMES)
                        peer[kind, size, who] = SENSOR_NAMES[sensor] in columns
    return [
        {
            "kind": kind,
            "size": size,
            "devices": who,
            "nights": found,
            "evidently_found": peer[kind, size, who],
        }
        for (kind, size, who), found in nights.items()
    ]


def _until_found(reference: Hours, current: Hours, kind: str, sensor: int) -> int | None:
    """1 is the first night; None within none of them."""
    name = SENSOR_NAMES[sensor]
    if kind == "stuck":  # a fault of the sensor, which needs no second night
        for night, unit in enumerate(current.units.tolist(), start=1):
            faults = sensor_faults(reference, current, unit)
            if any(fault.fault == "stuck" and name in fault.columns for fault in faults):
                return night
        return None
    _, woken = _nights(reference, current)
    for night, findings in enumerate(woken, start=1):
        if any(finding.column == name for finding in findings):
            return night
    return None


# -- what it costs


def _large(rows: int, moved: bool, seed: int) -> pa.Table:
    """A table of independent rows about each device's level, some columns moved."""
    rng = np.random.default_rng(seed)
    a_device = rows // SIZE_DEVICES
    first = FIRST_DAY + (SIZE_DAYS if moved else 0)
    moment = first * DAY + np.arange(a_device) * (SIZE_DAYS * DAY // a_device)
    names = pa.array([f"device-{number:02}" for number in range(SIZE_DEVICES)])
    owner = pa.DictionaryArray.from_arrays(np.repeat(np.arange(SIZE_DEVICES), a_device), names)
    columns = {
        "device": owner.cast(pa.string()),
        "time": pa.array(np.tile(moment, SIZE_DEVICES)).cast(pa.timestamp("us", "UTC")),
    }
    day = (moment // DAY - first).astype(int)
    for column in range(SIZE_COLUMNS):
        # Each device has days of its own: what makes neighbouring rows alike.
        days = rng.normal(0, 0.2, (SIZE_DEVICES, SIZE_DAYS))[:, day].ravel()
        values = rng.normal(size=a_device * SIZE_DEVICES) + days
        columns[f"x{column}"] = pa.array(values + (MOVED.get(column, 0.0) if moved else 0.0))
    return pa.table(columns)


def _ours(reference: pa.RecordBatchReader, current: pa.RecordBatchReader) -> set[str]:
    names = [f"x{column}" for column in range(SIZE_COLUMNS)]
    old, new = Hours(reference, names), Hours(current, names)
    (found,) = decision.find_drift(old, new, false_discovery_rate=RATE)
    return {finding.column for finding in found}


def _kolmogorov(reference: pa.Table, current: pa.Table) -> set[str]:
    from scipy.stats import ks_2samp

    names = [name for name in reference.column_names if name.startswith("x")]
    return {
        name
        for name in names
        if ks_2samp(reference[name].to_numpy(), current[name].to_numpy()).pvalue < 0.05
    }


def _stability_index(reference: pa.Table, current: pa.Table) -> set[str]:
    names = [name for name in reference.column_names if name.startswith("x")]
    drifted = set()
    for name in names:
        old, new = reference[name].to_numpy(), current[name].to_numpy()
        edges = np.quantile(old, np.linspace(0, 1, 11)[1:-1])
        p, q = (
            np.bincount(np.searchsorted(edges, side), minlength=10) / len(side)
            for side in (old, new)
        )
        if ((q - p) * np.log(q / p)).sum() > 0.1:
            drifted.add(name)
    return drifted


def cost(rows: int = 1_000_000) -> dict[str, Any]:
    reference, current = _large(rows, False, 1), _large(rows, True, 2)
    columns = [f"x{column}" for column in range(SIZE_COLUMNS)]
    ways: dict[str, Callable[[], Any]] = {
        "breezeway": lambda: _ours(reference.to_reader(), current.to_reader()),
        "evidently preset": lambda: _evidently(reference, current, columns),
        "Kolmogorov-Smirnov": lambda: _kolmogorov(reference, current),
        "stability index": lambda: _stability_index(reference, current),
    }
    truth = {f"x{column}" for column in MOVED}
    measured = {}
    for name, judge in ways.items():
        started = time.process_time()
        found = set(judge())
        measured[name] = {
            "cpu_seconds": time.process_time() - started,
            "missed": sorted(truth - found),
            "wrong": sorted(found - truth),
        }
    return {"rows": rows, "columns": SIZE_COLUMNS, "moved": MOVED, "ways": measured}


def _repeated(file: Path, times: int) -> pa.RecordBatchReader:
    """The rows of a file, again and again a millisecond later."""

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(times):
            for batch in ds.dataset(file).to_batches(**decision.FEW_BATCHES):
                moment = batch["time"].cast(pa.int64()).to_numpy() + 1000 * number
                later = pa.array(moment).cast(pa.timestamp("us", "UTC"))
                yield batch.set_column(1, "time", later)

    return pa.RecordBatchReader.from_batches(pq.read_schema(file), batches())


def find_in_files(folder: str, times: int) -> Callable[[], list[str]]:
    sides = [Path(folder) / f"{side}.parquet" for side in ("old", "new")]
    return lambda: sorted(_ours(*(_repeated(side, times) for side in sides)))


def memory() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        for side, moved in (("old", False), ("new", True)):
            pq.write_table(
                _large(1_000_000, moved, 1 + moved),
                Path(folder) / f"{side}.parquet",
                row_group_size=BLOCK_ROWS,  # as preprocessing writes them
            )
        measured = []
        for times in (1, 10):
            cost = frame.measure(find_in_files, folder=folder, times=times)
            measured.append(
                {
                    "rows_a_side": times * 1_000_000,
                    "peak_gib": cost.peak_mib / 1024,
                    "cpu_seconds": cost.cpu,
                    "found": cost.value,
                }
            )
    return measured


# -- telling


def run(folder: Path) -> None:
    result: dict[str, Any] = {
        "rule": RULE.model_dump(),
        "quiet": quiet(),
        "injected": injected(),
        "cost": cost(),
        "memory": memory(),
    }
    ways, peer = result["cost"]["ways"], result["quiet"]["evidently"]
    rows, woken = result["cost"]["rows"], result["quiet"]["woken_per_month"]
    result["parts"] = [
        {
            "part": f"drift of {SIZE_COLUMNS} columns, {rows:,} rows a side",
            "ours": f"{ways['breezeway']['cpu_seconds']:.2f} s",
            "peers": f"Evidently's preset {ways['evidently preset']['cpu_seconds']:.0f} s",
            "floor": "-",
        },
        {
            "part": "false alarms of drift in quiet nights",
            "ours": f"{woken:.2f} a month",
            "peers": f"Evidently's preset {peer['with_a_column']} of {peer['nights']} nights",
            "floor": "-",
        },
    ]
    _print(result)
    frame.write_result(
        folder, "drift", result, _targets(result), ["duckdb", "evidently", "numpy", "scipy"]
    )
    _draw(result, frame.picture(folder, "drift"))


def _print(result: dict[str, Any]) -> None:
    weeks, peer = result["quiet"], result["quiet"]["evidently"]
    print(
        f"\n{weeks['nights']} quiet nights of {DEVICES} devices with {SENSORS} sensors: "
        f"{weeks['woken_per_month']:.2f} false alarms a month, "
        f"{weeks['suspected_per_month']:.2f} suspected nights.\n"
        f"Evidently's preset: a drifted column in {peer['with_a_column']} of {peer['nights']} "
        f"nights, half of the columns in {peer['with_half_the_columns']}.\n"
    )
    print(
        frame.table(
            ["injected", "size", "devices", "found", "median night", "Evidently"],
            [
                [
                    entry["kind"],
                    f"{entry['size']:g}",
                    entry["devices"],
                    f"{len(_found(entry))} of {len(entry['nights'])}",
                    f"{np.median(_found(entry)):g}" if _found(entry) else "-",
                    "found" if entry["evidently_found"] else "missed",
                ]
                for entry in result["injected"]
            ],
        )
    )
    print(f"\n{result['cost']['rows']} rows a side, {SIZE_COLUMNS} columns, {len(MOVED)} moved:\n")
    print(
        frame.table(
            ["", "CPU s", "missed", "wrong"],
            [
                [name, f"{way['cpu_seconds']:.2f}", str(len(way["missed"])), str(len(way["wrong"]))]
                for name, way in result["cost"]["ways"].items()
            ],
        )
    )
    print()
    for entry in result["memory"]:
        print(
            f"{entry['rows_a_side']} rows a side: peak {entry['peak_gib']:.2f} GiB, "
            f"{entry['cpu_seconds']:.1f} CPU-s"
        )
    print()


def _found(entry: dict[str, Any]) -> list[int]:
    return [night for night in entry["nights"] if night is not None]


def _targets(result: dict[str, Any]) -> list[frame.Target]:
    ways, weeks = result["cost"]["ways"], result["quiet"]
    ours, theirs = ways["breezeway"], ways["evidently preset"]
    errors = [len(way["missed"]) + len(way["wrong"]) for way in (ours, theirs)]
    return [
        frame.Target(
            "false alarms a month", weeks["allowed_per_month"], weeks["woken_per_month"], False
        ),
        frame.Target(
            "CPU, times less than Evidently's preset",
            30,
            theirs["cpu_seconds"] / ours["cpu_seconds"],
            True,
        ),
        frame.Target("wrong verdicts, no more than Evidently's", errors[1], errors[0], False),
        frame.Target(
            "peak memory at the most rows, GiB", 1, result["memory"][-1]["peak_gib"], False
        ),
    ]


def _draw(result: dict[str, Any], path: Path) -> None:
    """For each kind, size and who: the nights until it was found, one point a plant."""
    entries = result["injected"]
    with rc_context(STYLE):
        figure = Figure(figsize=(9, 6.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        never = INJECTED_DAYS + 1.5
        for row, entry in enumerate(entries):
            for number, night in enumerate(entry["nights"]):
                axes.plot(
                    night or never,
                    row + (number - len(entry["nights"]) / 2) * 0.1,
                    "o",
                    markersize=5,
                    color=BLUE if entry["devices"] == "all" else INK,
                    alpha=0.3 if night is None else 0.9,
                )
        axes.axvline(INJECTED_DAYS + 0.75, color=GREY, linewidth=1)
        labels = [f"{entry['kind']}: {entry['size']:g}, {entry['devices']}" for entry in entries]
        axes.set_yticks(range(len(entries)), labels)
        axes.invert_yaxis()
        axes.set_xticks([*range(1, INJECTED_DAYS + 1), never])
        axes.set_xticklabels([*map(str, range(1, INJECTED_DAYS + 1)), "never"])
        axes.set_xlabel("night on which it was found, one point a plant")
        axes.grid(axis="x", color=PALE)
        figure.suptitle(weeks_text(result["quiet"]), x=0.01, ha="left", fontsize=10)
        figure.savefig(path, dpi=110)


def weeks_text(weeks: dict[str, Any]) -> str:
    return (
        f"{weeks['nights']} quiet nights gave {weeks['woken_per_month']:.2f} false alarms a month "
        f"({weeks['allowed_per_month']:g} allowed). When injected drift was found:"
    )
