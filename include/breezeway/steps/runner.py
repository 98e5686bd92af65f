"""The frame of every step: arguments, log lines, one JSON result, one exit code."""

import argparse
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from breezeway.core.arguments import ArgumentParser
from breezeway.core.errors import BreezewayError, InternalError
from breezeway.core.files import no_space, write_text
from breezeway.core.settings import Settings, silence_telemetry

log = logging.getLogger("breezeway")

OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""Python's 700 let it search what libraries make when they are imported, all of which stays: a
seventh of the time that MLflow's and Evidently's imports take."""

RESULT_LIMIT_BYTES = 4096
"""The limit of a Kubernetes termination message."""


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write the result as JSON.

    Raises:
        InternalError: it is larger than 4 KiB.
    """
    text = json.dumps(result, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > RESULT_LIMIT_BYTES:
        raise InternalError(
            f"The step's result has {len(text.encode())} bytes; {RESULT_LIMIT_BYTES} are allowed."
        )
    if path.is_file() and path.stat().st_size == 0 and not os.access(path.parent, os.W_OK):
        path.write_text(text, encoding="utf-8")  # Kubernetes made this file, for the result
        return
    write_text(path, text)


def run_step(
    name: str,
    description: str,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace, Settings], dict[str, Any]],
) -> NoReturn:
    """Run a step as a command and exit with its code.

    Standard output has log lines, one of them with the result as a JSON object. A failure is one
    sentence in the log, with a traceback only for a bug in Breezeway.
    """
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    silence_telemetry()
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.Formatter.converter = time.gmtime
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    started = time.monotonic()
    settings = None
    try:
        settings = Settings.from_environment()
        parser = ArgumentParser(
            prog=f"breezeway.steps.{name}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(parser)
        arguments = parser.parse_args()
        result = run(arguments, settings)
        log.info("result %s", json.dumps(result, allow_nan=False, ensure_ascii=False))
        if settings.result:
            write_result(settings.result, result)
    except BreezewayError as error:
        _fail(name, error, settings)
    except Exception as error:
        if full := no_space(error):
            _fail(name, full, settings)
        log.exception("%s failed", name)
        _fail(name, InternalError(f"{type(error).__name__}: {error}"), settings)
    log.info("%s done in %.1f s", name, time.monotonic() - started)
    sys.exit(0)


def _short(error: BreezewayError) -> str:
    """The error's message, cut so that its JSON fits into a result."""
    message = str(error)
    while len(json.dumps(message).encode()) > RESULT_LIMIT_BYTES - 100:
        message = message[: len(message) * 9 // 10]
    return message


def _fail(name: str, error: BreezewayError, settings: Settings | None) -> NoReturn:
    log.error("%s: %s", name, error)
    if settings and settings.result:
        write_result(settings.result, {"error": _short(error), "exit_code": error.exit_code})
    sys.exit(error.exit_code)
