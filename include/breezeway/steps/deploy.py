"""Put a registered model version into service: build a Bento of it and swap it in.

The Bento goes into the deployment store, and the store's pointer moves to it. Each running server
loads it beside the old model, checks it against examples from training, and swaps. Then the step
sends one of these examples to each server. If anything fails, the pointer goes back, the old model
stays in service everywhere, and the step fails with the reason.

If the version is in service already, the step succeeds and does nothing.

With --canary, --bandit or --shadow the version is put on trial, as a challenger beside the version
in service, which stays there. If the challenger does not work, it is withdrawn. Without these
options the version goes into service, and a trial ends; --withdraw ends a trial too.

A version that the gate refused, or that was rolled back, goes into service or on trial only with
--force and a reason, which is kept with the version in MLflow. A shadow answers nobody and needs
no reason.

Examples:
  python -m breezeway.steps.deploy --model-name plant --model-version champion
  python -m breezeway.steps.deploy --model-name plant --model-version 7 --canary 10
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
        help="its version: a number, or an alias such as champion",
    )
    role = parser.add_mutually_exclusive_group()
    role.add_argument(
        "--canary",
        type=percent,
        metavar="PERCENT",
        help="put it on trial: it answers for this percentage of the devices",
    )
    role.add_argument(
        "--bandit",
        type=percent,
        nargs="?",
        const=10,
        metavar="PERCENT",
        help="the same, and the step canary changes the percentage by the labels that come back "
        "(at the start %(const)s)",
    )
    # Arguments in a DAG always have values, here "yes".
    flag: dict[str, Any] = {"nargs": "?", "const": "yes", "choices": ["yes"], "metavar": "yes"}
    role.add_argument(
        "--shadow",
        **flag,
        help="put it on trial: it scores what the champion answers, only for the comparison",
    )
    role.add_argument("--withdraw", **flag, help="end its trial")
    parser.add_argument(
        "--force",
        type=reason,
        metavar="REASON",
        help="why a version that the gate refused, or that was rolled back, answers nevertheless",
    )


def reason(text: str) -> str:
    if not 3 <= len(text) <= 500:
        raise argparse.ArgumentTypeError("a reason has 3 to 500 characters")
    return text


def percent(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 to 99")
    return int(text)


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
    if arguments.withdraw:
        return rollout.end_trial(settings, arguments.model_name, arguments.model_version)
    mode, share = trial_terms(arguments)
    return rollout.deploy(
        settings, arguments.model_name, arguments.model_version, mode, share, arguments.force
    )


def trial_terms(arguments: argparse.Namespace) -> tuple[str | None, float]:
    """The mode of the trial, None for no trial, and its share of devices, 0 to 1."""
    if arguments.shadow:
        return "shadow", 0.0
    if arguments.canary:
        return "canary", arguments.canary / 100
    if arguments.bandit:
        return "bandit", arguments.bandit / 100
    return None, 0.0


if __name__ == "__main__":
    run_step("deploy", __doc__, add_arguments, run)
