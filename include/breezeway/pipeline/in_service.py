"""Which version of a model was in service on a day, and so judges the readings of that day."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, date

from breezeway.contract.contract import load_contract
from breezeway.core.days import day_end
from breezeway.core.settings import Settings
from breezeway.deployment.store import DeploymentStore, Service
from breezeway.tracking import champions
from breezeway.tracking.registry import ModelVersion, find_version
from breezeway.tracking.rest import NotFound


@dataclass(frozen=True)
class Judge:
    """The version that judges a day.

    Args:
        was_in_service: whether it is recorded to have served at the end of the day.
        why: one sentence for a person.
    """

    version: str
    was_in_service: bool
    why: str


def deployment_name(version: ModelVersion) -> str:
    """The name of a registered version's deployment, so that a second run finds the first one's.

    A new registry gives the same numbers to other versions, so the name also depends on the
    version's source and time of registration.
    """
    identity = f"{version.name}\n{version.source}\n{version.created_at}"
    return f"{version.version}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def find_judge(settings: Settings, model_name: str, day: date) -> Judge | None:
    """The version that was in service when a day ended, whenever that is asked.

    Where that is not recorded, or the version is gone, it is the next best: the first recorded one,
    the one that serves now, the champion of the registry. None if there is none of these.

    Raises:
        DataError: the deployment store's pointer or record cannot be read.
        ServiceUnavailable: MLflow does not answer.
    """
    services = DeploymentStore(settings.deployments).services(model_name)
    end = day_end(day, load_contract(settings.sensors).zone)
    before = [service for service in services if service.since < end]
    if before:
        then = before[-1]
        if _is_registered(settings, model_name, then):
            why = f"Version {then.model_version} was in service when the day ended."
            return Judge(then.model_version, True, why)
        problem = (
            f"Version {then.model_version}, which was in service when the day ended, is not in "
            "the registry any more"
        )
        others = {"which is in service now": services[-1]}
    elif services:
        problem = "What was in service when the day ended is not recorded"
        since = f"{services[0].since.astimezone(UTC):%Y-%m-%d %H:%M}"
        others = {
            f"the first that is recorded, in service since {since} (UTC)": services[0],
            "which is in service now": services[-1],
        }
    else:
        problem, others = "Nothing is recorded to have been in service", {}
    for who, service in others.items():
        if _is_registered(settings, model_name, service):
            why = f"{problem}; judged by version {service.model_version}, {who}."
            return Judge(service.model_version, False, why)
    champion = champions.champion(settings, model_name)
    if champion is None:
        return None
    return Judge(
        champion, False, f"{problem}; judged by version {champion}, the champion of the registry."
    )


def find_serving(settings: Settings, model_name: str) -> Judge | None:
    """The version that is in service now or, where the registry has none that is, the champion.

    Returns:
        None if there is neither.

    Raises:
        DataError: the deployment store's pointer or record cannot be read.
        ServiceUnavailable: MLflow does not answer.
    """
    services = DeploymentStore(settings.deployments).services(model_name)
    if services and _is_registered(settings, model_name, services[-1]):
        version = services[-1].model_version
        return Judge(version, True, f"Version {version} is in service.")
    champion = champions.champion(settings, model_name)
    if champion is None:
        return None
    return Judge(
        champion,
        False,
        f"No version of this registry is in service; version {champion} is its champion.",
    )


def has_served(settings: Settings, model_name: str) -> bool:
    """Whether a version of a model has been in service, or is the champion.

    Raises:
        DataError: the deployment store's pointer or record cannot be read.
        ServiceUnavailable: MLflow does not answer.
    """
    recorded = DeploymentStore(settings.deployments).services(model_name)
    return bool(recorded) or champions.champion(settings, model_name) is not None


def _is_registered(settings: Settings, model_name: str, service: Service) -> bool:
    """Whether the registry has the version that was deployed, and not another of its number."""
    try:
        version = find_version(settings, model_name, service.model_version)
    except NotFound:
        return False
    return deployment_name(version) == service.deployment
