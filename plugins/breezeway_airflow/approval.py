"""Asks a person before a model is promoted."""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Context

from breezeway.core.settings import Settings

ANSWER_DAYS = 7
"""After which no answer is a rejection."""


class ApprovePromotion(ApprovalOperator):
    """Asks a person to approve a promotion that the gate allows; if it refuses, nobody is asked.

    The task waits in the state `awaiting_input`, without a worker, and shows the gate's reason on
    its page `Required Actions`. A rejection is not a failure: the tasks directly downstream are
    skipped. The answer, and who gave it, are recorded with the version.

    Args:
        model_name: the registered model.
        model_version: its number.
    """

    template_fields = (*ApprovalOperator.template_fields, "model_name", "model_version")
    ui_color = "#fff3e0"

    def __init__(self, *, model_name: str, model_version: str, **kwargs: Any):
        super().__init__(
            subject=f"Promote {model_name} {model_version}?",
            defaults=self.REJECT,
            response_timeout=timedelta(days=ANSWER_DAYS),
            **kwargs,
        )
        self.model_name = model_name
        self.model_version = model_version

    def execute(self, context: Context) -> None:
        """Ask, and wait for the answer.

        Raises:
            UsageError: there is no such version, or it has not been tested.
            ServiceUnavailable: MLflow does not answer.
        """
        from breezeway.contract.contract import load_contract
        from breezeway.tracking import champions, gate

        settings = Settings.from_environment()
        evidence = champions.read_evidence(settings, self.model_name, self.model_version)
        decision = gate.decide(load_contract(settings.sensors).gate, evidence)
        if not decision.promote:
            self.log.info("The gate refuses it, so nobody is asked: %s", decision.reason)
            return
        self.body = (
            f"{decision.reason}\n\nIf you approve, the version becomes the champion, and is "
            "deployed if the run has that step. If you reject it, or nobody answers within "
            f"{ANSWER_DAYS} days, nothing changes."
        )
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Record the answer, and act on it.

        Raises:
            ServiceUnavailable: MLflow does not answer.
        """
        from breezeway.tracking import champions

        settings = Settings.from_environment()
        user = event["responded_by_user"]
        if event["chosen_options"] == [self.APPROVE]:
            champions.keep(settings, self.model_name, self.model_version, approved_by=user["name"])
        else:
            who = f"{user['name']} rejected it" if user else "Nobody approved it in time"
            champions.refuse(settings, self.model_name, self.model_version, f"{who}.")
        return super().execute_complete(context, event)
