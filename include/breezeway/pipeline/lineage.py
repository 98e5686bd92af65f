"""Where a prediction, a model version or a dataset comes from, and where a dataset leads to.

The stores are asked anew each time. What one of them does not answer, or what two of them
contradict each other in, is said in the answer (`problems`) and hides nothing of the rest.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from breezeway.core.errors import BreezewayError, ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.deployment.store import DeploymentStore
from breezeway.tracking import past_runs
from breezeway.tracking.registry import (
    ModelVersion,
    find_model,
    find_version,
    resolve_version,
    search_versions,
)
from breezeway.tracking.rest import NotFound, get, moment

PREDICTION = re.compile(r"(?P<model>.+)\.(?P<version>[0-9]+)\.[0-9a-f]{16}([0-9a-f]{16})?")
"""The id of a prediction; those of earlier releases have no signature."""

Branch = tuple[str, list["Branch"]]

NOT_SHOWN = {"run": None, "airflow_run": None, "code": None}


def trace(settings: Settings, what: str) -> dict[str, Any]:
    """All that the stores know about a prediction, a model version or a dataset.

    Returns:
        `asked`, `problems`, and for a prediction or a version: `model`, `deployment`, `run`,
        `code`, `airflow_run`, `data`; for a tag: `data` with `leads_to`.

    Raises:
        UsageError: there is no such thing.
        ServiceUnavailable: the store that would know it does not answer.
    """
    problems: list[str] = []
    if match := PREDICTION.fullmatch(what):
        found = _back(settings, match["model"], match["version"], problems)
    elif "/" in what:
        model_name, _, version = what.rpartition("/")
        found = _back(settings, model_name, version, problems)
    else:
        found = _forward(settings, what, problems)
    return {"asked": what, **found, "problems": problems}


def _back(settings: Settings, model_name: str, version: str, problems: list[str]) -> dict[str, Any]:
    version = resolve_version(settings, model_name, version)
    about = find_version(settings, model_name, version)
    keys = about.tags
    found: dict[str, Any] = {
        "model": _model(settings, about),
        "deployment": _deployment(settings, model_name, version, problems),
        "run": _run(settings, keys.get("run_id") or about.run_id, problems),
        "code": keys.get("code"),
        "airflow_run": keys.get("airflow_run"),
        "data": None,
    }
    tag = keys.get("params_tag") or keys.get("data_tag")
    if not tag:
        problems.append(f"{model_name}/{version} does not say what it was trained on.")
        return found
    try:
        found["data"] = asdict(versions.find_version(settings, tag))
    except BreezewayError as error:
        problems.append(str(error))
        # What the registry keeps of it is better than nothing.
        found["data"] = {
            name.removeprefix("data_"): keys.get(name)
            for name in ("data_tag", "data_commit", "data_hash", "params_tag")
        }
        return found
    for name in ("tag", "commit", "hash"):
        trained_on, there = keys.get(f"data_{name}"), found["data"][name]
        if trained_on and trained_on != there:
            problems.append(
                f"{model_name}/{version} was trained on the data {name} {trained_on}, "
                f"but under {tag!r} there is {there}."
            )
    return found


def _forward(settings: Settings, tag: str, problems: list[str]) -> dict[str, Any]:
    try:
        version = versions.find_version(settings, tag)
    except UsageError as error:
        raise UsageError(
            f"{error} A prediction is asked for by <model>.<version>.<32 hex digits>, "
            "a model version by <model>/<version>."
        ) from None
    entry = next(e for e in versions.list_versions(settings) if e.tag == version.tag)
    data = asdict(version)
    leads_to: dict[str, Any] = {"params_tags": list(entry.params_tags), "runs": [], "models": []}
    key = "params_tag" if versions.PARAMS_TAG.fullmatch(tag) else "data_tag"
    search = f"tags.`breezeway.{key}` = '{tag}'"
    try:
        leads_to["runs"] = [_run_figures(run) for run in past_runs.search(settings, search)]
        leads_to["models"] = [
            {
                **_model(settings, about),
                "run_id": about.tags.get("run_id") or about.run_id,
                "deployment": _deployment(settings, about.name, about.version, problems),
            }
            for about in search_versions(settings, search)
        ]
    except ServiceUnavailable as error:
        problems.append(str(error))
    return {"data": {**data, "leads_to": leads_to}}


def _model(settings: Settings, about: ModelVersion) -> dict[str, Any]:
    aliases = find_model(settings, about.name).aliases
    return {
        "name": about.name,
        "version": about.version,
        "registered_at": _time(about.created_at),
        "aliases": sorted(name for name, version in aliases.items() if version == about.version),
        **{
            name: about.tags.get(name) for name in ("decision", "decided_at", "reason", "threshold")
        },
    }


def _deployment(
    settings: Settings, model_name: str, version: str, problems: list[str]
) -> dict[str, Any] | None:
    """What serves this version; None where nothing does."""
    try:
        pointer = DeploymentStore(settings.deployments).pointer(model_name)
    except BreezewayError as error:
        problems.append(str(error))
        return None
    if pointer is None or pointer.model_version != version:
        return None
    names = {"deployment", "bento", "deployed_at", "verified_at"}
    return pointer.model_dump(mode="json", include=names)


def _run(settings: Settings, run_id: str | None, problems: list[str]) -> dict[str, Any] | None:
    if not run_id:
        problems.append("The version does not say which MLflow run made it.")
        return None
    try:
        return _run_figures(get(settings, "runs/get", run_id=run_id)["run"])
    except NotFound as error:
        problems.append(str(error))
        return None


def _run_figures(run: Mapping[str, Any]) -> dict[str, Any]:
    info, data = run["info"], run.get("data", {})
    return {
        "run_id": info["run_id"],
        "name": info.get("run_name"),
        "status": info.get("status"),
        "started_at": _time(info.get("start_time")),
        "metrics": {metric["key"]: metric.get("value") for metric in data.get("metrics", [])},
    }


def _time(milliseconds: int | str | None) -> str | None:
    at = moment(milliseconds)
    return at.isoformat(timespec="seconds") if at else None


# The tree


def render(found: Mapping[str, Any]) -> str:
    """A lineage as a tree of lines, problems last."""
    data = found["data"]
    if "model" in found:
        children = [*_model_branches(found), *([_data_branch(data)] if data else [])]
        tree = (_model_line(found["model"]), children)
        if PREDICTION.fullmatch(found["asked"]):
            tree = (f"prediction {found['asked']}", [tree])
    else:
        label, children = _data_branch(data)
        tree = (label, [*children, *_next_branches(data["leads_to"])])
    return "\n".join([*_lines(tree), *(f"! {problem}" for problem in found["problems"])])


def _lines(branch: Branch) -> Iterator[str]:
    label, children = branch
    yield label
    for number, child in enumerate(children, start=1):
        first, rest = ("└─ ", "   ") if number == len(children) else ("├─ ", "│  ")
        for position, line in enumerate(_lines(child)):
            yield (rest if position else first) + line


def _model_line(model: Mapping[str, Any]) -> str:
    names = f" ({', '.join(model['aliases'])})" if model["aliases"] else ""
    return f"model {model['name']}/{model['version']}{names}, registered {model['registered_at']}"


def _model_branches(found: Mapping[str, Any]) -> list[Branch]:
    model, deployment, run = found["model"], found["deployment"], found["run"]
    branches = []
    if model["decision"]:
        branches.append(f"{model['decision']} {model['decided_at']}: {model['reason']}")
    if deployment:
        branches.append(f"deployed {deployment['deployed_at']} as {deployment['deployment']}")
    if run:
        branches.append(_run_line(run))
    if found["airflow_run"]:
        branches.append(f"Airflow run {found['airflow_run']}")
    if found["code"]:
        branches.append(f"code {found['code']}")
    return [(text, []) for text in branches]


def _run_line(run: Mapping[str, Any]) -> str:
    name = f" {run['name']!r}" if run["name"] else ""
    return f"MLflow run {run['run_id']}{name}, {run['started_at']}, {run['status']}"


def _data_branch(data: Mapping[str, Any]) -> Branch:
    children: list[Branch] = []
    if "manifest" in data:
        children.append((f"published {data['published_at']}: {data['message']}", []))
    if data.get("params_tag"):
        text = f"parameters {data['params_tag']}"
        if data.get("params_commit"):
            text += f", commit {data['params_commit']}: {json.dumps(data['params'])}"
        children.append((text, []))
    if manifest := data.get("manifest"):
        children += _raw_branches(manifest)
    return f"data {data['tag']}, commit {data['commit']}, hash {data['hash']}", children


def _raw_branches(manifest: Mapping[str, Any]) -> list[Branch]:
    raw = manifest.get("raw", {})
    reasons = ", ".join(f"{count} {name}" for name, count in manifest.get("reasons", {}).items())
    quarantined = f"{manifest.get('quarantined')} quarantined{f' ({reasons})' if reasons else ''}"
    return [
        (
            f"raw readings: {raw.get('rows')} rows, {raw.get('first_time')} to "
            f"{raw.get('last_time')}, SHA-256 {raw.get('sha256')}",
            [
                (f"query: {' '.join(str(manifest.get('query')).split())}", []),
                (
                    f"{manifest.get('rows')} rows kept, {manifest.get('copies', 0)} copies left "
                    f"out, {quarantined}",
                    [],
                ),
            ],
        )
    ]


def _next_branches(leads_to: Mapping[str, Any]) -> list[Branch]:
    branches: list[Branch] = [(f"tuned: {tag}", []) for tag in leads_to["params_tags"]]
    runs: dict[str, Branch] = {run["run_id"]: (_run_line(run), []) for run in leads_to["runs"]}
    for model in leads_to["models"]:
        about = {"model": model, "deployment": model["deployment"]}
        branch = (_model_line(model), _model_branches({**NOT_SHOWN, **about}))
        runs.setdefault(model["run_id"], ("an unknown run", []))[1].append(branch)
    return [*branches, *runs.values()]
