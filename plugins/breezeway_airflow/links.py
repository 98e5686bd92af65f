"""The button "Report" on a task that has left one."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

REPORTS = "breezeway/reports"
"""Where the API server has the pages, below its own root."""


def root_path() -> str:
    """Where Airflow lies on its host: `/`, or the path of a proxy's folder with `/` at its end."""
    return urlsplit(conf.get("api", "base_url", fallback="/")).path.rstrip("/") + "/"


class ReportLink(BaseOperatorLink):
    """Opens the reports of the MLflow run that the step's result names (`run_id`)."""

    name = "Report"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:
        """Return the address; empty where the step has left no result or names no run."""
        from airflow.sdk.execution_time.xcom import XCom  # which only a running task has

        result = XCom.get_value(ti_key=ti_key, key="return_value")
        run_id = result.get("run_id") if isinstance(result, dict) else None
        if not run_id:
            return ""
        root = root_path()
        return f"{root}plugin/reports{root}{REPORTS}/{run_id}/"
