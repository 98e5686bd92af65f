"""One look at a trial, with a real model server."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from breezeway.contract.schema import Canary
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.deployment.store import Challenger, Deployment
from breezeway.pipeline.in_service import deployment_name
from breezeway.pipeline.trial import TrialWatch
from breezeway.tracking.registry import ModelVersion
from tests.fixtures.serving import ModelServer, make_model, make_readings

VERSION = ModelVersion("hoist", "2", source="models:/m-2", run_id="", created_at=0)


@pytest.fixture
def put_up(model_server: ModelServer, tmp_path: Path) -> Callable[..., Challenger]:
    """Puts version 2 of `hoist` on trial beside version 1; the model is damaged if asked for."""
    store = model_server.store

    def add(version: str, name: str, folder: Path):
        record = Deployment(
            model_name="hoist",
            model_version=version,
            deployment=name,
            bento=f"hoist:{name}",
            data_tag="d",
            model_folder="model",
        )
        return store.add(folder, record)

    def put_up(mode: str, share: float = 0.0, damaged: bool = False) -> Challenger:
        champion = add("1", "1-first", make_model(tmp_path / "a" / "model", seed=1).parent)
        folder = make_model(tmp_path / "b" / "model", seed=2)
        if damaged:
            (folder / "model.onnx").write_bytes(b"{L\x00\x00\xff" * 9)
        challenger = Challenger.of(add("2", deployment_name(VERSION), folder.parent), mode, share)
        store.point(champion.verified().model_copy(update={"challenger": challenger}))
        key = "challenger_failure" if damaged else "challenger"
        model_server.wait("hoist", lambda status: (status.get(key) or {}).get("deployment"))
        return challenger

    yield put_up
    store.point_back("hoist", store.pointer("hoist").model_copy(update={"challenger": None}))
    model_server.wait("hoist", lambda status: not status["challenger"])


@pytest.fixture
def watch(model_server: ModelServer) -> TrialWatch:
    settings = Settings(home=model_server.home, serving_url=model_server.url)
    return TrialWatch(settings, VERSION, Canary(), timedelta(minutes=1), every=10)


def test_before_the_end_it_waits_and_at_the_end_it_wants_to_have_seen_enough(
    model_server, put_up, watch
):
    put_up("shadow")
    for seed in range(5):
        answer = model_server.predict("hoist", device="pump-1", readings=make_readings(seed))
        assert answer.json()["model_version"] == "1"
    verdict, figures = watch.look(looks=6, last=False)
    assert verdict.decision == "wait", verdict
    assert (figures["mode"], figures["replicas"]) == ("shadow", 1)
    assert figures["champion"]["predictions"] == 5
    verdict, _ = watch.look(looks=6, last=True)
    assert verdict.decision == "roll back"
    assert "Too little was seen" in verdict.reason


def test_what_no_server_can_load_is_rolled_back(put_up, watch):
    put_up("canary", 0.5, damaged=True)
    verdict, figures = watch.look(looks=6, last=False)
    assert (verdict.decision, figures) == ("roll back", {})
    assert "cannot load it" in verdict.reason


def test_a_bandits_share_goes_to_the_pointer(model_server, put_up, watch):
    put_up("bandit", 0.5)
    verdict, figures = watch.look(looks=6, last=False)
    assert (verdict.decision, figures["share"]) == ("wait", 0.5)
    watch._move_share(0.7)
    assert model_server.store.pointer("hoist").challenger.share == 0.7
    model_server.wait("hoist", lambda status: status["challenger"]["share"] == 0.7)


def test_an_earlier_runs_decision_counts_for_the_same_trial_only(model_server, put_up, watch):
    challenger = put_up("canary", 0.5)

    def decided(**tags: str) -> str | None:
        settings = Settings(home=model_server.home, serving_url=model_server.url)
        version = replace(VERSION, tags=tags)
        found = TrialWatch(settings, version, Canary(), timedelta(minutes=1), 10).decided()
        return found and found[0].decision

    kept = {"canary_reason": "it is worse", "canary_trial": challenger.deployed_at.isoformat()}
    assert decided() is None
    assert decided(canary_decision="roll back", **kept) == "roll back"
    assert decided(canary_decision="roll back", **{**kept, "canary_trial": "another"}) is None


def test_what_is_not_on_trial_cannot_be_looked_at(model_server, watch):
    with pytest.raises(UsageError, match=r"Version 2 of hoist is not on trial"):
        watch.look(looks=1, last=True)
