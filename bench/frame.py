"""What every bench needs: the machine, the figures as JSON, a table, targets that speak."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psutil

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"


class Target(NamedTuple):
    """One thing that was to be reached.

    Args:
        what: in words.
        wanted: as `at_least` or at most.
        reached: as measured, in the same unit.
    """

    what: str
    wanted: float
    reached: float
    at_least: bool

    @property
    def met(self) -> bool:
        return self.reached >= self.wanted if self.at_least else self.reached <= self.wanted

    def __str__(self) -> str:
        bound = "at least" if self.at_least else "at most"
        verdict = "met" if self.met else "NOT MET"
        return f"{verdict:<8} {self.what}: {self.reached:.3g}, wanted {bound} {self.wanted:g}"


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


def write(name: str, result: Mapping[str, Any]) -> Path:
    """Keep a bench's result in `bench/results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return path


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
