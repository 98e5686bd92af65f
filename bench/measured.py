"""One piece of work in this process, measured: `python -m bench.measured module:function '{…}'`.

Prints, last, one line of JSON: its CPU seconds and those of every process it waited for, also of
those that outlived their parents; its wall seconds; its memory.
"""

import ctypes
import gc
import importlib
import json
import os
import re
import resource
import sys
import time
from pathlib import Path

import psutil

SUBREAPER = 36
"""prctl's PR_SET_CHILD_SUBREAPER (linux/prctl.h): orphans become our children."""
END_SECONDS = 20


def main(place: str, arguments: str) -> None:
    module, _, name = place.partition(":")
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    work = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    gc.collect()
    held = _mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    running = sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children(recursive=True))
    own, children, began = *_cpu_seconds(), time.monotonic()
    value = work()
    wall = time.monotonic() - began
    peak = _mib("VmHWM") - held
    _wait_for_children()
    own_now, children_now = _cpu_seconds()
    found = {
        "own_cpu": own_now - own,
        "children_cpu": children_now - children,
        "children_before": children + running,
        "wall": wall,
        "peak_mib": peak,
        "held_mib": held,
        "value": value,
    }
    print(json.dumps(found), flush=True)


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


main(*sys.argv[1:])
