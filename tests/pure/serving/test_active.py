"""What is served, and from where: the store, or the local copy."""

import logging
import threading
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from breezeway.deployment.store import Challenger, DeploymentStore, Served
from breezeway.serving import active
from breezeway.serving.loading import SOFTWARE
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


def damage(store, pointer):
    model = store.folder / pointer.model_name / pointer.deployment / "model" / "model.onnx"
    model.write_bytes(model.read_bytes()[:100])


def test_where_nothing_can_be_served_the_status_says_why_each_was_not(tmp_path, caplog):
    store, copy = DeploymentStore(tmp_path / "store"), DeploymentStore(tmp_path / "copy")
    first = add_deployment(store, "pump", 1, make_model(tmp_path / "a"))
    store.point(first)
    active.ActiveModels().refresh(store, copy)
    damage(copy, first)
    second = add_deployment(store, "pump", 2, make_model(tmp_path / "b"))
    store.point(second.model_copy(update={"previous": first}))
    damage(store, first)
    damage(store, second)

    models = active.ActiveModels()
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            models.refresh(store, copy)
            models.states()["pump"].failures.retry_at = 0
    status = models.status("pump")
    assert (status.model_version, status.failed_loads) == (None, 3)
    reasons = status.failure.reason.split("; ")
    assert [reason.partition(":")[0] for reason in reasons[1:]] == [
        "the one before",
        "its local copy",
    ]
    assert all("model.onnx" in reason for reason in reasons)
    assert len(caplog.records) == 1


def test_a_copy_that_cannot_be_served_while_the_store_is_away_is_told_and_counted(
    tmp_path, monkeypatch
):
    store, copy = DeploymentStore(tmp_path / "store"), DeploymentStore(tmp_path / "copy")
    pointer = add_deployment(store, "pump", 1, make_model(tmp_path / "a"))
    store.point(pointer)
    active.ActiveModels().refresh(store, copy)
    damage(copy, pointer)
    away = store.folder.rename(tmp_path / "away")
    monkeypatch.setattr(active, "POLL_SECONDS", 0.01)
    models = active.ActiveModels()
    models.follow(store, copy)
    try:
        status = models.status("pump")
        assert (status.model_version, status.failed_loads) == (None, 1)
        assert "is away; its local copy: " in status.failure.reason
        assert "model.onnx" in status.failure.reason
        away.rename(store.folder)
        deadline = time.monotonic() + 20
        while models.status("pump").source != "store":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert models.status("pump").failure is None
    finally:
        models.stop()


def test_an_error_that_comes_again_at_each_look_at_the_store_is_logged_once(
    tmp_path, monkeypatch, caplog
):
    store = DeploymentStore(tmp_path / "store")
    looks = []

    def unreadable(self: DeploymentStore) -> list[str]:
        looks.append(self)
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(DeploymentStore, "models", unreadable)
    monkeypatch.setattr(active, "POLL_SECONDS", 0.001)
    models = active.ActiveModels()
    with caplog.at_level(logging.ERROR):
        watcher = threading.Thread(target=models._watch, args=(store, store))
        watcher.start()
        while len(looks) < 5:
            time.sleep(0.001)
        models.stop()
        models._stopped.set()
        watcher.join(20)
    assert models.store_up is False
    assert caplog.text.count("is not followed") == 1


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


@pytest.mark.parametrize("library", ["onnxruntime", "xgboost-cpu", "numpy"])
def test_after_an_upgrade_of_a_library_a_deployment_is_proved_again(tmp_path, monkeypatch, library):
    older = SOFTWARE.replace(version(library), "0.1")
    store = DeploymentStore(tmp_path / "store")
    proved = []

    def prove(folder: Path, deployment: Served, niceness: int) -> None:
        assert niceness > 0, "requests are answered beside it"
        proved.append(deployment)

    monkeypatch.setattr(active, "prove", prove)
    for number, software in enumerate((SOFTWARE, older), 1):
        folder = make_model(tmp_path / str(number))
        pointer = add_deployment(store, "pump", number, folder, proved_with=software)
        store.point(pointer)
        active.ActiveModels().refresh(store, DeploymentStore(tmp_path / "copy"))
    assert [deployment.model_version for deployment in proved] == ["2"]
