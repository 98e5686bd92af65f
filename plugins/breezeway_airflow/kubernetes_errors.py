"""Says which errors of the Kubernetes API may pass, and raises them as errors of the tree."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import ClientConnectionError, ClientPayloadError
from kubernetes.client import ApiException
from kubernetes_asyncio.client import ApiException as AsyncApiException
from urllib3.exceptions import HTTPError

from breezeway.core.errors import ServiceUnavailable, UsageError

TRANSIENT_CODES = frozenset({409, 429, 500, 502, 503, 504})
CONNECTION_ERRORS = (HTTPError, ClientConnectionError, ClientPayloadError, TimeoutError)
"""Of the blocking client and of the asynchronous one."""


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, ApiException | AsyncApiException):
        return error.status in TRANSIENT_CODES
    return isinstance(error, CONNECTION_ERRORS)


def is_not_found(error: BaseException) -> bool:
    return isinstance(error, ApiException | AsyncApiException) and error.status == 404


@contextmanager
def kubernetes_errors() -> Iterator[None]:
    """Raise an error of the API server as one of the error tree."""
    try:
        yield
    except ApiException as error:
        if is_transient(error):
            raise ServiceUnavailable(
                f"Kubernetes answers {error.status} {error.reason}."
            ) from error
        raise UsageError(
            f"Kubernetes refuses the pod: {error.status} {error.reason}: {error.body}"
        ) from error
    except CONNECTION_ERRORS as error:
        raise ServiceUnavailable(f"Kubernetes does not answer: {error}") from error
