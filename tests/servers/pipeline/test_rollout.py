"""What a rollout waits for, with a real model server."""

from pathlib import Path

import pytest

from breezeway.core.errors import ServiceUnavailable
from breezeway.core.settings import Settings
from breezeway.deployment.replicas import Replicas
from breezeway.deployment.store import Challenger
from breezeway.pipeline import rollout
from tests.fixtures.serving import ModelServer, add_deployment, make_model


@pytest.fixture
def canary(model_server: ModelServer, tmp_path: Path) -> Challenger:
    """Version 2 of `crane` on trial beside version 1; the server has taken both up."""
    store = model_server.store
    champion, other = (
        add_deployment(store, "crane", number, make_model(tmp_path / str(number), seed=number))
        for number in (1, 2)
    )
    canary = Challenger.of(other, "canary", 0.1)
    store.point(champion.verified().model_copy(update={"challenger": canary}))
    model_server.wait("crane", lambda status: status.get("challenger"))
    return canary


@pytest.mark.parametrize("change", [{"mode": "shadow", "share": 0.0}, {"share": 0.2}])
def test_a_trial_is_up_when_its_mode_and_share_are_taken_up(
    model_server: ModelServer, canary: Challenger, monkeypatch: pytest.MonkeyPatch, change: dict
) -> None:
    monkeypatch.setattr(rollout, "TAKE_UP_SECONDS", 1.0)
    replicas = Replicas(Settings(serving_url=model_server.url), "crane")
    assert rollout.wait_for_challenger(replicas, canary)
    changed = canary.model_copy(update=change)
    with pytest.raises(ServiceUnavailable, match="not up everywhere"):
        rollout.wait_for_challenger(replicas, changed)
    pointer = model_server.store.pointer("crane")
    model_server.store.point(pointer.model_copy(update={"challenger": changed}))
    assert rollout.wait_for_challenger(replicas, changed)
