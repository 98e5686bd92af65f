"""Steps that are forked: what they share with the server, what not, and how each may end."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psutil
import pytest

from breezeway.core.forked_step import ForkedStep, Request, start_step
from tests.fixtures.processes import command_line, eventually
from tests.fixtures.step_server import step_server

Start = Callable[..., ForkedStep | None]


# The second has a thread, which a fork has not, and waits for it in its destructor.
@pytest.fixture(params=[("numpy", "onnxruntime")], ids=[""])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Starts a module of the given text on a server that has these libraries already."""
    modules = tmp_path / "modules"
    modules.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment["PYTHONPATH"] = str(modules)
    numbers = count(1)

    def start(text: str, *arguments: str, **variables: str) -> ForkedStep | None:
        name = f"probe_{next(numbers)}"
        (modules / f"{name}.py").write_text(text)
        asked = Request(name, arguments, environment | variables, str(tmp_path), os.getpgid(0))
        return start_step(str(address), asked)

    with step_server(*request.param, environment=environment) as (address, server):
        start.address, start.server = address, server  # type: ignore[attr-defined]
        yield start


def said(step: ForkedStep | None) -> str:
    assert step is not None
    text = step.stdout.read()
    assert step.wait(30) == 0, text
    return text


def test_a_step_has_its_own_code_arguments_folder_and_environment(start, tmp_path) -> None:
    assert said(start("print('first')", KEY="s3cret")) == "first\n"
    text = "import os, sys\nprint(sys.argv, __name__, os.getcwd(), os.environ.get('KEY'))"
    assert said(start(text, "--day=2026-01-01", "a b")) == (
        f"['{tmp_path}/modules/probe_2.py', '--day=2026-01-01', 'a b'] __main__ {tmp_path} None\n"
    )


@pytest.mark.parametrize("start", [()], ids=["small"], indirect=True)
def test_what_a_step_was_given_is_in_no_other_process(start) -> None:
    """Not even where only a debugger would look."""
    wait = "import time\nprint('begun', flush=True)\ntime.sleep(300)"
    first, second = start(wait, KEY="s3cret-of-the-first"), start(wait)
    assert [step.stdout.readline() for step in (first, second)] == ["begun\n", "begun\n"]
    one, other = sorted(start.server.children(), key=lambda process: process.create_time())
    processes = (one, other, start.server)
    held = [b"s3cret-of-the-first" in memory(process) for process in processes]
    for process in (one, other):
        process.kill()
    assert held == [True, False, False]


def memory(process: psutil.Process) -> bytes:
    """All that it may write to."""
    content = b""
    with (
        Path(f"/proc/{process.pid}/maps").open() as maps,
        Path(f"/proc/{process.pid}/mem").open("rb", buffering=0) as file,
    ):
        for line in maps:
            first, last, rights = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
            if rights.startswith("rw"):
                file.seek(int(first, 16))
                content += file.read(int(last, 16) - int(first, 16))
    return content


def test_libraries_are_there_and_draw_other_numbers_in_each_step(start) -> None:
    text = "import sys\nprint('onnxruntime' in sys.modules)\nimport numpy, random\n"
    text += "print(numpy.random.rand(), random.random())"
    first, second = said(start(text)), said(start(text))
    assert first.startswith("True\n")
    assert set(first.split()) & set(second.split()) == {"True"}


@pytest.mark.parametrize(
    ("text", "code", "output"),
    [
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('It is late.')", 1, "It is late."),
        ("raise ValueError('odd')", 1, "ValueError: odd"),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
        ("import os; os._exit(3)", 3, ""),
        ("import atexit; atexit.register(print, 'last')", 0, "last"),
        ("import nothing_of_that_name", 1, "No module named 'nothing_of_that_name'"),
        ("syntax error", 1, "SyntaxError"),
    ],
)
def test_a_step_ends_as_a_process_of_its_own_does(start, text, code, output) -> None:
    step = start(text)
    text = step.stdout.read()
    assert step.wait(30) == code
    assert output in text


def test_its_command_line_is_its_own(start, tmp_path) -> None:
    step = start("import time; time.sleep(300)", "--day=2026-01-01")
    (process,) = start.server.children()
    assert command_line(process).strip() == "python -m probe_1 --day=2026-01-01"
    process.kill()
    assert step.wait(30) == -signal.SIGKILL


def test_a_step_whose_server_dies_counts_as_killed(start) -> None:
    step = start("import os, time; print(os.getpid(), flush=True); time.sleep(300)")
    process = psutil.Process(int(step.stdout.readline()))
    process.parent().kill()
    assert step.wait(30) == -signal.SIGKILL
    assert process.is_running()  # its group is its task's to end
    process.kill()


def test_a_client_that_goes_away_costs_no_other_step(start) -> None:
    step = start("import time; time.sleep(0.5); print('done')")
    for request in (b"", b"no JSON\n", b'["half', b"[1]\n", b"\0" * 100_000):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(start.address))
            client.sendall(request)
    assert said(step) == "done\n"
    assert said(start("print('another')")) == "another\n"


def test_many_steps_at_once_each_get_their_own_end(start) -> None:
    steps = [start("import sys; sys.exit(int(sys.argv[1]))", str(n)) for n in range(20)]
    assert [step.wait(60) for step in steps] == list(range(20))


def test_a_wait_is_bounded(start) -> None:
    step = start("import time; time.sleep(2)")
    with pytest.raises(subprocess.TimeoutExpired):
        step.wait(0.01)
    assert step.wait(30) == 0


def test_after_packages_were_installed_no_step_begins_with_the_old_ones(
    start, tmp_path, monkeypatch
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    patched = tmp_path / "modules" / "sitecustomize.py"
    patched.write_text(f"import sysconfig\nsysconfig.get_path = lambda name: {str(packages)!r}\n")
    environment = os.environ | {"PYTHONPATH": str(patched.parent)}
    with step_server(environment=environment) as (address, _):
        (patched.parent / "probe.py").write_text("import time; time.sleep(1); print('old')")
        request = Request("probe", (), environment, str(tmp_path), os.getpgid(0))
        running = start_step(str(address), request)
        (packages / "new-1.0.dist-info").mkdir()
        assert start_step(str(address), request) is None
        assert said(running) == "old\n"
        eventually(lambda: not address.exists())


def test_where_nobody_serves_nothing_begins(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("breezeway.core.forked_step.HANDSHAKE_SECONDS", 0.2)
    request = Request("probe", (), {}, str(tmp_path), os.getpgid(0))
    assert start_step(str(tmp_path / "none"), request) is None
    (tmp_path / "a file").touch()
    assert start_step(str(tmp_path / "a file"), request) is None
    with socket.socket(socket.AF_UNIX) as silent:
        monkeypatch.chdir(tmp_path)
        silent.bind("silent")
        silent.listen()
        assert start_step("silent", request) is None
