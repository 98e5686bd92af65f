"""What is served, and from where: the store, or the local copy."""

import logging

from breezeway.deployment.store import DeploymentStore
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
    model = store.folder / "pump" / pointer.deployment / "model" / "model.ubj"
    whole = model.read_bytes()
    model.write_bytes(whole[:100])

    anew = active.ActiveModels()
    for retry_seconds in (15, 15, 0, 0):
        monkeypatch.setattr(active, "RETRY_SECONDS", retry_seconds)
        anew.refresh(store, copy)
        status = anew.status("pump")
        assert (status.source, status.model_version) == ("local copy", "1")
        assert "model.ubj" in status.failure.reason

    model.write_bytes(whole)
    anew.states()["pump"].failures.retry_at = 0
    anew.refresh(store, copy)
    assert (anew.status("pump").source, anew.status("pump").failure) == ("store", None)
