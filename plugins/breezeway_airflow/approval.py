"""Asks a person before a model is promoted."""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Context

from breezeway.core.settings import Settings

ANSWER_DAYS = 7
"""After which no answer is a rejection."""


class ApprovePromotion(ApprovalOperator):
    """Waits for a person where the gate would promote a version; else it asks nobody.

    The task waits without a worker, in the state `awaiting_input`, and shows the gate's reason on
    its page `Required Actions`. A rejection fails nothing: the tasks directly behind this one are
    skipped. Who approved or rejected is kept with the version.

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
        """Ask.

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
            self.log.info("Nobody is asked, because the gate refuses it: %s", decision.reason)
            return
        self.body = (
            f"{decision.reason}\n\nApproved, it becomes the champion, and is deployed if that was "
            f"asked for. Rejected, or without an answer in {ANSWER_DAYS} days, all stays as it is."
        )
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Keep the answer, and act on it.

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
