"""What is served, and from where: the store, or the local copy."""

import logging

from breezeway.deployment.store import Challenger, DeploymentStore
from breezeway.serving import active
from tests.fixtures.serving import add_deployment, make_model


def test_a_copy_that_failed_is_tried_again_and_complained_of_once(tmp_path, monkeypatch, caplog):
    store, copy = DeploymentStore(tmp_path / "store"), DeploymentStore(tmp_path / "copy")
    pointer = add_deployment(store, "pump", 1, make_model(tmp_path / "a"))
    store.point(pointer)
    monkeypatch.setattr(active, "RETRY_SECONDS", 0)
    keep, attempts = DeploymentStore.keep, []

    def full_twice(*arguments: object) -> None:
        attempts.append(arguments)
        if len(attempts) <= 2:
            raise OSError(28, "No space left on device")
        keep(*arguments)

    monkeypatch.setattr(DeploymentStore, "keep", full_twice)
    models = active.ActiveModels()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            models.refresh(store, copy)
            assert models.get("pump").champion.live.deployment == pointer
    assert len(attempts) == 3
    assert copy.open(copy.pointer("pump")).is_dir()
    assert caplog.text.count("No space left") == 1


def test_served_from_the_copy_while_the_store_is_harmed_and_from_the_store_when_it_is_mended(
    tmp_path, monkeypatch
):
    store, copy = DeploymentStore(tmp_path / "store"), DeploymentStore(tmp_path / "copy")
    pointer = add_deployment(store, "pump", 1, make_model(tmp_path / "a"))
    store.point(pointer)
    active.ActiveModels().refresh(store, copy)
    model = store.folder / "pump" / pointer.deployment / "model" / "model.onnx"
    whole = model.read_bytes()
    model.write_bytes(whole[:100])

    anew = active.ActiveModels()
    for retry_seconds in (15, 15, 0, 0):
        monkeypatch.setattr(active, "RETRY_SECONDS", retry_seconds)
        anew.refresh(store, copy)
        status = anew.status("pump")
        assert (status.source, status.model_version) == ("local copy", "1")
        assert "model.onnx" in status.failure.reason

    model.write_bytes(whole)
    anew.states()["pump"].failures.retry_at = 0
    anew.refresh(store, copy)
    assert (anew.status("pump").source, anew.status("pump").failure) == ("store", None)


def test_other_terms_for_the_same_challenger_need_no_load_and_leave_no_gap(tmp_path, monkeypatch):
    store, copy = DeploymentStore(tmp_path / "store"), DeploymentStore(tmp_path / "copy")
    champion = add_deployment(store, "pump", 1, make_model(tmp_path / "a"))
    found = add_deployment(store, "pump", 2, make_model(tmp_path / "b"))
    models = active.ActiveModels()

    def on_trial(mode: str, share: float) -> None:
        challenger = Challenger.of(found, mode, share)
        store.point(champion.model_copy(update={"challenger": challenger}))
        models.refresh(store, copy)
        told = models.status("pump").challenger
        assert (told.mode, told.share, told.deployment) == (mode, share, found.deployment)
        assert models.get("pump").version("2")

    on_trial("canary", 0.1)
    trials = []
    with_challenger = active.Serving.with_challenger

    def watched(self, *arguments):
        trials.append(self.trial)
        return with_challenger(self, *arguments)

    monkeypatch.setattr(active.Serving, "with_challenger", watched)
    monkeypatch.setattr(active, "load", None)  # whatever loads again fails
    on_trial("shadow", 0.0)
    on_trial("bandit", 0.3)
    assert [trial.terms.mode for trial in trials] == ["canary", "shadow"], "there was no gap"
    assert models.status("pump").challenger_failure is None
