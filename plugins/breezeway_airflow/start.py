"""The start page "Breezeway" of Airflow's web UI: what is in service, and where to go from here.

It shows the facts of `breezeway.pipeline.overview`. It needs a login, and shows nothing of the runs
of a DAG whose runs the user may not see. Airflow shows it in a frame that may open no window and
not leave the frame, so a script (`start.js`) follows its links in the page around it.
"""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader

from breezeway.core.days import clock_time
from breezeway.core.errors import BreezewayError
from breezeway.core.settings import Settings
from breezeway_airflow import airflow_internals
from breezeway_airflow.fields import contract_zone
from breezeway_airflow.links import root_path
from breezeway_airflow.reports import PAGE_HEADERS

if TYPE_CHECKING:
    from breezeway.pipeline.overview import ModelFacts

SECONDS = 5.0
"""How long the page waits for all stores together."""
MOST_DAGS = 50

HEADERS = PAGE_HEADERS | {
    "Content-Security-Policy": f"{PAGE_HEADERS['Content-Security-Policy']}; script-src 'self'",
}
"""As of the other pages, and the page's own script."""

_FOLDER = Path(__file__).parent / "templates"
TEMPLATES = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True)

User = Annotated[Any, Depends(airflow_internals.logged_in_user())]

app = FastAPI(
    title="Breezeway",
    dependencies=[Depends(airflow_internals.must_see_the_website())],
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
)


@app.get("/")
def show_start(request: Request, user: User) -> Response:
    """Show the facts, and the problem of each store that gives none."""
    from breezeway.pipeline import overview

    settings = Settings.from_environment()
    found, zone = overview.look(settings, SECONDS), contract_zone(settings)
    return _page(
        request,
        "start.html",
        airflow=root_path(),
        reports=f"{root_path()}plugin/reports",
        dags=airflow_internals.readable_dags(user, "breezeway", MOST_DAGS),
        found=found,
        models=[_readable(user, model) for model in found.models],
        curls={model.name: _curl(settings, found.serving, model) for model in found.models},
        in_zone=lambda moment: clock_time(moment, zone, "minutes"),
        zone=zone,
    )


@app.get("/start.js")
def send_script() -> Response:
    """Send the script of the page."""
    content = (_FOLDER / "start.js").read_bytes()
    return Response(content, media_type="text/javascript", headers=HEADERS)


@app.get("/{path:path}")
def refuse(path: str) -> None:
    """Answer every other path, so that it needs a login too."""
    raise HTTPException(404, "There is no such page.")


@app.exception_handler(BreezewayError)
def say_what_is_wrong(request: Request, error: BreezewayError) -> Response:
    """Tell of a setting or a sensor contract that is wrong: there are no stores to ask then."""
    return _page(request, "message.html", 500, title="Breezeway", back="Again", message=str(error))


def _page(request: Request, template: str, code: int = 200, **values: Any) -> HTMLResponse:
    root = str(request.scope["root_path"])
    return HTMLResponse(TEMPLATES.get_template(template).render(root=root, **values), code, HEADERS)


def _readable(user: Any, model: "ModelFacts") -> "ModelFacts":
    """Without what runs have found whose DAG the user may not see."""
    trained = model.trained
    return replace(
        model,
        figures=model.figures if _may_read(user, model.champion_dag) else (),
        nights=tuple(night for night in model.nights if _may_read(user, night.dag_id)),
        trained=trained if trained and _may_read(user, trained.dag_id) else None,
    )


def _may_read(user: Any, dag_id: str) -> bool:
    return not dag_id or airflow_internals.may_see_runs(user, dag_id)


def _curl(settings: Settings, server: str, model: "ModelFacts") -> str:
    """A command for a shell that asks the model server; empty if nothing is in service."""
    if model.in_service is None:
        return ""
    # The shell puts the token in: it is on no page.
    token = ' -H "Authorization: Bearer $BREEZEWAY_SERVING_TOKEN"' if settings.serving_token else ""
    address = f"{server}/v1/models/{model.name}"
    if not model.in_service.request:
        return f"curl -s {shlex.quote(address)}{token}"
    return (
        f"curl -s {shlex.quote(f'{address}/predict')}{token} "
        f"-H 'Content-Type: application/json' -d {shlex.quote(model.in_service.request)}"
    )
