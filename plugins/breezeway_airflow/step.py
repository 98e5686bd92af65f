"""`Step` is a pod if pod templates are configured, else a process. The DAGs do not know which."""

from airflow.sdk import BaseOperator

from breezeway.core.settings import Settings


def _configured() -> type[BaseOperator]:
    if Settings.from_environment().pod_templates:
        from breezeway_airflow.pod import PodStep

        return PodStep
    from breezeway_airflow.process import ProcessStep

    return ProcessStep


Step = _configured()
