"""The page "Reports" of Airflow's web UI: the reports that steps have logged to MLflow.

Every address needs a login. A user who may not see the runs of a DAG does not see their reports. A
report is shown in a frame that cannot act as the user and cannot call any server, not even its own.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.client import HTTPResponse
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from jinja2 import Environment, FileSystemLoader

from breezeway.core.days import clock_time, day_of
from breezeway.core.errors import BreezewayError, ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.tracking import nights, reports
from breezeway.tracking.nights import CheckedNight
from breezeway.tracking.reports import ReportedRun
from breezeway.tracking.rest import NotFound
from breezeway_airflow import airflow_internals
from breezeway_airflow.fields import contract_zone
from breezeway_airflow.links import root_path

CHUNK_BYTES = 1 << 16

DUE = timedelta(hours=30)
"""Between the beginning of a day and the time when its check must have ended."""

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; frame-src 'self'; "
        "form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Of our own pages, which contain no script."""

REPORT_HEADERS = PAGE_HEADERS | {
    "Content-Security-Policy": (
        "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; form-action 'none'; "
        "frame-ancestors 'self'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
"""Of the reports themselves. Their scripts draw the pictures, in an opaque origin."""

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True
)

User = Annotated[Any, Depends(airflow_internals.logged_in_user())]

app = FastAPI(
    title="Reports of Breezeway",
    dependencies=[Depends(airflow_internals.must_see_the_website())],
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
)


@app.get("/")
def show_list(
    request: Request,
    user: User,
    dag: str = "",
    run: str = "",
    model: str = "",
    day: str = "",
    page: str = "",
) -> Response:
    """List the runs that have reports, newest first, below what is missing."""
    settings = Settings.from_environment()
    zone, chosen = contract_zone(settings), _day(day)
    found, next_page = reports.find(
        settings,
        dag=dag,
        dag_run=run,
        model=model,
        day=(chosen, zone) if chosen else None,
        page=page,
    )
    readable = {each: _may_read(user, each) for each in {run.dag_id for run in found}}
    filters = {"dag": dag, "run": run, "model": model, "day": day}
    return _page(
        request,
        "reports.html",
        runs=[run for run in found if readable[run.dag_id]],
        filters=filters,
        nights=[] if page or any(filters.values()) else _nights(user),
        due=day_of(datetime.now(UTC) - DUE, zone),
        zone=zone,
        next_page=next_page,
    )


@app.get("/{run_id}/")
def show_first(request: Request, user: User, run_id: str) -> Response:
    """Show the first report of a run."""
    run = _run(user, run_id)
    if not run.reports:
        raise NotFound(f"This run has no reports{run.problem and f': {run.problem}'}.")
    return RedirectResponse(f"{_root(request)}/{run_id}/view/{quote(run.reports[0].path)}")


@app.get("/{run_id}/view/{path:path}")
def show_report(request: Request, user: User, run_id: str, path: str) -> Response:
    """Show a report in its frame, with links to the other reports of its run."""
    run, zone = _run(user, run_id), contract_zone(Settings.from_environment())
    return _page(request, "report.html", run=run, shown=run.report(path), zone=zone)


@app.get("/{run_id}/file/{path:path}")
def send_report(user: User, run_id: str, path: str) -> Response:
    """Send the bytes of a report."""
    run = _run(user, run_id)
    content = reports.open_report(Settings.from_environment(), run, path)
    return StreamingResponse(
        _chunks(content), media_type=run.report(path).content_type, headers=REPORT_HEADERS
    )


@app.get("/{path:path}")
def refuse(path: str) -> None:
    """Answer every other path, so that it needs a login too."""
    raise HTTPException(404, "There is no such page.")


@app.exception_handler(BreezewayError)
def say_what_is_wrong(request: Request, error: BreezewayError) -> Response:
    codes = {NotFound: 404, UsageError: 400, ServiceUnavailable: 503}
    code = codes.get(type(error), 500)
    return _page(request, "message.html", code, message=str(error))


def _nights(user: Any) -> list[CheckedNight]:
    """The last night of each model, with what was missing then."""
    found = nights.last_nights(Settings.from_environment())
    return [night for night in found if _may_read(user, night.dag_id)]


def _run(user: Any, run_id: str) -> ReportedRun:
    run = reports.get(Settings.from_environment(), run_id)
    if not _may_read(user, run.dag_id):
        raise NotFound("There is no such run.")
    return run


def _may_read(user: Any, dag_id: str) -> bool:
    """Whether a user may see the reports of a DAG's runs, or of a step that ran without a DAG."""
    return not dag_id or airflow_internals.may_see_runs(user, dag_id)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise UsageError(f"{text!r} is not a day: expected one such as 2026-01-31.") from None


def _in_zone(moment: datetime | None, zone: ZoneInfo) -> str:
    return "unknown" if moment is None else clock_time(moment, zone, "minutes")


_templates.filters["in_zone"] = _in_zone


def _chunks(content: HTTPResponse) -> Iterator[bytes]:
    with content:
        while chunk := content.read(CHUNK_BYTES):
            yield chunk


def _root(request: Request) -> str:
    """Path of this app, also behind a proxy."""
    return str(request.scope["root_path"])


def _page(request: Request, template: str, code: int = 200, **values: Any) -> HTMLResponse:
    text = _templates.get_template(template).render(
        root=_root(request), airflow=root_path(), **values
    )
    return HTMLResponse(text, code, PAGE_HEADERS)
