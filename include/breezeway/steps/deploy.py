"""Put a registered model version to work: build a Bento of it and swap it into the live server.

The Bento goes into the deployment store, the store's pointer moves to it, and each running
server loads it beside the old model, checks it against the examples recorded at training and
swaps. Then one of these examples is sent through the live endpoint of each. If any of it fails
at any of them, the pointer goes back, the old model goes on serving everywhere, and this step
fails with the reason.

Deploying what is deployed already is success.

With --canary, --bandit or --shadow the version is put up beside the one in service, as its
challenger. The one in service goes on; if the challenger does not work, it is out again.
Deployed without them, it takes the other's place and the trial ends; --withdraw ends it too.
"""

import argparse
import logging
import re
from typing import Any

from breezeway.core.arguments import model_name, model_version
from breezeway.core.settings import Settings
from breezeway.pipeline import rollout
from breezeway.steps.runner import run_step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model-name", type=model_name, required=True, help="the registered model")
    parser.add_argument(
        "--model-version",
        type=model_version,
        required=True,
        help="its version: a number, or an alias like champion",
    )
    role = parser.add_mutually_exclusive_group()
    role.add_argument(
        "--canary",
        type=percent,
        metavar="PERCENT",
        help="put it on trial: it answers for these of 100 devices",
    )
    role.add_argument(
        "--bandit",
        type=percent,
        nargs="?",
        const=10,
        metavar="PERCENT",
        help="the same, for the step canary to move the share by the labels that come back "
        "(%(const)s to begin with)",
    )
    # A DAG's arguments have values, if only "yes".
    flag: dict[str, Any] = {"nargs": "?", "const": "yes", "choices": ["yes"], "metavar": "yes"}
    role.add_argument(
        "--shadow",
        **flag,
        help="put it on trial: it scores what the other answers, and is compared",
    )
    role.add_argument("--withdraw", **flag, help="end its trial")


def percent(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 to 99")
    return int(text)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
    if arguments.withdraw:
        return rollout.end_trial(settings, arguments.model_name, arguments.model_version)
    mode, share = trial_terms(arguments)
    return rollout.deploy(settings, arguments.model_name, arguments.model_version, mode, share)


def trial_terms(arguments: argparse.Namespace) -> tuple[str | None, float]:
    """The mode of the trial that is asked for, and its share of devices, 0 to 1."""
    if arguments.shadow:
        return "shadow", 0.0
    if arguments.canary:
        return "canary", arguments.canary / 100
    if arguments.bandit:
        return "bandit", arguments.bandit / 100
    return None, 0.0


if __name__ == "__main__":
    run_step("deploy", __doc__, add_arguments, run)
