"""The button "Report" on a task that has left one."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.sdk import BaseOperatorLink, conf

from breezeway_airflow.airflow_internals import task_result

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

REPORTS = "breezeway/reports"
"""Where the API server has the pages, below its own root."""


def root_path() -> str:
    """Where Airflow lies on its host: `/`, or the path of a proxy's folder with `/` at its end."""
    address: str = conf.get("api", "base_url", fallback="/")
    return urlsplit(address).path.rstrip("/") + "/"


class ReportLink(BaseOperatorLink):
    """Opens the reports of the MLflow run that the step's result names (`run_id`)."""

    name = "Report"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:
        """Return the address; empty where the step has left no result or names no run."""
        result = task_result(ti_key)
        run_id = result.get("run_id") if isinstance(result, dict) else None
        if not run_id:
            return ""
        root = root_path()
        return f"{root}plugin/reports{root}{REPORTS}/{run_id}/"
