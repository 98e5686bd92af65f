"""Import labels into the raw store: what people, or programs in their name, say about periods of
readings. The next training uses them.

Press *Trigger* with a list of labels, or send it to Airflow's REST API; see `docs/labels.md`. Each
label records the user who triggered the run, and the time. If the same user labels the same period
in the same way again, nothing changes.

- **labels**: A list of objects with device, start, end (ISO 8601; UTC where no zone is named) and
  label: fault or normal.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from breezeway.core.names import DEVICE
from breezeway.core.settings import Settings
from breezeway_airflow import fields, priority
from breezeway_airflow.dag_defaults import dag_defaults
from breezeway_airflow.step import Step

HELP = fields.help_texts(__doc__)

with DAG(
    dag_id="import_labels",
    description="Import labels from people, for the next training",
    doc_md=__doc__,
    schedule=None,
    is_paused_upon_creation=False,
    **dag_defaults(
        Settings.from_environment(),
        priority.TRAINING,
        run_limit=timedelta(hours=2),
        task_limit=timedelta(minutes=30),
    ),
    params={
        "labels": Param(
            [],
            type="array",
            title="Labels",
            description_md=HELP["labels"],
            items={
                "type": "object",
                "properties": {
                    "device": {"type": "string", "pattern": DEVICE.form_pattern},
                    "start": fields.time(),
                    "end": fields.time(),
                    "label": {"enum": ["fault", "normal"]},
                },
                "required": ["device", "start", "end", "label"],
                "additionalProperties": False,
            },
            minItems=1,
            maxItems=500,  # they are one argument of the step's command line
        )
    },
) as dag:
    Step(
        task_id="labels",
        arguments={
            "labels": "{{ params.labels | tojson }}",
            "by": "{{ dag_run.triggering_user_name or 'unknown' }}",
        },
    )
