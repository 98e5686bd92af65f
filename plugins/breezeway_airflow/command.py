"""What a step has in common wherever it runs: its options, its log lines, its result."""

import json
import logging
import re
import signal
from collections.abc import Mapping
from datetime import date
from typing import Any

from airflow.sdk import Context
from airflow.sdk.observability import stats

from breezeway.core.days import day_end
from breezeway.core.errors import BreezewayError, InternalError, TryAgain, UsageError
from breezeway.core.settings import Settings
from breezeway_airflow.fields import contract_zone
from breezeway_airflow.nights import may_move_gauges
from breezeway_airflow.notify import tell_of_night

WORD_BYTES = (128 << 10) - 1
"""Linux starts no process with a longer argument (`MAX_ARG_STRLEN`)."""

_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) (.*)")
_LEVELS = logging.getLevelNamesMapping()


def step_options(arguments: Mapping[str, Any]) -> list[str]:
    """Option name → value as words of a command line; None and empty values are left out.

    Raises:
        UsageError: a word would be longer than Linux allows.
    """
    options = []
    for name, value in arguments.items():
        if value is not None and value != "":
            # One word, so that a value may begin with a dash.
            word = f"--{name.replace('_', '-')}={value}"
            if len(word.encode()) > WORD_BYTES:
                raise UsageError(
                    f"The argument {name!r} takes {len(word.encode())} bytes, but a command line "
                    f"allows {WORD_BYTES}: give the step less at once."
                )
            options.append(word)
    return options


def log_record(line: str, previous_level: int) -> tuple[int, str]:
    """A line of a step's log → level and message. Without a level, it has the previous one."""
    if (match := _LOG_LINE.fullmatch(line)) and match[1] in _LEVELS:
        return _LEVELS[match[1]], match[2]
    return previous_level, line


def step_result(step: str, code: int, text: str) -> dict[str, Any]:
    """Exit code and result file of a step → its result.

    Args:
        code: exit code, negative or above 128 for the signal that ended it.
        text: the result file's JSON, empty where there is none.

    Raises:
        BreezewayError: the code is not 0, or there is no result.
    """
    result: dict[str, Any] | None
    try:
        result = json.loads(text)
    except json.JSONDecodeError:  # no file, or its writer was killed
        result = None
    if code == 0 and result is not None:
        return result
    if code == 0:
        raise InternalError(f"The step {step} exited with 0 but left no result.")
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        raise TryAgain(f"The step {step} was ended by signal {number} ({_signal_name(number)}).")
    errors = {error.exit_code: error for error in BreezewayError.__subclasses__()}
    message = (result or {}).get("error") or f"The step {step} failed with exit code {code}."
    raise errors.get(code, InternalError)(message)


def report_drift(context: Context, result: dict[str, Any]) -> None:
    """Tell people what the step `drift` has found besides a drift, and set Airflow's gauges
    `breezeway.drifted_columns`, `.sensor_faults`, `.absent_nights`, `.absent_days`, `.late_days`
    and `.last_night` (when it ended, in seconds since 1970); not of the past. A day that could not
    be judged does not change the first."""
    if "drifted_count" not in result or not may_move_gauges(context, result["date"]):
        return
    tags = {"model_name": result["model_name"]}
    if result["verdict"] != "not judged":
        stats.gauge("breezeway.drifted_columns", result["drifted_count"], tags=tags)
    stats.gauge("breezeway.sensor_faults", result["sensor_fault_count"], tags=tags)
    for name in ("absent_nights", "absent_days", "late_days"):
        stats.gauge(f"breezeway.{name}", result[name], tags=tags)
    zone = contract_zone(Settings.from_environment())
    end = day_end(date.fromisoformat(result["date"]), zone)
    stats.gauge("breezeway.last_night", round(end.timestamp()), tags=tags)
    tell_of_night(context, result)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
