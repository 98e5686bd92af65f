"""Uses parts of Airflow that are not in its public interface.

Public are `airflow.sdk`, the interfaces of plugins and triggers, and the REST API. They do not
give:

- **The login of a plugin's page.** Airflow mounts the FastAPI app of a plugin without
  authentication. `requires_access_view` and `get_user` are what Airflow's own pages use.
- **The permissions of a user.** Airflow's auth manager knows them, and needs the team of the DAG.
- **The DAGs that a user may see, within the API server.** They are in the metadata database.
- **The result of a task within an extra link.** `airflow.sdk` has `BaseXCom`, but not the class
  that `[core] xcom_backend` names.

Each function imports what it needs: the first three belong to the API server, and would slow down
every other process of Airflow. `pyproject.toml` pins Airflow. In `tests/servers/plugins`,
`test_reports.py`, `test_start.py` and `test_links.py` fail if another version behaves differently.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
    from airflow.sdk.types import TaskInstanceKey


def must_see_the_website() -> Callable[..., Any]:
    """FastAPI dependency: answers 401 without a login, 403 without permission to see the web UI."""
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
    from airflow.api_fastapi.core_api.security import requires_access_view

    return requires_access_view(AccessView.WEBSITE)


def logged_in_user() -> Callable[..., Any]:
    """FastAPI dependency: the user who has logged in."""
    from airflow.api_fastapi.core_api.security import get_user

    return get_user


def may_see_runs(user: "BaseUser", dag_id: str) -> bool:
    """Whether a user may see the runs of a DAG."""
    return _may("GET", user, dag_id)


def may_trigger(user: "BaseUser", dag_id: str) -> bool:
    """Whether a user may start a run of a DAG."""
    return _may("POST", user, dag_id)


def _may(method: Literal["GET", "POST"], user: "BaseUser", dag_id: str) -> bool:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import (
        DagAccessEntity,
        DagDetails,
    )
    from airflow.models.dag import DagModel

    return get_auth_manager().is_authorized_dag(
        method=method,
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id)),
        user=user,
    )


def readable_dags(user: "BaseUser", tag: str, most: int) -> list[tuple[str, str]]:
    """Id and description of the DAGs with a tag that a user may see, by id."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.models.dag import DagModel, DagTag
    from airflow.utils.session import create_session
    from sqlalchemy import select

    may_see = get_auth_manager().get_authorized_dag_ids(user=user)
    ours = (
        select(DagModel.dag_id, DagModel.description)
        .join(DagTag, DagTag.dag_id == DagModel.dag_id)
        .where(DagTag.name == tag, DagModel.is_stale.is_(False))
        .order_by(DagModel.dag_id)
        .limit(most)
    )
    with create_session() as session:
        return [(id, text or "") for id, text in session.execute(ours) if id in may_see]


def task_result(key: "TaskInstanceKey") -> Any:
    """The result of a task, None if it has none. Works only within a running task."""
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.get_value(ti_key=key, key="return_value")
