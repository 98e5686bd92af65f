"""Sixty days of a plant in half an hour: processes whose clock is moved from night to night.

`tests/fixtures/sixty_days.py` lives them, beside a real MLflow, a real model server, git and DVC.
Readings come late, a week is missed, thermometers drift, a retraining puts it right; and in each
phase all processes are killed once. `docs/sixty-days.md` tells of a run.

    BREEZEWAY_SIXTY_DAYS=folder make fuzz TESTS=tests/servers/pipeline/test_sixty_days.py

keeps its files in a folder, and the timeline as `timeline.json`. If it was ended it goes on there.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from breezeway.core.settings import Settings, quiet_environment
from tests.fixtures import ROOT, mlflow
from tests.fixtures.fuzz import SECONDS
from tests.fixtures.moved_clock import MovedClock
from tests.fixtures.serving import ModelServer
from tests.fixtures.sixty_days import (
    BACK,
    BACKTESTED,
    CUT,
    DRIFT,
    FIRST,
    HELD_OUT,
    LAST,
    LATE,
    LEARNED,
    PREPARED,
    READY,
    Journal,
    day,
    moment,
    number_of,
)

pytestmark = [
    pytest.mark.fuzz,
    pytest.mark.timeout(2 * 3600),
    pytest.mark.skipif(SECONDS not in os.environ, reason="`make fuzz` runs it: half an hour"),
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler, for its clock"),
]

FOLDER = "BREEZEWAY_SIXTY_DAYS"
CHANGES = {
    "holdout = 0.2 ": f'holdout = "{HELD_OUT}d" ',
    "refit = false": "refit = true",
    "retrain = false": "retrain = true",
    "learn_days = 3": f"learn_days = {LEARNED}",
}
KILLED = {
    "history": "history 12",
    "training": "first: train",
    "night": f"night {CUT}",
    "promotion": "retraining-*: promote",
    "deployment": "second: deploy",
    "backtest": f"backtest {BACKTESTED[1]}",
}
"""Phase → the part of the journal that is being done when the power fails."""
MISSED = range(CUT + 1, BACK)
PART_SECONDS = 1800


class Story:
    """The processes, and their end in each phase."""

    def __init__(self, home: Path):
        home.mkdir(parents=True, exist_ok=True)
        text = (Settings.shipped_sensors / "plant.toml").read_text()
        for line, instead in CHANGES.items():
            assert line in text
            text = text.replace(line, instead)
        (home / "sensors.toml").write_text(text)
        (home / "mlflow").mkdir(exist_ok=True)
        self.home, self.clock = home, MovedClock(home)
        self.server = ModelServer(home, environment=self.clock.variables)
        self._kills = home / "kills.json"
        there = self._kills.exists()
        self.kills: list[dict[str, Any]] = json.loads(self._kills.read_text()) if there else []
        self._running = ExitStack()
        self._plant: subprocess.Popen[str] | None = None

    @property
    def told(self) -> dict[str, Any]:
        return Journal(self.home).told

    def start(self) -> None:
        artifacts = str(self.home / "mlflow" / "artifacts")
        url = self._running.enter_context(
            mlflow.serving(self.home / "mlflow", artifacts, **self.clock.variables)
        )
        self._running.callback(self.server.kill)
        self.server.start()
        self._plant = subprocess.Popen(
            [sys.executable, "-m", "tests.fixtures.sixty_days"],
            env={
                **os.environ,
                **quiet_environment(),
                **self.clock.variables,
                "PYTHONPATH": f"{ROOT}:{ROOT / 'include'}:{ROOT / 'plugins'}",
                "BREEZEWAY_HOME": str(self.home),
                "BREEZEWAY_SENSORS": str(self.home / "sensors.toml"),
                "BREEZEWAY_MLFLOW_URL": url,
                "BREEZEWAY_SERVING_URL": self.server.url,
                "BREEZEWAY_THREADS": "1",
            },
            stdin=subprocess.PIPE,
            stdout=(self.home / "answers").open("wb"),
            stderr=(self.home / "plant.log").open("ab"),
            text=True,
            bufsize=1,
        )
        self._running.callback(self._plant.wait)
        self._running.callback(self._plant.kill)

    def live(self) -> None:
        """All days, one after the other; what was done before is not done again."""
        self.start()
        self.live_until(moment(PREPARED + 1, 6))
        for number in range(PREPARED + 1, LAST + 1):
            if number not in MISSED:
                self.live_until(moment(number + 1, 2, 0, 10))
        self.live_until(moment(LAST + 1, 6))

    def lose_power(self) -> None:
        """All processes end at once."""
        self._running.close()

    def live_until(self, when: datetime) -> None:
        """Move the clock, and let the work be done that is due then."""
        self.clock.move_to(when)
        while not self._work():
            # The clock does not go on while there is no power, but for the week that is missed.
            if self.kills[-1]["phase"] == "night":
                self.clock.move_to(moment(BACK, 6))
            self.kills[-1]["back"] = self.clock.now().isoformat(timespec="seconds")
            self._kills.write_text(json.dumps(self.kills, indent=1))
            self.start()

    def _work(self) -> bool:
        """Whether the work was done; else the power has failed, in a phase that is new to it."""
        assert self._plant
        assert self._plant.stdin
        answers, log = self.home / "answers", self.home / "plant.log"
        known = answers.read_text().count(READY)
        self._plant.stdin.write("go\n")
        deadline = time.monotonic() + PART_SECONDS
        while answers.read_text().count(READY) == known:
            assert self._plant.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.told["doing"]
            if phase := self._phase():
                self._fail(phase)
                return False
            time.sleep(0.05)
        return True

    def _phase(self) -> str | None:
        doing = self.told["doing"]
        known = {kill["phase"] for kill in self.kills}
        for phase, part in KILLED.items():
            begin, _, end = part.partition("*")
            if phase not in known and doing.startswith(begin) and doing.endswith(end):
                return phase
        return None

    def _fail(self, phase: str) -> None:
        if phase != "promotion":  # which takes no longer than this
            time.sleep(random.uniform(0.2, 1))
        at = self.clock.now().isoformat(timespec="seconds")
        self.lose_power()
        self.kills.append({"phase": phase, "at": at, "during": self.told["doing"]})
        print(f"the power fails: {self.kills[-1]}", flush=True)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What is told of the sixty days."""
    kept = os.environ.get(FOLDER)
    story = Story(Path(kept).resolve() if kept else tmp_path_factory.mktemp("sixty") / "home")
    try:
        if "end" not in story.told["done"]:
            story.live()
        told = story.told | {"kills": story.kills, "first": str(FIRST)}
        text = json.dumps(told, indent=1, ensure_ascii=False)
        (story.home / "timeline.json").write_text(text)
        yield told
    finally:
        story.lose_power()


def numbers(days: Any) -> list[int]:
    return [number_of(date.fromisoformat(of[:10])) for of in days]


def test_all_days_are_published_and_no_reading_is_lost_or_doubled(told) -> None:
    end = told["done"]["end"]
    assert numbers(end["published"]) == list(range(1, LAST + 1))
    assert end["rows"] == [3 * 288] * LAST


def test_only_the_days_that_late_readings_change_are_made_again(told) -> None:
    """The day they belong to, and the next one: its first windows reach back to them."""
    end = told["done"]["end"]
    again = [of for of, tag in end["published"].items() if not tag.endswith("-1")]
    assert numbers(again) == [LATE, LATE + 1]
    assert len([tag for tag in end["tags"] if tag.startswith("plant-day-")]) == LAST + 2


def test_each_night_is_checked_once_and_missed_ones_oldest_first(told) -> None:
    assert numbers(night["date"] for night in told["nights"]) == list(range(PREPARED + 1, LAST + 1))
    times = [night["checked_at"] for night in told["nights"]]
    assert times == sorted(times)
    made_up = [night for night in told["nights"] if night["checked_at"][:10] == str(day(BACK))]
    assert numbers(night["date"] for night in made_up) == list(range(CUT, BACK))
    assert [night["absent_nights"] for night in made_up[1:]] == [0] * len(MISSED)


def test_a_drift_is_announced_once_and_learned_when_there_is_enough_of_it(told) -> None:
    drift, retraining = told["events"]
    assert [drift["of"], retraining["of"]] == ["drift", "retraining"]
    announced, retrained = numbers([drift["date"], retraining["date"]])
    assert DRIFT < announced <= DRIFT + 2
    assert retrained == announced + HELD_OUT + LEARNED - 1
    drifted = [night["date"] for night in told["nights"] if night["verdict"] == "drifted"]
    assert numbers(drifted)[: HELD_OUT + LEARNED] == list(range(announced, retrained + 1))


def retrained(told) -> int:
    return numbers([told["events"][1]["date"]])[0]


def a_day(told, version: str, first: int, last: int) -> float:
    name = f"false_episodes_of_{version}"
    return sum(told["days"][str(n)][name] for n in range(first, last + 1)) / (last + 1 - first)


def test_alarms_are_down_again_on_days_that_nobody_trained_on(told) -> None:
    last = retrained(told)
    assert a_day(told, "1", PREPARED + 1, DRIFT - 1) <= 1
    assert a_day(told, "1", DRIFT, last) > 4
    assert a_day(told, "2", last + 1, LAST) <= 1
    assert a_day(told, "1", last + 1, LAST) > 4, "it is the model that has changed"
    until = datetime.fromisoformat(told["done"]["end"]["trained_on"]["until"])
    assert until.date() == day(last), "the model in service knows the drifted days"


def test_a_night_is_judged_by_what_was_in_service_whenever_that_is_asked(told) -> None:
    last = retrained(told)
    for night in told["nights"]:
        number = number_of(date.fromisoformat(night["date"]))
        assert night["model_version"] == ("1" if number <= last else "2"), night
        assert night["was_in_service"] == (number > PREPARED), night
    for number in (last, last + 1):
        again, before = told["done"][f"night {number} once more"], told["done"][f"night {number}"]
        for key in ("model_version", "verdict", "was_in_service", "drifted"):
            assert again[key] == before[key], (number, key)


def test_the_model_server_answers_with_what_was_put_into_service(told) -> None:
    answered = {int(n): about.get("answered_by") for n, about in told["days"].items()}
    last = retrained(told)
    for number, version in answered.items():
        if number not in range(CUT, BACK - 1):
            assert version == ("1" if number < last else "2"), number
    assert [service["version"] for service in told["done"]["end"]["services"]] == ["1", "2"]
    assert told["done"]["end"]["champion"] == "2"


def test_the_power_failed_in_each_phase_and_nothing_was_left_undone(told) -> None:
    assert [kill["phase"] for kill in told["kills"]] == list(KILLED)
    assert told["doing"] == ""
    assert [left for left in told["done"]["end"]["work"] if left.startswith(".")] == []
    assert len([part for part in told["done"] if part.startswith("backtest")]) == len(BACKTESTED)
    days = (datetime.fromisoformat(told["kills"][2][at]) for at in ("back", "at"))
    assert next(days) - next(days) > timedelta(days=7)
