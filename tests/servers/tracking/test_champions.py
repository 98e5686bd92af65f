"""The gate and the champion on a real MLflow server."""

import multiprocessing
import re
import socket
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from breezeway.core.errors import DataError, ServiceUnavailable, TryAgain, UsageError
from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings
from breezeway.tracking import champions, registry, rest
from breezeway.tracking.gate import Decision, Difference, Evidence, decide

GATE = SimpleNamespace(max_loss=0.02)


def evidence(champion: str | None = None, low: float = 0.0, **changed: Any) -> Evidence:
    found = Evidence(
        labelled=True,
        champion=champion,
        average_precision=0.7,
        baseline={"always_on": 0.1, "random": 0.2, "clock_only": 0.9},
        champion_average_precision=0.68 if champion else None,
        difference=Difference(0.02, low, 0.05) if champion else None,
    )
    return replace(found, **changed)


@pytest.mark.parametrize(
    ("found", "promotes", "reason"),
    [
        (evidence(), True, r"0\.700 is above the 0\.200 of chance"),
        (evidence(average_precision=0.2), False, "not above"),
        (evidence("3", low=-0.02), True, r"champion 3: .* a loss of more than 0\.02 is ruled out"),
        (evidence("3", low=-0.021), False, "not ruled out"),
        (
            evidence("3", refit=True, trained_on="2026-05-06T00:00:00+00:00"),
            True,
            r"is ruled out\. Judged was the fit on readings before 2026-05-06T00:00; the one that",
        ),
        (
            evidence(beside_clock="A clock is as good."),
            True,
            r"of chance\. A clock is as good\.$",
        ),
        (evidence("3", difference=None), False, "could not be scored"),
        (evidence(labelled=False), False, "no labels"),
        (evidence(average_precision=None), False, "no event"),
    ],
)
def test_the_gate(found: Evidence, promotes: bool, reason: str) -> None:
    decision = decide(GATE, found)
    assert decision.promote is promotes
    assert re.search(reason, decision.reason)


@pytest.mark.parametrize(
    ("found", "missing"),
    [
        (evidence(baseline=None), "baseline"),
        (evidence(baseline={"clock_only": 0.9}), "baseline"),
        (evidence("3", champion_average_precision=None), "champion_average_precision"),
    ],
)
def test_evidence_that_is_not_whole(found: Evidence, missing: str) -> None:
    with pytest.raises(DataError, match=missing):
        decide(GATE, found)


def test_evidence_is_read_as_it_was_written() -> None:
    found = evidence("3", query="SELECT 1", rows=7, tested_at="2026-01-01T00:00:00", drifted=2)
    assert Evidence.from_json(found.to_json()) == found
    long = evidence(query="x" * 2000)
    assert Evidence.from_json(long.to_json()).query == "x" * 1000


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{}", "labelled"),
        ('{"labelled": true}', "champion"),
        ("[]", "content"),
        ('{"labelled": true, "champion": null, "difference": {"low": 0}}', "difference.estimate"),
    ],
)
def test_evidence_that_is_none_is_named(text: str, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        Evidence.from_json(text)


@pytest.fixture
def settings(mlflow_server: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, mlflow_url=mlflow_server, lock_wait_seconds=30)


@pytest.fixture
def model(settings: Settings) -> str:
    """A model with three versions."""
    name = f"pump {uuid4()}"
    rest.post(settings, "registered-models/create", name=name)
    run = rest.post(settings, "runs/create", experiment_id="0")["run"]["info"]
    source = {"run_id": run["run_id"], "source": f"{run['artifact_uri']}/model"}
    for _ in range(3):
        rest.post(settings, "model-versions/create", name=name, **source)
    return name


def version_tags(settings: Settings, model: str, version: str) -> dict[str, str]:
    found = registry.find_version(settings, model, version).tags
    return {key.removeprefix("breezeway."): value for key, value in found.items()}


def test_promotion_keeps_its_reason(settings: Settings, model: str) -> None:
    assert champions.promote(settings, model, "1", None, "first") == Decision(True, "first")
    assert champions.promote(settings, model, "2", "1", "better") == Decision(True, "better")

    assert champions.champion(settings, model) == "2"
    kept = version_tags(settings, model, "2")
    assert kept.pop("decided_at").endswith("+00:00")
    assert kept == {"decision": "promoted", "reason": "better", "champion_before": "1"}


def test_promotion_twice(settings: Settings, model: str) -> None:
    champions.promote(settings, model, "1", None, "first")
    for _ in range(2):
        assert champions.promote(settings, model, "2", "1", "better").promote
    assert champions.rollback(settings, model, reason="bad") == "1"


def test_champion_changed_since_the_test(settings: Settings, model: str) -> None:
    champions.promote(settings, model, "1", None, "first")
    champions.promote(settings, model, "2", "1", "better")
    late = champions.promote(settings, model, "3", "1", "better too")

    assert not late.promote
    assert "version 1 was the champion; now version 2 is. Test it again." in late.reason
    assert champions.champion(settings, model) == "2"
    assert version_tags(settings, model, "3")["decision"] == "refused"
    assert version_tags(settings, model, "3")["reason"] == late.reason


def test_two_promotions_at_once_have_one_winner(settings: Settings, model: str) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.submit(champions.promote, settings, model, version, None, f"{version} is good")
            for version in ("1", "2")
        ]
        won = [job.result().promote for job in jobs]
    assert sorted(won) == [False, True]
    assert champions.champion(settings, model) == str(won.index(True) + 1)


def test_a_promotion_that_waits_too_long_tries_again_later(settings: Settings, model: str) -> None:
    impatient = settings.model_copy(update={"lock_wait_seconds": 0.2})
    promote = (impatient, model, "1", None, "first")
    lock = champions.lock_name(model)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with exclusive(settings, lock), pytest.raises(TryAgain, match="champion-pump"):
            pool.submit(champions.promote, *promote).result()
        assert pool.submit(champions.promote, *promote).result().promote


def test_gate_by_the_evidence_of_the_test(settings: Settings, model: str) -> None:
    def gate(version: str, found: str) -> Decision:
        registry.tag_version(settings, model, version, evidence=found)
        return champions.pass_gate(settings, model, version, GATE)

    with pytest.raises(UsageError, match="has not been tested"):
        champions.pass_gate(settings, model, "1", GATE)
    with pytest.raises(DataError, match=r"breezeway\.evidence"):
        gate("1", "{")
    assert gate("1", evidence().to_json()).promote
    assert gate("1", evidence().to_json()).promote  # a second run
    assert gate("1", evidence("1").to_json()).promote  # tested against itself
    assert not gate("2", evidence("1", low=-0.5).to_json()).promote
    assert version_tags(settings, model, "2")["decision"] == "refused"
    assert gate("2", evidence("1").to_json()).promote
    assert not gate("3", evidence("1").to_json()).promote
    assert champions.champion(settings, model) == "2"


def test_rollback_goes_one_step_back_each_time(settings: Settings, model: str) -> None:
    for version, before in (("1", None), ("2", "1"), ("1", "2"), ("3", "1")):
        assert champions.promote(settings, model, version, before, "better").promote
    found = [champions.rollback(settings, model, reason="alarms at night") for _ in range(3)]
    assert found == ["1", "2", "1"]
    assert champions.champion(settings, model) == "1"
    assert version_tags(settings, model, "3")["decision"] == "rolled back"
    assert version_tags(settings, model, "3")["reason"] == "alarms at night"
    with pytest.raises(UsageError, match="1 is the first champion"):
        champions.rollback(settings, model, reason="further")


def test_rollback_to_a_version(settings: Settings, model: str) -> None:
    with pytest.raises(UsageError, match="has no champion"):
        champions.rollback(settings, model, reason="bad")
    champions.promote(settings, model, "1", None, "first")
    champions.promote(settings, model, "2", "1", "better")
    with pytest.raises(UsageError, match=r"Version 3 .* was no champion"):
        champions.rollback(settings, model, "3", reason="bad")
    for _ in range(2):
        assert champions.rollback(settings, model, "1", reason="bad") == "1"
    assert champions.promote(settings, model, "3", "1", "fixed").promote
    assert champions.rollback(settings, model, reason="bad") == "1"


def test_rollback_from_a_version_twice_is_one_step(settings: Settings, model: str) -> None:
    for version, before in (("1", None), ("2", "1"), ("3", "2")):
        champions.promote(settings, model, version, before, "better")
    for _ in range(2):
        assert champions.rollback(settings, model, reason="bad", from_version="3") == "2"
    with pytest.raises(UsageError, match="is 2, not 1"):
        champions.rollback(settings, model, reason="bad", from_version="1")


def test_champion_set_by_hand_is_on_the_way_back(settings: Settings, model: str) -> None:
    champions.promote(settings, model, "1", None, "first")
    registry.set_alias(settings, model, champions.CHAMPION, "2")
    champions.promote(settings, model, "3", "2", "better")
    assert champions.rollback(settings, model, reason="bad") == "2"
    assert champions.rollback(settings, model, reason="bad") == "1"


def killed_at(settings: Settings, call: str, number: int) -> None:
    """Run a call in a process that kills itself instead of sending MLflow its n-th change."""
    code = f"""
import os, signal
from pathlib import Path
from breezeway.tracking import champions, rest
from breezeway.core.settings import Settings
send, sent = rest.post, []
def post(*arguments, **fields):
    sent.append(arguments)
    if len(sent) == {number}:
        os.kill(os.getpid(), signal.SIGKILL)
    return send(*arguments, **fields)
rest.post = post
settings = Settings(home=Path({str(settings.home)!r}), mlflow_url={settings.mlflow_url!r})
{call}
"""
    subprocess.run([sys.executable, "-c", code], check=False)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_killed_while_promoting_then_run_again(settings: Settings, model: str, number: int) -> None:
    champions.promote(settings, model, "1", None, "first")
    killed_at(settings, f"champions.promote(settings, {model!r}, '2', '1', 'better')", number)
    assert version_tags(settings, model, "2").get("decision") is None

    assert champions.promote(settings, model, "2", "1", "better").promote
    assert version_tags(settings, model, "2")["decision"] == "promoted"
    assert champions.promote(settings, model, "3", "2", "better").promote
    assert [champions.rollback(settings, model, reason="bad") for _ in range(2)] == ["2", "1"]


@pytest.mark.parametrize("number", [1, 3, 5, 6])
def test_killed_while_rolling_back_then_run_again(
    settings: Settings, model: str, number: int
) -> None:
    for version, before in (("1", None), ("2", "1"), ("3", "2")):
        champions.promote(settings, model, version, before, "better")
    call = f"champions.rollback(settings, {model!r}, reason='bad', from_version='3')"
    killed_at(settings, call, number)
    assert champions.rollback(settings, model, reason="bad", from_version="3") == "2"
    assert champions.rollback(settings, model, reason="worse") == "1"


@pytest.mark.parametrize("tag", ["[", "null", '"1"', "[1]", '["one"]', '[["1"]]'])
def test_an_overwritten_record_is_named_and_stays(settings: Settings, model: str, tag: str) -> None:
    champions.promote(settings, model, "1", None, "first")
    registry.tag_model(settings, model, "champions", tag)
    for move in (
        lambda: champions.promote(settings, model, "2", "1", "better"),
        lambda: champions.rollback(settings, model, reason="bad"),
    ):
        with pytest.raises(DataError, match=r"breezeway\.champions .* Correct or delete it"):
            move()
    assert champions.champion(settings, model) == "1"
    assert registry.find_model(settings, model).tags["champions"] == tag


def test_names(settings: Settings, model: str) -> None:
    champions.promote(settings, model, "2", None, "first")
    assert registry.resolve_version(settings, model, "champion") == "2"
    assert registry.resolve_version(settings, model, "3") == "3"
    assert registry.model_exists(settings, model)
    assert not registry.model_exists(settings, "no such")
    assert champions.champion(settings, "no such") is None


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda s, m: registry.resolve_version(s, "no such", "1"), "no such"),
        (lambda s, m: registry.resolve_version(s, "no such", "champion"), "no such"),
        (lambda s, m: registry.resolve_version(s, m, "7"), "7"),
        (lambda s, m: registry.resolve_version(s, m, "best"), "'best'; its aliases: none"),
        (lambda s, m: champions.promote(s, m, "7", None, "?"), "7"),
        (lambda s, m: champions.refuse(s, m, "7", "?"), "7"),
        (lambda s, m: champions.rollback(s, "no such", reason="?"), "no such"),
    ],
)
def test_unknown_names_are_named(settings: Settings, model: str, call: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        call(settings, model)


@pytest.mark.timeout(60)  # one of the two never answers
def test_mlflow_away(tmp_path: Path) -> None:
    with socket.socket() as silent, socket.socket() as closed:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        closed.bind(("127.0.0.1", 0))
        for server in (silent, closed):
            url = f"http://user:secret@127.0.0.1:{server.getsockname()[1]}"
            away = Settings(home=tmp_path, mlflow_url=url)
            with pytest.raises(ServiceUnavailable, match=r"at http://127\.0\.0\.1") as raised:
                champions.promote(away, "pump", "1", None, "first")
            assert "secret" not in str(raised.value)


def test_is_light() -> None:
    code = (
        "import sys; from breezeway.tracking import champions; assert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_there_is_an_objection_to_what_was_refused_or_rolled_back(
    settings: Settings, model: str
) -> None:
    def objection(version: str) -> str | None:
        return champions.objection(settings, registry.find_version(settings, model, version))

    assert objection("1") is None, "nothing was decided about it"
    champions.refuse(settings, model, "1", "It is worse at night.")
    assert "The gate refused version 1" in (objection("1") or "")
    assert "It is worse at night." in (objection("1") or "")
    for version, before in (("1", None), ("2", "1")):
        assert champions.promote(settings, model, version, before, "better").promote
        assert objection(version) is None
    champions.rollback(settings, model, reason="alarms at night")
    assert "rolled back from version 2" in (objection("2") or "")
    registry.set_alias(settings, model, "champion", "2")
    assert objection("2") is None, "it is the champion"
