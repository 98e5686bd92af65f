"""What the gate is told of judged rows."""

import pyarrow as pa
import pytest

from breezeway.contract.contract import Contract
from breezeway.detector.clock import LEARNED_CLOCK, Clock, fit_clock
from breezeway.detector.scorecard import BASELINES
from breezeway.detector.scorecard import rows_of as ordered
from breezeway.detector.scoring import ScoringModel
from breezeway.pipeline.evidence import weigh
from tests.fixtures.mill import FIRST, LAST, TRAINED_UNTIL, make_champion, make_contract, rows_of


@pytest.fixture(scope="module")
def contract() -> Contract:
    return make_contract()


@pytest.fixture(scope="module")
def champion(contract) -> ScoringModel:
    return make_champion(contract, version="1", rounds=1)


@pytest.fixture(scope="module")
def model(contract) -> ScoringModel:
    return make_champion(contract, version="2", rounds=20)


@pytest.fixture
def unseen(contract, model) -> pa.Table:
    rows = rows_of(contract, TRAINED_UNTIL, LAST, seed=1)
    return rows.append_column("score", pa.array(model.score_readings(rows)))


@pytest.fixture(scope="module")
def clock(contract, model) -> Clock:
    known = rows_of(contract, FIRST, TRAINED_UNTIL, seed=2)
    return fit_clock(ordered(known), model.trained_on, threads=1)


def beside(unseen: pa.Table, champion: ScoringModel) -> pa.Table:
    return unseen.append_column("champion_score", pa.array(champion.score_readings(unseen)))


def test_alone_a_version_stands_beside_detectors_that_look_at_no_sensor(model, unseen, clock):
    evidence, cards = weigh("SELECT 1", model, None, unseen, None, clock)
    assert (evidence.labelled, evidence.rows, evidence.champion) == (True, len(unseen), None)
    assert set(cards) == {"model", *BASELINES}
    assert evidence.average_precision == cards["model"].average_precision > 0.5
    of_clock = evidence.baseline.pop(LEARNED_CLOCK)
    assert evidence.baseline == {name: cards[name].average_precision for name in BASELINES}
    assert of_clock < 0.5
    assert evidence.beside_clock == ""
    assert (evidence.difference, evidence.champion_average_precision) == (None, None)


def test_a_version_that_is_no_better_than_a_clock_is_told_of(model, unseen, clock):
    nothing = pa.array([0.5] * len(unseen))
    blind = unseen.set_column(unseen.column_names.index("score"), "score", nothing)
    evidence, _ = weigh("SELECT 1", model, None, blind, None, clock)
    assert "no sensor" in evidence.beside_clock
    assert f"against {evidence.average_precision:.3f}" in evidence.beside_clock


def test_beside_a_champion_the_difference_has_an_interval(model, champion, unseen, clock):
    evidence, cards = weigh("SELECT 1", model, champion, unseen, beside(unseen, champion), clock)
    assert evidence.champion == "1"
    assert evidence.champion_average_precision == cards["champion"].average_precision
    difference = evidence.difference
    assert difference.low <= difference.estimate <= difference.high
    assert difference.estimate == pytest.approx(
        evidence.average_precision - evidence.champion_average_precision
    )


def test_a_champion_that_knows_the_rows_gives_no_difference(model, champion, unseen, clock):
    both = beside(unseen, champion).slice(0, 0)
    evidence, cards = weigh("SELECT 1", model, champion, unseen, both, clock)
    assert (evidence.champion, evidence.difference) == ("1", None)
    assert "champion" not in cards


@pytest.mark.parametrize("label", [0, 1, None])
def test_without_labels_of_both_classes_there_is_no_figure(model, unseen, label, clock):
    place = unseen.column_names.index("label")
    column = pa.array([label] * len(unseen), pa.int8())
    evidence, cards = weigh(
        "SELECT 1", model, None, unseen.set_column(place, "label", column), None, clock
    )
    assert (evidence.labelled, evidence.average_precision, cards) == (False, None, {})
