"""Train a model from raw sensor readings and put it into service. There are six steps:
**preprocess** the readings and publish them as a dataset version, **tune** the parameters,
**train** a model, **test** it on recent readings, **promote** it if it is not worse than the
champion, and **deploy** it.

Press *Trigger* and leave the form as it is to run all steps on all readings. Or choose some of the
steps: the others are skipped, and the form gives what they would have made. The first task checks
the form within seconds and names the field to correct.

- **steps**: The steps to run; their order in this list does not matter. To deploy without promote
  may put a model into service that the gate has not judged.
- **query**: The readings to preprocess: one SELECT on the raw store that returns device, time,
  payload and, if the label of the sensor contract is a column, that column; or the columns that
  [source] of the contract names. Empty: the days below.
- **first_day**: The first day of the readings to preprocess, in place of a query: a day of the
  contract's time zone. Days that the DAG history has made are taken as they are; the others are
  made first. Empty: as many days as the training window of the sensor contract has.
- **last_day**: The last of these days. Empty: the day before the run.
- **test_query**: The recent readings that the model is tested on. Empty: the query above. Without
  one: what was held out of the version's dataset.
- **tag**: The dataset version. With preprocess, the name of the new version; empty, a name made
  from the date and time of the run. For tune or train without preprocess, an existing version. Up
  to 100 letters, digits, dots, underscores or hyphens.
- **count**: How many sets of parameters tune tries.
- **run_name**: The name of the training run in MLflow. Empty: the tag. If a run of this name has
  trained the same model on the same dataset, that run and its version are used again, and nothing
  new is recorded: for a run of its own, choose another name.
- **model_name**: The registered model.
- **model_version**: The version to test, promote or deploy: a number, or an alias such as champion.
  Empty: the version that this run trains; without train, the newest; to deploy without promote, the
  champion.
- **force**: The reason to deploy a version that the gate refused, or that was rolled back. It is
  kept with the version in MLflow.

A step that fails because a service is down or a lock is taken is retried. A step that fails because
of its input is not. If the gate refuses a model, the run does not fail: `deploy` is skipped, and
`promote` gives the reason in its log and its result.

With `[drift] retrain`, `[train] every_days` or `every_labels` in the sensor contract, the DAG
`nightly_drift` starts a run with the defaults of the form when a drift can be learned, or after so
many new days or labels. `[train] schedule` starts one at fixed times (cron, in the contract's time
zone); it is skipped if another run waits or runs. With `[gate] approval = true`, the task `approve`
asks a person before each promotion that the gate allows. If the person rejects it, `promote` and
`deploy` are skipped.

The model is judged on the newest readings, which `[split] holdout` keeps back from its training.
With `[train] refit = true` a promoted version serves with another fit than the judged one: the same
parameters and threshold, fitted on all readings of the dataset.
"""

import logging
from datetime import timedelta

from airflow.sdk import DAG, Param, chain, get_current_context, task

from breezeway.core.names import DATASET_TAG, MODEL_VERSION, RUN_NAME
from breezeway.core.settings import Settings
from breezeway_airflow import fields, form, priority
from breezeway_airflow.approval import ApprovePromotion
from breezeway_airflow.branch import StepBranch
from breezeway_airflow.dag_defaults import dag_defaults
from breezeway_airflow.dvc import PublishDataset, PublishParameters
from breezeway_airflow.fields import given, made
from breezeway_airflow.links import with_preview
from breezeway_airflow.registry import PromoteModel
from breezeway_airflow.retraining import skip_if_another_runs, training_schedule
from breezeway_airflow.step import Step

log = logging.getLogger("breezeway")

HELP = fields.help_texts(__doc__)
SETTINGS = Settings.from_environment()
MODEL, ALL_READINGS = fields.contract_defaults(SETTINGS)
SQL = {"format": "multiline", "maxLength": 100_000}
WINDOW = fields.contract_value(SETTINGS, "train", "window")
APPROVAL = fields.contract_switch(SETTINGS, "gate", "approval")


with DAG(
    dag_id="training",
    description="Train a model and put it into service, whole or in parts",
    doc_md=__doc__,
    schedule=training_schedule(SETTINGS, MODEL),
    # While the DAG is paused, a run that a drift asks for would be lost.
    is_paused_upon_creation=False,
    max_active_runs=4,
    **dag_defaults(
        SETTINGS, priority.TRAINING, run_limit=timedelta(days=10), task_limit=timedelta(hours=2)
    ),
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
        "query": fields.text(
            "Query", with_preview(HELP["query"]), None if WINDOW else ALL_READINGS, **SQL
        ),
        "first_day": fields.day("First day", HELP["first_day"]),
        "last_day": fields.day("Last day", HELP["last_day"]),
        "test_query": fields.text("Test query", with_preview(HELP["test_query"]), **SQL),
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
        "force": fields.force(HELP["force"]),
    },
) as dag:

    @task(multiple_outputs=False, execution_timeout=timedelta(minutes=2))
    def check_inputs() -> dict:
        """Check the form within seconds, and complete it."""
        context = get_current_context()
        skip_if_another_runs(context)
        return form.check(
            context["params"], context["dag_run"].run_after, Settings.from_environment()
        )

    branch = StepBranch(task_id="choose_steps", belongs_to={"approve": "promote"})

    # A skipped step does not skip those downstream; a failed one stops them. Without the branch,
    # which a skipped check skips, nothing runs.
    chosen = {"trigger_rule": "none_failed_min_one_success"}

    preprocess = Step(
        task_id="preprocess",
        arguments={
            "query": given("query"),
            "first": given("first_day"),
            "last": given("last_day"),
            "tag": given("tag"),
        },
        pool="compute",
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
        pool="compute",
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
        pool="compute",
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
        pool="compute",
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
            # After the gate, the champion of that moment: if two runs promote at once, the
            # later deployment must not bring back the model of the earlier one.
            "model_version": "{{ 'champion' if ti.xcom_pull('promote') else "
            "(ti.xcom_pull('train') or ti.xcom_pull('check_inputs'))['model_version'] }}",
            "force": given("force"),
        },
        execution_timeout=timedelta(minutes=30),
        **priority.SERVICE,
        **chosen,
    )

    @task(
        multiple_outputs=False,
        execution_timeout=timedelta(minutes=2),
        trigger_rule="none_failed",
    )
    def summary() -> None:
        """Log what the run came to. A failed task fails the run here, even if the last tasks are
        skipped."""
        from breezeway.contract.contract import load_contract
        from breezeway.tracking.run_summary import text_of

        ti = get_current_context()["ti"]
        results = {done.task_id: ti.xcom_pull(done.task_id) for done in steps}
        ran = {name: result for name, result in results.items() if result}
        log.info("%s", text_of(ran, load_contract(Settings.from_environment().sensors)))

    steps = [preprocess, tune, train, test, promote, deploy]
    check_inputs() >> branch >> steps
    chain(preprocess, publish_data, tune, publish_params, train, test, promote, deploy)
    # Besides the chain, an edge from each step to those that use its result: see StepBranch.
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
