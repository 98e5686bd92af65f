"""A run of one step that does what the run's configuration tells it."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from breezeway_airflow.retry import RETRIES
from breezeway_airflow.step import Step

for dag_id, limit in {"probe": timedelta(minutes=10), "probe_short": timedelta(seconds=15)}.items():
    with DAG(
        dag_id=dag_id,
        schedule=None,
        default_args=RETRIES | {"retry_delay": timedelta(seconds=1), "execution_timeout": limit},
        params={
            "seconds": Param(0, type="number"),
            "error": Param(None, type=["null", "string"]),
            "file": Param(None, type=["null", "string"]),
        },
    ) as dag:
        Step(
            task_id="probe",
            arguments={name: f"{{{{ params.{name} or '' }}}}" for name in dag.params},
        )
