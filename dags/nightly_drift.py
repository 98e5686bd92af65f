"""Compare the readings of the last day with those that the champion was trained on, every night at
02:00 UTC, and announce a drift once.

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

- **date**: The day (UTC) whose readings are checked, as YYYY-MM-DD. Empty: the day before the run.
  A backfill checks each of its days.

A model without a champion has nothing to compare with: the run says so, and its tasks are skipped.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from breezeway.core.settings import Settings
from breezeway_airflow import fields, form
from breezeway_airflow.drift import AnnounceDrift, drift_asset
from breezeway_airflow.retraining import (
    StartRetraining,
    contract_retrains,
    retraining_asset,
)
from breezeway_airflow.retry import RETRIES
from breezeway_airflow.step import Step

HELP = fields.help_texts(__doc__)
SETTINGS = Settings.from_environment()
MODEL, _ = fields.contract_defaults(SETTINGS)

with DAG(
    dag_id="nightly_drift",
    description="Have the readings of the last day drifted?",
    doc_md=__doc__,
    # The data interval is the day that is checked, so a backfill needs no form.
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    default_args={**RETRIES, **fields.CHECKED, "execution_timeout": timedelta(hours=2)},
    tags=["breezeway"],
    params={"date": fields.day("Date", HELP["date"])},
) as dag:

    @task(multiple_outputs=False, execution_timeout=timedelta(minutes=2))
    def check_inputs() -> dict:
        """Find the day and the champion; without a champion there is nothing to do."""
        context = get_current_context()
        run = context["dag_run"]
        night = run.data_interval_start or run.run_after - timedelta(days=1)
        inputs = form.check_drift(context["params"], night, MODEL, Settings.from_environment())
        if inputs["champion"] is None:
            raise AirflowSkipException(
                f"The model {MODEL!r} has no champion yet, so there is nothing to compare with."
            )
        return inputs

    drift = Step(
        task_id="drift",
        arguments={
            "model_name": MODEL,
            "date": fields.given("date"),
        },
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
