"""Publishing a dataset folder, beside DVC and git by their command lines, and cp and md5sum.

The floor is one copy and one MD5 of each byte, by `cp` and `md5sum`; an MD5 of the copy, to see
that it is whole, is counted apart. Publishing makes two copies, one that later steps read and one
in the remote, and compares both with the source. DVC and git start with their repositories made
and configured and the files in place; `breezeway` makes its own. Its imports do not count: who
publishes is a task of Airflow, which has started already.

The files alone, without git, a tag or a lock: `datasets/dvc_objects.py` beside the library that DVC
itself copies with (dvc-data), in a process that has imported it. That hashes a file and then copies
it: what changes between is kept under a wrong hash. Verified is its work where the copies are
hashed afterwards.
"""

import functools
import hashlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import frame

SIZES = {"1 GB in 16 files": (16, 62_500_000), "1 MB in 4 files": (4, 250_000)}
LARGE = "1 GB in 16 files"
DVC_CONFIG = """\
[core]
    remote = storage
[cache]
    type = "reflink,hardlink,symlink,copy"
['remote "storage"']
    url = {remote}
"""
"""With links, as its documentation advises for large data, not another copy."""
WANTED = 1.5
STORES = ("cache", "remote")
THREADS = 2
FLOOR, VERIFIED = "cp + md5sum", "cp + md5sum + md5sum of the copy"


def breezeway(source: str, scratch: str) -> Callable[[], str]:
    from breezeway.core.settings import Settings
    from breezeway.datasets import versions

    return lambda: versions.publish(Settings(home=Path(scratch)), Path(source), "v1").hash


def dvc_and_git(source: str, scratch: str) -> Callable[[], str]:
    folder = Path(scratch)
    tree = folder / "tree"
    os.environ.update(
        GIT_CONFIG_GLOBAL=str(folder / "gitconfig"), DVC_SITE_CACHE_DIR=str(folder / "site")
    )
    (folder / "gitconfig").write_text("[user]\nname = Bench\nemail = bench@localhost\n")

    def call(*command: str) -> None:
        subprocess.run(command, cwd=tree, check=True, stdout=subprocess.DEVNULL)

    subprocess.run(["git", "init", "--quiet", "--bare", folder / "repository"], check=True)
    clone = ["git", "clone", "--quiet", folder / "repository", tree]
    subprocess.run(clone, check=True, stderr=subprocess.DEVNULL)  # it warns that this is empty
    shutil.copytree(source, tree / "data")
    (tree / ".dvc").mkdir()
    (tree / ".dvc" / "config").write_text(DVC_CONFIG.format(remote=folder / "remote"))
    (tree / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    dvc = (sys.executable, "-m", "dvc")

    def publish() -> str:
        call(*dvc, "add", "--quiet", "data")
        call("git", "add", "data.dvc", ".gitignore", ".dvc")
        call("git", "commit", "--quiet", "--message", "v1")
        call("git", "tag", "v1")
        call(*dvc, "push", "--quiet")
        call("git", "push", "--quiet", "origin", "HEAD", "v1")
        return (tree / "data.dvc").read_text().partition("md5: ")[2].partition("\n")[0]

    return publish


def objects(source: str, scratch: str) -> Callable[[], str]:
    """The files in a cache and a remote by our own code, compared with the source."""
    from breezeway.datasets import dvc_objects

    stores = {Path(scratch) / name: Path(scratch) / f"{name}.aside" for name in STORES}
    for aside in stores.values():
        aside.mkdir()

    def add() -> str:
        files = dvc_objects.add(Path(source), stores, threads=THREADS)
        return dvc_objects.folder_hash({name: content.hash for name, content in files.items()})

    return add


def dvc_data(source: str, scratch: str) -> Callable[[], str]:
    """The same by DVC's library, as `dvc add` and `dvc push` call it without links."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db.local import LocalHashFileDB
    from dvc_data.hashfile.transfer import transfer
    from dvc_objects.fs.local import LocalFileSystem

    disk = LocalFileSystem()
    cache, remote = (
        LocalHashFileDB(disk, f"{scratch}/{name}/files/md5", tmp_dir=f"{scratch}/tmp")
        for name in STORES
    )

    def add() -> str:
        built, _, tree = build(cache, source, disk, "md5", checksum_jobs=THREADS)
        for origin, store in ((built, cache), (cache, remote)):
            done = transfer(origin, store, {tree.hash_info}, jobs=THREADS, shallow=False)
            if done.failed:
                raise RuntimeError(f"dvc-data did not copy {done.failed}")
        return tree.hash_info.value

    return add


def dvc_data_verified(source: str, scratch: str) -> Callable[[], str]:
    """And a hash of each copy."""
    add = dvc_data(source, scratch)

    def add_and_verify() -> str:
        found = add()
        for name in STORES:
            for file in (Path(scratch) / name / "files" / "md5").glob("*/*"):
                with file.open("rb") as copy:
                    hash = hashlib.file_digest(copy, "md5").hexdigest()
                if hash != f"{file.parent.name}{file.name}".removesuffix(".dir"):
                    raise RuntimeError(f"{file} holds other bytes")
        return found

    return add_and_verify


def copy_and_hash(source: str, scratch: str) -> Callable[[], dict[str, list[float]]]:
    """Its value: CPU and wall seconds of each command."""

    def floor() -> dict[str, list[float]]:
        copy = Path(scratch) / "copy"
        return {
            "copy": _timed("cp", "--recursive", source, str(copy)),
            "md5": _timed("find", source, "-type", "f", "-exec", "md5sum", "{}", "+"),
            "verify": _timed("find", str(copy), "-type", "f", "-exec", "md5sum", "{}", "+"),
        }

    return floor


def _timed(*command: str) -> list[float]:
    def now() -> list[float]:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return [used.ru_utime + used.ru_stime, os.times().elapsed]

    began = now()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return [end - start for start, end in zip(began, now(), strict=True)]


def _aside(work: Callable[..., Callable[[], Any]], source: Path) -> frame.Cost:
    scratch = tempfile.mkdtemp(dir=source.parent)
    cost = frame.measure(work, source=str(source), scratch=scratch)
    shutil.rmtree(scratch)
    return cost


def _floors(costs: Sequence[frame.Cost]) -> tuple[frame.Cost, frame.Cost]:
    """One copy and one MD5 of each byte; the same and an MD5 of the copy."""
    found = []
    for steps in (["copy", "md5"], ["copy", "md5", "verify"]):
        sums = [[sum(cost.value[step][k] for step in steps) for k in (0, 1)] for cost in costs]
        cpu, wall = map(statistics.median, zip(*sums, strict=True))
        found.append(frame.Cost(cpu, wall, 0.0, None, {}))
    return found[0], found[1]


CONTENDERS = {
    "breezeway": breezeway,
    "dvc and git": dvc_and_git,
    "files alone, breezeway": objects,
    "files alone, dvc-data": dvc_data,
    "files alone, dvc-data, verified": dvc_data_verified,
    FLOOR: copy_and_hash,
}


def _measure(files: int, each: int) -> dict[str, frame.Cost]:
    """The median of each contender for so many files of so many bytes, and of the floors."""
    with tempfile.TemporaryDirectory(prefix="publish-") as scratch:
        source = Path(scratch) / "dataset"
        (source / "features").mkdir(parents=True)
        for number in range(files):
            part = source / "features" / f"part-{number:05d}.parquet"
            part.write_bytes(os.urandom(each))  # like packed columns, nothing repeats
        os.sync()
        found = frame.alternate(
            {name: functools.partial(_aside, work, source) for name, work in CONTENDERS.items()}
        )
    floors = found.pop(FLOOR)
    hashes = {cost.value for costs in found.values() for cost in costs}
    if len(hashes) > 1:
        raise AssertionError(f"the contenders give different hashes of one folder: {hashes}")
    costs = {name: frame.medians(each) for name, each in found.items()}
    costs[FLOOR], costs[VERIFIED] = _floors(floors)
    return costs


def _parts(size: str, costs: dict[str, frame.Cost]) -> list[dict[str, str]]:
    def told(name: str) -> str:
        return f"{costs[name].cpu:.2f} CPU-s, {costs[name].wall:.1f} s"

    floor = f"cp + md5sum {told(FLOOR)}; and md5sum of the copy {told(VERIFIED)}"
    return [
        {
            "part": f"publishing {size}",
            "ours": told("breezeway"),
            "peers": f"dvc add + push, git: {told('dvc and git')}",
            "floor": floor,
        },
        {
            "part": f"the files alone of {size}, to cache and remote",
            "ours": f"{told('files alone, breezeway')}, verified",
            "peers": f"dvc-data: {told('files alone, dvc-data')}; and a hash of each copy "
            f"{told('files alone, dvc-data, verified')}",
            "floor": "-",
        },
    ]


def _targets(costs: dict[str, frame.Cost]) -> list[frame.Target]:
    ours, floor = costs["breezeway"].cpu, costs[FLOOR].cpu
    return [
        frame.Target(
            "publishing 1 GB, verified: CPU of cp + md5sum, which verify nothing",
            WANTED,
            ours / floor,
            at_least=False,
            why=f"two copies are made, compared, committed: {ours - floor:.2f} s",
        ),
        frame.Target(
            "publishing 1 GB, verified: CPU of cp + md5sum + md5sum of the copy",
            WANTED,
            ours / costs[VERIFIED].cpu,
            at_least=False,
        ),
        frame.Target(
            "publishing 1 GB, verified: CPU of DVC's and git's commands, which verify nothing",
            1.0,
            ours / costs["dvc and git"].cpu,
            at_least=False,
        ),
        frame.Target(
            "the files alone of 1 GB, verified: CPU of dvc-data and a hash of each copy",
            1.0,
            costs["files alone, breezeway"].cpu / costs["files alone, dvc-data, verified"].cpu,
            at_least=False,
        ),
    ]


def _line(name: str, cost: frame.Cost, costs: dict[str, frame.Cost]) -> list[str]:
    return [
        name,
        f"{cost.cpu:.2f}",
        f"{cost.wall:.2f}",
        f"{cost.peak_mib:.0f}" if cost.peak_mib else "",
        f"{cost.cpu / costs[FLOOR].cpu:.2f}",
        f"{cost.cpu / costs[VERIFIED].cpu:.2f}",
    ]


def _figures(cost: frame.Cost) -> dict[str, float]:
    figures = {"cpu_seconds": round(cost.cpu, 3), "wall_seconds": round(cost.wall, 3)}
    return figures | ({"peak_mib": round(cost.peak_mib, 1)} if cost.peak_mib else {})


def run(folder: Path) -> None:
    found = {}
    for size, (files, each) in SIZES.items():
        print(f"publishing {size}", file=sys.stderr)
        found[size] = _measure(files, each)
    header = ["", "CPU s", "wall s", "peak MiB", "of cp + md5", "of that + md5 of the copy"]
    lines = [
        _line(f"{size}, {name}", cost, costs)
        for size, costs in found.items()
        for name, cost in costs.items()
    ]
    print(frame.table(header, lines))
    note = f"Medians of {frame.ROUNDS} interleaved rounds."
    print(note)
    result = {
        "note": note,
        "about": __doc__,
        "sizes": {
            size: {name: _figures(cost) for name, cost in costs.items()}
            for size, costs in found.items()
        },
        "parts": [part for size, costs in found.items() for part in _parts(size, costs)],
    }
    frame.write_result(folder, "publish", result, _targets(found[LARGE]), ["dvc", "dvc-data"])
