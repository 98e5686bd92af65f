"""The page at `/docs`: the description of the API, with forms that send requests to this server.

It is Swagger UI, of which BentoML has a copy, on our own description. Nothing of BentoML is
imported or run: only these two files are read, and `tests/servers/serving/test_bentoml_parts.py`
fails when an upgrade moves them. What a browser loads comes from this server.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import orjson

from breezeway.serving.active import ActiveModels
from breezeway.serving.page import recorded_request
from breezeway.serving.refusal import Refusal

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    b"frame-ancestors 'none'"
)
"""The page loads and asks nothing but this server; its pictures are in its style sheet."""
SCRIPT = Path(__file__).with_suffix(".js")
SWAGGER_UI = "_internal/server/static_content"
"""Where BentoML has the copy."""


FILES = {
    "/docs/start.js": b"text/javascript",
    "/docs/swagger-ui.css": b"text/css",
    "/docs/swagger-ui-bundle.js": b"text/javascript",
}
"""The files of the page: path → type."""


def index(models: ActiveModels, *, token: bool) -> bytes:
    """The page.

    Args:
        models: those that may be asked.
        token: whether clients need one. Then the page, which needs none, names no model.
    """
    name, request = recorded_request(models) or ("", None)
    facts = {} if token else {"models": list(models.states()), "model": name, "request": request}
    # Within HTML, where `<` could end the element.
    data = orjson.dumps(facts).replace(b"<", b"\\u003c")
    return (
        b'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        b'<meta name="viewport" content="width=device-width">'
        b"<title>Breezeway: model server's API</title>"
        b'<link rel="icon" href="data:,"><link rel="stylesheet" href="docs/swagger-ui.css">'
        b'<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script>'
        b'</head><body><div id="page">The description of the API is shown by a script.</div>'
        b'<script type="application/json" id="facts">' + data + b"</script></body></html>\n"
    )


@cache
def read(path: str) -> bytes:
    """The content of one of `FILES`.

    Raises:
        Refusal: 404, there is no BentoML here, or one without Swagger UI.
    """
    if path == "/docs/start.js":
        return SCRIPT.read_bytes()
    found = find_spec("bentoml")
    if found is None or found.origin is None:
        raise Refusal(404, "BentoML is not installed here, which brings Swagger UI.")
    try:
        return (Path(found.origin).parent / SWAGGER_UI / path.removeprefix("/docs/")).read_bytes()
    except FileNotFoundError:
        raise Refusal(404, "BentoML has no Swagger UI here.") from None
