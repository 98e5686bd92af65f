"""Publishing a dataset folder, beside DVC and git by their command lines, and cp and md5sum.

The floor is one copy and one MD5 of each byte, by `cp` and `md5sum`; an MD5 of the copy, to see
that it is whole, is counted apart. Publishing makes two copies, one that later steps read and one
in the remote, and compares both with the source. DVC and git start with their repositories made
and configured and the files in place; `breezeway` makes its own. Its imports do not count: who
publishes is a task of Airflow, which has started already.
"""

import functools
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


def run(folder: Path) -> None:
    lines, sizes, parts, targets = [], {}, [], []
    for size, (files, each) in SIZES.items():
        print(f"publishing {size}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="publish-") as scratch:
            source = Path(scratch) / "dataset"
            (source / "features").mkdir(parents=True)
            for number in range(files):
                part = source / "features" / f"part-{number:05d}.parquet"
                part.write_bytes(os.urandom(each))  # like packed columns, nothing repeats
            os.sync()
            contenders = {
                work.__name__: functools.partial(_aside, work, source)
                for work in (breezeway, dvc_and_git, copy_and_hash)
            }
            costs = frame.alternate(contenders)
        hashes = {cost.value for name in ("breezeway", "dvc_and_git") for cost in costs[name]}
        if len(hashes) > 1:
            raise AssertionError(f"DVC gives another hash than breezeway: {hashes}")
        ours, peer = frame.medians(costs["breezeway"]), frame.medians(costs["dvc_and_git"])
        floor, verified = _floors(costs["copy_and_hash"])
        sizes[size] = {}
        for name, cost in (
            ("breezeway", ours),
            ("dvc and git", peer),
            ("cp + md5sum", floor),
            ("cp + md5sum + md5sum of the copy", verified),
        ):
            measured = {"cpu_seconds": round(cost.cpu, 3), "wall_seconds": round(cost.wall, 3)}
            if cost.peak_mib:
                measured["peak_mib"] = round(cost.peak_mib, 1)
            sizes[size][name] = measured
            lines.append(
                [
                    f"{size}, {name}",
                    f"{cost.cpu:.2f}",
                    f"{cost.wall:.2f}",
                    f"{cost.peak_mib:.0f}" if cost.peak_mib else "",
                    f"{cost.cpu / floor.cpu:.2f}",
                    f"{cost.cpu / verified.cpu:.2f}",
                ]
            )
        parts.append(
            {
                "part": f"publishing {size}",
                "ours": f"{ours.cpu:.2f} CPU-s, {ours.wall:.1f} s",
                "peers": f"dvc add + push, git: {peer.cpu:.2f} CPU-s, {peer.wall:.1f} s",
                "floor": f"cp + md5sum {floor.cpu:.2f} CPU-s, {floor.wall:.1f} s; "
                f"and md5sum of the copy {verified.cpu:.2f} CPU-s, {verified.wall:.1f} s",
            }
        )
        if size == LARGE:
            targets = [
                frame.Target(
                    "publishing 1 GB, verified: CPU of cp + md5sum, which verify nothing",
                    WANTED,
                    ours.cpu / floor.cpu,
                    at_least=False,
                    why=f"two copies are made, compared, committed: {ours.cpu - floor.cpu:.2f} s",
                ),
                frame.Target(
                    "publishing 1 GB, verified: CPU of cp + md5sum + md5sum of the copy",
                    WANTED,
                    ours.cpu / verified.cpu,
                    at_least=False,
                ),
            ]
    header = ["", "CPU s", "wall s", "peak MiB", "of cp + md5", "of that + md5 of the copy"]
    print(frame.table(header, lines))
    note = f"Medians of {frame.ROUNDS} interleaved rounds."
    print(note)
    result = {"note": note, "about": __doc__, "sizes": sizes, "parts": parts}
    frame.write_result(folder, "publish", result, targets, ["dvc", "dvc-data"])
