"""Months of nights and trainings, thinned and killed: what is needed stays, the rest is bounded."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from breezeway.commands import housekeeping as command
from breezeway.core.settings import Settings
from breezeway.datasets import history, versions
from breezeway.deployment.store import Deployment, DeploymentStore, Pointer
from breezeway.pipeline import housekeeping, lineage
from breezeway.tracking import champions, past_runs, registry, rest
from tests.fixtures import mlflow
from tests.fixtures.fuzz import SECONDS, rounds

NIGHTS, TRAINED_EVERY, THINNED_EVERY, KEPT_NIGHTS = (
    (365, 7, 30, 90) if SECONDS in os.environ else (24, 2, 12, 8)
)
MODEL = "plant"
REPORT = b"x" * 20_000
FIRST = date(2026, 1, 1)

THIN = """
import sys
from datetime import datetime
from pathlib import Path
from breezeway.core.settings import Settings
from breezeway.pipeline import housekeeping

settings = Settings(home=Path(sys.argv[1]), mlflow_url=sys.argv[2])
since = datetime.fromisoformat(sys.argv[3])
housekeeping.thin_models(settings, since, dry_run=False)
housekeeping.thin_datasets(settings, since, dry_run=False)
"""


@pytest.fixture(scope="module")
def mlflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a server of our own: what is removed here must be nobody else's."""
    return tmp_path_factory.mktemp("thinned")


@pytest.fixture(scope="module")
def settings(mlflow_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with mlflow.serving(mlflow_folder, str(mlflow_folder / "artifacts")) as url:
        yield Settings(home=tmp_path_factory.mktemp("home"), mlflow_url=url)


class Plant:
    """A plant that checks each night and trains now and then."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.champion: str | None = None
        self.ends: list[datetime] = []

    def publish(self, tag: str, content: str) -> versions.DatasetVersion:
        folder = self.settings.root / "made" / f"{tag}-{time.monotonic_ns()}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"rows": 1}))
        (folder / "readings").write_text(content * 500)
        return versions.publish(self.settings, folder, tag)

    def record(self, tags: dict[str, str]) -> dict[str, str]:
        """A run with a report."""
        listed = [{"key": f"breezeway.{key}", "value": value} for key, value in tags.items()]
        run = rest.post(
            self.settings,
            "runs/create",
            experiment_id="0",
            start_time=int(time.time() * 1000),
            tags=listed,
        )["run"]["info"]
        path = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        address = f"{self.settings.mlflow_url}/api/2.0/mlflow-artifacts/artifacts/{path}/drift.html"
        urllib.request.urlopen(urllib.request.Request(address, REPORT, method="PUT")).close()
        return run

    def night(self, number: int) -> None:
        day = FIRST + timedelta(days=number)
        self.publish(f"plant-day-{day:%Y%m%d}-1", f"day {number}")
        if number % 5 == 4:  # a late reading
            late = day - timedelta(days=2)
            self.publish(f"plant-day-{late:%Y%m%d}-2", f"late {number}")
        if self.champion:
            self.record({"step": "drift", "model": f"{MODEL}/{self.champion}"})
        if number % TRAINED_EVERY == 0:
            self.train(number)
        self.ends.append(datetime.now(UTC))

    def train(self, number: int) -> None:
        data = self.publish(f"training-{number}", f"training {number}")
        about = {"data_tag": data.tag, "data_hash": data.hash, "data_commit": data.commit}
        run = self.record({"step": "train", **about})
        if self.champion is None:
            rest.post(self.settings, "registered-models/create", name=MODEL)
        tags = {**about, "run_id": run["run_id"]}
        version = rest.post(
            self.settings,
            "model-versions/create",
            name=MODEL,
            run_id=run["run_id"],
            source=f"{run['artifact_uri']}/model",
            tags=[{"key": f"breezeway.{key}", "value": value} for key, value in tags.items()],
        )["model_version"]["version"]
        self.record({"step": "test", "model": f"{MODEL}/{version}"})
        if number % (3 * TRAINED_EVERY) != TRAINED_EVERY:  # else it does not pass the gate
            champions.promote(self.settings, MODEL, str(version), self.champion, "better")
            self.champion = str(version)
            self.deploy(str(version), data.tag)

    def deploy(self, version: str, data_tag: str) -> None:
        bento = self.settings.root / "bento"
        bento.mkdir(exist_ok=True)
        (bento / "model").write_text(version)
        store = DeploymentStore(self.settings.deployments)
        record = Deployment(
            model_name=MODEL,
            model_version=version,
            deployment=f"{version}-d",
            bento=f"{MODEL}:{version}",
            data_tag=data_tag,
            model_folder="model",
        )
        before = store.pointer(MODEL)
        new = store.add(bento, record).verified()
        store.point(new.model_copy(update={"previous": before and before.last_good()}))
        store.prune(MODEL)


def mlflow_gc(settings: Settings, database: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mlflow", "gc"),
            *("--backend-store-uri", f"sqlite:///{database}"),
            *("--tracking-uri", settings.mlflow_url),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def needed_versions(settings: Settings) -> set[str]:
    pointer = DeploymentStore(settings.deployments).pointer(MODEL)
    assert isinstance(pointer, Pointer)
    deployed = {
        pointer.model_version,
        *([pointer.previous.model_version] if pointer.previous else []),
    }
    return champions.within_reach(settings, MODEL) | deployed


def check_needed(settings: Settings, nights: int) -> None:
    """Live models lead to their data, and the data are there; so are all days."""
    for version in needed_versions(settings):
        found = lineage.trace(settings, f"{MODEL}/{version}")
        assert found["problems"] == []
        assert found["run"] is not None
        opened = versions.open_dataset(settings, found["data"]["tag"])
        assert (opened.folder / "readings").read_text().startswith("training")
    days = history.published_days(settings, "plant")
    assert len(days) == nights
    assert len(versions.open_datasets(settings, list(days.values()))) == nights


def files_of(folder: Path) -> int:
    return sum(1 for path in folder.rglob("drift.html"))


@pytest.mark.fuzz
def test_months_of_nights_are_bounded_and_nothing_needed_goes(settings, mlflow_folder) -> None:
    (chance,) = islice(rounds(1), 1)
    plant = Plant(settings)
    for number in range(NIGHTS):
        plant.night(number)
        if number % THINNED_EVERY != THINNED_EVERY - 1:
            continue
        since = plant.ends[number - KEPT_NIGHTS] if number >= KEPT_NIGHTS else plant.ends[0]
        call = [sys.executable, "-c", THIN, str(settings.root), settings.mlflow_url]
        for _ in range(2):
            killed = subprocess.Popen([*call, since.isoformat()], start_new_session=True)
            time.sleep(chance.uniform(0.3, 4))
            os.killpg(killed.pid, signal.SIGKILL)
            killed.wait(60)
            check_needed(settings, number + 1)
        subprocess.run([*call, since.isoformat()], check=True, timeout=300)
        check_needed(settings, number + 1)
        mlflow_gc(settings, mlflow_folder / "mlflow.db")
        check_needed(settings, number + 1)

    kept = {v.version for v in registry.search_versions(settings, f"name = '{MODEL}'")}
    assert needed_versions(settings) <= kept
    young = -(-KEPT_NIGHTS // TRAINED_EVERY) + 1
    assert len(kept) <= champions.KEPT_CHAMPIONS + 2 + young
    runs = [rest.tags(run["data"])["breezeway.step"] for run in past_runs.search(settings)]
    assert runs.count("drift") <= KEPT_NIGHTS + 1 + NIGHTS % THINNED_EVERY
    assert runs.count("train") == runs.count("test") == len(kept)
    assert files_of(mlflow_folder / "artifacts") == len(runs)
    listings = list(Path(settings.remote_address).glob("files/md5/??/*.dir"))
    revisions = NIGHTS + KEPT_NIGHTS // 5 + 2
    # Git knows only whole seconds of when a version was published.
    assert len(listings) <= revisions + len(kept) + 3

    assert champions.rollback(settings, MODEL, reason="alarms at night") in kept
    check_needed(settings, NIGHTS)


def test_a_dry_run_changes_nothing_and_names_what_would_go(settings) -> None:
    """All is younger than the shortest time that can be set, so the real command keeps all."""
    future = datetime.now(UTC) + timedelta(days=1)
    before = [run["info"]["run_id"] for run in past_runs.search(settings)]
    found = housekeeping.thin_models(settings, future, dry_run=True)
    assert found["runs"] > 0
    assert {name.rpartition("/")[2] for name in found["model_versions"]}.isdisjoint(
        needed_versions(settings)
    )
    assert [run["info"]["run_id"] for run in past_runs.search(settings)] == before
    result = command.run(Namespace(dry_run=False), settings)
    assert (result["model_versions"], result["runs"], result["datasets"]) == ([], 0, [])
    assert [run["info"]["run_id"] for run in past_runs.search(settings)] == before


def test_what_breezeway_did_not_make_stays(settings) -> None:
    run = rest.post(settings, "runs/create", experiment_id="0", start_time=1)["run"]["info"]
    rest.post(settings, "registered-models/create", name="theirs")
    for _ in range(2):
        rest.post(
            settings,
            "model-versions/create",
            name="theirs",
            run_id=run["run_id"],
            source=f"{run['artifact_uri']}/model",
        )
    future = datetime.now(UTC) + timedelta(days=1)
    found = housekeeping.find_unneeded(settings, future)
    assert run["run_id"] not in {run["info"]["run_id"] for run in found.runs}
    assert not [version for version in found.versions if version.name == "theirs"]


def test_a_version_promoted_meanwhile_stays(settings, monkeypatch) -> None:
    future = datetime.now(UTC) + timedelta(days=1)
    found = housekeeping.find_unneeded(settings, future)
    chosen = found.versions[0]
    monkeypatch.setattr(housekeeping, "find_unneeded", lambda *_: found)
    registry.set_alias(settings, MODEL, "keep", chosen.version)
    result = housekeeping.thin_models(settings, future, dry_run=False)
    assert f"{MODEL}/{chosen.version}" not in result["model_versions"]
    assert lineage.trace(settings, f"{MODEL}/{chosen.version}")["problems"] == []
