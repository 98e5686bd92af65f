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
import math
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from breezeway.contract.contract import Canary, load_contract
from breezeway.core.arguments import model_name, model_version, positive_count
from breezeway.core.errors import ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.deployment import canary_rule
from breezeway.deployment.replicas import Replicas
from breezeway.deployment.store import Challenger, DeploymentStore
from breezeway.steps.deploy import deployment_name, find_version, only_writer, withdraw
from breezeway.steps.runner import run_step
from breezeway.tracking import champions, rest

log = logging.getLogger("breezeway.canary")

PATIENCE_SECONDS = 120.0
"""How long the servers may not answer: one may be starting anew."""


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
    rule = load_contract(settings.sensors).canary
    version = find_version(settings, arguments.model_name, arguments.model_version)
    trial = Trial(settings, version, rule, timedelta(minutes=arguments.minutes), arguments.every)
    verdict, figures = trial.decided() or trial.watch()
    if verdict.decision == "roll back":
        trial.withdraw()
    log.info("%s %s: %s", version["name"], verdict.decision, verdict.reason)
    return {
        "model_name": version["name"],
        "model_version": version["version"],
        "decision": verdict.decision,
        "reason": verdict.reason,
        **figures,
    }


class Trial:
    """A trial that is watched.

    Args:
        settings: where the store, the servers and the registry are.
        version: the challenger as MLflow's REST API gives it.
        rule: section `[canary]` of the sensor contract.
        length: of the trial.
        every: seconds between two looks.
    """

    def __init__(
        self,
        settings: Settings,
        version: dict[str, Any],
        rule: Canary,
        length: timedelta,
        every: float,
    ):
        self._settings = settings
        self._store = DeploymentStore(settings.deployments)
        self._replicas = Replicas(settings, version["name"])
        self._version = version
        self._name = deployment_name(version)
        self._rule = rule
        self._length = length
        self._every = every

    def decided(self) -> tuple[canary_rule.Verdict, dict[str, Any]] | None:
        """What an earlier run of this step decided about this trial, if it did."""
        kept = rest.tags(self._version)
        decision = kept.get("breezeway.canary_decision")
        if decision not in ("promote", "roll back"):
            return None
        pointer = self._store.pointer(self._version["name"])
        challenger = pointer and pointer.challenger
        if challenger is None:
            # It was taken out, or has taken the champion's place.
            same = decision == "roll back" or (pointer and pointer.deployment == self._name)
        else:
            same = kept.get("breezeway.canary_trial") == challenger.deployed_at.isoformat()
        return (
            (canary_rule.Verdict(decision, kept["breezeway.canary_reason"]), {}) if same else None
        )

    def watch(self) -> tuple[canary_rule.Verdict, dict[str, Any]]:
        """Look at the trial until its end, and keep with the version what came of it.

        Raises:
            UsageError: the version is not on trial, or not any more.
            ServiceUnavailable: MLflow or the servers do not answer.
        """
        challenger = self._challenger()
        end = challenger.deployed_at + self._length
        looks = math.ceil(self._length.total_seconds() / self._every)
        while True:
            left = (end - datetime.now(UTC)).total_seconds()
            time.sleep(max(0.0, min(self._every, left)))
            last = left <= self._every
            verdict, figures = self._look(looks, last)
            if verdict.decision != "wait":
                break
            log.info("%s %s", verdict.reason, figures)
        champions.keep(
            self._settings,
            self._version["name"],
            self._version["version"],
            canary_trial=challenger.deployed_at.isoformat(),
            canary_mode=challenger.mode,
            canary_reason=verdict.reason,
            canary_decided_at=datetime.now(UTC).isoformat(timespec="seconds"),
            canary_decision=verdict.decision,
        )
        return verdict, figures

    def _challenger(self) -> Challenger:
        pointer = self._store.pointer(self._version["name"])
        challenger = pointer and pointer.challenger
        if challenger is None or challenger.deployment != self._name:
            raise UsageError(
                f"Version {self._version['version']} of {self._version['name']} is not on trial; "
                "`deploy --canary 10` puts it there."
            )
        return challenger

    def _look(self, looks: int, last: bool) -> tuple[canary_rule.Verdict, dict[str, Any]]:
        challenger = self._challenger()
        statuses = self._statuses()
        for status in statuses:
            failure = status.get("challenger_failure")
            if failure and failure["deployed_at"] == challenger.deployed_at.isoformat():
                reason = f"The model server {status['server']} cannot load it: {failure['reason']}"
                return canary_rule.Verdict("roll back", reason), {}
        # A server that is starting counts nothing yet, and one that started anew has forgotten.
        trials = [
            status["trial"]
            for status in statuses
            if (status.get("challenger") or {}).get("deployment") == self._name
        ]
        if not trials:
            nothing = "No server has the challenger on trial."
            return canary_rule.Verdict("roll back" if last else "wait", nothing), {}
        both = [canary_rule.total([t[role] for t in trials]) for role in ("champion", "challenger")]
        verdict = canary_rule.judge(self._rule, *both, challenger.mode, looks=looks, last=last)
        share = challenger.share
        if challenger.mode == "bandit" and verdict.decision == "wait":
            share = canary_rule.thompson_share(*(stats["feedback"] for stats in both)) or share
            self._move_share(share)
        figures = {
            "mode": challenger.mode,
            "share": round(share, 3),
            "replicas": len(trials),
            **{
                role: _figures(stats)
                for role, stats in zip(("champion", "challenger"), both, strict=True)
            },
        }
        return verdict, figures

    def _statuses(self) -> list[dict[str, Any]]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return [status for _, status in self._replicas.statuses()]
            except ServiceUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def _move_share(self, share: float) -> None:
        with only_writer(self._settings, self._version["name"]):
            challenger = self._challenger().model_copy(update={"share": share})
            pointer = self._store.pointer(challenger.model_name)
            self._store.point(pointer.model_copy(update={"challenger": challenger}))

    def withdraw(self) -> None:
        """Take the challenger out of the pointer, if it is still there."""
        with only_writer(self._settings, self._version["name"]):
            withdraw(self._store, self._version["name"], self._name)


def _figures(stats: canary_rule.Stats) -> dict[str, Any]:
    names = ("predictions", "alarms", "rejected", "errors")
    return {**{name: stats[name] for name in names}, "feedback": dict(stats["feedback"])}


if __name__ == "__main__":
    run_step("canary", __doc__, add_arguments, run)
