"""Brings labels into the raw store: what a person, or a program in their name, says of stretches
of readings. The next training uses them.

Press *Trigger* with a list of labels, or send it to Airflow's REST API; see `docs/labels.md`. Who
triggers is kept with each label as the one who gave it, with the time. What the same person said of
the same stretch before changes nothing.

- **labels**: A list of objects with device, start, end (ISO 8601; UTC where no zone is named) and
  label: fault or normal.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from breezeway.core.names import DEVICE
from breezeway_airflow import fields
from breezeway_airflow.retry import RETRIES
from breezeway_airflow.step import Step

HELP = fields.help_texts(__doc__)

with DAG(
    dag_id="import_labels",
    description="What people say of readings, for the next training",
    doc_md=__doc__,
    schedule=None,
    is_paused_upon_creation=False,
    default_args={**RETRIES, "execution_timeout": timedelta(minutes=30)},
    tags=["breezeway"],
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
            maxItems=500,  # they are one word of the step's command line
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
