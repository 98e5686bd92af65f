"""Bring the previous champion back into service. The alias `champion` of the model registry moves
back to it, with the reason, and it is deployed.

- **model_name**: The registered model.
- **model_version**: The version to bring back. Empty: the champion before the present one.
- **reason**: Why. It is recorded with the version.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param, get_current_context, task

from breezeway.core.settings import Settings
from breezeway_airflow import fields, form, priority
from breezeway_airflow.dag_defaults import dag_defaults
from breezeway_airflow.fields import given
from breezeway_airflow.registry import RollbackModel
from breezeway_airflow.step import Step

HELP = fields.help_texts(__doc__)
MODEL, _ = fields.contract_defaults(Settings.from_environment())

with DAG(
    dag_id="rollback",
    description="Put the previous champion back into service",
    doc_md=__doc__,
    schedule=None,
    is_paused_upon_creation=False,
    max_active_runs=1,
    **dag_defaults(
        Settings.from_environment(),
        priority.SERVICE,
        run_limit=timedelta(hours=3),
        task_limit=timedelta(minutes=30),
        required_fields=True,
    ),
    params={
        "model_name": fields.model_name(HELP["model_name"], MODEL),
        "model_version": fields.text(
            "Model version", HELP["model_version"], pattern="^(?:[1-9][0-9]{0,17})?$"
        ),
        "reason": Param(
            type="string",
            title="Reason",
            description_md=HELP["reason"],
            minLength=3,
            maxLength=500,
        ),
    },
) as dag:

    @task(multiple_outputs=False, execution_timeout=timedelta(minutes=2))
    def check_inputs() -> dict:
        """Check the form within seconds, and find the present champion."""
        return form.check_rollback(get_current_context()["params"], Settings.from_environment())

    rollback = RollbackModel(
        task_id="rollback",
        model_name=given("model_name"),
        from_version=given("champion"),
        to_version=given("model_version"),
        reason=given("reason"),
        pool="model_registry",
    )
    deploy = Step(
        task_id="deploy",
        # Not the number: another promotion may have come in between, and must stay.
        arguments={"model_name": given("model_name"), "model_version": "champion"},
    )
    check_inputs() >> rollback >> deploy
