"""What an alarm tells of a sensor: its share, its value, what would be usual, and the side."""

import json

import numpy as np
import pytest

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.core.files import write_json
from breezeway.detector.boosting import xgb
from breezeway.detector.explanation import CLOCK, Explainer
from breezeway.detector.families.registry import BOOSTED_TREES
from breezeway.detector.families.trees import TreeModel
from breezeway.detector.usual import LARGEST_BYTES, Usual
from tests.fixtures import ROOT

CONTRACT = """
name = "gear"
interval_seconds = 60
[payload]
format = "json"
[fields.torque]
type = "float"
unit = "Nm"
[fields.speed]
type = "float"
[fields.gear]
type = "category"
categories = ["low", "high"]
[fields.vibration]
type = "vector"
unit = "g"
[features]
window = 4
[features.reading]
torque = "torque"
speed = "speed"
power = "torque * speed"
gear = "gear"
shake = "rms(vibration)"
peaks = "kurtosis(vibration)"
late = "hour()"
[features.rolling]
torque = ["slope", "std"]
power = ["mean"]
[label]
column = "label"
[split]
by = "time"
"""
USUAL = Usual(
    ranges={
        "torque": (20.0, 30.0, 40.0),
        "speed": (1.0, 2.0, 3.0),
        "shake": (1.2, 1.5, 1.9),
        "peaks": (-1.0, 0.0, 1.0),
        "torque_slope": (-1.0, 0.0, 1.0),
    },
    words={"gear": ("low",)},
)
BOTH = {"gear": ("low", "high")}


@pytest.fixture(scope="module")
def gear():
    return Contract.from_text(CONTRACT, "gear.toml")


def one_feature(gear, name: str, usual: Usual = USUAL, side: int = 1):
    """Explains a booster whose score rises with one feature, or falls with it."""
    random = np.random.default_rng(2)
    rows = np.zeros((400, len(gear.feature_names)))
    column = gear.feature_names.index(name)
    rows[:, column] = random.normal(size=400)
    label = side * rows[:, column] > 0.5
    data = xgb.DMatrix(rows, label, feature_names=gear.feature_names)
    params = {"objective": "binary:logistic", "max_depth": 1, "nthread": 1}
    return Explainer(TreeModel(BOOSTED_TREES, xgb.train(params, data, 20)), gear, usual)


def row_of(gear, **values: float) -> np.ndarray:
    usual = {"torque": 30.0, "speed": 2.0, "shake": 1.5, "late": 3.0}
    return np.array([(usual | values).get(name, 0.0) for name in gear.feature_names])


def test_a_sensor_is_told_with_value_usual_and_unit(gear):
    [reason] = one_feature(gear, "shake").reasons(row_of(gear, shake=4.1))
    assert reason.told() == {
        "field": "vibration",
        "share": 1.0,
        "feature": "shake",
        "value": 4.1,
        "usual": (1.2, 1.9),
        "direction": "high",
        "unit": "g",
        "given": (),
    }
    assert reason.sentence == "vibration 4.1 g, usually 1.2 to 1.9"


def test_the_example_of_the_documentation_is_told_so(gear):
    page = (ROOT / "docs" / "alarms.md").read_text("utf-8")
    example = json.loads(page.partition("```json\n")[2].partition("```")[0])
    row = row_of(gear, shake=4.1, torque_slope=2.5)
    reasons = [one_feature(gear, name).reasons(row)[0] for name in ("shake", "torque_slope")]
    assert example["reason"] == "; ".join(reason.sentence for reason in reasons)
    told = json.loads(json.dumps([reason.told() for reason in reasons]))
    assert [each | {"share": 1.0} for each in example["why"]] == told
    assert sum(each["share"] for each in example["why"]) <= 1


def test_below_what_is_usual_is_low(gear):
    [reason] = one_feature(gear, "shake", side=-1).reasons(row_of(gear, shake=-1.1))
    assert (reason.direction, reason.share) == ("low", 1.0)


def test_off_on_the_side_that_lowers_the_score_names_nobody(gear):
    assert one_feature(gear, "shake", side=-1).reasons(row_of(gear, shake=4.1)) == []


def test_a_usual_value_tells_what_is_unusual_of_its_window(gear):
    [reason] = one_feature(gear, "torque_slope").reasons(row_of(gear, torque_slope=2.5))
    assert (reason.field, reason.direction) == ("torque", "high")
    assert reason.sentence == "torque_slope 2.5 Nm per reading, usually -1 to 1"


def test_a_usual_value_with_nothing_unusual_beside_it_is_told_as_usual(gear):
    [reason] = one_feature(gear, "torque_std").reasons(row_of(gear, torque_std=9.0))
    assert (reason.feature, reason.value, reason.direction) == ("torque", 30.0, None)
    assert reason.sentence == "torque 30 Nm, which is usual by itself (20 to 40)"
    [reason] = one_feature(gear, "gear", USUAL.model_copy(update={"words": BOTH})).reasons(
        row_of(gear) + (np.array(gear.feature_names) == "gear")
    )
    assert reason.sentence == "gear high, which is usual by itself (low or high)"


@pytest.mark.parametrize("torque", [35.0, 60.0])
def test_of_usual_values_at_most_the_first_is_told_and_none_beside_an_unusual_one(gear, torque):
    explainer = one_feature(gear, "power")
    # `power` has no range here, so each field is told by its own value.
    [reason] = explainer.reasons(row_of(gear, torque=torque, speed=2.9, power=200.0))
    assert (reason.is_usual, reason.direction) == ((True, None) if torque < 40 else (False, "high"))


def test_a_feature_of_two_fields_is_shared_by_what_each_changes(gear):
    explainer = one_feature(gear, "power")
    torque, speed = (explainer.sources.index(name) for name in ("torque", "speed"))
    only_torque, both, neither = explainer.shares(
        np.array(
            [
                row_of(gear, torque=60.0, power=120.0),
                row_of(gear, torque=60.0, speed=4.0, power=240.0),
                row_of(gear, power=60.0),
            ]
        )
    )
    assert (only_torque[torque], only_torque[speed]) == (1.0, 0.0)
    assert (both[torque], both[speed]) == (0.5, 0.5)
    assert (neither[torque], neither[speed]) == (0.5, 0.5)


def test_without_what_is_usual_a_feature_is_shared_equally(gear):
    explainer = one_feature(gear, "power", Usual())
    [first, second] = explainer.reasons(row_of(gear, torque=60.0, power=120.0))
    assert {first.field, second.field} == {"torque", "speed"}
    assert (first.share, second.share) == (0.5, 0.5)
    assert (first.usual, first.direction) == (None, None)
    assert first.sentence == "torque 60 Nm"


def test_a_figure_without_the_unit_is_told_without_it(gear):
    [reason] = one_feature(gear, "peaks").reasons(row_of(gear, peaks=3.25))
    assert reason.sentence == "peaks 3.25, usually -1 to 1"


def test_a_category_is_told_by_its_word(gear):
    [reason] = one_feature(gear, "gear").reasons(
        row_of(gear) + (np.array(gear.feature_names) == "gear")
    )
    assert (reason.value, reason.usual, reason.direction) == ("high", ("low",), None)
    assert reason.sentence == "gear high, usually low"


def test_a_missing_value_is_told_as_missing(gear):
    reasons = one_feature(gear, "shake", side=-1).reasons(row_of(gear, shake=np.nan))
    sentence = "vibration is missing, usually 1.2 to 1.9"
    assert [(r.value, r.direction, r.sentence) for r in reasons] in ([], [(None, None, sentence)])


def test_the_time_is_no_sensor(gear):
    [reason] = one_feature(gear, "late").reasons(row_of(gear, late=3.25))
    assert (reason.field, reason.value, reason.usual) == (CLOCK, 3.25, None)
    assert reason.sentence == "the time of the day or the week"


def test_numbers_beyond_those_of_trees_are_explained_too(gear):
    [reason] = one_feature(gear, "shake").reasons(row_of(gear, shake=1e300))
    assert reason.sentence == "vibration 1e+300 g, usually 1.2 to 1.9"


def test_few_reasons_and_none_that_is_small(gear):
    reasons = one_feature(gear, "power", Usual()).reasons(row_of(gear, power=100.0))
    assert len(reasons) == 2
    assert sum(reason.share for reason in reasons) <= 1


# -- what is usual


def test_what_is_usual_is_read_as_it_was_written(gear, tmp_path):
    write_json(tmp_path / "usual.json", USUAL.model_dump())
    assert Usual.read(tmp_path / "usual.json", gear) == USUAL
    assert Usual.read(tmp_path / "nothing.json", gear) == Usual()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"ranges": {}, "more": 1}',
        b'{"ranges": {"torque": [1, 2]}}',
        b'{"ranges": {"torque": [3, 2, 1]}}',
        b'{"ranges": {"torque": [1, NaN, 3]}}',
        b'{"ranges": {"torque": [1, 1e999, 3]}}',
        b'{"ranges": {"torque": ["1", "2", "3"]}}',
        b'{"ranges": {"nobody": [1, 2, 3]}}',
        b'{"ranges": {"gear": [0, 0, 1]}}',
        b'{"residuals": {"torque": [0, 0, 1]}}',
        b'{"words": {"gear": ["reverse"]}}',
        b'{"words": {"torque": ["low"]}}',
        b'{"words": {"gear": "low"}}',
        b"[" * 100_000,
        b'{"ranges": {"' + b"x" * 100_000 + b'": [1, 2, 3]}}',
        b" " * (LARGEST_BYTES + 1),
    ],
)
def test_hostile_content_is_an_error_of_the_data(gear, tmp_path, content):
    (tmp_path / "usual.json").write_bytes(content)
    with pytest.raises(DataError, match=r"^usual.json: ") as refused:
        Usual.read(tmp_path / "usual.json", gear)
    assert len(str(refused.value)) < 1000
