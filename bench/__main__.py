"""Run the benches of the pipeline, or those that are named: `python -m bench [publish drift …]`."""

import os
import sys
import time

from bench import cluster, drift, page, preprocess, publish, serving, start, training, tune
from bench.frame import ROOT
from breezeway.core.settings import quiet_environment

PIPELINE = {
    "preprocess": preprocess.run,
    "publish": publish.run,
    "training": training.run,
    "tune": tune.run,
    "start": start.run,
}
BY_NAME = {"cluster": cluster.run, "serving": serving.run, "drift": drift.run}
"""They answer other questions: of a Ray cluster, of load, of false alarms."""
BENCHES = PIPELINE | BY_NAME


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        sys.exit(f"There is no bench {unknown[0]!r}; there are: {', '.join(BENCHES)}.")
    os.environ |= quiet_environment() | {"PYTHONPATH": f"{ROOT}:{ROOT / 'include'}"}
    began = time.monotonic()
    for name in names or PIPELINE:
        print(f"\n== {name}\n", flush=True)
        BENCHES[name]()
    page.write_page(list(BENCHES))
    print(f"\n{(time.monotonic() - began) / 60:.0f} minutes; docs/performance.md, bench/results")


if __name__ == "__main__":  # and not in the processes that are forked
    main(sys.argv[1:])
