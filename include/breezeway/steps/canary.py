"""Watch the trial of a challenger, and say at its end whether it may take the champion's place.

Every so often the counts of all replicas are summed and judged by the section [canary] of the
sensor contract. A challenger that is clearly worse is taken out of the pointer at once, and so
is one of which too little was seen when the trial ends. One that passes stays on trial, for
`deploy` to put it into the champion's place. The share of a bandit is moved at each look.

The trial ends so many minutes after `deploy` put the challenger up. So a second run goes on with
the same trial, and after its end says what was decided.
"""

import argparse
import logging
import re
from datetime import timedelta
from typing import Any

from breezeway.core.arguments import model_name, model_version, positive_count
from breezeway.core.settings import Settings
from breezeway.pipeline import trial
from breezeway.steps.runner import run_step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model-name", type=model_name, required=True, help="the registered model")
    parser.add_argument(
        "--model-version",
        type=model_version,
        required=True,
        help="the challenger: a number, or an alias",
    )
    parser.add_argument(
        "--minutes", required=True, type=positive_number, help="how long the trial takes"
    )
    parser.add_argument(
        "--every", default=30, type=positive_count, metavar="SECONDS", help="between two looks"
    )


def positive_number(text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return float(text)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
    return trial.watch_trial(
        settings,
        arguments.model_name,
        arguments.model_version,
        timedelta(minutes=arguments.minutes),
        arguments.every,
    )


if __name__ == "__main__":
    run_step("canary", __doc__, add_arguments, run)
