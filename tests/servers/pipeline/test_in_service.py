"""Which version judges a day: the one that served when it ended, by a real registry and store."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from breezeway.core.settings import Settings
from breezeway.deployment.store import Deployment, DeploymentStore
from breezeway.pipeline.in_service import Judge, deployment_name, find_judge, has_served
from breezeway.tracking import champions, registry, rest

DAY = date(2026, 6, 10)


@pytest.fixture
def settings(mlflow_server: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", mlflow_url=mlflow_server)


@pytest.fixture
def model(settings: Settings) -> str:
    """A registered model with three versions, of which the first is the champion."""
    name = f"pump-{uuid4().hex[:12]}"
    rest.post(settings, "registered-models/create", name=name)
    for _ in range(3):
        run = rest.post(settings, "runs/create", experiment_id="0")["run"]["info"]
        source = {"run_id": run["run_id"], "source": f"{run['artifact_uri']}/model"}
        rest.post(settings, "model-versions/create", name=name, **source)
    champions.promote(settings, name, "1", None, "the first")
    return name


@pytest.fixture
def bento(tmp_path: Path) -> Path:
    folder = tmp_path / "bento"
    folder.mkdir()
    (folder / "bento.yaml").touch()
    return folder


@pytest.fixture
def deploy(settings: Settings, model: str, bento: Path) -> Callable[[str, datetime], None]:
    """Put a version into service at a time."""
    store = DeploymentStore(settings.deployments)

    def deploy(version: str, moment: datetime) -> None:
        name = deployment_name(registry.find_version(settings, model, version))
        record = Deployment(
            model_name=model,
            model_version=version,
            deployment=name,
            bento=f"{model}:{name}",
            data_tag="v1",
            model_folder="models",
        )
        pointer = store.add(bento, record).model_copy(update={"deployed_at": moment})
        store.point(pointer)
        store.point(pointer.verified())

    return deploy


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 6, day, hour, tzinfo=UTC)


def judge(settings: Settings, model: str, day: int = DAY.day) -> Judge:
    found = find_judge(settings, model, DAY.replace(day=day))
    assert found is not None
    return found


def test_a_day_ends_at_midnight_of_the_contracts_zone(settings, model, deploy, tmp_path) -> None:
    sensors = tmp_path / "sensors.toml"
    text = settings.sensors.read_text("utf-8")
    sensors.write_text(f'time_zone = "Europe/Berlin"\n{text}', encoding="utf-8")
    of_berlin = settings.model_copy(update={"sensors": sensors})
    deploy("1", at(8))
    deploy("2", at(9, hour=21))  # 23:00 of Berlin
    deploy("3", at(10, hour=22))  # midnight: the tenth is over
    assert [judge(of_berlin, model, day).version for day in (8, 9, 10, 11)] == ["1", "2", "2", "3"]
    assert [judge(settings, model, day).version for day in (8, 9, 10, 11)] == ["1", "2", "3", "3"]


def test_a_day_is_judged_by_what_served_when_it_ended(settings, model, deploy) -> None:
    deploy("1", at(8))
    deploy("2", at(10))
    deploy("3", at(11, hour=0))  # at midnight: the tenth is over
    judges = [judge(settings, model, day) for day in (8, 9, 10, 11, 25)]
    assert [found.version for found in judges] == ["1", "1", "2", "3", "3"]
    assert all(found.was_in_service for found in judges)


def test_what_serves_judges_also_where_the_champion_is_another(settings, model, deploy) -> None:
    deploy("2", at(8))
    assert judge(settings, model).version == "2"
    assert champions.champion(settings, model) == "1"


def test_a_day_before_the_first_deployment_says_so(settings, model, deploy) -> None:
    deploy("2", at(11))
    deploy("3", at(12))
    found = judge(settings, model)
    assert (found.version, found.was_in_service) == ("2", False)
    assert "is not recorded; judged by version 2, the first that is recorded" in found.why
    assert "since 2026-06-11 12:00 (UTC)" in found.why


def test_a_version_that_is_gone_is_replaced_and_named(settings, model, deploy) -> None:
    deploy("2", at(8))
    deploy("3", at(12))
    registry.delete_version(settings, model, "2")
    found = judge(settings, model)
    assert (found.version, found.was_in_service) == ("3", False)
    assert found.why.startswith("Version 2, which was in service when the day ended, is not in")
    registry.delete_version(settings, model, "3")
    found = judge(settings, model)
    assert found.version == "1"
    assert found.why.endswith("judged by version 1, the champion of the registry.")


def test_another_registrys_version_of_the_same_number_is_another(settings, model, bento) -> None:
    """A new MLflow beside an old deployment store."""
    record = Deployment(
        model_name=model,
        model_version="2",
        deployment="2-0123456789ab",
        bento=f"{model}:2",
        data_tag="v1",
        model_folder="models",
    )
    store = DeploymentStore(settings.deployments)
    pointer = store.add(bento, record).model_copy(update={"deployed_at": at(8)})
    store.point(pointer.verified())
    found = judge(settings, model)
    assert (found.version, found.was_in_service) == ("1", False)


def test_without_a_deployment_the_champion_judges(settings, model) -> None:
    found = judge(settings, model)
    assert (found.version, found.was_in_service) == ("1", False)
    assert found.why.startswith("Nothing is recorded to have been in service")
    assert find_judge(settings, "nobody", DAY) is None


def test_a_model_has_served_once_it_had_a_champion_or_a_deployment(settings, model, deploy) -> None:
    assert not has_served(settings, "nobody")
    assert has_served(settings, model)
    rest.delete(settings, "registered-models/alias", name=model, alias="champion")
    assert not has_served(settings, model)
    deploy("2", at(8))
    registry.delete_version(settings, model, "2")
    assert has_served(settings, model)
