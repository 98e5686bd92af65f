"""MLflow's Python client, with short timeouts and errors of our tree."""

import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from breezeway.core.errors import ServiceUnavailable, UsageError
from breezeway.core.settings import Settings, redacted, silence_telemetry

if TYPE_CHECKING:
    from mlflow import MlflowClient

ANSWER_SECONDS = 5
"""How long a server may take to answer a health check."""

_CLIENT_VARIABLES = {
    # MLflow's own defaults wait 120 s for an answer and ask again for four minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

_AWAY = re.compile(
    r"API request to .* failed with|Max retries exceeded|failed with error code 5\d\d"
)
_AWAY_CODES = {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}
_ASKED_WRONGLY_CODES = {
    "RESOURCE_DOES_NOT_EXIST": "MLflow has no such thing",
    "INVALID_PARAMETER_VALUE": "MLflow refuses a value",
    "PERMISSION_DENIED": "MLflow denies access",
    "UNAUTHENTICATED": "MLflow denies access",
    "CUSTOMER_UNAUTHORIZED": "MLflow denies access",
}


def configure(settings: Settings) -> None:
    """Configure MLflow in this process: the server, short timeouts, no telemetry.

    MLflow reads timeouts and telemetry from environment variables, so child processes inherit
    them. Variables that are set already stay.
    """
    silence_telemetry()
    for name, value in _CLIENT_VARIABLES.items():
        os.environ.setdefault(name, value)
    import mlflow

    mlflow.set_tracking_uri(settings.mlflow_url)
    mlflow.set_registry_uri(settings.mlflow_url)


def client(settings: Settings) -> "MlflowClient":
    """Return a client of the server's runs and registry. Use it within `errors`."""
    configure(settings)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=settings.mlflow_url, registry_uri=settings.mlflow_url)


def check(settings: Settings) -> None:
    """Check that the server answers, before work starts that would otherwise be lost.

    Raises:
        ServiceUnavailable: no answer within `ANSWER_SECONDS`, or an error.
    """
    url = f"{settings.mlflow_url.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS):
            return
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        raise ServiceUnavailable(
            f"MLflow does not answer at {redacted(settings.mlflow_url)} ({reason}); "
            "BREEZEWAY_MLFLOW_URL names the server."
        ) from None


@contextmanager
def errors(settings: Settings) -> Iterator[None]:
    """Raise MLflow's errors as errors of our tree.

    Raises:
        ServiceUnavailable: the server does not answer, or only with a 5xx.
        UsageError: it has no such run, model or version, refuses a value or the credentials.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        message = error.message or str(error)
        if error.error_code in _ASKED_WRONGLY_CODES:
            raise UsageError(f"{_ASKED_WRONGLY_CODES[error.error_code]}: {message}") from error
        if error.error_code in _AWAY_CODES or _AWAY.search(message):
            raise ServiceUnavailable(
                f"MLflow at {redacted(settings.mlflow_url)} does not answer: {message}"
            ) from error
        raise
