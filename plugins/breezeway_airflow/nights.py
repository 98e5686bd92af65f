"""Whom a nightly check tells what it has found. A check of the past tells nobody unless asked."""

from datetime import date, timedelta

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from breezeway.core.days import today
from breezeway.core.settings import Settings
from breezeway_airflow.fields import contract_zone

MADE_UP_DAYS = 28
"""How far back missed nights are made up."""
ANNOUNCE = "announce"
"""The form field that asks for it."""


def skip_before_the_first_model(context: Context, settings: Settings, model_name: str) -> None:
    """Before a model has ever served, the schedule has nothing to check and nobody to tell.

    A run by hand and a backfill, which somebody waits for, do not end here: they fail.

    Raises:
        AirflowSkipException: it has not, and the run is one of the schedule.
        ServiceUnavailable: MLflow does not answer.
    """
    from breezeway.pipeline import in_service

    if context["dag_run"].run_type == "scheduled" and not in_service.has_served(
        settings, model_name
    ):
        raise AirflowSkipException(
            f"The model {model_name!r} has no champion yet, so there is nothing to compare a night "
            "with. Run the DAG training: the nights after its deployment are checked."
        )


def may_announce(context: Context, night: str) -> bool:
    """Whether the run may announce a drift: no backfill does, nor a check of long ago."""
    return _asked(context) or _is_live(context, night, MADE_UP_DAYS)


def may_move_gauges(context: Context, night: str) -> bool:
    """Whether the run is about the present: of the nights that are made up only the last is."""
    return _asked(context) or _is_live(context, night, 1)


def _asked(context: Context) -> bool:
    return bool(context["params"].get(ANNOUNCE))


def _is_live(context: Context, night: str, days: int) -> bool:
    passed = today(contract_zone(Settings.from_environment())) - date.fromisoformat(night)
    return context["dag_run"].run_type != "backfill" and passed <= timedelta(days=days)
