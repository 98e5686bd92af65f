"""Without labels the gate looks at the promise of false alarms, and at nothing else."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from breezeway.detector.families.registry import family_of
from breezeway.detector.holdout import TrainingScope
from breezeway.detector.onnx_scorer import OnnxScorer
from breezeway.detector.scoring import ScoringModel, score_example
from breezeway.pipeline.evidence import weigh
from breezeway.tracking.gate import Decision, Evidence, KeptPromise, decide
from tests.fixtures.unlabelled import DEVICES, LABEL, make_contract

CONTRACT = make_contract()
HOURS = 24 * 20


class Gate:
    max_loss = 0.02


def features(seed: int, shift: float = 0) -> np.ndarray:
    size = (HOURS * len(DEVICES), len(CONTRACT.feature_names))
    return np.random.default_rng(seed).normal(size=size).astype(np.float32) + shift


def unseen(model: ScoringModel, values: np.ndarray, label: np.ndarray | None = None) -> pa.Table:
    at = np.datetime64("2026-03-02", "us") + np.arange(HOURS) * np.timedelta64(1, "h")
    columns = {
        "device": np.repeat(DEVICES, HOURS),
        "time": pa.array(np.tile(at, len(DEVICES))).cast(pa.timestamp("us", "UTC")),
        "label": pa.nulls(len(values), pa.int8()) if label is None else pa.array(label, pa.int8()),
        **{name: values[:, n].astype(float) for n, name in enumerate(CONTRACT.feature_names)},
    }
    table = pa.table(columns)
    return table.append_column("score", pa.array(model.score_readings(table)))


@pytest.fixture(scope="module")
def model() -> ScoringModel:
    values = features(0)
    family = family_of("mahalanobis distance")
    fitted = family.fit(values, None, CONTRACT, {}, rounds=1, threads=1, seed=0)
    scorer = OnnxScorer(fitted.to_onnx())
    threshold = float(scorer.score(values).max())
    recorded = {"features": values[7].tolist(), "readings": [{"time": "2026-03-02T00:00:00Z"}]}
    example = recorded | {"score": score_example(scorer, CONTRACT, recorded)}
    scope = TrainingScope(until=0)
    return ScoringModel(
        scorer, CONTRACT, threshold, [example], scope, {"data_tag": "v1"}, "oven", "2"
    )


def decided(model: ScoringModel, rows: pa.Table, champion: ScoringModel | None = None) -> Decision:
    evidence, cards = weigh("SELECT 1", model, champion, rows, None, None)
    assert not cards
    assert Evidence.from_json(evidence.to_json()) == evidence
    return decide(Gate, evidence)


def test_a_version_that_keeps_its_promise_is_promoted_and_it_is_said_what_nobody_knows(model):
    decision = decided(model, unseen(model, features(1)))
    assert decision.promote
    assert "on 60.0 device days that it was not trained on: 5, or 0.0833 a" in decision.reason
    assert decision.reason.endswith("Without labels nothing shows what it finds or misses.")


def test_one_fault_does_not_break_a_promise(model):
    values = features(1)
    values[100:130] += 9
    assert decided(model, unseen(model, values)).promote


def test_more_alarms_than_chance_explains_break_it(model):
    values = features(1)
    values[:: HOURS // 8] += 9  # 25 in 60 device days, of which 6 are promised
    decision = decided(model, unseen(model, values))
    assert not decision.promote
    assert "more than the 0.1 a day that are promised" in decision.reason


def test_one_endless_alarm_is_one_episode_and_yet_breaks_it(model):
    decision = decided(model, unseen(model, features(1, shift=9)))
    assert not decision.promote
    assert "not trained on: 3, or" in decision.reason
    assert "more time in alarm than the 5.00% that are promised" in decision.reason


def test_a_model_whose_examples_score_otherwise_is_refused(model):
    wrong = [{**model.examples[0], "score": 0.123}]
    decision = decided(replace(model, examples=wrong), unseen(model, features(1)))
    assert not decision.promote
    assert "did not get their recorded scores" in decision.reason
    again = replace(model, examples=wrong, again=True)  # they are those of the fit that serves
    assert decided(again, unseen(model, features(1))).promote


def test_it_follows_a_champion_without_labels_but_none_with(model):
    rows = unseen(model, features(1))
    assert decided(model, rows, replace(model, version="1")).promote
    learned = replace(model, version="1", contract=make_contract(LABEL))
    decision = decided(model, rows, learned)
    assert not decision.promote
    assert decision.reason.startswith("Champion 1 learned from labels and this version did not")


def test_a_version_with_labels_has_to_keep_its_promise_beside_a_champion_without(model):
    kept = KeptPromise(3, 90.0, 0.01, 0.1, 0.1, 0.001, 0.0, 0.05, replayed=True)
    evidence = Evidence(True, None, average_precision=0.9, baseline={"random": 0.1})
    assert decide(Gate, replace(evidence, promise=kept)).promote
    broken = replace(kept, episodes=90, low=0.8, high=1.2)
    decision = decide(Gate, replace(evidence, promise=broken))
    assert not decision.promote
    assert "above the 0.100 of chance" in decision.reason
    assert "more than the 0.1 a day" in decision.reason


def test_only_where_one_learned_without_labels_there_is_a_promise(model):
    label = (np.arange(HOURS * len(DEVICES)) % 50 < 5).astype(np.int8)
    learned = replace(model, contract=make_contract(LABEL))
    rows = unseen(model, features(1), label)
    for champion, there in ((None, False), (learned, False), (model, True)):
        evidence, _ = weigh("SELECT 1", learned, champion, rows, None, None)
        assert (evidence.promise is not None) == there
        assert evidence.labelled
