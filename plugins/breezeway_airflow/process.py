"""A step as a process beside the task, on the same worker."""

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

from breezeway_airflow.command import log_record, report_drift, step_options, step_result
from breezeway_airflow.links import ReportLink

GRACE_SECONDS = 10
"""Between asking a process group to end and ending it."""

# Holds the process group and waits for the end of its standard input, which only the task
# keeps open. So the group ends with the task, even where the task was killed with -9.
_KEEPER = 'trap "" TERM; cat >/dev/null; kill -TERM 0; sleep "$0"; kill -KILL 0'


class ProcessStep(BaseOperator):
    """`python -m breezeway.steps.<step>`, as a process of its own on this worker.

    The step's log lines appear in the task's log with their level, its result is the task's
    XCom, and its exit code becomes the error of the tree that it stands for, which decides
    over a retry (`retry.RETRIES`). A step that was killed by a signal may be tried again.

    It does not survive its worker: when the worker dies, the step's whole process group is
    ended, and the next attempt starts anew. A process that leaves the group is not ended.

    Args:
        arguments: option name → value; `run_name` is passed as `--run-name`. Templated.
            An option whose value is None or empty is left out.
        step: the step's name, where it is not the task's.
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
        """Run the step to its end.

        Raises:
            BreezewayError: the one of the step's exit code, with the step's own sentence.
        """
        run = context["dag_run"]
        with TemporaryDirectory(prefix="breezeway-") as folder:
            result = Path(folder) / "result.json"
            environment = step_environment() | {
                "BREEZEWAY_RESULT": str(result),
                "BREEZEWAY_RUN_ID": f"{run.dag_id}/{run.run_id}",
            }
            command = [
                *(sys.executable, "-m", f"breezeway.steps.{self.step}"),
                *step_options(self.arguments),
            ]
            with _process_group(command, environment) as (process, self._end):
                relay = Thread(target=self._relay, args=(process.stdout,), daemon=True)
                relay.start()
                code = process.wait()
            # With the group gone its output has ended; only a process that left the group
            # can hold it open.
            relay.join(timeout=GRACE_SECONDS)
            text = result.read_text(encoding="utf-8") if result.is_file() else ""
        outcome = step_result(self.step, code, text)
        report_drift(outcome)
        return outcome

    def on_kill(self) -> None:
        """End the process group; `execute` then returns by itself."""
        if self._end:
            self._end()

    def _relay(self, lines: IO[str]) -> None:
        level = logging.INFO
        for line in lines:
            level, message = log_record(line.rstrip("\n"), level)
            self.log.log(level, "%s", message)


def step_environment() -> dict[str, str]:
    """This process's environment without Airflow's own settings, which hold its secrets."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW__")}
    return inherited | {"PYTHONUNBUFFERED": "1"}


@contextmanager
def _process_group(
    command: list[str], environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[str], Callable[[], None]]]:
    """A command in a process group of its own, which is gone when the block is left.

    Gives the process and a function that asks the group to end: SIGTERM now, SIGKILL after
    the grace. That happens as well when this process dies.
    """
    keeper = subprocess.Popen(
        ["/bin/sh", "-c", _KEEPER, str(GRACE_SECONDS)], stdin=subprocess.PIPE, process_group=0
    )
    assert keeper.stdin is not None
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            process_group=keeper.pid,
        )
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
