"""A step as a process: what it is given, what comes back, and that nothing of it is left."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard

import breezeway
from breezeway.core.errors import BreezewayError, InternalError, TryAgain
from breezeway.core.forked_step import ADDRESS_VARIABLE
from breezeway_airflow import process as process_module
from breezeway_airflow.process import ProcessStep
from breezeway_airflow.retry import RETRIES
from tests.fixtures.step_server import step_server

CONTEXT = {
    "dag_run": SimpleNamespace(dag_id="training", run_id="manual__1"),
    "ti": SimpleNamespace(max_tries=2),
    "task_state_store": SimpleNamespace(
        get=lambda key: None, set=lambda key, value, retention: None
    ),
}

FRAME = """
import logging, os, signal, subprocess, sys, time
from breezeway.steps.runner import run_step
from breezeway.core import errors
log = logging.getLogger("breezeway")
def add_arguments(parser):
    for name in ("--tag", "--run-name", "--error", "--file"):
        parser.add_argument(name)
"""


@pytest.fixture(params=["a process", "a fork"])
def step_of(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., ProcessStep]]:
    """Makes a `ProcessStep` of a function body; all else of the package is the real one."""
    real = Path(breezeway.__file__).parent
    package = tmp_path / "include" / "breezeway"
    (package / "steps").mkdir(parents=True)
    for path in real.iterdir():
        if path.name not in ("steps", "__pycache__"):
            (package / path.name).symlink_to(path)
    for name in ("__init__.py", "runner.py"):
        (package / "steps" / name).symlink_to(real / "steps" / name)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    task_log = logging.getLogger("probe")
    task_log.setLevel(logging.INFO)
    monkeypatch.setattr(ProcessStep, "log", task_log)
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)

    def make(body: str, **arguments: object) -> ProcessStep:
        lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
        (package / "steps" / "probe.py").write_text(
            f"{FRAME}\ndef run(arguments, settings):\n{lines}\n"
            "run_step('probe', __doc__, add_arguments, run)\n"
        )
        return ProcessStep(task_id="probe", arguments=arguments)

    if request.param == "a process":
        yield make
        return
    with step_server() as (address, server):
        monkeypatch.setenv(ADDRESS_VARIABLE, str(address))
        make.server = server  # type: ignore[attr-defined]
        yield make


def processes_with(path: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if str(path) in " ".join(process.info["cmdline"] or [])
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def test_result_is_the_return_value_and_the_run_is_known(step_of) -> None:
    step = step_of(
        "return {'tag': arguments.tag, 'run': os.environ['BREEZEWAY_RUN_ID'],"
        " 'secrets': [n for n in os.environ if n.startswith('AIRFLOW__DATABASE')]}",
        tag="v1",
    )
    assert step.execute(CONTEXT) == {"tag": "v1", "run": "training/manual__1", "secrets": []}


def test_each_log_line_appears_once_with_its_level(step_of, caplog) -> None:
    step = step_of(
        "log.warning('half full')\nprint('loose', flush=True)\nlog.info('line')\n"
        "log.error('bad\\nsecond line')\nreturn {}"
    )
    with caplog.at_level(logging.INFO):
        step.execute(CONTEXT)
    lines = [(r.levelname, r.getMessage()) for r in caplog.records if "done in" not in r.message]
    assert lines == [
        ("WARNING", "half full"),
        ("WARNING", "loose"),
        ("INFO", "line"),
        ("ERROR", "bad"),
        ("ERROR", "second line"),
        ("INFO", "result {}"),
    ]


def test_lines_are_relayed_while_the_step_runs(step_of, tmp_path) -> None:
    step = step_of(
        "log.info('begun')\nwhile not os.path.exists(arguments.file): time.sleep(0.02)\nreturn {}",
        file="",
    )
    go_on = tmp_path / "go_on"
    step.arguments = {"file": str(go_on)}

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "begun":
                go_on.touch()

    logging.getLogger("probe").addHandler(watch := Watch())
    try:
        assert step.execute(CONTEXT) == {}
    finally:
        logging.getLogger("probe").removeHandler(watch)


@pytest.mark.parametrize("error", BreezewayError.__subclasses__())
def test_exit_code_becomes_the_error_and_decides_the_retry(step_of, error) -> None:
    step = step_of(f"raise errors.{error.__name__}('The tag v9 is missing.')")
    with pytest.raises(error, match=r"The tag v9 is missing\.") as raised:
        step.execute(CONTEXT)
    decision = RETRIES["retry_policy"].evaluate(raised.value, try_number=1, max_tries=2)
    assert decision.action.value == ("retry" if error.retry else "fail")


@pytest.mark.parametrize(
    ("body", "error", "sentence"),
    [
        ("os._exit(3)", InternalError, "probe failed with exit code 3"),
        ("os._exit(0)", InternalError, "left no result"),
        ("raise ValueError('odd')", InternalError, "ValueError: odd"),
        ("os.kill(os.getpid(), signal.SIGKILL)", TryAgain, "SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", TryAgain, "SIGTERM"),
    ],
)
def test_an_end_that_is_no_error_of_the_tree(step_of, body, error, sentence) -> None:
    with pytest.raises(error, match=sentence):
        step_of(body).execute(CONTEXT)


def test_what_is_not_of_the_tree_is_not_retried() -> None:
    from airflow.sdk.exceptions import AirflowTaskTimeout

    for error in (AirflowTaskTimeout(), KeyError("x")):
        decision = RETRIES["retry_policy"].evaluate(error, try_number=1, max_tries=2)
        assert decision.action.value == "fail"


def test_what_airflows_api_server_refuses_is_retried() -> None:
    """It refuses what it has done already, when its first answer came too late."""
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    refused = ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 409})
    error = AirflowRuntimeError(refused)
    decision = RETRIES["retry_policy"].evaluate(error, try_number=1, max_tries=2)
    assert decision.action.value == "retry"


STUBBORN_FAMILY = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, '-c', 'import signal, sys, time; '
    'signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1], "w"); time.sleep(300)',
    arguments.file])
time.sleep(300)
"""


@contextmanager
def signal_when(path: Path, number: int, handler: Callable[[int, object], None]) -> Iterator[None]:
    """Sends this process a signal as soon as a file exists."""
    script = 'while [ ! -e "$0" ]; do sleep 0.05; done; kill -"$1" "$2"'
    previous = signal.signal(number, handler)
    sender = subprocess.Popen(["sh", "-c", script, str(path), str(number), str(os.getpid())])
    try:
        yield
    finally:
        sender.kill()
        sender.wait()
        signal.signal(number, previous)


def test_a_timeout_ends_the_whole_process_group(step_of, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(process_module, "GRACE_SECONDS", 1)
    step = step_of(STUBBORN_FAMILY, file=str(tmp_path / "child"))

    def timeout(number: int, frame: object) -> None:  # as Airflow's own does
        raise TimeoutError

    with (
        signal_when(tmp_path / "child", signal.SIGALRM, timeout),
        pytest.raises(TimeoutError),
    ):
        step.execute(CONTEXT)
    assert not processes_with(tmp_path)


def test_on_kill_ends_the_step(step_of, tmp_path, monkeypatch) -> None:
    step = step_of("open(arguments.file, 'w'); time.sleep(300)", file=str(tmp_path / "begun"))
    with (
        signal_when(tmp_path / "begun", signal.SIGTERM, lambda number, frame: step.on_kill()),
        pytest.raises(TryAgain, match="SIGTERM"),
    ):
        step.execute(CONTEXT)
    assert not processes_with(tmp_path)


@pytest.mark.parametrize("step_of", ["a fork"], indirect=True)
def test_a_step_whose_server_dies_is_ended_and_may_be_retried(step_of, tmp_path) -> None:
    step = step_of("open(arguments.file, 'w'); time.sleep(300)", file=str(tmp_path / "begun"))
    with (
        signal_when(tmp_path / "begun", signal.SIGUSR1, lambda *_: step_of.server.kill()),
        pytest.raises(TryAgain, match="SIGKILL"),
    ):
        step.execute(CONTEXT)
    assert not processes_with(tmp_path)
    assert step_of("return {'alone': True}").execute(CONTEXT) == {"alone": True}


def test_nothing_is_left_when_the_worker_is_killed(step_of, tmp_path) -> None:
    step_of(STUBBORN_FAMILY)
    worker = f"""
from airflow.sdk.bases.operator import ExecutorSafeguard; ExecutorSafeguard.test_mode = True
from breezeway_airflow import process; process.GRACE_SECONDS = 1
from types import SimpleNamespace
process.ProcessStep(task_id="probe", arguments={{"file": {str(tmp_path / "child")!r}}}).execute(
    {{"dag_run": SimpleNamespace(dag_id="d", run_id="r"), "task_state_store": {{}}}})
"""
    process = subprocess.Popen([sys.executable, "-c", worker])
    wait_until((tmp_path / "child").exists)
    assert len(processes_with(tmp_path)) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not processes_with(tmp_path))
