"""The button "Report" on a task whose step has recorded a run in MLflow."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.sdk import BaseOperatorLink, conf

from breezeway_airflow.airflow_internals import task_result

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

REPORTS = "breezeway/reports"
"""Path of the pages, below the root of the API server."""
START = "breezeway/start"
"""Path of the start page."""
PREVIEW = "breezeway/preview"
"""Path of the page that shows what a query gives."""


def root_path() -> str:
    """Path of Airflow on its host, with `/` at its end: more than `/` behind some proxies."""
    address: str = conf.get("api", "base_url", fallback="/")
    return urlsplit(address).path.rstrip("/") + "/"


def with_preview(help: str) -> str:
    """The help of a field with a query, with a link to the page that shows what it gives."""
    return f"{help} [Preview]({root_path()}{PREVIEW}/)."


class ReportLink(BaseOperatorLink):
    """Opens the reports of the MLflow run that the step's result names (`run_id`)."""

    name = "Report"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:
        """The address; empty if the step has no result, or none with a run."""
        result = task_result(ti_key)
        run_id = result.get("run_id") if isinstance(result, dict) else None
        if not run_id:
            return ""
        root = root_path()
        return f"{root}plugin/reports{root}{REPORTS}/{run_id}/"
