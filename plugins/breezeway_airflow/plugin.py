"""What Breezeway adds to Airflow's web UI and its API server."""

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from breezeway_airflow.links import PREVIEW, REPORTS, START, root_path
from breezeway_airflow.priority import BackfillsWait
from breezeway_airflow.suggestions import SuggestNames


class BreezewayPlugin(AirflowPlugin):
    name = "breezeway"
    priority_weight_strategies = [BackfillsWait]  # noqa: RUF012 - Airflow's own convention
    external_views = [  # noqa: RUF012 - Airflow's own convention
        {
            "name": "Breezeway",
            "href": f"{root_path()}{START}/",
            "destination": "nav",
            "url_route": "breezeway",
            # Else two pages are hidden in a menu of the navigation.
            "nav_top_level": True,
        },
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

    fastapi_root_middlewares = [  # noqa: RUF012 - Airflow's own convention
        {"middleware": SuggestNames, "name": "Suggestions in the trigger forms"}
    ]

    @property
    def timetables(self) -> list[type[Any]]:  # type: ignore[override]
        """When DAGs with a run for each day run. Imported here: only the scheduler needs it."""
        from breezeway_airflow.timetables import BackfilledDays, DayPartitions, Nights

        return [BackfilledDays, DayPartitions, Nights]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The pages. Imported here, because only the API server needs them."""
        from breezeway_airflow import preview, reports, start

        return [
            {"app": reports.app, "url_prefix": f"/{REPORTS}", "name": "Reports"},
            {"app": start.app, "url_prefix": f"/{START}", "name": "Breezeway"},
            {"app": preview.app, "url_prefix": f"/{PREVIEW}", "name": "Preview of readings"},
        ]
