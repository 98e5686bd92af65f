"""From raw sensor readings to a live prediction: **preprocess** the readings and publish them
as a dataset version, **tune** and **train** a model on it, **test** it on recent readings,
**promote** it if it is no worse than the champion, and **deploy** it.

Press *Trigger* with the form as it is to run all of it on all readings. Or choose some of
the steps: the others are skipped, and what a chosen step would get from them is taken from
the form. The first task says within seconds if something is missing, and where to fill it in.

- **steps**: The parts to run; their order here does not matter. To deploy without promote puts
  a model into service that passed no gate.
- **query**: The readings to preprocess: one SELECT on the raw store that gives device, time,
  payload and, where the sensor contract's label is a column, that column.
- **test_query**: The recent readings that the model is tested on; empty for the query above.
- **tag**: The dataset version. To preprocess: the name of the new one, or empty for one made of
  the run's date and time. To tune or train without preprocess: one that exists. Up to 100
  letters, digits, dots, underscores or hyphens.
- **count**: How many sets of parameters are tried by tune.
- **run_name**: The name of the training run in MLflow; empty for the tag.
- **model_name**: The registered model.
- **model_version**: The version to test, promote or deploy: a number, or an alias such as
  champion. Empty for the one that this run trains; without train for the newest, and to deploy
  without promote for the champion.

A step that fails because a service is away or a lock is taken is tried again; one that fails
because of its input is not. A model that the gate refuses fails nothing: `deploy` is skipped,
and `promote` says why in its log and its result.

With `[drift] retrain = true` in the sensor contract, drift that `nightly_drift` announces starts a
run with the form as it is. With `[gate] approval = true` the task `approve` waits for a person
before each promotion that the gate allows; a rejection skips `promote` and `deploy`.
"""

import logging
from datetime import timedelta

from airflow.sdk import DAG, Param, chain, get_current_context, task

from breezeway.core.names import DATASET_TAG, MODEL_VERSION, RUN_NAME
from breezeway.core.settings import Settings
from breezeway_airflow import fields, form
from breezeway_airflow.approval import ApprovePromotion
from breezeway_airflow.branch import StepBranch
from breezeway_airflow.drift import drift_asset
from breezeway_airflow.dvc import PublishDataset, PublishParameters
from breezeway_airflow.fields import given, made
from breezeway_airflow.registry import PromoteModel
from breezeway_airflow.retry import RETRIES
from breezeway_airflow.step import Step

log = logging.getLogger("breezeway")

HELP = fields.help_texts(__doc__)
SETTINGS = Settings.from_environment()
MODEL, ALL_READINGS = fields.contract_defaults(SETTINGS)
RETRAIN = fields.contract_switch(SETTINGS, "drift", "retrain")
SQL = {"format": "multiline", "maxLength": 100_000}
APPROVAL = fields.contract_switch(SETTINGS, "gate", "approval")


with DAG(
    dag_id="training",
    description="Raw readings to a live prediction, whole or in parts",
    doc_md=__doc__,
    schedule=[drift_asset(MODEL)] if RETRAIN else None,
    # What drift starts would be lost while the DAG is paused.
    is_paused_upon_creation=False,
    max_active_runs=4,
    default_args={**RETRIES, "execution_timeout": timedelta(hours=2)},
    tags=["breezeway"],
    params={
        "steps": Param(
            list(form.STEPS),
            type="array",
            title="Steps",
            description_md=HELP["steps"],
            items={"type": "string", "enum": list(form.STEPS)},
            examples=list(form.STEPS),
            minItems=1,
            uniqueItems=True,
        ),
        "query": fields.text("Query", HELP["query"], ALL_READINGS, **SQL),
        "test_query": fields.text("Test query", HELP["test_query"], **SQL),
        "tag": fields.text("Dataset tag", HELP["tag"], pattern=DATASET_TAG.optional_form_pattern),
        "count": fields.whole_number("Trials", HELP["count"], 6, minimum=1, maximum=1000),
        "run_name": fields.text(
            "Run name", HELP["run_name"], pattern=RUN_NAME.optional_form_pattern
        ),
        "model_name": fields.model_name(HELP["model_name"], MODEL),
        "model_version": fields.text(
            "Model version",
            HELP["model_version"],
            pattern=MODEL_VERSION.optional_form_pattern,
        ),
    },
) as dag:

    @task(multiple_outputs=False, execution_timeout=timedelta(minutes=2))
    def check_inputs() -> dict:
        """Say within seconds what is missing in the form, or complete it."""
        context = get_current_context()
        return form.check(
            context["params"], context["dag_run"].run_after, Settings.from_environment()
        )

    branch = StepBranch(task_id="choose_steps", belongs_to={"approve": "promote"})

    # What is skipped skips nothing behind it: only a failure stops the steps that follow.
    chosen = {"trigger_rule": "none_failed"}

    preprocess = Step(
        task_id="preprocess",
        arguments={"query": given("query"), "tag": given("tag")},
        execution_timeout=timedelta(hours=12),
        **chosen,
    )
    publish_data = PublishDataset(
        task_id="publish_data",
        folder="{{ ti.xcom_pull('preprocess')['folder'] }}",
        tag=given("tag"),
        pool="dataset_versions",
    )
    tune = Step(
        task_id="tune",
        arguments={"tag": given("tag"), "count": given("count")},
        execution_timeout=timedelta(hours=12),
        **chosen,
    )
    publish_params = PublishParameters(
        task_id="publish_params",
        params_file="{{ ti.xcom_pull('tune')['params_file'] }}",
        tag=given("tag"),
        pool="dataset_versions",
    )
    train = Step(
        task_id="train",
        arguments={
            "tag": made("publish_params", "tag"),
            "run_name": given("run_name"),
            "model_name": given("model_name"),
        },
        execution_timeout=timedelta(hours=12),
        **chosen,
    )
    test = Step(
        task_id="test",
        arguments={
            "query": given("test_query"),
            "model_name": given("model_name"),
            "model_version": made("train", "model_version"),
        },
        **chosen,
    )
    promote = PromoteModel(
        task_id="promote",
        model_name=given("model_name"),
        model_version=made("train", "model_version"),
        skip_when_refused=["deploy"],
        pool="model_registry",
        **chosen,
    )
    deploy = Step(
        task_id="deploy",
        arguments={
            "model_name": given("model_name"),
            # After the gate whoever is champion: of two runs that promote at once, the
            # later deployment must not bring back the earlier's model.
            "model_version": "{{ 'champion' if ti.xcom_pull('promote') else "
            "(ti.xcom_pull('train') or ti.xcom_pull('check_inputs'))['model_version'] }}",
        },
        execution_timeout=timedelta(minutes=30),
        **chosen,
    )

    @task(multiple_outputs=False, execution_timeout=timedelta(minutes=2), **chosen)
    def summary() -> None:
        """Log what each task did. What failed fails the run here, even before a skipped end."""
        ti = get_current_context()["ti"]
        for done in (preprocess, publish_data, tune, publish_params, train, test, promote, deploy):
            log.info("%s: %s", done.task_id, ti.xcom_pull(done.task_id) or "skipped")

    steps = [preprocess, tune, train, test, promote, deploy]
    check_inputs() >> branch >> steps
    chain(preprocess, publish_data, tune, publish_params, train, test, promote, deploy)
    # Beside the chain, from each step to whoever takes something from it: see StepBranch.
    publish_data >> train >> [promote, deploy]
    test >> deploy
    if APPROVAL:
        approve = ApprovePromotion(
            task_id="approve",
            model_name=given("model_name"),
            model_version=made("train", "model_version"),
            **chosen,
        )
        [branch, train, test] >> approve >> [promote, deploy]
    [publish_data, publish_params, train, test, promote, deploy] >> summary()
