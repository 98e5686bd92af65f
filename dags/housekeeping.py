"""Remove what nothing needs any more, every night at 03:30: model versions and runs in MLflow,
and the files of dataset versions. 03:30 is a time of the sensor contract's zone.

What is younger than `BREEZEWAY_KEEP_DAYS` (90 days) stays. Of what is older, all that a champion, a
former champion within reach of a rollback, a deployment or a trial stands on stays, and the newest
revision of each day of the history. Tags of datasets always stay.

- **dry_run**: Remove nothing; the logs of the tasks say what would be removed.
"""

import logging
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, get_current_context, task

from breezeway.core.settings import Settings
from breezeway_airflow import fields, priority
from breezeway_airflow.dag_defaults import dag_defaults

HELP = fields.help_texts(__doc__)
SETTINGS = Settings.from_environment()
log = logging.getLogger(__name__)

with DAG(
    dag_id="housekeeping",
    description="Remove old runs, model versions and files that nothing needs",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("30 3 * * *", timezone=f"{fields.contract_zone(SETTINGS)}"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    **dag_defaults(
        SETTINGS,
        priority.TRAINING,
        run_limit=timedelta(hours=12),
        task_limit=timedelta(hours=2),
    ),
    params={
        "dry_run": Param(False, type="boolean", title="Dry run", description_md=HELP["dry_run"]),
    },
) as dag:

    @task(multiple_outputs=False, pool="model_registry")
    def thin_models() -> dict:
        """Delete model versions and runs."""
        from breezeway.pipeline import housekeeping

        settings = Settings.from_environment()
        dry_run = get_current_context()["params"]["dry_run"]
        found = housekeeping.thin_models(
            settings, housekeeping.kept_since(settings), dry_run=dry_run
        )
        log.info("Model versions: %s", ", ".join(found["model_versions"]) or "none")
        return {"model_versions": len(found["model_versions"]), "runs": found["runs"]}

    @task(multiple_outputs=False, pool="dataset_versions")
    def thin_datasets() -> dict:
        """Remove files of dataset versions, and what failed runs left."""
        from breezeway.pipeline import housekeeping

        settings = Settings.from_environment()
        dry_run = get_current_context()["params"]["dry_run"]
        found = housekeeping.thin_datasets(
            settings, housekeeping.kept_since(settings), dry_run=dry_run
        )
        log.info("Datasets: %s", ", ".join(found["datasets"]) or "none")
        log.info("Work folders: %s", ", ".join(found["work_folders"]) or "none")
        return {
            "datasets": len(found["datasets"]),
            "dataset_bytes": found["dataset_bytes"],
            "work_folders": len(found["work_folders"]),
        }

    thin_models() >> thin_datasets()
