"""The page at `/`: for a person who opens the model server's address in a browser."""

from html import escape
from shlex import quote
from typing import Any

import orjson

from breezeway.serving.active import ActiveModels

POLICY = b"default-src 'none'; style-src 'unsafe-inline'"
"""Nothing is loaded from anywhere, and nothing runs."""
STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse }
th, td { border-bottom: 1px solid #8886; padding: .3rem 1rem .3rem 0; text-align: left }
td { overflow-wrap: anywhere; vertical-align: top }
pre { background: #8882; max-height: 24rem; overflow: auto; overflow-wrap: anywhere; padding: 1rem;
  white-space: pre-wrap }
"""


def index(models: ActiveModels, address: str, *, token: bool) -> bytes:
    """The page.

    Args:
        models: what is in service, and what could not be loaded.
        address: of this server, as the browser names it.
        token: whether clients need one.
    """
    rows = "".join(_row(models, name) for name in models.states())
    table = (
        "<table><tr><th>model<th>version<th>in service since<th>alarm from<th>trial<th>trouble"
        f"</tr>{rows}</table>"
        if rows
        else "<p>No model is in service yet. Trigger the DAG <code>training</code> in Airflow: its "
        "step <code>deploy</code> puts one there.</p>"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>Breezeway: model server</title><style>{STYLE}</style></head><body>"
        f"<h1>Model server</h1>{table}"
        '<p><a href="v1/models">All facts</a> as JSON, the <a href="docs">API with forms to '
        'try it</a>, its <a href="openapi.json">description</a> (OpenAPI), '
        '<a href="metrics">metrics</a> for Prometheus.</p>'
        f"{_example(models, address, token)}</body></html>\n"
    ).encode()


def _row(models: ActiveModels, name: str) -> str:
    status = models.status(name)
    trial = status.challenger
    cells = (
        name,
        status.model_version or "none",
        (status.loaded_at or "")[:19].replace("T", " ") + (" UTC" if status.loaded_at else ""),
        "" if status.threshold is None else f"{status.threshold:.3g}",
        f"version {trial.model_version} ({trial.mode})" if trial else "",
        status.failure.reason if status.failure else "",
    )
    return f"<tr>{''.join(f'<td>{escape(cell)}' for cell in cells)}</tr>"


def recorded_request(models: ActiveModels) -> tuple[str, dict[str, Any]] | None:
    """The first model that can be asked, and recorded readings of it; None if there is none."""
    for name in models.states():
        if serving := models.get(name):
            recorded = serving.champion.live.model.examples[0]
            readings = [
                {key: each[key] for key in ("time", "payload")} for each in recorded["readings"]
            ]
            return name, {"device": recorded["device"], "readings": readings}
    return None


def _example(models: ActiveModels, address: str, token: bool) -> str:
    """A request that can be copied."""
    found = recorded_request(models)
    if found is None:
        return ""
    name, request = found
    words = [
        f"curl {quote(f'{address}/v1/models/{name}/predict?explain=true')}",
        "-H 'Content-Type: application/json'",
        *(['-H "Authorization: Bearer $BREEZEWAY_SERVING_TOKEN"'] if token else []),
        f"-d {quote(orjson.dumps(request).decode())}",
    ]
    command = " \\\n  ".join(words)
    return f"<h2>Ask for a score</h2><pre>{escape(command)}</pre>"
