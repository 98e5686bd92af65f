"""Reports of the steps for a person: files of their MLflow runs, found by the runs' tags.

`tracking.runs.report_tags` makes the tags. The files are read from MLflow's server, so this module
needs no path of a store. Only a file that is named in a tag of its run can be read.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime
from http.client import HTTPResponse
from pathlib import PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError

from breezeway.core.days import day_end, day_start
from breezeway.core.errors import UsageError
from breezeway.core.names import PATH
from breezeway.core.settings import Settings
from breezeway.tracking import past_runs, rest
from breezeway.tracking.rest import NotFound

KINDS = {".html": "text/html", ".png": "image/png", ".json": "text/plain"}
"""The types of files that are shown."""

PAGE_RUNS = 50

_WORD = re.compile(r"[\w.~:+@/ -]{1,500}")
"""Characters of a filter: none that ends a string in MLflow's filter language."""
_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Report:
    """A file of a run.

    Args:
        path: within the run's artifacts.
        title: for a person.
    """

    path: str
    title: str

    @property
    def content_type(self) -> str:
        return KINDS[PurePosixPath(self.path).suffix]


_REPORTS = TypeAdapter(list[Report])


@dataclass(frozen=True)
class ReportedRun:
    """A step's run, with its reports.

    Args:
        run_id: MLflow's.
        name: MLflow's name of the run.
        step: that made it.
        model: `name/version`, or the name.
        airflow_run: `dag_id/run_id`; empty if the step ran without Airflow.
        time: when the run began, UTC; None if MLflow has no time that can be.
        reports: in the order in which a person should see them.
        problem: why reports of the run are not shown; empty if all are.
    """

    run_id: str
    name: str
    step: str
    model: str
    airflow_run: str
    time: datetime | None
    reports: tuple[Report, ...]
    problem: str = ""

    @property
    def dag_id(self) -> str:
        return self.airflow_run.partition("/")[0]

    @property
    def dag_run_id(self) -> str:
        return self.airflow_run.partition("/")[2]

    def report(self, path: str) -> Report:
        """The report with exactly this path.

        Raises:
            NotFound: the run has none.
        """
        for report in self.reports:
            if report.path == path:
                return report
        raise NotFound("There is no such report.")


def find(
    settings: Settings,
    *,
    dag: str = "",
    dag_run: str = "",
    model: str = "",
    day: tuple[date, ZoneInfo] | None = None,
    page: str = "",
) -> tuple[list[ReportedRun], str]:
    """One page of the runs that have reports, newest first.

    Args:
        dag: only of this DAG.
        dag_run: only of this run of it, by its run id.
        model: only about this registered model.
        day: only of runs that began on this day, of a zone.
        page: the token of the page before; empty for the first.

    Returns:
        At most `PAGE_RUNS` runs, and the token of the next page; empty on the last one.

    Raises:
        UsageError: a filter cannot be a name, or MLflow refuses the credentials.
        ServiceUnavailable: MLflow does not answer.
    """
    for text in filter(None, (dag, dag_run, model)):
        if not _WORD.fullmatch(text):
            raise UsageError(f"{text!r} is not a name of a DAG, a run or a model.")
    experiments = past_runs.experiments(settings)
    if not experiments:
        return [], ""
    question: dict[str, Any] = {
        "experiment_ids": experiments,
        "filter": " and ".join(_conditions(dag, dag_run, model, day)),
        "order_by": ["attributes.start_time DESC"],
        "max_results": PAGE_RUNS,
    }
    if page:
        question["page_token"] = page
    answer = rest.post(settings, "runs/search", **question)
    found = [_reported(run) for run in answer.get("runs", [])]
    # In a pattern of the filter language `_` stands for any character.
    wanted = [
        run
        for run in found
        if run
        and dag in ("", run.dag_id)
        and dag_run in ("", run.dag_run_id)
        and model in ("", run.model.partition("/")[0])
    ]
    return wanted, answer.get("next_page_token", "")


def get(settings: Settings, run_id: str) -> ReportedRun:
    """A run with its reports.

    Raises:
        NotFound: there is no such run, or it is not one of ours.
        ServiceUnavailable: MLflow does not answer.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise NotFound("There is no such run.")
    run = _reported(rest.get(settings, "runs/get", run_id=run_id)["run"])
    if run is None:
        raise NotFound("This run has no reports.")
    return run


def open_report(settings: Settings, run: ReportedRun, path: str) -> HTTPResponse:
    """Open a report for reading; close it after use.

    Raises:
        NotFound: the run has no report with exactly this path, or MLflow has lost the file.
        ServiceUnavailable: MLflow does not answer.
    """
    return rest.open_artifact(settings, run.run_id, run.report(path).path)


def _conditions(dag: str, dag_run: str, model: str, day: tuple[date, ZoneInfo] | None) -> list[str]:
    conditions = ["tags.`breezeway.reports` LIKE '[%'"]
    if dag and dag_run:
        conditions.append(f"tags.`breezeway.airflow_run` = '{dag}/{dag_run}'")
    elif dag:
        conditions.append(f"tags.`breezeway.airflow_run` LIKE '{dag}/%'")
    elif dag_run:
        conditions.append(f"tags.`breezeway.airflow_run` LIKE '%/{dag_run}'")
    if model:
        conditions.append(f"tags.`breezeway.model` LIKE '{model}%'")
    if day:
        first, last = (int(time.timestamp() * 1000) for time in (day_start(*day), day_end(*day)))
        conditions.append(f"attributes.start_time >= {first}")
        conditions.append(f"attributes.start_time < {last}")
    return conditions


def _reported(run: dict[str, Any]) -> ReportedRun | None:
    """A run from MLflow's REST API; None if it is not one of ours."""
    tags, info = rest.tags(run["data"]), run["info"]
    if "breezeway.step" not in tags or "breezeway.reports" not in tags:
        return None
    reports, problem = _listed(tags["breezeway.reports"])
    return ReportedRun(
        run_id=info["run_id"],
        name=info.get("run_name", ""),
        step=tags["breezeway.step"],
        model=tags.get("breezeway.model", ""),
        airflow_run=tags.get("breezeway.airflow_run", ""),
        time=rest.moment(info.get("start_time")),
        reports=reports,
        problem=problem,
    )


def _listed(tag: str) -> tuple[tuple[Report, ...], str]:
    """The reports that a tag lists and that may be shown, and why some may not.

    Anyone who may write to MLflow may have set the tag.
    """
    try:
        listed = _REPORTS.validate_json(tag)
    except ValidationError:
        return (), f"the tag breezeway.reports is no list of paths and titles: {tag[:100]!r}"
    hidden = [report.path[:100] for report in listed if not _is_shown(report.path)]
    problem = f"not shown, by their paths: {', '.join(map(repr, hidden[:3]))}" if hidden else ""
    return tuple(report for report in listed if _is_shown(report.path)), problem


def _is_shown(path: str) -> bool:
    """Whether a tag may name this path: a file below the run's folder, of a type that we show."""
    return PATH.allows(path) and "%" not in path and PurePosixPath(path).suffix in KINDS
