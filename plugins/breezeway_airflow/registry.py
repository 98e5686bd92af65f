"""Promotes and rolls back champions, one task at a time (pool `model_registry`)."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context, SkipMixin

from breezeway.core.settings import Settings
from breezeway_airflow.notify import tell


class _Promotion(BaseOperator, SkipMixin):
    """Promotes a version or refuses it. A refusal is not a failure: the task succeeds, its result
    gives the reason, and the tasks of `skip_when_refused`, directly downstream, are skipped.
    """

    inherits_from_skipmixin = True
    ui_color = "#fff3e0"

    def __init__(self, *, skip_when_refused: Sequence[str] = (), **kwargs: Any):
        super().__init__(**kwargs)
        self.skip_when_refused = skip_when_refused

    def _end(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:
        outcome = "is the champion" if result["promoted"] else "is refused"
        name, version = result["model_name"], result["model_version"]
        self.log.info("%s %s %s: %s", name, version, outcome, result["reason"])
        if not result["promoted"]:
            # `skip` raises, so the result has to be pushed before.
            context["ti"].xcom_push("return_value", result)
            tell(context, "refused", f"{name} {version} is not promoted", result["reason"])
            self.skip(context["ti"], [self.dag.get_task(task) for task in self.skip_when_refused])
        return result


class PromoteModel(_Promotion):
    """Makes a tested version the champion if the gate allows it.

    Args:
        model_name: the registered model.
        model_version: a number or an alias.
        skip_when_refused: task ids.
    """

    template_fields = ("model_name", "model_version")

    def __init__(self, *, model_name: str, model_version: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.model_name = model_name
        self.model_version = model_version

    def execute(self, context: Context) -> dict[str, Any]:
        """Promote or refuse.

        Returns:
            `model_name`, `model_version`, `promoted`, `reason`.

        Raises:
            UsageError: there is no such version, or it has not been tested.
            TryAgain: another promotion took too long.
            ServiceUnavailable: MLflow does not answer.
        """
        from breezeway.contract.contract import load_contract
        from breezeway.tracking import champions, registry

        settings = Settings.from_environment()
        version = registry.resolve_version(settings, self.model_name, self.model_version)
        gate = load_contract(settings.sensors).gate
        decision = champions.pass_gate(settings, self.model_name, version, gate)
        return self._end(
            context,
            {
                "model_name": self.model_name,
                "model_version": version,
                "promoted": decision.promote,
                "reason": decision.reason,
            },
        )


class PromoteChallenger(_Promotion):
    """Makes a challenger the champion if the step `canary` says so.

    Args:
        model_name: the registered model.
        model_version: the challenger's number.
        champion: the champion when the trial began; no other is replaced.
        decision: of the step.
        reason: of the step; recorded with the version.
        skip_when_refused: task ids.
    """

    template_fields = ("model_name", "model_version", "champion", "decision", "reason")

    def __init__(
        self,
        *,
        model_name: str,
        model_version: str,
        champion: str,
        decision: str,
        reason: str,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.model_name = model_name
        self.model_version = model_version
        self.champion = champion
        self.decision = decision
        self.reason = reason

    def execute(self, context: Context) -> dict[str, Any]:
        """Promote or refuse.

        Returns:
            `model_name`, `model_version`, `promoted`, `reason`.

        Raises:
            UsageError: there is no such version.
            TryAgain: another promotion took too long.
            ServiceUnavailable: MLflow does not answer.
        """
        from breezeway.tracking import champions
        from breezeway.tracking.gate import Decision

        decision = Decision(False, self.reason)
        if self.decision == "promote":
            decision = champions.promote(
                Settings.from_environment(),
                self.model_name,
                self.model_version,
                self.champion,
                self.reason,
            )
        return self._end(
            context,
            {
                "model_name": self.model_name,
                "model_version": self.model_version,
                "promoted": decision.promote,
                "reason": decision.reason,
            },
        )


class RollbackModel(BaseOperator):
    """Makes an earlier champion the champion again.

    Args:
        model_name: the registered model.
        from_version: the present champion, found before this task began, so that a retry does not
            go one more champion back.
        to_version: the earlier champion; empty for the previous one.
        reason: recorded with the version.
    """

    template_fields = ("model_name", "from_version", "to_version", "reason")
    ui_color = "#fff3e0"

    def __init__(
        self,
        *,
        model_name: str,
        from_version: str,
        to_version: str = "",
        reason: str,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.model_name = model_name
        self.from_version = from_version
        self.to_version = to_version
        self.reason = reason

    def execute(self, context: Context) -> dict[str, str]:
        """Roll back.

        Returns:
            `model_name`, `model_version`, `previous`, `reason`.

        Raises:
            UsageError: there is no earlier champion, `to_version` has never been one, or the
                champion is not `from_version` any more.
            TryAgain: another promotion took too long.
            ServiceUnavailable: MLflow does not answer.
        """
        from breezeway.tracking import champions

        version = champions.rollback(
            Settings.from_environment(),
            self.model_name,
            self.to_version or None,
            from_version=self.from_version,
            reason=self.reason,
        )
        self.log.info("%s %s is the champion again: %s", self.model_name, version, self.reason)
        return {
            "model_name": self.model_name,
            "model_version": version,
            "previous": self.from_version,
            "reason": self.reason,
        }
