"""Try a version on real requests beside the champion, and make it the champion if nothing shows
that it is worse.

The version becomes the **challenger**. For both versions the model servers count how many requests
get no score, how long a prediction takes, which scores come out and, where labels come back, how
often an alarm is right. A challenger that is clearly worse is withdrawn at once; the champion then
answers its requests. At the end of the trial the alias `champion` of the model registry moves to
the challenger, with the reason, and the challenger is deployed. The section `[canary]` of the
sensor contract says how much worse is too much.

- **model_name**: The registered model. Its champion has to be in service.
- **model_version**: The version to try: a number, or an alias.
- **mode**: canary: the challenger answers for a share of the devices, always the same ones. shadow:
  it answers no request, but scores what the champion answers. bandit: like canary, and the share
  moves to the version whose answers the labels confirm.
- **percent**: The challenger's share of the devices; for a bandit, the share at the start. A shadow
  has none.
- **minutes**: How long the trial takes.
- **force**: The reason to try a version that the gate refused, or that was rolled back, and to put
  it into service if nothing shows that it is worse. It is kept with the version in MLflow.

If the challenger is refused, the run does not fail: `promote` says why, and `deploy` is skipped.
Whatever else happens, `withdraw` leaves no challenger behind.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param, get_current_context, task

from breezeway.core.names import MODEL_VERSION
from breezeway.core.settings import Settings
from breezeway_airflow import fields, form, priority
from breezeway_airflow.dag_defaults import dag_defaults
from breezeway_airflow.fields import given
from breezeway_airflow.registry import PromoteChallenger
from breezeway_airflow.step import Step

HELP = fields.help_texts(__doc__)
MODEL, _ = fields.contract_defaults(Settings.from_environment())
WEEK_MINUTES = 7 * 24 * 60


def in_mode(mode: str, value: str) -> str:
    """Template of an option that only one mode has; in other modes it is left out."""
    return f"{{{{ {value} if params.mode == '{mode}' else '' }}}}"


VERSION = {"model_name": given("model_name"), "model_version": given("model_version")}

with DAG(
    dag_id="canary",
    description="Try a version on real requests, beside the champion",
    doc_md=__doc__,
    schedule=None,
    is_paused_upon_creation=False,
    max_active_runs=4,
    **dag_defaults(
        Settings.from_environment(),
        priority.SERVICE,
        run_limit=timedelta(days=8),
        task_limit=timedelta(minutes=30),
        required_fields=True,
    ),
    params={
        "model_name": fields.model_name(HELP["model_name"], MODEL),
        "model_version": Param(
            type="string",
            title="Model version",
            description_md=HELP["model_version"],
            pattern=MODEL_VERSION.form_pattern,
        ),
        "mode": Param(
            "canary",
            type="string",
            title="Mode",
            description_md=HELP["mode"],
            enum=["canary", "shadow", "bandit"],
        ),
        "percent": fields.whole_number("Percent", HELP["percent"], 10, minimum=1, maximum=99),
        "minutes": fields.whole_number(
            "Minutes", HELP["minutes"], 60, minimum=1, maximum=WEEK_MINUTES
        ),
        "force": fields.force(HELP["force"]),
    },
) as dag:

    @task(multiple_outputs=False, execution_timeout=timedelta(minutes=2))
    def check_inputs() -> dict:
        """Check the form within seconds, and find the present champion."""
        return form.check_canary(get_current_context()["params"], Settings.from_environment())

    put_on_trial = Step(
        task_id="put_on_trial",
        step="deploy",
        arguments={
            **VERSION,
            "canary": in_mode("canary", "params.percent | int"),
            "bandit": in_mode("bandit", "params.percent | int"),
            "shadow": in_mode("shadow", "'yes'"),
            "force": given("force"),
        },
    )
    watch = Step(
        task_id="watch",
        step="canary",
        arguments={**VERSION, "minutes": "{{ params.minutes | int }}"},
        execution_timeout=timedelta(minutes=WEEK_MINUTES + 60),
    )
    promote = PromoteChallenger(
        task_id="promote",
        **VERSION,
        champion=given("champion"),
        decision="{{ ti.xcom_pull('watch')['decision'] }}",
        reason="{{ ti.xcom_pull('watch')['reason'] }}",
        skip_when_refused=["deploy"],
        pool="model_registry",
    )
    deploy = Step(
        task_id="deploy",
        # Not the number: another promotion may have come in between, and must stay.
        arguments={"model_name": given("model_name"), "model_version": "champion"},
    )
    withdraw = Step(task_id="withdraw", step="deploy", arguments={**VERSION, "withdraw": "yes"})
    check_inputs() >> put_on_trial >> watch >> promote >> deploy
    deploy >> withdraw.as_teardown(setups=put_on_trial)
