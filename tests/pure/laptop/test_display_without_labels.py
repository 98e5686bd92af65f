"""What a person sees in the shell of a run without labels."""

from breezeway.laptop import display
from breezeway.tracking import run_summary
from tests.fixtures.plant import plant_contract

FIGURES = {
    "promised_episodes_per_day": 0.1,
    "alarm_episodes": 3,
    "device_days": 40.0,
    "alarm_episodes_per_day": 0.075,
}


def test_the_promise_and_what_was_measured_stand_in_place_of_a_table(capsys):
    train = {"metrics": FIGURES, "not_judged": "No labels: F1 cannot be judged."}
    display._print_scores(train, {"judged": 12, "drifted": ["fan"]}, None)
    said = " ".join(capsys.readouterr().out.split())
    assert "3 alarms in 40 days of a device that training did not see, 0.075 a day" in said
    assert "promised are 0.1." in said
    assert "No labels: F1 cannot be judged." in said
    assert "Drift among 12 recent readings: fan." in said


def test_where_nothing_was_held_out_the_promise_is_told_alone():
    train = {"metrics": {"promised_episodes_per_day": 0.1}, "not_judged": "No labels."}
    assert run_summary.sentences_of(train, None, plant_contract()) == [
        "Alarms a day of a device: promised are 0.1.",
        "No labels.",
    ]
