"""What a person wants to know first: what is in service, how good it is, what happened lately.

Airflow's page Breezeway and `breezeway status` show these facts. They come from four stores, which
are asked at the same time. Nobody waits for one that does not answer in time: its facts are left
out, and the problem is told. What a store says is bounded and cleaned of control characters, but
not escaped: a page has to do that.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import islice
from typing import Any

from breezeway.core.errors import DataError
from breezeway.core.names import MODEL_NAME
from breezeway.core.settings import Settings, redacted
from breezeway.datasets import versions
from breezeway.pipeline import overview_service
from breezeway.pipeline.overview_service import InService, plain
from breezeway.pipeline.patience import ask
from breezeway.tracking import champions, nights, past_runs, registry, rest
from breezeway.tracking.registry import ModelVersion, RegisteredModel

MODELS = 10
VERSIONS = 20
NIGHTS = 7
TAGS = 500

HEADLINES = {
    "average_precision": ("average precision", True),
    "f1": ("F1", True),
    "events_share": ("share of events hit", True),
    "false_episodes_per_normal_hour": ("false alarms an hour", False),
    "alarm_episodes_per_day": ("alarms a day of a device", False),
}
"""Metric of a training run → what a person calls it, and whether more is better. `events_share` is
`events_hit` of `events`: another version may have been judged on other events. Only a training
without labels has the alarms a day."""

_ID = re.compile(r"[0-9a-zA-Z]{1,64}")


@dataclass(frozen=True)
class Figure:
    """A headline figure of the champion, on readings that its training did not see.

    Args:
        before: the same of the champion before it; None if there was none.
        trend: `better`, `worse` or `same`; empty if there is nothing to compare with.
    """

    name: str
    value: float
    before: float | None
    trend: str


@dataclass(frozen=True)
class Checked:
    """A night that was checked; `dag_id` of the DAG that did it, empty without one."""

    night: date
    version: str
    verdict: str
    dag_id: str


@dataclass(frozen=True)
class Trained:
    """The last training.

    Args:
        decision: `promoted`, `refused`, `rolled back`; empty if nothing was decided.
        address: of its run in MLflow; empty if MLflow knows none.
    """

    version: str
    at: datetime | None
    decision: str
    reason: str
    address: str
    dag_id: str


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model; fields of a store that gave no answer are empty.

    Args:
        champion: the version that the registry calls so.
        champion_dag: the DAG that trained it, whose `figures` these are.
        drift: the first night of a drift that was announced and lasts; None if there is none.
        experiment: the address of its runs in MLflow, in the view for models.
    """

    name: str
    in_service: InService | None = None
    champion: str | None = None
    champion_dag: str = ""
    figures: tuple[Figure, ...] = ()
    drift: date | None = None
    nights: tuple[Checked, ...] = ()
    trained: Trained | None = None
    experiment: str = ""


@dataclass(frozen=True)
class Datasets:
    """The published dataset versions.

    Args:
        tags: at most `TAGS`, the last by name first; those of single days are left out.
        count: of all tags that are not of single days.
        days: of single days.
    """

    tags: tuple[str, ...] = ()
    count: int = 0
    days: int = 0


@dataclass(frozen=True)
class Overview:
    """The facts.

    Args:
        problems: store → why its facts are missing, in one sentence.
        mlflow, serving: where they are, without passwords.
    """

    models: tuple[ModelFacts, ...]
    datasets: Datasets
    problems: dict[str, str] = field(default_factory=dict)
    mlflow: str = ""
    serving: str = ""


def look(settings: Settings, seconds: float) -> Overview:
    """Ask all stores at the same time; it takes no longer than `seconds`, whatever they do."""
    serving = settings.serving_url.split(",")[0].strip(" /")
    answers = ask(
        {
            ("MLflow", settings.mlflow_url): lambda: _registered(settings),
            ("dataset repository", settings.repository_address): lambda: _datasets(settings),
            ("deployment store", str(settings.deployments)): lambda: overview_service.deployed(
                settings, MODELS
            ),
            ("model server", serving): lambda: overview_service.served(settings, serving, MODELS),
        },
        seconds,
    )
    found = {store: answer.value for store, answer in answers.items()}
    in_service = overview_service.merge(found["deployment store"], found["model server"])
    models: dict[str, ModelFacts] = found["MLflow"] or {}
    names = islice(sorted({*models, *in_service}), MODELS)
    return Overview(
        models=tuple(
            replace(models.get(name, ModelFacts(name)), in_service=in_service.get(name))
            for name in names
        ),
        datasets=found["dataset repository"] or Datasets(),
        problems={store: plain(a.problem, 300) for store, a in answers.items() if a.problem},
        mlflow=redacted(settings.mlflow_url).rstrip("/"),
        serving=redacted(serving),
    )


def _datasets(settings: Settings) -> Datasets:
    published = [version.tag for version in versions.list_versions(settings)]
    tags = [tag for tag in published if not versions.DAY_TAG.fullmatch(tag)]
    return Datasets(tuple(tags[: -TAGS - 1 : -1]), len(tags), len(published) - len(tags))


def _registered(settings: Settings) -> dict[str, ModelFacts]:
    """The models of the registry, with their runs: a handful of requests to MLflow."""
    models = [
        model
        for model in registry.search_models(settings, 10 * MODELS)
        if MODEL_NAME.allows(model.name)
    ][:MODELS]
    found = {model.name: _versions(settings, model) for model in models}
    ids = {
        version.run_id
        for known in found.values()
        for version in known.values()
        if _ID.fullmatch(version.run_id)
    }
    runs = _runs(settings, sorted(ids))
    checks = nights.lately(settings)
    facts = {}
    for model in models:
        checked = sorted((c for c in checks if c.model_name == model.name), key=lambda c: c.night)
        newest = {check.night: check for check in checked}  # of a night its last check
        facts[model.name] = replace(
            _facts(settings, model, found[model.name], runs),
            nights=tuple(
                Checked(c.night, plain(c.version, 20), plain(c.verdict, 40), plain(c.dag_id, 250))
                for c in list(newest.values())[: -NIGHTS - 1 : -1]
            ),
        )
    return facts


def _versions(settings: Settings, model: RegisteredModel) -> dict[str, ModelVersion]:
    """The newest versions by number, the champion, and the one before it."""
    known = {v.version: v for v in registry.newest_versions(settings, model.name, VERSIONS)}
    for number in (model.aliases.get(champions.CHAMPION), _champion_before(model)):
        if number and number not in known:
            try:
                known[number] = registry.find_version(settings, model.name, number)
            except rest.NotFound:
                continue  # housekeeping has removed it
    return known


def _runs(settings: Settings, ids: list[str]) -> dict[str, dict[str, Any]]:
    if not ids:
        return {}
    condition = f"attributes.run_id IN ({', '.join(repr(each) for each in ids)})"
    found = islice(past_runs.search(settings, condition), len(ids))
    return {run["info"]["run_id"]: run for run in found}


def _champion_before(model: RegisteredModel) -> str | None:
    try:
        recorded = champions.recorded(model)
    except DataError:
        return None
    now = model.aliases.get(champions.CHAMPION)
    before = recorded[:-1] if recorded[-1:] == [now] else recorded
    return before[-1] if before else None


def _facts(
    settings: Settings,
    model: RegisteredModel,
    numbered: Mapping[str, ModelVersion],
    runs: Mapping[str, dict[str, Any]],
) -> ModelFacts:
    def run_of(version: str | None) -> dict[str, Any] | None:
        one = numbered.get(version or "")
        return runs.get(one.run_id) if one else None

    champion = model.aliases.get(champions.CHAMPION)
    run, before = run_of(champion), run_of(_champion_before(model))
    last = numbered[max(numbered, key=int)] if numbered else None
    trained = _trained(settings, last, run_of(last.version)) if last else None
    shown = run or (run_of(last.version) if last else None)
    return ModelFacts(
        name=model.name,
        champion=champion,
        champion_dag=_dag(run),
        figures=_figures(_metrics(run), _metrics(before)),
        drift=_announced(model.tags.get("drift_announced", "")),
        trained=trained,
        experiment=_experiment(settings, shown),
    )


def _trained(settings: Settings, version: ModelVersion, run: dict[str, Any] | None) -> Trained:
    experiment = _experiment(settings, run).partition("/runs?")[0]
    address = f"{experiment}/runs/{version.run_id}" if experiment else ""
    return Trained(
        version=version.version,
        at=rest.moment(version.created_at),
        decision=plain(version.tags.get("decision", ""), 40),
        reason=plain(version.tags.get("reason", ""), 300),
        address=address,
        dag_id=_dag(run),
    )


def _experiment(settings: Settings, run: dict[str, Any] | None) -> str:
    """Without the view in the address, MLflow shows an experiment as one of language models."""
    number = str(run["info"].get("experiment_id", "")) if run else ""
    if not _ID.fullmatch(number):
        return ""
    base = redacted(settings.mlflow_url).rstrip("/")
    return f"{base}/#/experiments/{number}/runs?workflowType=machine_learning"


def _dag(run: dict[str, Any] | None) -> str:
    tags = rest.tags(run["data"]) if run else {}
    return plain(tags.get("breezeway.airflow_run", "").partition("/")[0], 250)


def _metrics(run: dict[str, Any] | None) -> dict[str, float]:
    listed = run["data"].get("metrics", []) if run else []
    values = {metric["key"]: float(metric["value"]) for metric in listed}
    if values.get("events"):
        values["events_share"] = values.get("events_hit", math.nan) / values["events"]
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _figures(now: Mapping[str, float], before: Mapping[str, float]) -> tuple[Figure, ...]:
    return tuple(
        Figure(title, now[name], before.get(name), _trend(now[name], before.get(name), more))
        for name, (title, more) in HEADLINES.items()
        if name in now
    )


def _trend(now: float, before: float | None, more_is_better: bool) -> str:
    if before is None:
        return ""
    if math.isclose(now, before, rel_tol=1e-3, abs_tol=1e-6):
        return "same"
    return "better" if (now > before) == more_is_better else "worse"


def _announced(tag: str) -> date | None:
    try:
        return date.fromisoformat(json.loads(tag)["date"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None  # none is announced, or somebody changed the tag by hand
