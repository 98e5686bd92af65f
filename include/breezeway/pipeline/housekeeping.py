"""Thins what the stores hold: model versions, runs and dataset files that nothing needs any more.

Younger than `keep_days`, all stays. Older, these stay: of each model the champion, the former
champions that a rollback may lead to, versions with an alias, the newest version, what the
deployment pointer names, and their runs, tests and datasets; and the newest revision of each day of
the history (`datasets.thinning`). What Breezeway did not make is not touched.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings
from breezeway.datasets import thinning, work
from breezeway.deployment.store import DeploymentStore, lock_name
from breezeway.tracking import champions, past_runs, rest
from breezeway.tracking.registry import PREFIX, ModelVersion, delete_version, search_versions


@dataclass(frozen=True)
class Unneeded:
    """What may go, and the data that the rest refers to.

    Args:
        runs: from MLflow's REST API.
        data_tags: of the versions and runs that stay.
    """

    versions: list[ModelVersion]
    runs: list[dict[str, Any]]
    data_tags: set[str]


def find_unneeded(settings: Settings, since: datetime) -> Unneeded:
    """Look in all stores for what nothing needs; nothing is changed.

    Args:
        since: what was made since then is needed.

    Raises:
        DataError: the tag that records a model's champions, or a deployment pointer, can't be read.
        ServiceUnavailable: MLflow does not answer.
    """
    since_ms = int(since.timestamp() * 1000)
    versions = list(search_versions(settings, ""))
    needed = _needed_versions(settings, versions)
    old = [
        version
        for version in versions
        if version.created_at < since_ms
        and (version.name, version.version) not in needed
        and "data_tag" in version.tags
    ]
    gone = {(version.name, version.version) for version in old}
    kept = [version for version in versions if (version.name, version.version) not in gone]
    run_ids = {_run_id(version) for version in kept}
    models = {f"{version.name}/{version.version}" for version in kept}
    data_tags = {tag for version in kept for tag in _data_tags(version.tags)}
    runs = []
    for run in past_runs.search(settings):
        tags = _own_tags(run)
        young = int(run["info"].get("start_time", since_ms)) >= since_ms
        evidence = tags.get("step") == "test" and tags.get("model") in models
        if young or evidence or run["info"]["run_id"] in run_ids:
            data_tags.update(_data_tags(tags))
        elif tags:
            runs.append(run)
    return Unneeded(old, runs, data_tags)


def _needed_versions(settings: Settings, versions: Iterable[ModelVersion]) -> set[tuple[str, str]]:
    newest: dict[str, int] = {}
    for version in versions:
        newest[version.name] = max(newest.get(version.name, 0), int(version.version))
    needed = {(name, str(number)) for name, number in newest.items()}
    for name in {*newest, *DeploymentStore(settings.deployments).models()}:
        needed |= {(name, number) for number in _named_versions(settings, name)}
    return needed


def _named_versions(settings: Settings, model_name: str) -> set[str]:
    """The versions that the registry or the deployment pointer names."""
    pointer = DeploymentStore(settings.deployments).pointer(model_name)
    served = (pointer, pointer and pointer.previous, pointer and pointer.challenger)
    named = {each.model_version for each in served if each}
    with suppress(rest.NotFound):  # a deployed model of another registry
        named |= champions.within_reach(settings, model_name)
    return named


def _data_tags(tags: Mapping[str, str]) -> Iterable[str]:
    return [tags["data_tag"]] if "data_tag" in tags else []


def _own_tags(run: Mapping[str, Any]) -> dict[str, str]:
    return {
        key.removeprefix(PREFIX): value
        for key, value in rest.tags(run["data"]).items()
        if key.startswith(PREFIX)
    }


def kept_since(settings: Settings) -> datetime:
    """The time from which on everything stays."""
    return datetime.now(UTC) - timedelta(days=settings.keep_days)


def thin_models(settings: Settings, since: datetime, *, dry_run: bool) -> dict[str, Any]:
    """Delete the model versions and runs that nothing needs; MLflow's `gc` removes their files.

    It may be repeated, and killed at any point: a run goes after the version that it made. A
    version that is promoted or deployed meanwhile stays.

    Args:
        since: as for `find_unneeded`.
        dry_run: delete nothing.

    Raises:
        DataError, ServiceUnavailable: as for `find_unneeded`.
        TryAgain: another was promoting for longer than `lock_wait_seconds`.
    """
    unneeded = find_unneeded(settings, since)
    versions = unneeded.versions
    if not dry_run:
        versions = [version for version in versions if _delete_version(settings, version)]
    stays = {_run_id(v) for v in unneeded.versions} - {_run_id(v) for v in versions}
    runs = [run for run in unneeded.runs if run["info"]["run_id"] not in stays]
    if not dry_run:
        for run in runs:
            past_runs.delete(settings, run)
    return {
        "model_versions": [f"{version.name}/{version.version}" for version in versions],
        "runs": len(runs),
    }


def _run_id(version: ModelVersion) -> str:
    return version.tags.get("run_id") or version.run_id


def _delete_version(settings: Settings, version: ModelVersion) -> bool:
    """Delete a version, unless it was promoted or deployed meanwhile."""
    with (
        exclusive(settings, champions.lock_name(version.name)),
        exclusive(settings, lock_name(version.name)),
    ):
        if version.version in _named_versions(settings, version.name):
            return False
        with suppress(rest.NotFound):  # another housekeeping was faster
            delete_version(settings, version.name, version.version)
    return True


def thin_datasets(settings: Settings, since: datetime, *, dry_run: bool) -> dict[str, Any]:
    """Remove the files of datasets that nothing needs, and what failed runs left before `since`.

    It may be repeated, and killed at any point.

    Args:
        since: as for `find_unneeded`.
        dry_run: remove nothing; the result is that of a run after `thin_models`.

    Raises:
        DataError, ServiceUnavailable: as for `find_unneeded` and `thinning.thin`.
        TryAgain: a dataset was being made or published for longer than `lock_wait_seconds`.
    """
    references = find_unneeded(settings, since).data_tags
    gone = thinning.thin(settings, references, since, dry_run=dry_run)
    return {
        "datasets": [version.tag for version in gone],
        "dataset_bytes": sum(version.bytes for version in gone),
        "work_folders": work.thin(settings, since, dry_run=dry_run),
    }
