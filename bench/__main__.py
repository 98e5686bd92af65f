"""Run the benches, or those that are named: `python -m bench [serving|drift]`."""

import sys

from bench import drift, publish, serving, training

BENCHES = {
    "serving": serving.run,
    "drift": drift.run,
    "publish": publish.run,
    "training": training.run,
}


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        sys.exit(f"There is no bench {unknown[0]!r}; there are: {', '.join(BENCHES)}.")
    for name in names or BENCHES:
        BENCHES[name]()


main(sys.argv[1:])
