"""Import labels of readings into the raw store, with who gave them and when.

The file is the `queue.csv` of `label-queue` with its column `label` filled in (`fault` or `normal`;
rows without a label are skipped), or an export of Label Studio in JSON. To narrow a fault, change
its start and end. To import the same file again changes nothing. The next dataset version has the
new labels, and the model that is trained on it uses them.

Example:
  breezeway import-labels label-queue/queue.csv --by ann
"""

import argparse
from pathlib import Path
from typing import Any

from breezeway.core.settings import Settings
from breezeway.readings import labels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a filled-in queue.csv, or an export in JSON")
    parser.add_argument(
        "--by", required=True, help="who gave the labels; authors in an export take precedence"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    return labels.keep(settings, labels.read(arguments.file, arguments.by))
