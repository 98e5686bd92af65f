"""What every bench needs: costs, the machine, figures as JSON, a table, targets that speak."""

import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import psutil

from bench import measured

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
"""What is published: committed, and told by `docs/performance.md`."""
SAME_MACHINE = ("processor", "cores", "memory_gib")
"""What must be alike for figures to be compared."""


ROUNDS = 5
WATCH_SECONDS = 0.2
WATCH_SHARE = 0.02
"""Of the time, what a look at memory may take: it is counted page by page."""


_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["bench.contenders", "bench.stored", "pandas", "pyarrow.parquet"])


class Target(NamedTuple):
    """One thing that was to be reached.

    Args:
        what: in words.
        wanted: as `at_least` or at most.
        reached: as measured, in the same unit.
        why: where it is not reached, the reason.
    """

    what: str
    wanted: float
    reached: float
    at_least: bool
    why: str = ""

    @property
    def met(self) -> bool:
        return self.reached >= self.wanted if self.at_least else self.reached <= self.wanted

    def __str__(self) -> str:
        bound = "at least" if self.at_least else "at most"
        verdict = "met" if self.met else "NOT MET"
        return f"{verdict:<8} {self.what}: {self.reached:.3g}, wanted {bound} {self.wanted:g}"


class Cost(NamedTuple):
    """What one run took.

    Args:
        cpu: seconds of user and system time, of all its processes.
        wall: seconds.
        peak_mib: the most memory that was held at a time, beyond what was held at the start.
        value: what the work gave.
        processes: CPU seconds of each kind of process that it started, its preparation included.
    """

    cpu: float
    wall: float
    peak_mib: float
    value: Any
    processes: dict[str, float]


def measure(work: Callable[..., Callable[[], Any]], **arguments: Any) -> Cost:
    """Run work in a process of its own.

    Args:
        work: a function of a module of this package; given the arguments it prepares, imports
            included, and returns what is to be measured: a function without arguments.
    """
    receiver, sender = _processes.Pipe(duplex=False)
    # What it is forked from has the environment of when it began, not today's.
    arguments_of_run = (sender, dict(os.environ), work, arguments)
    process = _processes.Process(target=measured.run, args=arguments_of_run)
    process.start()
    sender.close()
    watch = _Watch(process.pid)
    watch.start()
    try:
        found = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{work.__name__} failed with {process.exitcode}") from None
    process.join()
    peak = max(found["peak_mib"], watch.peak_mib - found["held_mib"])
    # Processes that nobody waited for, such as Ray's, are missing in what the system says.
    children = max(found["children_cpu"], watch.children_cpu - found["children_before"])
    cpu = found["own_cpu"] + children
    return Cost(cpu, found["wall"], peak, found["value"], watch.processes)


class _Watch(Thread):
    """Looks at the memory of a process and those that it started, and at the CPU time of these.

    Shared pages count once. What a process does after the last look at it is not seen.
    """

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self._pid = pid
        self._seconds: dict[psutil.Process, float] = {}
        self._kinds: dict[psutil.Process, str] = {}
        self.peak_mib = 0.0

    @property
    def children_cpu(self) -> float:
        return sum(list(self._seconds.values()))

    @property
    def processes(self) -> dict[str, float]:
        kinds: dict[str, float] = {}
        for process, seconds in list(self._seconds.items()):
            kind = self._kinds[process]
            kinds[kind] = kinds.get(kind, 0.0) + seconds
        return kinds

    def run(self) -> None:
        memory_at = 0.0
        while True:
            try:
                top = psutil.Process(self._pid)
                children = top.children(recursive=True)
            except psutil.Error:
                return
            for process in children:
                with suppress(psutil.Error):
                    if process not in self._kinds:
                        self._kinds[process] = _kind(process)
                    used = process.cpu_times()
                    self._seconds[process] = used.user + used.system
            if children and time.monotonic() >= memory_at:
                began = time.thread_time()
                held = sum(map(_proportional_mib, [top, *children]))
                self.peak_mib = max(self.peak_mib, held)
                memory_at = time.monotonic() + (time.thread_time() - began) / WATCH_SHARE
            time.sleep(WATCH_SECONDS)


def _kind(process: psutil.Process) -> str:
    """What a process is: its program, or the script or module that Python runs."""
    words = [word for word in process.cmdline() if not word.startswith("-")]
    script = words[1:2] if words and Path(words[0]).name.startswith("python") else []
    return Path((script or words or [process.name()])[0]).name


def _proportional_mib(process: psutil.Process) -> float:
    try:
        return process.memory_full_info().pss / 2**20
    except psutil.Error:
        return 0.0  # it has ended


def alternate(
    contenders: Mapping[str, Callable[[], Cost]], rounds: int = ROUNDS
) -> dict[str, list[Cost]]:
    """Measure each of several in turn, round by round: what else the machine does meets all."""
    found: dict[str, list[Cost]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, contender in contenders.items():
            found[name].append(contender())
        print(f"  round {number + 1} of {rounds}", file=sys.stderr)
    return found


def medians(costs: Sequence[Cost]) -> Cost:
    """The median of each figure; what is no figure is the first run's."""
    return Cost(*(statistics.median(cost[k] for cost in costs) for k in range(3)), *costs[0][3:])


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """What the figures were measured on; nothing that names it."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "packages": {package: version(package) for package in packages},
        "load_average": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def write_result(
    folder: Path,
    name: str,
    result: Mapping[str, Any],
    targets: Sequence[Target],
    packages: Sequence[str],
) -> None:
    """Print the targets and how they differ from the published ones; write `<name>.json`.

    Args:
        folder: of the run.
        name: of the bench.
        result: beside which stand the machine, the time and the targets.
        packages: whose versions count for the result.
    """
    print(*targets, sep="\n")
    whole = {
        "machine": machine(packages),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "targets": [{**target._asdict(), "met": target.met} for target in targets],
        **result,
    }
    published = RESULTS / f"{name}.json"
    if published.exists():
        print(compare(json.loads(published.read_text(encoding="utf-8")), whole))
    text = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def picture(folder: Path, name: str) -> Path:
    """Where a bench draws its picture, in the folder of a run or in `docs`."""
    return folder / f"{name}-bench.png"


def compare(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How the targets' figures have changed, in words; figures of two machines are not compared.

    >>> here, there = {"machine": {"processor": "a"}}, {"machine": {"processor": "b"}}
    >>> compare(here, there)
    'Not compared with the published run, which was on another machine: processor a, now b.'
    """
    differences = [
        f"{key} {earlier['machine'].get(key)}, now {now['machine'].get(key)}"
        for key in SAME_MACHINE
        if earlier["machine"].get(key) != now["machine"].get(key)
    ]
    if differences:
        return (
            "Not compared with the published run, which was on another machine: "
            f"{'; '.join(differences)}."
        )
    before = {target["what"]: target["reached"] for target in earlier["targets"]}
    lines = [
        f"  {target['what']}: {before[target['what']]:.3g} before, {target['reached']:.3g} now"
        for target in now["targets"]
        if target["what"] in before
    ]
    return "\n".join([f"Compared with the published run of {earlier['measured_at']}:", *lines])


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Columns of equal width; the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *lines]) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [header, *lines]
    )
