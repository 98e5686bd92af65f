"""A step for tests: it says a line every half second and ends as it is told."""

import logging
import os
import time

from breezeway.core import errors
from breezeway.steps.runner import run_step

log = logging.getLogger("breezeway")


def add_arguments(parser):
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--error")
    parser.add_argument("--file", help="gets a line for each time that the step is run")


def run(arguments, settings):
    if arguments.file:
        with open(arguments.file, "a") as file:
            file.write(f"{settings.run_id}\n")
    log.warning("begun")
    started = time.monotonic()
    number = 0
    while time.monotonic() - started < arguments.seconds:
        number += 1
        log.info("line %d", number)
        time.sleep(0.5)
    if arguments.error:
        raise getattr(errors, arguments.error)(f"as told: {arguments.error}")
    return {"lines": number, "user": os.getuid(), "secret_length": len(os.environ["PLANTED"])}


if __name__ == "__main__":
    run_step("probe", __doc__, add_arguments, run)
