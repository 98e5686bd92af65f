"""Make the history of a day: its features and labels, one partition of the dataset, published as a
version of its own.

Every day at midnight the DAG makes the day that has just ended, after a short wait for late
readings. It also looks at the four weeks before: a day that has got readings or labels since is
made again, and a day that was missed is made, in a run of its own. A day that comes out the same
publishes nothing. A day that was refused is tried again when its readings or the contract change.

To make a range of days, or make it again, use *Backfill* (here, by `airflow backfill create
--dag-id history`, or by the REST API). Several days may be made at once; publishing queues. With
the reprocess behaviour *failed*, only the days whose last run failed are made again.
`breezeway history --first … --last …` tells in advance what there is to do.

Days are those of the time zone of the sensor contract.

- **day**: The day to make. Empty: the day of the run's partition, or else yesterday.
"""

from datetime import date, datetime, timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, task

from breezeway.core.settings import Settings
from breezeway_airflow import fields, form, priority
from breezeway_airflow.dag_defaults import dag_defaults
from breezeway_airflow.dvc import PublishDay
from breezeway_airflow.published_days import FindPublishedDays
from breezeway_airflow.retry import AT_NIGHT
from breezeway_airflow.step import Step
from breezeway_airflow.timetables import DayPartitions

HELP = fields.help_texts(__doc__)
SETTINGS = Settings.from_environment()
CONTRACT, _ = fields.contract_defaults(SETTINGS)
DAY = "params.day or dag_run.partition_key or day_before(dag_run.run_after)"


def day_before(moment: datetime) -> date:
    return form.day_before(moment, Settings.from_environment())


with DAG(
    dag_id="history",
    description="Make one dataset version for each day, also of days long ago",
    doc_md=__doc__,
    schedule=DayPartitions(f"{fields.contract_zone(SETTINGS)}"),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=16,
    user_defined_macros={"day_before": day_before},
    **dag_defaults(
        SETTINGS,
        priority.NIGHTLY,
        run_limit=timedelta(hours=12),
        task_limit=timedelta(hours=2),
        retries=AT_NIGHT,
    ),
    params={"day": fields.day("Day", HELP["day"])},
) as dag:
    find_published = FindPublishedDays(
        task_id="find_published",
        day=f"{{{{ {DAY} }}}}",
        contract_name=CONTRACT,
        poke_interval=60,
        timeout=timedelta(hours=1),
        mode="reschedule",
    )
    preprocess = Step(
        task_id="preprocess",
        arguments={
            "day": f"{{{{ {DAY} }}}}",
            "published": "{{ ti.xcom_pull('find_published') | tojson }}",
        },
        pool="compute",
    )
    publish = PublishDay(
        task_id="publish",
        made="preprocess",
        skip_when_none_is_stale=["choose_stale"],
        pool="dataset_versions",
    )

    @task(execution_timeout=timedelta(minutes=2))
    def choose_stale(made: dict) -> list[dict[str, str]]:
        """A form for each day that is to be made again."""
        return [{"day": day} for day in made["stale"]]

    stale = choose_stale(preprocess.output)
    TriggerDagRunOperator.partial(
        task_id="remake", trigger_dag_id="history", logical_date=None
    ).expand(conf=stale)

    find_published >> preprocess >> publish >> stale
