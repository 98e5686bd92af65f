"""Records a page of a step as a run in MLflow, from its REST API: no client of MLflow is needed."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.tracking import rest
from breezeway.tracking.runs import report_tags

KEY = "breezeway.page"


def record_page(
    settings: Settings,
    experiment: str,
    name: str,
    page: bytes,
    *,
    key: str,
    titles: Mapping[str, str],
    step: str,
    started: float,
) -> str:
    """Record a page as a run with one report; the same key again replaces the page.

    The tag that makes it a report is set last. A crash before leaves a run that nobody sees, and
    the next attempt completes it.

    Args:
        experiment: its name, and the model's; it is created if it does not exist.
        name: of the run.
        key: letters and digits that tell this page from others.
        titles: path of the page within the run → title.
        step: that made it.
        started: when the work started, in seconds since 1970.

    Returns:
        The run's id.

    Raises:
        UsageError, ServiceUnavailable: as `rest.get` and `rest.put_artifact`.
    """
    experiment_id = _experiment(settings, experiment)
    info = _found(settings, experiment_id, key) or _created(
        settings, experiment_id, name, key, int(started * 1000)
    )
    run_id = str(info["run_id"])
    for path in titles:
        rest.put_artifact(settings, info["artifact_uri"], path, page)
    tags = report_tags(settings, step, experiment, titles)
    batch = [{"key": tag, "value": value} for tag, value in tags.items()]
    rest.post(settings, "runs/log-batch", run_id=run_id, tags=batch)
    ended = int(time.time() * 1000)
    rest.post(settings, "runs/update", run_id=run_id, status="FINISHED", end_time=ended)
    return run_id


def _experiment(settings: Settings, name: str) -> str:
    with suppress(rest.NotFound):
        return _experiment_id(settings, name)
    with suppress(UsageError):  # another step may just have created it
        return str(rest.post(settings, "experiments/create", name=name)["experiment_id"])
    return _experiment_id(settings, name)


def _experiment_id(settings: Settings, name: str) -> str:
    found = rest.get(settings, "experiments/get-by-name", experiment_name=name)
    return str(found["experiment"]["experiment_id"])


def _found(settings: Settings, experiment_id: str, key: str) -> dict[str, Any] | None:
    answer = rest.post(
        settings,
        "runs/search",
        experiment_ids=[experiment_id],
        filter=f"tags.`{KEY}` = '{key}'",
        max_results=1,
    )
    return next((run["info"] for run in answer.get("runs", [])), None)


def _created(
    settings: Settings, experiment_id: str, name: str, key: str, started: int
) -> dict[str, Any]:
    tags = [{"key": KEY, "value": key}]
    fields = {"experiment_id": experiment_id, "run_name": name, "start_time": started}
    created = rest.post(settings, "runs/create", **fields, tags=tags)
    info: dict[str, Any] = created["run"]["info"]
    return info
