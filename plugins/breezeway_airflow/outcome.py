"""Keeps how a step ended, for an attempt that Airflow starts although none is due.

A task that has ended can be tried again in spite of its retry policy:

- The worker that defers a task ends with SUCCESS. A scheduler that reads this only after the
  trigger has fired takes it for the end of the task, and plans a retry
  (https://github.com/apache/airflow/issues/66374).
- A worker dies after its step has ended, and before Airflow knows.

Such an attempt ends as the first one did; the step does not run again. A task that a user clears
does run again.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from airflow.sdk import Context

from breezeway.core.errors import BreezewayError

KEY = "outcome"
"""Name in Airflow's task state store, which lasts from one attempt to the next."""
RETENTION = timedelta(days=1)
"""An attempt that Airflow starts by mistake follows within minutes."""


def remember(
    context: Context, outcome: Callable[[], dict[str, Any]], **xcoms: Any
) -> dict[str, Any]:
    """Keep what `outcome` returns or raises, and return or raise it.

    An error that a retry may help against is not kept.

    Args:
        xcoms: other XComs of the task, which Airflow clears before each attempt.
    """
    try:
        result = outcome()
    except BreezewayError as error:
        if not error.retry:
            _keep(context, xcoms, error=type(error).__name__, message=str(error))
        raise
    _keep(context, xcoms, result=result)
    return result


def recall(context: Context) -> dict[str, Any] | None:
    """The result that an earlier attempt has kept, None if there is none. Its XComs are pushed.

    Raises:
        BreezewayError: the earlier attempt ended with this error.
    """
    kept: Any = context["task_state_store"].get(KEY)
    # Clearing a task grants it further attempts. Nothing else changes this number.
    if kept is None or kept["max_tries"] != context["ti"].max_tries:
        return None
    for key, value in kept["xcoms"].items():
        context["ti"].xcom_push(key, value)
    errors = {error.__name__: error for error in BreezewayError.__subclasses__()}
    if "error" in kept:
        raise errors[kept["error"]](kept["message"])
    result: dict[str, Any] = kept["result"]
    return result


def _keep(context: Context, xcoms: dict[str, Any], **outcome: Any) -> None:
    value = {"max_tries": context["ti"].max_tries, "xcoms": xcoms, **outcome}
    context["task_state_store"].set(KEY, value, retention=RETENTION)
