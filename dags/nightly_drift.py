"""Compare the readings of the last day with those that the model in service was trained on, every
night at 02:00, and announce a drift once.

`drift` checks the readings by the sensor contract, and looks for changes in features, in scores
and, where labels have come in, in quality. A change is confirmed if it is found tonight and was
found in earlier nights too. The section `[drift]` of the sensor contract says in how many, and how
many false alarms a month that may cost. Devices that are silent, stuck or wrong in time are named
as such. The report `drift.html` is in the MLflow run that the result of `drift` names.

`announce` creates an event of the asset `drift-<model>` in the first night of a drift. Later nights
of the same drift create none. With `[drift] retrain = true` the task `retrain` starts the DAG
`training` once there are enough drifted days to learn and to judge from, and again while the
champion does not know them. With `[train] every_days` or `every_labels` it also does so after that
many new days or labels.

A day is judged by the model that was in service when it ended, and the result says so where that is
not known. Nights that were missed while Airflow was down, or this DAG was paused, are made up:
oldest first, one after the other, for four weeks. A *Backfill* checks each day of its range, both
dates included. The order in which nights are checked changes no verdict. `breezeway nights --first
… --last …` tells in advance what there is to do.

Days and hours are those of the time zone of the sensor contract, and so is 02:00.

- **date**: The day whose readings are checked, as YYYY-MM-DD. Empty: the day before the run. A
  backfill checks each of its days.
- **announce**: Announce a drift, and set the gauges, whatever night it is. Otherwise a backfill
  and a night of more than four weeks ago tell nobody, and only the last night sets the gauges.

While a model has no champion there is nothing to compare with. Until its first version is in
service, the runs of the schedule are skipped, and say so; a run by hand and a backfill fail. To
check such a night later, use a *Backfill* with the reprocess behaviour *completed*, or *failed* if
its run failed.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, get_current_context, task

from breezeway.core.days import day_of
from breezeway.core.settings import Settings
from breezeway_airflow import fields, form, priority
from breezeway_airflow.dag_defaults import dag_defaults
from breezeway_airflow.drift import AnnounceDrift, drift_asset
from breezeway_airflow.nights import ANNOUNCE, skip_before_the_first_model
from breezeway_airflow.retraining import (
    StartRetraining,
    contract_retrains,
    retraining_asset,
)
from breezeway_airflow.retry import AT_NIGHT
from breezeway_airflow.step import Step
from breezeway_airflow.timetables import Nights

HELP = fields.help_texts(__doc__)
SETTINGS = Settings.from_environment()
MODEL, _ = fields.contract_defaults(SETTINGS)

with DAG(
    dag_id="nightly_drift",
    description="Check whether the readings of the last day have drifted",
    doc_md=__doc__,
    # The data interval is the day that is checked, so a backfill needs no form.
    schedule=Nights(hours=2, zone=f"{fields.contract_zone(SETTINGS)}"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    **dag_defaults(
        SETTINGS,
        priority.NIGHTLY,
        run_limit=timedelta(hours=12),
        task_limit=timedelta(hours=2),
        retries=AT_NIGHT,
    ),
    params={
        "date": fields.day("Date", HELP["date"]),
        ANNOUNCE: fields.switch("Announce", HELP["announce"]),
    },
) as dag:

    @task(multiple_outputs=False, execution_timeout=timedelta(minutes=2))
    def check_inputs() -> dict:
        """Find the day, and the model that judges it."""
        context = get_current_context()
        run, settings = context["dag_run"], Settings.from_environment()
        skip_before_the_first_model(context, settings, MODEL)
        if start := run.data_interval_start:
            night = day_of(start, fields.contract_zone(settings))
        else:
            night = form.day_before(run.run_after, settings)
        return form.check_drift(context["params"], night, MODEL, settings)

    drift = Step(
        task_id="drift",
        arguments={
            "model_name": MODEL,
            "date": fields.given("date"),
        },
        pool="compute",
    )
    announce = AnnounceDrift(
        task_id="announce",
        result=drift.output,
        drift=drift_asset(MODEL),
        execution_timeout=timedelta(minutes=5),
        pool="model_registry",
    )
    check_inputs() >> drift >> announce
    if contract_retrains(SETTINGS):
        announce >> StartRetraining(
            task_id="retrain",
            result=drift.output,
            retraining=retraining_asset(MODEL),
            # Not skipped with `announce` alone: most nights of a drift announce nothing new.
            trigger_rule="none_failed_min_one_success",
            execution_timeout=timedelta(minutes=5),
            pool="model_registry",
        )
