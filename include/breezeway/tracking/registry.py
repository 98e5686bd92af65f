"""Registered models and their versions, from MLflow's REST API.

Our tags start with `breezeway.`; this module uses their names without that prefix.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.tracking import rest

PREFIX = "breezeway."
PAGE = 100


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model, which has versions.

    Args:
        aliases: alias → number of the version.
        tags: of ours.
    """

    name: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelVersion:
    """A version of a registered model.

    Args:
        name: of the model.
        version: its number.
        source: the address of its files.
        run_id: of the MLflow run that made it; empty if MLflow knows none.
        created_at: milliseconds since 1970, UTC.
        tags: of ours, without empty ones.
    """

    name: str
    version: str
    source: str
    run_id: str
    created_at: int
    tags: Mapping[str, str] = field(default_factory=dict)


def find_model(settings: Settings, model_name: str) -> RegisteredModel:
    """Find a registered model.

    Raises:
        UsageError: there is none of this name.
        ServiceUnavailable: MLflow does not answer.
    """
    return _model(rest.get(settings, "registered-models/get", name=model_name)["registered_model"])


def search_models(settings: Settings, count: int) -> list[RegisteredModel]:
    """The first registered models by name: one request.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    answer = rest.get(settings, "registered-models/search", max_results=count)
    return [_model(found) for found in answer.get("registered_models", [])]


def model_exists(settings: Settings, model_name: str) -> bool:
    """Whether a model of this name is registered.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    try:
        find_model(settings, model_name)
    except rest.NotFound:
        return False
    return True


def resolve_version(settings: Settings, model_name: str, version_or_alias: str) -> str:
    """The number of a version, which is given as a number or an alias.

    Raises:
        UsageError: there is no such model, version or alias.
        ServiceUnavailable: MLflow does not answer.
    """
    if re.fullmatch(r"[0-9]+", version_or_alias):
        return find_version(settings, model_name, version_or_alias).version
    known = find_model(settings, model_name).aliases
    if version_or_alias not in known:
        there = ", ".join(sorted(known)) or "none"
        raise UsageError(
            f"{model_name!r} has no version or alias {version_or_alias!r}; its aliases: {there}."
        )
    return known[version_or_alias]


def find_version(settings: Settings, model_name: str, version: str) -> ModelVersion:
    """Find a version by its number.

    Raises:
        UsageError: there is no such model or version.
        ServiceUnavailable: MLflow does not answer.
    """
    answer = rest.get(settings, "model-versions/get", name=model_name, version=version)
    return _version(answer["model_version"])


def newest_version(settings: Settings, model_name: str) -> str:
    """The number of the version that was registered last.

    Raises:
        UsageError: the model has none.
        ServiceUnavailable: MLflow does not answer.
    """
    newest = newest_versions(settings, model_name, 1)
    if not newest:
        raise UsageError(f"The model {model_name!r} has no version yet.")
    return newest[0].version


def newest_versions(settings: Settings, model_name: str, count: int) -> list[ModelVersion]:
    """The versions that were registered last, newest first: one request.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    answer = rest.get(
        settings,
        "model-versions/search",
        filter=f"name = '{model_name}'",
        order_by="version_number DESC",
        max_results=count,
    )
    return [_version(found) for found in answer.get("model_versions", [])]


def search_versions(settings: Settings, condition: str) -> Iterator[ModelVersion]:
    """All versions, of any model, that match a condition in MLflow's filter language.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    token = ""
    while True:
        fields = {"filter": condition, "max_results": PAGE, "page_token": token}
        answer = rest.get(settings, "model-versions/search", **fields)
        yield from map(_version, answer.get("model_versions", []))
        token = answer.get("next_page_token", "")
        if not token:
            return


def delete_version(settings: Settings, model_name: str, version: str) -> None:
    """Delete a version from the registry, not the files of its model.

    Raises:
        UsageError: there is no such version.
        ServiceUnavailable: MLflow does not answer.
    """
    rest.delete(settings, "model-versions/delete", name=model_name, version=version)


def tag_model(settings: Settings, model_name: str, key: str, value: str) -> None:
    """Set one of our tags of a model.

    Raises:
        UsageError: there is no such model.
        ServiceUnavailable: MLflow does not answer.
    """
    path = "registered-models/set-tag"
    rest.post(settings, path, name=model_name, key=f"{PREFIX}{key}", value=value)


def tag_version(settings: Settings, model_name: str, version: str, **values: str) -> None:
    """Set some of our tags of a version, in the given order.

    Raises:
        UsageError: there is no such version.
        ServiceUnavailable: MLflow does not answer.
    """
    for key, value in values.items():
        rest.post(
            settings,
            "model-versions/set-tag",
            name=model_name,
            version=version,
            key=f"{PREFIX}{key}",
            value=value,
        )


def set_alias(settings: Settings, model_name: str, alias: str, version: str) -> None:
    """Set an alias to a version, whatever its value was.

    Raises:
        UsageError: there is no such version.
        ServiceUnavailable: MLflow does not answer.
    """
    path = "registered-models/alias"
    rest.post(settings, path, name=model_name, alias=alias, version=version)


def _model(found: Mapping[str, Any]) -> RegisteredModel:
    aliases = {alias["alias"]: str(alias["version"]) for alias in found.get("aliases", [])}
    return RegisteredModel(found["name"], aliases, _own_tags(found))


def _version(found: Mapping[str, Any]) -> ModelVersion:
    return ModelVersion(
        name=found["name"],
        version=str(found["version"]),
        source=found.get("source", ""),
        run_id=found.get("run_id", ""),
        created_at=int(found["creation_timestamp"]),
        tags=_own_tags(found),
    )


def _own_tags(found: Mapping[str, Any]) -> dict[str, str]:
    return {
        key.removeprefix(PREFIX): value
        for key, value in rest.tags(found).items()
        if key.startswith(PREFIX) and value
    }
