"""What the web pages and links need of Airflow beyond its public interface.

Public are `airflow.sdk`, the plugin and the trigger interface, and the REST API. These say nothing
of three things:

- **The login of a plugin's page.** Airflow mounts a plugin's FastAPI app without any: whoever
  reaches the API server reaches the app. `requires_access_view` and `get_user` are what its own
  pages use.
- **What a user may see.** Only Airflow's auth manager knows, and asks for the team of the DAG.
- **A task's result in an extra link.** `airflow.sdk` has `BaseXCom` but not the class that
  `[core] xcom_backend` names.

Each is imported where it is asked for: the first two belong to the API server, and would slow down
every other process of Airflow. `pyproject.toml` holds Airflow at one version, and
`tests/servers/plugins/test_reports.py` and `test_links.py` fail if another one works differently.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
    from airflow.sdk.types import TaskInstanceKey


def must_see_the_website() -> Callable[..., Any]:
    """A FastAPI dependency that answers 401 without a login, 403 without the permission."""
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
    from airflow.api_fastapi.core_api.security import requires_access_view

    return requires_access_view(AccessView.WEBSITE)


def logged_in_user() -> Callable[..., Any]:
    """A FastAPI dependency that gives the user."""
    from airflow.api_fastapi.core_api.security import get_user

    return get_user


def may_see_runs(user: "BaseUser", dag_id: str) -> bool:
    """Whether a user may see the runs of a DAG."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import (
        DagAccessEntity,
        DagDetails,
    )
    from airflow.models.dag import DagModel

    return get_auth_manager().is_authorized_dag(
        method="GET",
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id)),
        user=user,
    )


def task_result(key: "TaskInstanceKey") -> Any:
    """The result of a task, None without one; only within a running task."""
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.get_value(ti_key=key, key="return_value")
