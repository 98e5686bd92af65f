"""Preprocessing on a Ray cluster, beside the direct run, and how large a part should be.

The cluster is a real one, `ray start --head` and nodes that join it, of two and of four worker
processes on this machine. What its processes spend counts, idle ones included, but for their
start. Readings come in order of time, the devices in turn.
"""

import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from pyarrow import feather

from bench import frame, readings
from tests.fixtures.ray import RayCluster, ray_cluster

ROWS, PARTS = 200_000, 8
STAGED_ROWS = 500_000
PART_SIZES = [31_250, 125_000, 500_000]
ROUNDS = 3


def dataset(source: str) -> Callable[[], str]:
    """Readings to features, on the cluster of `RAY_ADDRESS` or without one; the files' hash."""
    from breezeway.core.settings import Settings
    from breezeway.preprocessing import dataset as preprocessing
    from breezeway.preprocessing.spec import DatasetSpec

    preprocessing.PART_ROWS = ROWS // PARTS
    spec = DatasetSpec(readings.contract("json"), "bench")
    settings = Settings(ray_min_rows=10**9)
    tables = [feather.read_table(source)]

    def make() -> str:
        with tempfile.TemporaryDirectory(prefix="cluster-") as folder:
            made = Path(folder) / "dataset"
            made.mkdir()
            preprocessing.make_features(tables, spec, made, settings)
            digest = hashlib.sha256()
            for file in sorted(file for file in made.rglob("*") if file.is_file()):
                digest.update(file.relative_to(made).as_posix().encode() + file.read_bytes())
            return digest.hexdigest()

    return make


def staging(folder: str) -> Callable[[], int]:
    """Readings to what parts are made of; bytes a row."""
    from breezeway.preprocessing import staging

    tables = list(readings.chunks(STAGED_ROWS))
    shutil.rmtree(folder, ignore_errors=True)
    path = Path(folder)
    path.mkdir()

    def stage() -> int:
        staging.stage(tables, path)
        return sum(file.stat().st_size for file in path.iterdir()) // STAGED_ROWS

    return stage


def first_part(folder: str, part_rows: int) -> Callable[[], int]:
    """The first part of what is staged, by one thread; its rows."""
    from breezeway.preprocessing import dataset as preprocessing
    from breezeway.preprocessing.part import make_part
    from breezeway.preprocessing.spec import DatasetSpec

    preprocessing.PART_ROWS = part_rows
    spec = DatasetSpec(readings.contract("json"), "bench")
    staged = Path(folder)
    part = preprocessing.plan_parts(staged)[0]

    def make() -> int:
        with tempfile.TemporaryDirectory(prefix="cluster-") as into:
            return make_part(staged, spec, part, Path(into), 1).rows_in

    return make


def _direct(source: Path) -> frame.Cost:
    return frame.measure(dataset, source=str(source))


def _on_cluster(cluster: RayCluster, source: Path) -> frame.Cost:
    before = os.environ.copy()
    os.environ.update(cluster.environment)
    try:
        spent = _cpu_seconds(cluster)
        cost = _direct(source)
        return cost._replace(cpu=cost.cpu + _cpu_seconds(cluster) - spent)
    finally:
        os.environ.clear()
        os.environ.update(before)


def _cpu_seconds(cluster: RayCluster) -> float:
    """Of all processes of the cluster, those included that have ended."""
    spent = 0.0
    for node in cluster.processes:
        top = psutil.Process(node.pid)
        for process in [top, *top.children(recursive=True)]:
            spent += sum(process.cpu_times()[:4])
    return spent


def _cluster_runs(source: Path) -> dict[int, dict[str, frame.Cost]]:
    found = {}
    with ray_cluster(frame.ROOT / "include") as cluster:
        for workers in (2, 4):
            cluster.add_workers(2)
            costs = frame.alternate(
                {
                    "direct": functools.partial(_direct, source),
                    "cluster": functools.partial(_on_cluster, cluster, source),
                },
                ROUNDS,
            )
            if len({cost.value for each in costs.values() for cost in each}) > 1:
                raise AssertionError(f"{workers} workers give other bytes than the direct run")
            found[workers] = {name: frame.medians(each) for name, each in costs.items()}
    return found


def _part_sizes(folder: Path) -> tuple[frame.Cost, dict[int, frame.Cost]]:
    """What staging costs, and a part of each size."""
    staged = str(folder / "staged")
    contenders = {"staging": functools.partial(frame.measure, staging, folder=staged)}
    for size in PART_SIZES:
        contenders[str(size)] = functools.partial(
            frame.measure, first_part, folder=staged, part_rows=size
        )
    costs = {
        name: frame.medians(each) for name, each in frame.alternate(contenders, ROUNDS).items()
    }
    return costs.pop("staging"), {int(size): cost for size, cost in costs.items()}


def run(folder: Path) -> None:
    from breezeway.preprocessing.dataset import PART_ROWS

    with tempfile.TemporaryDirectory(prefix="cluster-") as scratch:
        source = Path(scratch) / "readings.arrow"
        feather.write_feather(pa.concat_tables(readings.chunks(ROWS)), source, "uncompressed")
        (staged, sizes), clusters = _part_sizes(Path(scratch)), _cluster_runs(source)
    lines = [
        [
            f"{size:,} rows a part",
            f"{1e6 * cost.cpu / cost.value:.2f}",
            f"{cost.wall:.1f}",
            f"{cost.peak_mib:.0f}",
            f"{STAGED_ROWS / cost.value:.0f}",
        ]
        for size, cost in sizes.items()
    ]
    print(f"One part of {STAGED_ROWS:,} staged readings, one thread")
    print(frame.table(["", "CPU µs a row", "wall s", "peak MiB", "parts"], lines))
    rows = np.array([cost.value for cost in sizes.values()])
    spent = np.array([cost.cpu for cost in sizes.values()])
    a_row, a_part = np.polyfit(rows, spent, 1, w=1 / spent)
    staging_us = 1e6 * staged.cpu / STAGED_ROWS
    print(f"staging takes {staging_us:.2f} CPU µs a row, {staged.value} bytes of it on disk;")
    print(f"a part takes {a_part:.2f} CPU-s and {1e6 * a_row:.2f} µs for each of its rows\n")

    lines = [
        [
            f"{workers} workers, {ROWS:,} rows in {PARTS} parts",
            f"{costs['direct'].cpu:.2f}",
            f"{costs['cluster'].cpu:.2f}",
            f"{costs['cluster'].cpu - costs['direct'].cpu:.2f}",
            f"{costs['direct'].wall:.1f}",
            f"{costs['cluster'].wall:.1f}",
        ]
        for workers, costs in clusters.items()
    ]
    header = ["", "direct CPU s", "cluster CPU s", "more", "direct wall s", "cluster wall s"]
    print(frame.table(header, lines))
    note = f"Medians of {ROUNDS} interleaved rounds; cluster and direct run give the same bytes."
    print(note)
    result = {
        "about": __doc__,
        "note": note,
        "part_rows": {
            "chosen": PART_ROWS,
            "staged_rows": STAGED_ROWS,
            "staging_cpu_us_a_row": round(staging_us, 3),
            "staged_bytes_a_row": staged.value,
            "cpu_seconds_a_part": round(a_part, 3),
            "cpu_us_a_row": round(1e6 * a_row, 3),
            "sizes": {
                size: {
                    "rows": cost.value,
                    "cpu_seconds": round(cost.cpu, 3),
                    "wall_seconds": round(cost.wall, 3),
                    "peak_mib": round(cost.peak_mib),
                }
                for size, cost in sizes.items()
            },
        },
        "clusters": {
            workers: {
                name: {"cpu_seconds": round(cost.cpu, 3), "wall_seconds": round(cost.wall, 3)}
                for name, cost in costs.items()
            }
            for workers, costs in clusters.items()
        },
        "parts": [
            {
                "part": f"preprocessing on a Ray cluster of {workers} workers, {ROWS:,} rows",
                "ours": f"{costs['cluster'].cpu:.1f} CPU-s, {costs['cluster'].wall:.1f} s, the "
                "same bytes",
                "peers": f"direct: {costs['direct'].cpu:.1f} CPU-s, {costs['direct'].wall:.1f} s",
                "floor": "-",
            }
            for workers, costs in clusters.items()
        ],
    }
    targets = [
        frame.Target(
            f"Ray cluster of {workers} workers: files that differ from the direct run's",
            wanted=0,
            reached=0,  # else it would have been an error above
            at_least=False,
        )
        for workers in clusters
    ]
    frame.write_result(folder, "cluster", result, targets, ["ray", "pyarrow"])
