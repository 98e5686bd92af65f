"""What the last task of a run says of it."""

from breezeway.tracking.run_summary import text_of
from tests.fixtures.plant import plant_contract
from tests.fixtures.run_results import RESULTS

CONTRACT = plant_contract()


def test_a_whole_run_is_told_as_lines_whose_columns_stand_below_each_other():
    lines = text_of(RESULTS, CONTRACT).splitlines()
    assert lines[0].startswith("dataset          plant-1: 100 readings in, 98 out")
    assert lines[2] == "best parameters  max_depth 3, learning_rate 0.1235"
    header, plant, always_on = lines[lines.index("On readings that training did not see") + 1 :][:3]
    assert header.index("F1") == plant.index("0.500") == always_on.index("0.500")
    assert lines[-1] == "Drift among 40 recent readings: none."
    assert "3 of 4 faults found" in lines[-2]


def test_of_a_part_of_the_steps_what_ran_is_told():
    only = {name: RESULTS[name] for name in ("test", "promote")}
    assert text_of(only, CONTRACT).splitlines() == [
        "promotion  promoted: It is better.",
        "",
        "Drift among 40 recent readings: none.",
    ]
    assert text_of({}, CONTRACT) == ""


def test_what_was_chosen_of_the_candidates_is_told():
    chosen = {"tried": 9, "variants": 20, "kept_count": 1, "why_none": ""}
    kept = [{"name": "own past", "gain": 0.0312, "features": 6, "microseconds": 50}]
    tuned = {"params": {}, "features": {**chosen, "kept": kept}}
    said = text_of({"tune": tuned}, CONTRACT).splitlines()
    assert said[1].split(maxsplit=1)[1] == ("1 of 9 groups kept, of 20 variants: own past (+0.031)")
    none = {"tried": 0, "variants": 0, "kept_count": 0, "kept": [], "why_none": "no labels"}
    said = text_of({"tune": {**tuned, "features": none}}, CONTRACT)
    assert said.endswith("0 of 0 groups kept, of 0 variants: no labels")
