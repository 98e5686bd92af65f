"""The page behind the field "Query" of the form of `training`: what the readings would be.

It runs `breezeway preview` in a process of its own, so a query, or a payload, can cost this server
neither its memory nor its life. Only who may start a run of the DAG may ask, and only from this
page itself.
"""

import json
import logging
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from threading import BoundedSemaphore
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, Response

from breezeway.core.errors import (
    BreezewayError,
    DataError,
    InternalError,
    ServiceUnavailable,
    UsageError,
)
from breezeway.core.settings import Settings
from breezeway_airflow import airflow_internals, form
from breezeway_airflow.fields import contract_defaults, contract_value
from breezeway_airflow.links import PREVIEW, root_path
from breezeway_airflow.process import step_environment
from breezeway_airflow.start import HEADERS, TEMPLATES

log = logging.getLogger(__name__)

DAG = "training"
SECONDS = 60.0
"""How long a preview may take; the store has a limit of its own, within this."""
AT_ONCE = 2
BODY_BYTES = 4 * form.QUERY_BYTES
"""Of a submitted form: three letters for a byte of the query."""
ERROR_LETTERS = 2000

_free = BoundedSemaphore(AT_ONCE)

User = Annotated[Any, Depends(airflow_internals.logged_in_user())]


def may_trigger(user: User) -> None:
    """FastAPI dependency: the user may start a run, which would run the same query."""
    if not airflow_internals.may_trigger(user, DAG):
        raise HTTPException(403, f"Only who may trigger the DAG {DAG} may look at its readings.")


async def fields(request: Request) -> dict[str, str]:
    """FastAPI dependency: what was filled in on this page."""
    # A browser says where a request comes from; other sites have no business here.
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise HTTPException(403, "Only the page itself may ask for a preview.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES:
            raise HTTPException(413, f"The query is too long: {form.QUERY_BYTES} bytes at most.")
    try:
        given = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=10))
    except ValueError:
        raise HTTPException(400, "This is no form of this page.") from None
    return {name: given.get(name, "").strip() for name in ("query", "first_day", "last_day")}


app = FastAPI(
    title="Preview of readings",
    dependencies=[Depends(airflow_internals.must_see_the_website()), Depends(may_trigger)],
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
)


@app.get("/")
def show_form() -> Response:
    """Show the form, filled in as that of the DAG is."""
    settings = Settings.from_environment()
    # With a window, an empty query stands for its days.
    has_window = contract_value(settings, "train", "window") is not None
    query = "" if has_window else contract_defaults(settings)[1]
    return _page({"query": query, "first_day": "", "last_day": ""})


@app.post("/")
def show_preview(filled: Annotated[dict[str, str], Depends(fields)]) -> Response:
    """Show what was asked for."""
    try:
        settings = Settings.from_environment()
        chosen = form.readings(filled, datetime.now(UTC), settings)
        return _page(filled, found=_preview(chosen))
    except BreezewayError as error:
        codes = {UsageError: 400, DataError: 400, ServiceUnavailable: 503}
        return _page(filled, codes.get(type(error), 500), problem=str(error))


@app.get("/{path:path}")
def refuse(path: str) -> None:
    """Answer every other path, so that it needs a login too."""
    raise HTTPException(404, "There is no such page.")


@app.exception_handler(BreezewayError)
def say_what_is_wrong(request: Request, error: BreezewayError) -> Response:
    """Tell of a setting or a sensor contract that is wrong."""
    return _page({}, 500, problem=str(error))


def _preview(chosen: dict[str, str]) -> dict[str, Any]:
    """The answer of `breezeway preview`.

    Raises:
        BreezewayError: that of the command.
        ServiceUnavailable: other previews are being made, or it took too long.
    """
    if query := chosen["query"]:
        words = [f"--query={query}"]
    else:
        words = [f"--first={chosen['first_day']}", f"--last={chosen['last_day']}"]
    if not _free.acquire(blocking=False):
        raise ServiceUnavailable(
            f"{AT_ONCE} previews are being made already. Try again in some seconds."
        )
    try:
        # One that is killed leaves its files here.
        with tempfile.TemporaryDirectory(prefix="breezeway-preview-") as folder:
            done = subprocess.run(
                [sys.executable, "-m", "breezeway", "preview", "--json", *words],
                env=step_environment() | {"TMPDIR": folder},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SECONDS,
            )
    except subprocess.TimeoutExpired:
        raise ServiceUnavailable(
            f"The preview took longer than {SECONDS:g} s and was ended. Select less, such as one "
            "day."
        ) from None
    finally:
        _free.release()
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(done.stdout)
        return found
    said = done.stderr.decode(errors="replace").strip()
    kinds = (UsageError, DataError, ServiceUnavailable)
    kind = {each.exit_code: each for each in kinds}.get(done.returncode)
    if kind:
        raise kind(said[-ERROR_LETTERS:].replace("--query: ", "", 1))
    log.error("The preview ended with %d: %s", done.returncode, said)
    raise InternalError(
        f"The preview ended with exit code {done.returncode}; the log of Airflow's API server "
        "says more."
    )


def _page(filled: dict[str, str], code: int = 200, **values: Any) -> HTMLResponse:
    text = TEMPLATES.get_template("preview.html").render(
        airflow=root_path(), page=f"{root_path()}{PREVIEW}/", dag=DAG, filled=filled, **values
    )
    return HTMLResponse(text, code, HEADERS)
