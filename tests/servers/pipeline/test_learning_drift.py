"""Day by day: a drift changes what is normal, alarms go up, and a retraining that has waited for
enough of it brings them down again, on days that nobody trained on."""

import argparse
import json
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from breezeway.contract.contract import Contract, load_contract
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.detector.scorecard import scorecard
from breezeway.detector.scoring import ScoringModel
from breezeway.pipeline import retraining
from breezeway.pipeline.nightly_rows import read_days
from breezeway.pipeline.retraining import Due
from breezeway.readings import plant
from breezeway.readings.store import RawStore
from breezeway.steps import drift, preprocess, test, train
from breezeway.tracking import champions, mlflow_client, registry
from breezeway.tracking.gate import Decision
from breezeway.tracking.load import load

pytestmark = pytest.mark.timeout(600)

FIRST = date(2026, 4, 1)
DRIFT = FIRST + timedelta(days=22)
"""From this day on the thermometers read 15 °C too much."""
HELD_OUT = LEARNED = 3
KNOWN_FROM = DRIFT + timedelta(days=2)
"""The first night that confirms the drift."""
RETRAINED = KNOWN_FROM + timedelta(days=HELD_OUT + LEARNED - 1)
LAST = RETRAINED + timedelta(days=5)
QUERY = "SELECT device, time, payload FROM readings"
CHANGES = {
    "holdout = 0.2 ": f'holdout = "{HELD_OUT}d" ',
    "refit = false": "refit = true",
    "learn_days = 3": f"learn_days = {LEARNED}",
}


@dataclass
class Plant:
    """Three machines with a reading every five minutes, and the model that watches them."""

    settings: Settings
    model: str = "learning"
    waits: dict[date, Due] = field(default_factory=dict)
    verdicts: dict[date, dict] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)

    def live(self, first: date, last: date) -> None:
        """The readings of some days arrive."""
        store = RawStore(self.settings.raw_address)
        for k in range((last - first).days + 1):
            day = first + timedelta(days=k)
            for number in range(1, 4):
                offset = 15.0 if day >= DRIFT else 0.0
                part = plant.simulate(f"machine-{number:02}", day, drift=offset)
                every_fifth = part.readings.take(pa.array(range(0, len(part.readings), 5)))
                store.append(every_fifth, labels=part.labels)

    def check(self, day: date) -> None:
        """The nightly check."""
        arguments = argparse.Namespace(model_name=self.model, date=day)
        self.verdicts[day] = drift.run(arguments, self.settings)

    def retrain(self, tag: str) -> None:
        """The steps of the DAG `training`, with the form as it is."""
        preprocess.run(
            argparse.Namespace(query=QUERY, tag=tag, day=None, first=None), self.settings
        )
        versions.publish(self.settings, self.settings.work / tag / "dataset", tag)
        names = argparse.Namespace(tag=tag, run_name=tag, model_name=self.model)
        number = train.run(names, self.settings)["model_version"]
        tested = {"query": QUERY, "model_name": self.model, "model_version": number}
        test.run(argparse.Namespace(**tested), self.settings)
        gate = load_contract(self.settings.sensors).gate
        self.decisions.append(champions.pass_gate(self.settings, self.model, number, gate))

    def due(self, night: date, asked: list[date]) -> Due:
        contract = load_contract(self.settings.sensors)
        return retraining.after_drift(
            self.settings, contract, self.model, (KNOWN_FROM, night), asked
        )

    def load(self, version: str, *, judged: bool = False) -> ScoringModel:
        return load(self.settings, self.model, version, judged=judged)

    def false_time(self, version: str, first: date, last: date, folder: Path) -> float:
        """The share of the normal time of some days in which a model in service is in alarm."""
        model = self.load(version)
        days = read_days(
            model, first, last, model.contract.zone, self.settings, folder / f"{version}-{first}"
        )
        rows = [
            b
            for k in range((last - first).days + 1)
            for b in days.scored(model, first + timedelta(days=k))
        ]
        table = pa.Table.from_batches(rows)
        card = scorecard(table, model.threshold, model.contract.interval_seconds)
        assert card.false_alarm_rate is not None
        return card.false_alarm_rate


@pytest.fixture(scope="module")
def lived(tmp_path_factory, mlflow_server) -> Plant:
    """Quiet days and a first champion; then a drift, the nights, and the retraining."""
    home = tmp_path_factory.mktemp("learning")
    text = (Settings.shipped_sensors / "plant.toml").read_text()
    for line, instead in CHANGES.items():
        assert line in text
        text = text.replace(line, instead)
    (home / "sensors.toml").write_text(text)
    settings = Settings(
        home=home, mlflow_url=mlflow_server, sensors=home / "sensors.toml", threads=1
    )
    RawStore(settings.raw_address).create()
    watched = Plant(settings)
    watched.live(FIRST, DRIFT - timedelta(days=1))
    watched.retrain("v1")
    watched.live(DRIFT, KNOWN_FROM)
    watched.check(KNOWN_FROM)
    asked: list[date] = []
    for k in range((LAST - KNOWN_FROM).days + 1):
        night = KNOWN_FROM + timedelta(days=k)
        if k:
            watched.live(night, night)
        watched.waits[night] = watched.due(night, asked)
        if watched.waits[night].now:
            asked.append(night)
            watched.retrain(f"v{len(asked) + 1}")
    watched.check(LAST)
    return watched


def test_a_retraining_waits_until_the_drift_can_be_learned_and_judged(lived):
    assert lived.verdicts[KNOWN_FROM]["verdict"] == "drifted"
    assert [night for night, due in lived.waits.items() if due.now] == [RETRAINED]
    assert "does not know 2 of the 2 days" in lived.waits[KNOWN_FROM + timedelta(days=1)].reason
    assert "needs 6: 3 to learn from, and 3" in lived.waits[KNOWN_FROM].reason


def test_alarms_go_up_and_down_again_on_days_that_nobody_trained_on(lived, tmp_path):
    before, after = DRIFT - timedelta(days=1), RETRAINED + timedelta(days=1)
    unseen = DRIFT - timedelta(days=HELD_OUT)
    usual = lived.false_time("1", unseen, before, tmp_path)
    assert lived.false_time("1", DRIFT, RETRAINED, tmp_path) > 1.5 * usual
    learned = lived.false_time("2", after, LAST, tmp_path)
    assert learned <= usual
    not_learned = lived.false_time("1", after, LAST, tmp_path)
    assert not_learned > 2 * learned, "it is the model that has changed"
    assert lived.verdicts[LAST]["verdict"] == "quiet"


def test_what_was_judged_and_what_serves_are_told_apart(lived):
    judged, serves = lived.load("2", judged=True), lived.load("2")
    assert (
        judged.trained_on.until_text == f"{RETRAINED - timedelta(days=HELD_OUT - 1)}T00:00:00+00:00"
    )
    assert serves.trained_on.until_text.startswith(f"{RETRAINED}T23:5")
    assert judged.threshold == serves.threshold
    assert judged.fitted_model.to_bytes() != serves.fitted_model.to_bytes()
    evidence = champions.read_evidence(lived.settings, lived.model, "2")
    assert (evidence.refit, evidence.trained_on) == (True, judged.trained_on.until_text)
    assert evidence.rows == HELD_OUT * 3 * 288, "those that the judged fit does not know"
    assert lived.decisions[-1].promote
    assert "Judged was the fit on readings before" in lived.decisions[-1].reason
    tags = registry.find_version(lived.settings, lived.model, "2").tags
    assert tags["trained_on"] == serves.trained_on.to_json()
    assert tags["judged_on"] == judged.trained_on.to_json()


def test_the_report_says_which_days_the_model_knows(lived, tmp_path):
    run_id, client = lived.verdicts[LAST]["run_id"], mlflow_client.client(lived.settings)
    path = client.download_artifacts(run_id, "findings.json", str(tmp_path))
    known = json.loads(Path(path).read_text())["known"]
    assert known["first"] == str(FIRST)
    assert known["until"] == lived.load("2").trained_on.until_text
    assert known["judged_until"] == lived.load("2", judged=True).trained_on.until_text
    page = Path(client.download_artifacts(run_id, "drift.html", str(tmp_path))).read_text()
    assert f"has learned from the readings from {FIRST} until {RETRAINED} 23:5" in page


@pytest.mark.parametrize(
    ("asked", "now", "reason"),
    [
        ([], True, "8 days since"),
        ([RETRAINED], False, "can learn more in 1 days"),
        ([RETRAINED - timedelta(days=1)], True, "3 are held out"),
        ([KNOWN_FROM] * retraining.MOST, False, "after 5 retrainings"),
    ],
)
def test_it_is_repeated_while_the_champion_does_not_know_the_drift(lived, asked, now, reason):
    """Version 1 is the champion again, as after refusals."""
    registry.set_alias(lived.settings, lived.model, champions.CHAMPION, "1")
    try:
        due = lived.due(RETRAINED + timedelta(days=2), asked)
    finally:
        registry.set_alias(lived.settings, lived.model, champions.CHAMPION, "2")
    assert (due.now, reason in due.reason) == (now, True), due.reason


@pytest.mark.parametrize(("holdout", "held"), [("0.2", 7), ('"10d"', 10)])
def test_a_share_is_held_out_of_the_days_since_the_dataset_begins(lived, holdout, held):
    text = lived.settings.sensors.read_text().replace('holdout = "3d"', f"holdout = {holdout}")
    contract = Contract.from_text(text, "sensors.toml")
    last = FIRST + timedelta(days=31)
    assert retraining.held_out_days(lived.settings, contract, "v2", last) == held
