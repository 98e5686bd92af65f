"""Brings the previous champion back into service: the champion's alias goes back to it in the
model registry, with the reason, and it is deployed.

- **model_name**: The registered model.
- **model_version**: The version to bring back; empty for the champion before the present one.
- **reason**: Why; kept with the version.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from breezeway.settings import Settings
from breezeway_airflow import form
from breezeway_airflow.registry import RollbackModel
from breezeway_airflow.retry import RETRIES
from breezeway_airflow.step import Step

HELP = form.help_texts(__doc__)
MODEL, _ = form.contract_defaults(Settings.from_environment())

with DAG(
    dag_id="rollback",
    description="The previous champion goes back into service",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,
    default_args={**RETRIES, "execution_timeout": timedelta(minutes=30)},
    tags=["breezeway"],
    params={
        "model_name": Param(
            MODEL,
            type="string",
            title="Model",
            description_md=HELP["model_name"],
            pattern=form.NAME_PATTERN,
        ),
        "model_version": Param(
            None,
            type=["null", "string"],
            title="Model version",
            description_md=HELP["model_version"],
            pattern="^$|^[1-9][0-9]*$",
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
    rollback = RollbackModel(
        task_id="rollback",
        model_name="{{ params.model_name }}",
        model_version="{{ params.model_version or '' }}",
        reason="{{ params.reason }}",
        pool="model_registry",
    )
    deploy = Step(
        task_id="deploy",
        arguments={"model_name": "{{ params.model_name }}", "model_version": "champion"},
    )
    rollback >> deploy
