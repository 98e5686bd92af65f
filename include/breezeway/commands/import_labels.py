"""Take labels back: what people said of stretches of readings goes into the table of labels.

The file is the `queue.csv` of `label-queue` with its column `label` filled in (`fault` or
`normal`; rows without are left out), or Label Studio's export in JSON. A fault may be narrowed
by changing its start and end. Each label keeps who gave it and when. The same file again changes
nothing. The next dataset version has the new labels, and so has the model that is trained on it.
"""

import argparse
from pathlib import Path
from typing import Any

from breezeway.core.settings import Settings
from breezeway.readings import labels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="queue.csv filled in, or an export in JSON")
    parser.add_argument(
        "--by", required=True, help="who labelled; an export's own names come before this one"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    return labels.keep(settings, labels.read(arguments.file, arguments.by))
