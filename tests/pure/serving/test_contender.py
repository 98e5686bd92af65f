"""Whatever fails in a model is counted as its error, alone and in a batch."""

from pathlib import Path
from typing import Any

import pytest

from breezeway.deployment.store import Challenger, DeploymentStore
from breezeway.serving.active import ActiveModels
from breezeway.serving.trial import Serving
from tests.fixtures.serving import add_deployment, make_model, make_readings


def serving(folder: Path, **trial: Any) -> Serving:
    """Version 1 in service and, with `trial`, version 2 on trial."""
    store = DeploymentStore(folder / "store")
    pointer = add_deployment(store, "pump", 1, make_model(folder / "1"))
    if trial:
        found = add_deployment(store, "pump", 2, make_model(folder / "2"))
        pointer = pointer.model_copy(update={"challenger": Challenger.of(found, **trial)})
    store.point(pointer)
    models = ActiveModels()
    models.refresh(store, DeploymentStore(folder / "copy"))
    live = models.get("pump")
    assert live is not None
    return live


def fail(*_: object) -> None:
    raise RuntimeError("it is broken")


def errors(contender: Any) -> list[int]:
    return [tally.outcomes["error"] for tally in contender.tallies]


@pytest.mark.parametrize("part", ["score_rows", "settle", "answer"])
def test_each_request_without_an_answer_is_an_error(tmp_path, monkeypatch, part):
    live = serving(tmp_path)
    request = {"device": "pump-1", "readings": make_readings(1)}
    monkeypatch.setattr(live.champion.live, part, fail)
    with pytest.raises(RuntimeError):
        live.predict(**request)
    assert errors(live.champion) == [1]
    if part != "score_rows":  # a batch scores all its rows at once
        with pytest.raises(RuntimeError):
            live.predict_some([request, request], {}, [])
        assert errors(live.champion) == [3]


@pytest.mark.parametrize(("mode", "counted"), [("canary", (1, 0)), ("shadow", (0, 1))])
def test_a_comparison_that_fails_is_an_error_of_who_fails(tmp_path, monkeypatch, mode, counted):
    live = serving(tmp_path, mode=mode, share=1.0 if mode == "canary" else 0.0)
    assert live.trial
    request = {"device": "pump-1", "readings": make_readings(1)}
    answer = live.predict(**request)
    other = live.champion if mode == "canary" else live.trial.challenger
    monkeypatch.setattr(other.live, "features", fail)
    live.compare(**request, answer=answer)
    of_champion, of_challenger = errors(live.champion), errors(live.trial.challenger)
    assert (of_champion, of_challenger) == ([counted[0]] * 2, [counted[1]] * 2)
