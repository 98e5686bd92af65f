"""The one error tree: what can go wrong, its exit code, and whether a retry can help.

    BreezewayError
    ├── UsageError           64  an argument or a setting is wrong         no retry
    ├── DataError            65  the data or the contract is wrong         no retry
    ├── ServiceUnavailable   69  a server or a store does not answer       retry
    ├── InternalError        70  a bug in Breezeway                        no retry
    └── TryAgain             75  a lock or a race was lost; no harm done   retry

Exit codes follow sysexits.h. The rest of the code raises only errors of this tree.
"""

from typing import ClassVar


class BreezewayError(Exception):
    """Base of the tree; it is never raised itself.

    Args:
        message: one sentence that names the field, row or argument and what was expected.
    """

    exit_code: ClassVar[int]
    retry: ClassVar[bool]


class UsageError(BreezewayError):
    exit_code = 64
    retry = False


class DataError(BreezewayError):
    exit_code = 65
    retry = False


class ServiceUnavailable(BreezewayError):
    exit_code = 69
    retry = True


class InternalError(BreezewayError):
    exit_code = 70
    retry = False


class TryAgain(BreezewayError):
    exit_code = 75
    retry = True
