"""Select the periods of readings that are most worth labelling.

There are three reasons, which take turns:

- the champion and the challenger disagree: only one of them raises an alarm;
- the champion is unsure: its score is near the alarm threshold;
- the last drift check names the device: its least certain periods come first.

A period is as long as the window of the features. Periods that are labelled or reviewed already are
skipped, and so are neighbours of selected periods. The folder gets `queue.csv`, a table to fill in
for `import-labels`, and `label-studio.json` and `label-studio.xml`, tasks and labelling interface
for Label Studio.

Examples:
  breezeway label-queue --count 20
  breezeway label-queue --challenger 7 --output /tmp/queue
"""

import argparse
from pathlib import Path
from typing import Any

from breezeway.core.arguments import model_name, positive_count
from breezeway.core.settings import Settings
from breezeway.pipeline import label_queue


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model-name", type=model_name, help="the registered model; the contract's if not given"
    )
    parser.add_argument(
        "--challenger",
        help="a version or alias; the newest version if not given and it is not the champion",
    )
    parser.add_argument(
        "--query",
        help="one SELECT of the readings to select from, with the columns as for preprocess; "
        "the last 7 days if not given",
    )
    parser.add_argument(
        "--count", type=positive_count, default=50, help="periods to select (%(default)s)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("label-queue"),
        help="the folder for the files (%(default)s)",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    return label_queue.make_queue(
        settings,
        arguments.output,
        model_name=arguments.model_name,
        challenger_version=arguments.challenger,
        query=arguments.query,
        count=arguments.count,
    )
