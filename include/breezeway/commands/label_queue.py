"""Pick the stretches of readings that are most worth a person's look, as a queue to label.

Three reasons, each with its own order, take turns:

- the champion and the challenger disagree: one is in alarm and the other is not;
- the champion is unsure: its score is near the threshold of an alarm;
- the device has drifted, by the last drift check: there the unsure stretches come first.

A stretch is as long as the window of the features. What was labelled or looked at already is left
out, and so are the neighbours of what was picked. The folder gets `queue.csv`, a table to fill in
and give back to `import-labels`, and `label-studio.json` with `label-studio.xml`, tasks and
labelling interface for Label Studio.
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
        help="one SELECT of the readings to pick from, with the same columns as for preprocess; "
        "the last 7 days if not given",
    )
    parser.add_argument("--count", type=positive_count, default=50, help="stretches to pick")
    parser.add_argument(
        "--output", type=Path, default=Path("label-queue"), help="the folder for the files"
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
