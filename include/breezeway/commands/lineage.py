"""Show where a prediction, a model version or a dataset comes from, and what a dataset led to.

WHAT is the id that the server gave a prediction (MODEL.VERSION.ID), a registered version by number
or alias (MODEL/VERSION), or the tag of a dataset or of its parameters: these lead forward as well.

The answer is read from the stores each time. If a store does not answer, or if two stores
contradict each other, the answer says so in `problems`, and shows the rest.

Examples:
  breezeway lineage plant/champion
  breezeway lineage v12 --json | jq .problems
"""

import argparse
import json

from breezeway.core.settings import Settings
from breezeway.pipeline import lineage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="id of a prediction, MODEL/VERSION, or the tag of a dataset or of parameters",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a tree")


def run(arguments: argparse.Namespace, settings: Settings) -> None:
    found = lineage.trace(settings, arguments.what)
    if arguments.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print(lineage.render(found))
