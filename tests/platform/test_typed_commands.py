"""Each command that the README and the pages of docs print runs on a running platform.

Or it is named below: with the test that runs it, or with the reason why none does.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from breezeway.contract.contract import load_contract
from breezeway.deployment.store import DeploymentStore
from breezeway.laptop import dag_run, demo
from breezeway.laptop.platform import Platform
from breezeway.readings import simulate
from tests.fixtures import ROOT
from tests.fixtures.printed import Printed, commands
from tests.fixtures.processes import eventually

pytestmark = pytest.mark.timeout(600)

ELSEWHERE = {
    "breezeway airflow backfill": "servers/project/test_commands_in_docs.py::"
    "test_airflow_takes_the_words_of_its_commands",
    "bentoml serve": "servers/steps/test_deploy.py::"
    "test_a_deployment_is_a_bento_that_bentoml_serves_by_itself",
    "breezeway --print-completion": "servers/test_cli.py::"
    "test_a_shell_completes_commands_options_choices_and_files",
    "breezeway backup": "servers/pipeline/test_backups.py::"
    "test_a_restored_home_holds_what_was_backed_up_and_nothing_that_is_made_again",
    "BREEZEWAY_HOME=/new/place .venv/bin/breezeway restore": "servers/pipeline/test_backups.py::"
    "test_a_restored_home_holds_what_was_backed_up_and_nothing_that_is_made_again",
    "BREEZEWAY_HOME=/new/place .venv/bin/breezeway up": "platform/laptop/test_platform.py::"
    "test_a_start_that_is_killed_leaves_what_the_next_one_sweeps",
    "BREEZEWAY_HOME=.breezeway .venv/bin/python -m breezeway.serving.server": "servers/serving/"
    "test_server.py::test_it_starts_with_nothing_and_comes_back_with_what_is_current",
    "breezeway doctor": "pure/laptop/test_doctor.py::",
    # It needs the days that this test makes.
    "breezeway history --first $(date -d '30 days ago' +%F) --last $(date -d yesterday +%F) "
    "--compose": "platform/dags/test_history.py::"
    "test_a_backfill_with_failures_gives_what_a_sequential_run_gives",
    "breezeway import-labels": "servers/pipeline/test_label_queue.py::",
    "breezeway load": "servers/readings/test_load_store.py::",
    "breezeway new-sensor": "servers/readings/test_file_guesses.py::",
    "breezeway uninstall": "pure/pipeline/test_removal.py::"
    "test_all_that_breezeway_made_is_gone_with_the_home",
    "make demo": "platform/test_training_end_to_end.py::test_every_task_succeeds",
    "make notebook": "pure/commands/test_notebook.py::"
    "test_it_listens_on_loopback_with_a_token_and_asks_nobody",
    "make up": "pure/project/test_make.py::test_choices_reach_the_command_word_by_word",
    "python -m breezeway.steps.canary": "servers/steps/test_canary.py::",
    "python -m breezeway.steps.deploy": "servers/steps/test_deploy.py::"
    "test_a_challenger_is_put_up_withdrawn_and_made_champion",
    "python -m breezeway.steps.drift": "servers/steps/test_drift.py::test_a_quiet_night",
    "python -m breezeway.steps.preprocess --tag v1 ": "servers/readings/test_own_tables.py::",
}
"""How a command begins → the test, or file of tests, that runs it with other words."""

NOT_RUN = {
    "BREEZEWAY_TEST_DATA=FOLDER make bench": "measures for minutes, on public data",
    "docker compose": "needs Docker",
    "export BREEZEWAY_NOTIFIERS": "an address of the reader's own",
    "export BREEZEWAY_RAW_URL": "a database of the reader's own",
    "export BREEZEWAY_SENSORS": "a contract of the reader's own",
    "helm ": "needs a cluster",
    "kubectl ": "needs a cluster",
    "make bench": "measures for minutes",
    "make fuzz": "runs for minutes, by its nature",
    "make images": "builds images",
    "make mirror-list": "needs a registry",
    "make test": "is what runs here",
    "mkdir -p ~/": "changes the home of who runs the tests",
    "python -m bench.draw_sixty_days": "draws what an hour of `make fuzz` left",
    "uv pip install": "installs",
}
"""How a command begins → why no test runs it."""

VALUE = re.compile(r"(?:export [A-Z_]+=|[a-z]+=\$\()")
"""What sets a variable for the commands after it on a page."""


def row(command: Printed) -> str:
    """Where it is excepted; empty if it is to run here."""
    text = command.text.removeprefix(".venv/bin/")
    return next((begin for begin in (*ELSEWHERE, *NOT_RUN) if text.startswith(begin)), "")


PRINTED = commands()
HERE = list({command.text: command for command in PRINTED if not row(command)}.values())


def test_each_exception_is_of_a_command_that_is_printed() -> None:
    assert {*ELSEWHERE, *NOT_RUN} - {row(command) for command in PRINTED} == set()


@pytest.mark.parametrize("test", sorted({*ELSEWHERE.values()}))
def test_what_runs_it_elsewhere_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^def {name or 'test_'}", (ROOT / "tests" / file).read_text(), re.M)


@pytest.fixture(scope="module")
def served(platform: Platform) -> Platform:
    """The platform with a model in service: that of an earlier file, if there is one."""
    settings = platform.settings
    if DeploymentStore(settings.deployments).pointer("plant") is None:
        simulate.fill(settings, devices=3, days=6, bad_share=0.05)
        with platform.airflow() as client:
            run, _ = dag_run.trigger(client, load_contract(settings.sensors), count=2)
            at = f"/api/v2/dags/{dag_run.DAG}/dagRuns/{run}"
            eventually(lambda: client.get(at).json()["state"] == "success", 400)
    return platform


@pytest.fixture(scope="module")
def meant(served: Platform) -> dict[str, str]:
    """What stands in a command for a word of the reader's own → that word."""
    settings = served.settings
    answer = demo.predict(served.url("serving"), "plant", load_contract(settings.sensors), settings)
    payload = (
        '{\\"env\\": {\\"temperature\\": 60, \\"pressure\\": 6}, \\"rotational_speed\\": 1500, '
        '\\"torque\\": 40, \\"mode\\": \\"normal\\", \\"vibration\\": [0, 1, 0, -1]}'
    )
    return {
        "http://127.0.0.1:3000": served.url("serving"),
        "http://127.0.0.1:5000": served.url("mlflow"),
        "http://127.0.0.1:8080": served.url("airflow"),
        '"password": "…"': f'"password": "{served.password}"',
        '{\\"env\\": …}': payload,
        "lineage PREDICTION_ID": f"lineage {answer['prediction_id']}",
        "lineage TAG": f"lineage {answer['data_tag']}",
        "--model-version 2": f"--model-version {answer['model_version']}",
    }


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.mark.parametrize("command", HERE, ids=lambda each: each.text.replace("\n", " ")[:90])
def test_it_runs_as_printed(
    served: Platform, meant: dict[str, str], checkout: Path, command: Printed
) -> None:
    on_the_page = [each for each in PRINTED if each.document == command.document]
    before = on_the_page[: on_the_page.index(command)]
    values = [each.text for each in before if VALUE.match(each.text) and not row(each)]
    script = "\n".join(["set -e -o pipefail", *values, command.text])
    for word, ours in meant.items():
        script = script.replace(word, ours)
    assert "…" not in script, "a word of the reader's own that nothing stands for"
    if "| jq " in script and not shutil.which("jq"):
        pytest.skip("jq is not here")
    environment = os.environ | {"BREEZEWAY_HOME": str(served.settings.home)}
    if "breezeway.steps." in script:
        # The pages that print steps say so; the defaults are where `make up` finds ports free.
        environment["BREEZEWAY_MLFLOW_URL"] = served.url("mlflow")
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    if not VALUE.match(command.text):
        said = done.stdout.strip() or done.stderr.strip()
        assert said
        assert not said.startswith(('{"error"', '{"detail"')), said
