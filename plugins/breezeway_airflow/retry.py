"""The retry policy, made from the error tree. Nothing else decides on a retry."""

from datetime import timedelta

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from breezeway.core.errors import BreezewayError

RETRIES = {
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
        ],
        # Any other error is a defect, or a timeout that would happen again.
        default=RetryAction.FAIL,
    ),
}
"""A DAG's `default_args`. A task whose worker died is retried by Airflow itself."""
