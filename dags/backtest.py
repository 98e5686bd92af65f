"""Train a model as of a past date, on what was known then, and judge it on the days that followed.

Use *Backfill* for a range: one run for each Monday in it, several at once if you like. Each run
logs its figures to MLflow, with a table and a picture of all dates so far: see the page *Reports*.
The history of these days has to exist: backfill the DAG **history** first. By its schedule the DAG
judges, every Monday, a model as of the Monday before. `breezeway backtest --dry-run` tells in
advance what there is to do and how long it takes.

- **date**: The date, a day of the contract's time zone: readings before it, and labels known before
  it, train the model. Empty: the date of the run's partition, or else the one whose days end today.
  The days from it on have to be over.
- **days**: The number of days, from the date on, that the model is judged on.
"""

from datetime import timedelta

from airflow.providers.standard.sensors.date_time import DateTimeSensor
from airflow.sdk import DAG, CronPartitionTimetable, get_current_context, task

from breezeway.core.settings import Settings
from breezeway_airflow import fields, form, priority
from breezeway_airflow.dag_defaults import dag_defaults
from breezeway_airflow.step import Step

HELP = fields.help_texts(__doc__)
SETTINGS = Settings.from_environment()
ZONE = fields.contract_zone(SETTINGS)

with DAG(
    dag_id="backtest",
    description="See how models trained as of earlier dates would have done",
    doc_md=__doc__,
    schedule=CronPartitionTimetable(
        "0 0 * * 1", timezone=f"{ZONE}", run_offset=-1, key_format="%Y-%m-%d"
    ),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=4,
    **dag_defaults(
        SETTINGS,
        priority.TRAINING,
        run_limit=timedelta(days=2),
        task_limit=timedelta(hours=12),
    ),
    params={
        "date": fields.day("Date", HELP["date"]),
        "days": fields.whole_number("Days", HELP["days"], 7, minimum=1, maximum=366),
    },
) as dag:

    @task(multiple_outputs=False, execution_timeout=timedelta(minutes=2))
    def check_inputs() -> dict:
        """Find the date; its days have to be over."""
        context = get_current_context()
        run = context["dag_run"]
        settings = Settings.from_environment()
        return form.check_backtest(context["params"], run.partition_key, run.run_after, settings)

    # The DAG history makes the last of the days in the night after it.
    history = DateTimeSensor(
        task_id="wait_for_history",
        target_time=fields.given("made"),
        mode="reschedule",
        poke_interval=600,
    )
    backtest = Step(
        task_id="backtest",
        arguments={"date": fields.given("date"), "days": fields.given("days")},
        pool="compute",
    )
    check_inputs() >> history >> backtest
