"""What Breezeway adds to Airflow's web UI and its API server."""

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from breezeway_airflow.links import REPORTS, root_path
from breezeway_airflow.priority import BackfillsWait


class BreezewayPlugin(AirflowPlugin):
    name = "breezeway"
    priority_weight_strategies = [BackfillsWait]  # noqa: RUF012 - Airflow's own convention
    external_views = [  # noqa: RUF012 - Airflow's own convention
        {
            "name": "Reports",
            "href": f"{root_path()}{REPORTS}/",
            "destination": "nav",
            "url_route": "reports",
        },
        {
            "name": "Reports",
            "href": f"{root_path()}{REPORTS}/?dag={{DAG_ID}}&run={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "run-reports",
        },
    ]

    @property
    def timetables(self) -> list[type[Any]]:  # type: ignore[override]
        """When DAGs with a run for each day run. Imported here: only the scheduler needs it."""
        from breezeway_airflow.timetables import BackfilledDays, DayPartitions, Nights

        return [BackfilledDays, DayPartitions, Nights]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The page Reports. Imported here, because only the API server needs it."""
        from breezeway_airflow.reports import app

        return [{"app": app, "url_prefix": f"/{REPORTS}", "name": "Reports"}]
