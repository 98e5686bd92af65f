"""Watches the trial of a challenger, and decides at its end whether it becomes the champion.

`breezeway.steps.canary` is the command.
"""

import logging
import math
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from breezeway.contract.contract import load_contract
from breezeway.contract.schema import Canary
from breezeway.core.errors import ServiceUnavailable, UsageError
from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings
from breezeway.deployment import canary_rule
from breezeway.deployment.replicas import Replicas
from breezeway.deployment.status import Counts, ServerStatus, total
from breezeway.deployment.store import Challenger, DeploymentStore, Pointer, lock_name
from breezeway.pipeline.in_service import deployment_name
from breezeway.pipeline.rollout import withdraw
from breezeway.tracking import champions
from breezeway.tracking.registry import ModelVersion, find_version, resolve_version

log = logging.getLogger("breezeway.canary")

PATIENCE_SECONDS = 120.0
"""How long a server may fail to answer, because it may be restarting."""


def watch_trial(
    settings: Settings, model_name: str, model_version: str, length: timedelta, every: float
) -> dict[str, Any]:
    """Watch the trial of a version until its end; withdraw a challenger that is clearly worse.

    Args:
        model_version: a number, or an alias.
        length: of the trial.
        every: seconds between two looks.

    Returns:
        The result of the step.

    Raises:
        UsageError: there is no such version, or it is not on trial.
        ServiceUnavailable: MLflow or the servers do not answer.
        TryAgain: another deployment of this model is under way.
    """
    rule = load_contract(settings.sensors).canary
    number = resolve_version(settings, model_name, model_version)
    version = find_version(settings, model_name, number)
    trial = TrialWatch(settings, version, rule, length, every)
    verdict, figures = trial.decided() or trial.watch()
    if verdict.decision == "roll back":
        trial.withdraw()
    log.info("%s %s: %s", version.name, verdict.decision, verdict.reason)
    return {
        "model_name": version.name,
        "model_version": version.version,
        "decision": verdict.decision,
        "reason": verdict.reason,
        **figures,
    }


class TrialWatch:
    """The watch over one trial.

    Args:
        settings: where the store, the servers and the registry are.
        version: the challenger.
        rule: section `[canary]` of the sensor contract.
        length: of the trial.
        every: seconds between two looks.
    """

    def __init__(
        self,
        settings: Settings,
        version: ModelVersion,
        rule: Canary,
        length: timedelta,
        every: float,
    ):
        self._settings = settings
        self._store = DeploymentStore(settings.deployments)
        self._replicas = Replicas(settings, version.name)
        self._version = version
        self._name = deployment_name(version)
        self._rule = rule
        self._length = length
        self._every = every

    def decided(self) -> tuple[canary_rule.Verdict, dict[str, Any]] | None:
        """The decision of an earlier run of this step about this trial, if there is one."""
        kept = self._version.tags
        match kept.get("canary_decision"):
            case "promote" | "roll back" as decision:
                verdict = canary_rule.Verdict(decision, kept.get("canary_reason", ""))
            case _:
                return None
        pointer = self._store.pointer(self._version.name)
        if pointer is None:
            same = decision == "roll back"
        elif pointer.challenger is None:
            # It was withdrawn, or is the champion now.
            same = decision == "roll back" or pointer.deployment == self._name
        else:
            same = kept.get("canary_trial") == pointer.challenger.deployed_at.isoformat()
        return (verdict, {}) if same else None

    def watch(self) -> tuple[canary_rule.Verdict, dict[str, Any]]:
        """Look at the trial until its end, and record the decision with the version.

        Raises:
            UsageError: the version is not on trial, or no longer.
            ServiceUnavailable: MLflow or the servers do not answer.
        """
        _, challenger = self._pointer()
        end = challenger.deployed_at + self._length
        looks = math.ceil(self._length.total_seconds() / self._every)
        while True:
            left = (end - datetime.now(UTC)).total_seconds()
            time.sleep(max(0.0, min(self._every, left)))
            last = left <= self._every
            verdict, figures = self.look(looks, last)
            if verdict.decision != "wait":
                break
            log.info("%s %s", verdict.reason, figures)
        champions.keep(
            self._settings,
            self._version.name,
            self._version.version,
            canary_trial=challenger.deployed_at.isoformat(),
            canary_mode=challenger.mode,
            canary_reason=verdict.reason,
            canary_decided_at=datetime.now(UTC).isoformat(timespec="seconds"),
            canary_decision=verdict.decision,
        )
        return verdict, figures

    def _pointer(self) -> tuple[Pointer, Challenger]:
        """The model's pointer, and its challenger, which must be our version."""
        pointer = self._store.pointer(self._version.name)
        challenger = pointer.challenger if pointer else None
        if pointer is None or challenger is None or challenger.deployment != self._name:
            raise UsageError(
                f"Version {self._version.version} of {self._version.name} is not on trial; "
                "`deploy --canary 10` puts it there."
            )
        return pointer, challenger

    def look(self, looks: int, last: bool) -> tuple[canary_rule.Verdict, dict[str, Any]]:
        """Judge the counts of all servers so far; return the verdict and the figures.

        Args:
            looks: how many looks this trial has in all.
            last: whether this is the last one.

        Raises:
            UsageError: the version is no longer on trial.
            ServiceUnavailable: the servers do not answer.
        """
        _, challenger = self._pointer()
        statuses = self._statuses()
        for status in statuses:
            failure = status.challenger_failure
            if failure and failure.concerns(challenger):
                reason = f"The model server {status.server} cannot load it: {failure.reason}"
                return canary_rule.Verdict("roll back", reason), {}
        # A server that is starting has no counts yet, and a restarted one has lost them.
        trials = [status.trial for status in statuses if status.trial and status.has(challenger)]
        if not trials:
            nothing = "No server has the challenger on trial."
            return canary_rule.Verdict("roll back" if last else "wait", nothing), {}
        mine = total([trial.challenger for trial in trials])
        others = total([trial.champion for trial in trials])
        mode, share = challenger.mode, challenger.share
        verdict = canary_rule.judge(self._rule, others, mine, mode, looks=looks, last=last)
        if mode == "bandit" and verdict.decision == "wait":
            share = canary_rule.thompson_share(others.feedback, mine.feedback) or share
            self._move_share(share)
        figures = {
            "mode": mode,
            "share": round(share, 3),
            "replicas": len(trials),
            "champion": _figures(others),
            "challenger": _figures(mine),
        }
        return verdict, figures

    def _statuses(self) -> list[ServerStatus]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return [status for _, status in self._replicas.statuses()]
            except ServiceUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def _move_share(self, share: float) -> None:
        with exclusive(self._settings, lock_name(self._version.name)):
            pointer, challenger = self._pointer()
            moved = challenger.model_copy(update={"share": share})
            self._store.point(pointer.model_copy(update={"challenger": moved}))

    def withdraw(self) -> None:
        """Remove the challenger from the pointer, if it is still there."""
        with exclusive(self._settings, lock_name(self._version.name)):
            withdraw(self._store, self._version.name, self._name)


def _figures(counts: Counts) -> dict[str, Any]:
    """The counts that are shown to a person."""
    return {
        "predictions": counts.predictions,
        "alarms": counts.alarms,
        "rejected": counts.rejected,
        "errors": counts.errors,
        "feedback": asdict(counts.feedback),
    }
