"""The local copy of what is served."""

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
