"""Watch the trial of a challenger, and decide at its end whether it may become the champion.

At regular intervals the counts of all replicas are summed and judged by the section [canary] of the
sensor contract. A challenger that is clearly worse is withdrawn at once, and one with too few
predictions is withdrawn at the end. A challenger that passes stays on trial, until `deploy` puts it
into service. The share of a bandit is changed at each look.

The trial ends a number of minutes after `deploy` started it. So a second run continues the same
trial, and after its end it returns the same decision.

Example:
  python -m breezeway.steps.canary --model-name plant --model-version 7 --minutes 60
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
        "--minutes", required=True, type=positive_number, help="length of the trial"
    )
    parser.add_argument(
        "--every",
        default=30,
        type=positive_count,
        metavar="SECONDS",
        help="between two looks (%(default)s)",
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
