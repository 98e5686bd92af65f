"""The step from the registry to the live server, against a real one of each."""

import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from breezeway.core.settings import Settings
from breezeway.tracking import champions, registry
from tests.fixtures.deployment import DeploySteps
from tests.fixtures.forked_steps import ForkedStep
from tests.fixtures.processes import new_port
from tests.fixtures.serving import ModelServer, examples_of, make_readings


def serves(server: ModelServer, name: str = "turbine") -> tuple[str, str]:
    """The version that answers, and the one that the pointer names."""
    answer = server.predict(name, device="pump-1", readings=make_readings(1)).json()
    return answer["model_version"], server.store.pointer(name).model_version


def test_a_version_goes_live_and_a_bad_one_does_not(registered, deploy):
    first = deploy("turbine", "1")
    assert first["bento"] == f"turbine:{first['deployment']}"
    assert (first["model_version"], first["previous"]) == ("1", None)

    second = deploy("turbine", "champion")
    assert (second["model_version"], second["previous"]) == ("2", first["deployment"])
    assert serves(deploy.server) == ("2", "2")
    assert deploy.server.store.pointer("turbine").verified_at
    assert deploy("turbine", "2") == second, "again: nothing to do"

    bad = deploy("turbine", "3", code=65)
    assert re.match(r"turbine:3-\w+: examples.json: \[0\]: the score is", bad["error"])
    assert serves(deploy.server) == ("2", "2")

    back = deploy("turbine", "1")
    assert (back["deployment"], back["previous"]) == (first["deployment"], second["deployment"])
    assert serves(deploy.server) == ("1", "1")


def test_a_refused_version_goes_into_service_only_with_a_reason(registered, deploy):
    settings = Settings(mlflow_url=deploy.environment["BREEZEWAY_MLFLOW_URL"])
    champions.refuse(settings, "turbine", "1", "It is worse at night.")
    try:
        refused = deploy("turbine", "1", code=64)["error"]
        assert "refused version 1 of 'turbine': It is worse at night." in refused
        assert "--force" in refused
        deploy("turbine", "2")
        for trial in ("--canary", "--bandit"):
            assert deploy("turbine", "1", trial, "10", code=64)["error"] == refused
        assert deploy("turbine", "1", "--shadow")["role"] == "challenger"
        deploy("turbine", "1", "--withdraw")
        assert deploy("turbine", "1", "--force", "the pump is new")["model_version"] == "1"
        tags = registry.find_version(settings, "turbine", "1").tags
        assert tags["forced_reason"] == "the pump is new"
    finally:
        registry.tag_version(settings, "turbine", "1", decision="", reason="", forced_reason="")


def test_a_deployment_is_a_bento_that_bentoml_serves_by_itself(
    registered, deploy, new_model_server
):
    deployment = deploy("turbine", "1")["deployment"]
    folder = deploy.server.store.folder / "turbine" / deployment
    alone = new_model_server(str(folder)).start()
    example = examples_of(registered / "1")[0]
    answer = alone.predict("turbine", device=example["device"], readings=example["readings"])
    assert answer.json()["score"] == example["score"]
    assert answer.json()["data_tag"] == "data-1"
    labels = (folder / "bento.yaml").read_text()
    assert "run_id: " in labels
    assert "code: abc123" in labels


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def start_building(deploy: DeploySteps, version: str) -> ForkedStep:
    """Start the step and return when it builds the Bento; there is none in the store."""
    for folder in (deploy.server.store.folder / "turbine").glob(f"{version}-*"):
        shutil.rmtree(folder)
    work = deploy.server.home / "work" / "deploy-turbine"
    left_over = changed(work)
    step = deploy.start("turbine", version)
    wait_until(lambda: changed(work) not in (None, left_over))
    return step


def changed(path: Path) -> int | None:
    try:
        return path.stat().st_ctime_ns
    except FileNotFoundError:
        return None


def interrupt_before_it_is_seen_to_work(deploy: DeploySteps, version: str, number: int) -> int:
    """Signal the step when the pointer has moved and the server did not answer yet."""
    step = start_building(deploy, version)
    with deploy.server.paused():
        wait_until(lambda: deploy.server.store.pointer("turbine").model_version == version)
        step.send_signal(number)
        return step.wait()


def test_killed_anywhere_a_rerun_deploys(registered, deploy):
    deploy("turbine", "1")
    store = deploy.server.store
    step = start_building(deploy, "2")
    step.kill()
    step.wait()
    assert serves(deploy.server) == ("1", "1")

    interrupt_before_it_is_seen_to_work(deploy, "2", signal.SIGKILL)
    assert store.pointer("turbine").verified_at is None
    assert store.pointer("turbine").previous.model_version == "1"

    result = deploy("turbine", "2")
    assert result["previous"].startswith("1-")
    assert serves(deploy.server) == ("2", "2")
    assert not (deploy.server.home / "work" / "deploy-turbine").exists()


@pytest.mark.parametrize("version", ["2", "1"])
def test_servers_that_are_down_come_up_with_what_is_deployed(
    registered, mlflow_server, new_model_server, tmp_path, version
):
    """As servers that crash with the model in service, again and again."""
    server = new_model_server().start()
    deploy = DeploySteps([server], mlflow_server, tmp_path)
    deploy("turbine", "1")
    before = server.store.pointer("turbine").deployed_at
    server.kill()
    step = deploy.start("turbine", version)
    wait_until(lambda: server.store.pointer("turbine").deployed_at != before)
    server.start()
    assert step.wait() == 0
    assert serves(server) == (version, version)


def test_asked_to_stop_it_leaves_the_old_one_in_place(registered, deploy):
    deploy("turbine", "2")
    code = interrupt_before_it_is_seen_to_work(deploy, "1", signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert deploy.server.store.pointer("turbine").model_version == "2"


def test_a_replica_that_cannot_take_it_up_brings_all_back(
    registered, deploy, mlflow_server, new_model_server, tmp_path
):
    """The other one follows another store, so it never reports the new deployment."""
    deploy("turbine", "1")
    both = DeploySteps([deploy.server, new_model_server().start()], mlflow_server, tmp_path)
    both.take_up_seconds = 5
    result = both("turbine", "2", code=69)
    assert "not up everywhere" in result["error"]
    deploy.server.wait("turbine", lambda status: status["model_version"] == "1")
    assert serves(deploy.server) == ("1", "1")


TERMS = {
    "--canary=10": ("canary", 0.1),
    "--bandit": ("bandit", 0.1),
    "--bandit=20": ("bandit", 0.2),
    "--shadow": ("shadow", 0.0),
}


def challenger(server: ModelServer) -> dict | None:
    return server.status("turbine")["challenger"]


def test_a_challenger_is_put_up_withdrawn_and_made_champion(registered, deploy):
    deploy("turbine", "1")
    champion = deploy.server.store.pointer("turbine")
    for option, (mode, share) in TERMS.items():
        for _ in range(2):
            result = deploy("turbine", "2", option)
            assert (result["role"], result["mode"], result["share"]) == ("challenger", mode, share)
        live = deploy.server.wait("turbine", lambda s, x=share: s["challenger"]["share"] == x)
        assert live["challenger"]["mode"] == mode
        assert live["challenger"]["deployment"] == result["deployment"]
        pointer = deploy.server.store.pointer("turbine")
        assert pointer.model_copy(update={"challenger": None}) == champion

    wrong = deploy("turbine", "1", "--withdraw", code=64)
    assert "On trial is version 2" in wrong["error"]
    for _ in range(2):
        assert deploy("turbine", "2", "--withdraw")["role"] == "withdrawn"
    deploy.server.wait("turbine", lambda s: s["challenger"] is None)

    deploy("turbine", "2", "--canary=50")
    assert deploy("turbine", "2")["role"] == "champion"
    assert serves(deploy.server) == ("2", "2")
    assert challenger(deploy.server) is None
    assert deploy.server.store.pointer("turbine").challenger is None


def test_a_bad_challenger_leaves_the_champion_untouched(registered, deploy):
    deploy("turbine", "1")
    before = deploy.server.store.pointer("turbine")
    bad = deploy("turbine", "3", "--canary=10", code=65)
    assert re.match(r"turbine:3-\w+: examples.json: \[0\]: the score is", bad["error"])
    assert deploy.server.store.pointer("turbine") == before
    deploy.server.wait("turbine", lambda s: s["challenger_failure"] is None)


def test_on_terms_that_are_not_taken_up_the_trial_that_ran_goes_on(
    registered, deploy, mlflow_server, new_model_server, tmp_path
):
    """The other replica follows another store, so it never reports the challenger."""
    deploy("turbine", "1")
    deploy("turbine", "2", "--canary=10")
    before = deploy.server.store.pointer("turbine")
    both = DeploySteps([deploy.server, new_model_server().start()], mlflow_server, tmp_path)
    both.take_up_seconds = 5
    assert "not up everywhere" in both("turbine", "2", "--shadow", code=69)["error"]
    assert deploy.server.store.pointer("turbine") == before
    deploy.server.wait("turbine", lambda s: s["challenger"]["mode"] == "canary")
    assert deploy("turbine", "2", "--withdraw")["role"] == "withdrawn"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_interrupted_the_champion_stays_and_a_rerun_puts_it_up(registered, deploy, number):
    deploy("turbine", "1")
    store = deploy.server.store
    before = store.pointer("turbine")
    step = deploy.start("turbine", "2", "--canary=10")
    wait_until(lambda: store.pointer("turbine").challenger)
    step.send_signal(number)
    step.wait()
    assert store.pointer("turbine").model_copy(update={"challenger": None}) == before
    assert deploy("turbine", "2", "--canary=10")["role"] == "challenger"
    assert deploy("turbine", "2", "--withdraw")["role"] == "withdrawn"
    assert store.pointer("turbine") == before


def test_a_challenger_needs_another_as_champion_and_to_be_alone(registered, deploy):
    deploy("turbine", "1")
    same = deploy("turbine", "1", "--shadow", code=64)
    assert "in service already" in same["error"]
    deploy("turbine", "2", "--shadow")
    another = deploy("turbine", "3", "--shadow", code=64)
    assert "Version 2 of turbine is on trial" in another["error"]
    deploy("turbine", "2", "--withdraw")
    deploy.server.store.point_back("turbine", None)
    alone = deploy("turbine", "2", "--canary=10", code=64)
    assert "no champion in service" in alone["error"]


@pytest.mark.parametrize("option", ["--canary=0", "--canary=100", "--canary", "--bandit=half"])
def test_a_share_is_a_percentage(deploy, option):
    assert option.partition("=")[0] in deploy("turbine", "1", option, code=64)["error"]


def test_with_a_token_and_by_a_name(registered, deploy, mlflow_server, new_model_server, tmp_path):
    guarded = new_model_server(BREEZEWAY_SERVING_TOKEN="open sesame").start()
    own = DeploySteps([guarded], mlflow_server, tmp_path)
    own.environment["BREEZEWAY_SERVING_URL"] = f"http://localhost:{guarded.port}"
    refused = own("turbine", "1", code=64)
    assert "BREEZEWAY_SERVING_TOKEN" in refused["error"]
    result = own("turbine", "1", BREEZEWAY_SERVING_TOKEN="open sesame")
    assert result["model_version"] == "1"


def test_a_server_that_is_away_is_said_before_anything_moves(registered, deploy):
    url = f"http://127.0.0.1:{new_port()}"
    result = deploy("turbine", "1", code=69, BREEZEWAY_SERVING_URL=url)
    assert url in result["error"]


def test_mlflow_away_is_unavailable(deploy):
    url = f"http://127.0.0.1:{new_port()}"
    result = deploy("turbine", "1", code=69, BREEZEWAY_MLFLOW_URL=url)
    assert url in result["error"]


@pytest.mark.parametrize(
    ("name", "version"), [("nobody", "1"), ("turbine", "99"), ("turbine", "nobody"), ("../x", "1")]
)
def test_what_is_not_registered_is_a_usage_error(registered, deploy, name, version):
    result = deploy(name, version, code=64)
    assert name in result["error"]


def test_of_two_at_once_one_waits(registered, deploy):
    versions = "1", "2"
    steps = [deploy.start("turbine", version) for version in versions]
    for step in steps:
        deploy.end(step)
    answering, pointed_at = serves(deploy.server)
    assert answering == pointed_at


def test_who_waits_too_long_comes_back_later(registered, deploy):
    locks = Settings(home=deploy.server.home).locks
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / "deploy-turbine.lock"):
        result = deploy("turbine", "1", code=75, BREEZEWAY_LOCK_WAIT_SECONDS="0.2")
    assert "'deploy-turbine'" in result["error"]
