"""One piece of work in a process of its own, measured from within.

A process is forked from one that has imported what most contenders need, and nothing else: to
start an interpreter for each of a hundred runs would take longer than much of what they do.
"""

import ctypes
import gc
import os
import re
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

SUBREAPER = 36
"""prctl's PR_SET_CHILD_SUBREAPER (linux/prctl.h): orphans become our children."""
END_SECONDS = 3
"""For processes that end by themselves; Ray's, which nobody shut down, do not."""


def run(
    result: Connection,
    environment: dict[str, str],
    work: Callable[..., Callable[[], Any]],
    arguments: dict[str, Any],
) -> None:
    """Prepare and do the work in an environment.

    Sends its CPU seconds and those of every process it waited for, also of those that outlived
    their parents; its wall seconds; its memory; what it gave.
    """
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    prepared = work(**arguments)
    gc.collect()
    held, shared = _mib("VmRSS"), psutil.Process().memory_full_info().pss / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    running = sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children(recursive=True))
    own, children, began = *_cpu_seconds(), time.monotonic()
    value = prepared()
    wall = time.monotonic() - began
    peak = _mib("VmHWM") - held
    _wait_for_children()
    own_now, children_now = _cpu_seconds()
    result.send(
        {
            "own_cpu": own_now - own,
            "children_cpu": children_now - children,
            "children_before": children + running,
            "wall": wall,
            "peak_mib": peak,
            "held_mib": shared,
            "value": value,
        }
    )


def _cpu_seconds() -> tuple[float, float]:
    """Of this process, and of those that it waited for."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return tuple(used.ru_utime + used.ru_stime for used in map(resource.getrusage, whose))


def _mib(key: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) / 1024


def _wait_for_children() -> None:
    """Until none is left; what does not end is ended."""
    deadline = time.monotonic() + END_SECONDS
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)
        except ChildProcessError:
            return
        if time.monotonic() > deadline:
            for process in psutil.Process().children(recursive=True):
                process.kill()
