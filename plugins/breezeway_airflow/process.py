"""Runs a step as a process on the worker of its task."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import IO, Any

from airflow.sdk import BaseOperator, Context

from breezeway.core.forked_step import ADDRESS_VARIABLE, ForkedStep, Request, start_step
from breezeway_airflow.command import log_record, report_drift, step_options, step_result
from breezeway_airflow.links import ReportLink
from breezeway_airflow.outcome import recall, remember

GRACE_SECONDS = 10
"""Between asking a process group to end and ending it."""

# Leads the process group, and waits until its standard input is closed. Only the task holds that
# open, so the group ends with the task, even if the task is killed with SIGKILL.
_KEEPER = 'trap "" TERM; cat >/dev/null; kill -TERM 0; sleep "$0"; kill -KILL 0'


class ProcessStep(BaseOperator):
    """Runs `python -m breezeway.steps.<step>` as a process on this worker.

    The step's log lines appear in the task's log with their level, and its result is the task's
    XCom. Its exit code becomes the error that it stands for, which decides on a retry
    (`retry.RETRIES`). A step that was killed by a signal may be retried.

    **What it does not do:** The step does not survive its worker. When the worker dies, the step's
    whole process group is killed, and the next attempt starts from the beginning, unless the step
    had ended. A process that has left the group is not killed.

    Args:
        arguments: option name → value; `run_name` is passed as `--run-name`. Templated.
            An option whose value is None or empty is left out.
        step: the step's name, if it is not the task's id.
    """

    template_fields = ("arguments",)
    template_fields_renderers = {"arguments": "json"}  # noqa: RUF012 - Airflow's own convention
    operator_extra_links = (ReportLink(),)
    ui_color = "#e3f2fd"

    def __init__(self, *, arguments: dict[str, Any], step: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.arguments = arguments
        self.step = step or self.task_id
        self._end: Callable[[], None] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the step to its end, unless an earlier attempt already did.

        Raises:
            BreezewayError: the one of the step's exit code, with the step's message.
        """
        if (earlier := recall(context)) is not None:
            report_drift(context, earlier)
            return earlier
        run = context["dag_run"]
        with TemporaryDirectory(prefix="breezeway-") as folder:
            result = Path(folder) / "result.json"
            environment = step_environment() | {
                "BREEZEWAY_RESULT": str(result),
                "BREEZEWAY_RUN_ID": f"{run.dag_id}/{run.run_id}",
            }
            module, options = f"breezeway.steps.{self.step}", step_options(self.arguments)
            with _process_group(module, options, environment) as (process, self._end):
                relay = Thread(target=self._relay, args=(process.stdout,), daemon=True)
                relay.start()
                code = process.wait()
            # The group has ended, and so has its output, unless a process that left the group
            # holds it open.
            relay.join(timeout=GRACE_SECONDS)
            text = result.read_text(encoding="utf-8") if result.is_file() else ""
        outcome = remember(context, lambda: step_result(self.step, code, text))
        report_drift(context, outcome)
        return outcome

    def on_kill(self) -> None:
        """End the process group; `execute` then returns."""
        if self._end:
            self._end()

    def _relay(self, lines: IO[str]) -> None:
        level = logging.INFO
        for line in lines:
            level, message = log_record(line.rstrip("\n"), level)
            self.log.log(level, "%s", message)


def step_environment() -> dict[str, str]:
    """This process's environment without Airflow's own settings and those of notifiers, which
    hold secrets."""
    foreign = ("AIRFLOW__", "BREEZEWAY_NOTIFIERS")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    return inherited | {"PYTHONUNBUFFERED": "1"}


@contextmanager
def _process_group(
    module: str, arguments: list[str], environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[str] | ForkedStep, Callable[[], None]]]:
    """Run a module in a process group of its own. The group is gone when the block is left.

    Yields the process and a function that ends the group: SIGTERM at once, SIGKILL after
    `GRACE_SECONDS`. The same happens when this process dies.
    """
    keeper = subprocess.Popen(
        ["/bin/sh", "-c", _KEEPER, str(GRACE_SECONDS)], stdin=subprocess.PIPE, process_group=0
    )
    assert keeper.stdin is not None
    try:
        process = _start(module, arguments, environment, keeper.pid)
        try:
            yield process, keeper.stdin.close
        finally:
            keeper.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS + 1)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(keeper.pid, signal.SIGKILL)
        keeper.wait()


def _start(
    module: str, arguments: list[str], environment: dict[str, str], group: int
) -> subprocess.Popen[str] | ForkedStep:
    """By the step server where there is one, which spares the step its imports."""
    if address := environment.get(ADDRESS_VARIABLE):
        request = Request(module, arguments, environment, os.getcwd(), group)
        if forked := start_step(address, request):
            return forked
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        process_group=group,
    )
