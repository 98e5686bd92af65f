"""MLflow's REST API without MLflow's client, which takes seconds to import."""

import base64
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from breezeway.core.errors import ServiceUnavailable, UsageError
from breezeway.core.settings import Settings, redacted

ANSWER_SECONDS = 8
ANSWER_BYTES = 64 << 20
"""Far more than a page of runs with all their tags and metrics."""
ERROR_BYTES = 64 << 10
ARTIFACT_SECONDS = 60
"""Longer, because the server may first fetch the file from an object store."""


class NotFound(UsageError):
    """MLflow knows no such model, version or run."""


def tags(thing: Mapping[str, Any]) -> dict[str, str]:
    """Tags of a model, a version or a run."""
    return {tag["key"]: tag.get("value", "") for tag in thing.get("tags", [])}


def moment(milliseconds: int | str | None) -> datetime | None:
    """A time of MLflow in UTC; None if there is none, or if no calendar has it.

    Whoever makes a run sets its times, and MLflow takes any number.
    """
    try:
        return datetime.fromtimestamp(int(milliseconds or "") / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def get(settings: Settings, path: str, **fields: Any) -> dict[str, Any]:
    """Send a GET request to MLflow's REST API.

    The credentials are in the variables of MLflow's own client: MLFLOW_TRACKING_TOKEN, or
    MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.

    Args:
        path: below `/api/2.0/mlflow/`.

    Raises:
        NotFound: MLflow knows no such thing.
        UsageError: it refuses a value or the credentials.
        ServiceUnavailable: no answer within `ANSWER_SECONDS`, or an error of the server.
    """
    return _ask(settings, "GET", f"{path}?{urllib.parse.urlencode(fields)}", None)


def post(settings: Settings, path: str, **fields: Any) -> dict[str, Any]:
    """Send a POST request to MLflow's REST API; errors as for `get`."""
    return _ask(settings, "POST", path, json.dumps(fields).encode())


def delete(settings: Settings, path: str, **fields: Any) -> dict[str, Any]:
    """Send a DELETE request to MLflow's REST API; errors as for `get`."""
    return _ask(settings, "DELETE", path, json.dumps(fields).encode())


def open_artifact(settings: Settings, run_id: str, path: str) -> http.client.HTTPResponse:
    """Open a file of a run for reading, through MLflow's server; close it after use.

    Args:
        path: within the run's artifacts.

    Raises:
        as `get` does.
    """
    query = urllib.parse.urlencode({"run_id": run_id, "path": path})
    return _open(settings, "GET", f"get-artifact?{query}", None, ARTIFACT_SECONDS)


def put_artifact(settings: Settings, artifacts: str, path: str, content: bytes) -> None:
    """Write a file of a run, through MLflow's server.

    Args:
        artifacts: `artifact_uri` of the run.
        path: within the run's artifacts.

    Raises:
        UsageError: the server does not store artifacts itself; else as `get` does.
    """
    address = urllib.parse.urlsplit(artifacts)
    if address.scheme != "mlflow-artifacts":
        raise UsageError(
            f"MLflow: files of its runs go to {redacted(artifacts)}, which needs MLflow's client; "
            "start the server with --artifacts-destination."
        )
    place = urllib.parse.quote(f"{address.path.strip('/')}/{path}")
    with _open(
        settings,
        "PUT",
        f"api/2.0/mlflow-artifacts/artifacts/{place}",
        content,
        ARTIFACT_SECONDS,
        "application/octet-stream",
    ) as answer:
        answer.read(ANSWER_BYTES)


def _ask(settings: Settings, method: str, path: str, body: bytes | None) -> dict[str, Any]:
    try:
        with _open(settings, method, f"api/2.0/mlflow/{path}", body, ANSWER_SECONDS) as response:
            text = response.read(ANSWER_BYTES + 1)
            if len(text) > ANSWER_BYTES:
                raise UsageError(
                    f"MLflow: the answer to {path} has more than {ANSWER_BYTES} bytes."
                )
            answer: dict[str, Any] = json.loads(text)
            return answer
    except (OSError, http.client.HTTPException) as error:
        raise ServiceUnavailable(f"{_away(settings)} ({error}).") from None
    except ValueError:
        raise ServiceUnavailable(f"{_away(settings)}: the server there is not MLflow.") from None


def _open(
    settings: Settings,
    method: str,
    path: str,
    body: bytes | None,
    seconds: float,
    kind: str = "application/json",
) -> http.client.HTTPResponse:
    url = f"{settings.mlflow_url.rstrip('/')}/{path}"
    headers = {"Content-Type": kind, **_credentials()}
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=seconds)
        return answer
    except urllib.error.HTTPError as error:
        if error.code >= 500 or error.code == 429:
            raise ServiceUnavailable(f"{_away(settings)}: {error}.") from None
        refused = NotFound if error.code == 404 else UsageError
        raise refused(f"MLflow: {_message(error)}") from None
    except (OSError, http.client.HTTPException) as error:
        raise ServiceUnavailable(
            f"{_away(settings)} ({getattr(error, 'reason', error)})."
        ) from None


def _away(settings: Settings) -> str:
    return f"MLflow does not answer at {redacted(settings.mlflow_url)}"


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read(ERROR_BYTES))["message"])
    except (ValueError, KeyError, TypeError, OSError):
        return str(error)


def _credentials() -> dict[str, str]:
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        pair = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}
