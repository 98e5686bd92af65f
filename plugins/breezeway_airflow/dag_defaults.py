"""What all DAGs have in common."""

from datetime import timedelta
from typing import Any

from breezeway.core.settings import Settings
from breezeway_airflow import notify
from breezeway_airflow.fields import read_contract, refuse_unknown
from breezeway_airflow.retry import RETRIES


def dag_defaults(
    settings: Settings,
    priority: dict[str, Any],
    run_limit: timedelta,
    task_limit: timedelta,
    required_fields: bool = False,
    retries: int = RETRIES["retries"],
) -> dict[str, Any]:
    """Arguments of a DAG: retries, who is told of failures, limits, and whose the sensor is.

    Args:
        priority: one of those of the module `priority`.
        run_limit: how long a run may take, with all its waiting.
        task_limit: how long a task may take, if it does not say otherwise.
        required_fields: whether the form has fields without a default. Airflow cannot call anybody
            at the end of such a run, because it looks for their values without those of the run;
            so of one that takes too long nobody is told.
        retries: of a task, where one can help.
    """
    contract = read_contract(settings)
    return {
        "default_args": {
            **RETRIES,
            **priority,
            "retries": retries,
            "pre_execute": refuse_unknown,
            "on_failure_callback": notify.failed,
            "execution_timeout": task_limit,
            "owner": contract.get("owner", "breezeway"),
        },
        "dagrun_timeout": run_limit,
        "on_failure_callback": None if required_fields else notify.timed_out,
        "tags": ["breezeway", *contract.get("tags", [])],
    }
