"""`Step`: a pod where pod templates are configured, else a process. The DAGs do not know which."""

from breezeway.core.settings import Settings

if Settings.from_environment().pod_templates:
    from breezeway_airflow.pod import PodStep as Step
else:
    from breezeway_airflow.process import ProcessStep as Step

__all__ = ["Step"]
