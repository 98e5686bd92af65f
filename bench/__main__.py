"""Run the benches of the pipeline, or those that are named: `python -m bench [publish drift …]`."""

import importlib
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from bench import page
from bench.frame import ROOT
from breezeway.core.settings import quiet_environment

RUNS = ROOT / "bench" / "runs"
PIPELINE = ("preprocess", "publish", "training", "tune", "start")
"""The others answer other questions: of forms of payloads, of a Ray cluster, of the model server,
of false alarms."""


def main(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in page.BENCHES]
    if unknown:
        sys.exit(f"There is no bench {unknown[0]!r}; there are: {', '.join(page.BENCHES)}.")
    os.environ |= quiet_environment() | {"PYTHONPATH": f"{ROOT}:{ROOT / 'include'}"}
    folder = RUNS / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    folder.mkdir(parents=True)
    began = time.monotonic()
    for name in names or PIPELINE:
        print(f"\n== {name}\n", flush=True)
        importlib.import_module(f"bench.{name}").run(folder)
        page.write_page(folder, folder)
    minutes = (time.monotonic() - began) / 60
    print(f"\n{minutes:.0f} minutes; all of it is in {folder.relative_to(ROOT)}")


if __name__ == "__main__":  # and not in the processes that are forked
    main(sys.argv[1:])
