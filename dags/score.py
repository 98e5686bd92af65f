"""Score the readings of a day, of some days or of a query by a version of the model, and publish
the predictions as a dataset version.

Each prediction has device, time, score, alarm and the version. A score is that which the model
server would give, to the last bit. Readings that break the sensor contract have none; the report of
the run counts them. Nothing runs by a schedule. To score a range of days, one run for each, several
at once, use *Backfill* (here, by `airflow backfill create --dag-id score`, or by the REST API); it
includes both of its dates. A second run of the same readings by the same version publishes nothing
new.

Days are those of the time zone of the sensor contract.

- **first_day**: The first day to score. Without days and query: the day of a backfill's run, or
  else yesterday.
- **last_day**: The last day to score. Empty: the first one alone.
- **query**: In place of days: one SELECT on the raw readings, with the same columns as in the DAG
  training.
- **model_name**: The registered model.
- **model_version**: The version that scores: a number, or an alias. Empty: the one in service, or
  else the champion.
- **table**: Also put the predictions into the table `predictions` of the raw store.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, get_current_context, task

from breezeway.core.days import day_of
from breezeway.core.names import MODEL_VERSION
from breezeway.core.settings import Settings
from breezeway_airflow import fields, form, priority
from breezeway_airflow.dag_defaults import dag_defaults
from breezeway_airflow.fields import given
from breezeway_airflow.step import Step
from breezeway_airflow.timetables import BackfilledDays

HELP = fields.help_texts(__doc__)
SETTINGS = Settings.from_environment()
MODEL, _ = fields.contract_defaults(SETTINGS)

with DAG(
    dag_id="score",
    description="Score past readings by any version, into a dataset version",
    doc_md=__doc__,
    # The data interval is the day that is scored, so a backfill needs no form.
    schedule=BackfilledDays(f"{fields.contract_zone(SETTINGS)}"),
    start_date=datetime(2000, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=8,
    **dag_defaults(
        SETTINGS,
        priority.TRAINING,
        run_limit=timedelta(days=2),
        task_limit=timedelta(hours=12),
    ),
    params={
        "first_day": fields.day("First day", HELP["first_day"]),
        "last_day": fields.day("Last day", HELP["last_day"]),
        "query": fields.text("Query", HELP["query"], format="multiline", maxLength=100_000),
        "model_name": fields.model_name(HELP["model_name"], MODEL),
        "model_version": fields.text(
            "Model version", HELP["model_version"], pattern=MODEL_VERSION.optional_form_pattern
        ),
        "table": fields.switch("Table", HELP["table"]),
    },
) as dag:

    @task(multiple_outputs=False, execution_timeout=timedelta(minutes=2))
    def check_inputs() -> dict:
        """Find the readings, and the version that scores them."""
        context = get_current_context()
        run, settings = context["dag_run"], Settings.from_environment()
        if start := run.data_interval_start:
            day = day_of(start, fields.contract_zone(settings))
        else:
            day = form.day_before(run.run_after, settings)
        return form.check_score(context["params"], day, settings)

    score = Step(
        task_id="score",
        arguments={
            "first": given("first_day"),
            "last": given("last_day"),
            "query": given("query"),
            "model_name": given("model_name"),
            "model_version": given("model_version"),
            "table": "{{ 'yes' if params.table else 'no' }}",
        },
        pool="compute",
    )
    check_inputs() >> score
