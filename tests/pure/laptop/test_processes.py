"""Ports that are kept for a program, and the sweep of what an earlier start left."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from breezeway.core.errors import UsageError
from breezeway.laptop.processes import Port, mark, owner, sweep
from tests.fixtures.processes import new_port

LOOPBACK = "127.0.0.1"


def test_a_taken_port_is_named_with_its_owner() -> None:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        taken = listener.getsockname()[1]
        with pytest.raises(UsageError, match=rf"Port {taken}, which mlflow .* {os.getpid()}\)"):
            Port("mlflow", LOOPBACK, new_port(), fixed=taken)
        found = Port("mlflow", LOOPBACK, taken)
        assert found.number > taken
        found.release()


def test_two_launchers_that_look_at_once_get_two_ports() -> None:
    first = Port("serving", LOOPBACK, new_port())
    second = Port("serving", LOOPBACK, first.number)
    assert second.number > first.number
    second.release()
    first.release()
    again = Port("serving", LOOPBACK, first.number)
    assert again.number == first.number
    again.release()


def test_the_server_can_listen_at_the_port_that_is_kept_for_it() -> None:
    port = Port("serving", LOOPBACK, new_port())
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((LOOPBACK, port.number))
        server.listen()
        assert str(os.getpid()) in owner(port.number)
    port.release()


def test_the_sweep_ends_what_carries_the_mark_and_nothing_else(tmp_path: Path) -> None:
    home, other = tmp_path / "ours", tmp_path / "theirs"
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(99)"

    def start(environment: dict[str, str], code: str = "print(1); import time; time.sleep(99)"):
        process = subprocess.Popen(
            [sys.executable, "-uc", code],
            env=os.environ | environment,
            start_new_session=True,
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()
        return process

    ours = [start(mark(home)), start(mark(home), stubborn)]
    exported = {"BREEZEWAY_HOME": str(home)}  # as a person may do in a shell
    theirs = [start(mark(other)), start({}), start(exported)]
    try:
        assert sweep(home, grace_seconds=0.5) == 2
        assert not any(psutil.pid_exists(process.pid) for process in ours)
        assert [process.poll() for process in theirs] == [None, None, None]
        assert sweep(home) == 0
    finally:
        for process in (*ours, *theirs):
            process.kill()
            process.wait()
