"""The retry policy, made from the error tree. Nothing else decides on a retry."""

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowRuntimeError

from breezeway.core.errors import BreezewayError

RETRIES: dict[str, Any] = {
    "retries": 2,
    "retry_delay": timedelta(seconds=5),
    "retry_exponential_backoff": 3.0,
    "retry_policy": ExceptionRetryPolicy(
        rules=[
            RetryRule(
                exception=error,
                action=RetryAction.RETRY if error.retry else RetryAction.FAIL,
                reason=f"{error.__name__}: a retry {'may' if error.retry else 'cannot'} help",
            )
            for error in BreezewayError.__subclasses__()
        ]
        + [
            # A request that took too long is sent again by Airflow; the server, which carried it
            # out the first time, then refuses it.
            RetryRule(
                exception=AirflowRuntimeError,
                action=RetryAction.RETRY,
                reason="Airflow's API server did not answer as it should: a retry may help",
            )
        ],
        # Any other error is a defect, or a timeout that would happen again.
        default=RetryAction.FAIL,
    ),
}
"""A DAG's `default_args`: a second and a third attempt within half a minute, because somebody may
wait. A task whose worker died is retried by Airflow itself."""

AT_NIGHT = 6
"""How often a task is retried where nobody waits: for half an hour, so that a store may restart."""
