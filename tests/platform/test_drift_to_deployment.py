"""From drift to a new model in service, on the real platform: drift → asset event → enough of it to
learn → one retraining → a person's approval → promotion → deployment."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pyarrow as pa
import pytest

from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
from breezeway.laptop import dag_run, demo
from breezeway.laptop.platform import Platform
from breezeway.readings import plant
from breezeway.readings.store import RawStore
from breezeway.tracking import champions, registry

pytestmark = pytest.mark.timeout(1200)

TODAY = datetime.now(UTC).date()
QUIET_DAYS = 22
"""Three weeks and a day: from three weeks on each hour is compared with the same of the week."""
DRIFTED = [f"{TODAY - timedelta(days=ago)}" for ago in (4, 3, 2, 1)]
"""Days on which the thermometers read 30 °C too much."""

CHANGES = {
    "holdout = 0.2 ": 'holdout = "2d" ',
    "refit = false": "refit = true",
    "retrain = false": "retrain = true",
    "learn_days = 3": "learn_days = 1",
    "approval = false": "approval = true",
    "max_loss = 0.02": "max_loss = 1.0",  # so few readings would rule out no small loss
}
"""What this contract has in place of a line of the simulated plant's."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with a contract of its own, which the DAGs are made of."""
    home = tmp_path_factory.mktemp("drift") / "home"
    text = (Settings.shipped_sensors / "plant.toml").read_text()
    for line, instead in CHANGES.items():
        assert line in text
        text = text.replace(line, instead)
    home.mkdir()
    (home / "sensors.toml").write_text(text)
    settings = Settings(
        home=home,
        raw_url=f"sqlite:///{home / 'raw.db'}",
        dataset_repository=str(home / "datasets.git"),
        dataset_remote=str(home / "dvc-remote"),
        sensors=home / "sensors.toml",
    )
    with Platform(settings) as started:
        yield started


def fill(settings: Settings, days: int, until: str, drift: float = 0.0) -> None:
    """Readings of three machines, one every five minutes: enough, and soon trained on.

    Args:
        days: so many, the last of them before `until`.
        drift: °C by which the thermometers read too much.
    """
    store = RawStore(settings.raw_address)
    store.create()
    for ago in range(days, 0, -1):
        for number in range(1, 4):
            day = date.fromisoformat(until) - timedelta(days=ago)
            part = plant.simulate(f"machine-{number:02}", day, drift=drift)
            thinned = part.readings.take(pa.array(range(0, len(part.readings), 5)))
            store.append(thinned, labels=part.labels)


class Airflow:
    """What the test asks Airflow's REST API."""

    def __init__(self, client: httpx.Client):
        self.client = client

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        return self.client.get(f"/api/v2/{path}", params=params).raise_for_status().json()

    def until(self, true: Callable[[], Any], seconds: float = 600) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        return found

    def states(self, dag: str, run_id: str) -> dict[str, str]:
        tasks = self.get(f"dags/{dag}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in tasks}

    def finish(self, dag: str, run_id: str) -> dict[str, str]:
        """Wait for the end of a run; the states of its tasks."""
        place = f"dags/{dag}/dagRuns/{run_id}"
        self.until(lambda: self.get(place)["state"] in ("success", "failed"))
        return self.states(dag, run_id)

    def check_night(self, day: str) -> tuple[str, dict[str, str]]:
        """Run the nightly check for a day."""
        run = self.client.post(
            "/api/v2/dags/nightly_drift/dagRuns", json={"logical_date": None, "conf": {"date": day}}
        )
        run_id = run.raise_for_status().json()["dag_run_id"]
        return run_id, self.finish("nightly_drift", run_id)

    def retrainings(self) -> list[str]:
        runs = self.get("dags/training/dagRuns", run_type="asset_triggered")["dag_runs"]
        return [run["dag_run_id"] for run in runs]

    def events(self) -> list[dict[str, Any]]:
        return self.get("assets/events")["asset_events"]

    def approve(self, run_id: str) -> dict[str, Any]:
        """Say yes whenever somebody is asked, until the run goes on; the question.

        Airflow loses an answer that comes before its scheduler has heard that the process which
        asked has ended, asks again, and gives up in the end. A person takes longer than that.
        """
        detail = f"dags/training/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
        answer = {"chosen_options": ["Approve"], "params_input": {}}

        def approved() -> bool:
            state = self.states("training", run_id).get("approve")
            if state == "awaiting_input" and not self.get(detail)["response_received"]:
                time.sleep(5)
                self.client.patch(f"/api/v2/{detail}", json=answer).raise_for_status()
            return state == "success"

        self.until(approved)
        return self.get(detail)


def test_drift_starts_one_retraining_which_a_person_approves(platform: Platform) -> None:
    settings = platform.settings.model_copy(update={"mlflow_url": platform.url("mlflow")})
    contract = load_contract(settings.sensors)
    with platform.airflow() as client:
        airflow = Airflow(client)
        fill(settings, QUIET_DAYS, until=DRIFTED[0])
        steps = ["preprocess", "train", "test", "promote", "deploy"]
        first, _ = dag_run.trigger(client, contract, steps=steps)
        airflow.approve(first)
        assert airflow.finish("training", first)["deploy"] == "success"
        assert champions.champion(settings, "plant") == "1"

        fill(settings, len(DRIFTED), until=f"{TODAY}", drift=30.0)
        confirmed, states = airflow.check_night(DRIFTED[1])  # by the night before
        assert states == {
            **dict.fromkeys(["check_inputs", "drift", "announce"], "success"),
            "retrain": "skipped",
        }
        (event,) = airflow.events()
        assert event["uri"] == "breezeway://drift/plant"
        assert event["extra"]["date"] == DRIFTED[1]
        assert event["extra"]["model_version"] == "1"
        assert any("temperature" in change["column"] for change in event["extra"]["drifted"])
        assert airflow.retrainings() == []

        # Two more nights of the same drift: one to learn from, and two are held out.
        learnable, states = airflow.check_night(DRIFTED[3])
        assert (states["announce"], states["retrain"]) == ("skipped", "success")
        (retraining,) = airflow.until(airflow.retrainings)

        # Both nights once more.
        again = {"dry_run": False, "only_failed": False}
        for night, task in ((confirmed, "announce"), (learnable, "retrain")):
            again |= {"dag_run_id": night, "task_ids": [task]}
            path = "/api/v2/dags/nightly_drift/clearTaskInstances"
            client.post(path, json=again).raise_for_status()
            assert airflow.finish("nightly_drift", night)[task] == "skipped"

        question = airflow.approve(retraining)
        assert question["subject"] == "Promote plant 2?"
        assert "Average precision" in question["body"]
        states = airflow.finish("training", retraining)
        assert set(states.values()) == {"success"}
        assert airflow.retrainings() == [retraining]
        assert len(airflow.events()) == 2

    assert champions.champion(settings, "plant") == "2"
    kept = registry.find_version(settings, "plant", "2").tags
    assert kept["approved_by"] == "admin"
    assert (
        json.loads(kept["trained_on"])["until"]
        > DRIFTED[3]
        > json.loads(kept["judged_on"])["until"]
    )
    answer = demo.predict(platform.url("serving"), "plant", contract, settings)
    assert answer["model_version"] == "2"
