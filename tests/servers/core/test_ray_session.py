"""What a Ray of our own does and leaves, as an upgrade of Ray must leave it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from breezeway.core.ray_session import ray, ray_session


def new_processes(known: set[psutil.Process]) -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True)) - known


def listening(processes: set[psutil.Process]) -> set[str]:
    return {
        socket.laddr.ip.removeprefix("::ffff:")
        for process in processes
        for socket in process.net_connections("tcp")
        if socket.status == psutil.CONN_LISTEN
    }


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


def test_a_ray_of_our_own_is_private_starts_nothing_ahead_and_leaves_nothing(home):
    before = os.environ.copy()
    handler = signal.getsignal(signal.SIGTERM)
    known = set(psutil.Process().children(recursive=True))
    with ray_session(2) as folder:
        assert signal.getsignal(signal.SIGTERM) == handler
        assert list((folder / "ray").glob("session_*"))
        assert "ray::IDLE" not in {process.name() for process in new_processes(known)}
        assert ray.get(ray.remote(lambda: 7).remote()) == 7
        started = new_processes(known)
        assert "ray::IDLE" in {process.name() for process in started}
        assert listening(started) == {"127.0.0.1"}
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive
    assert not folder.exists()
    assert not list(home.iterdir()), "no token"
    assert os.environ == before


def test_one_process_may_have_two_sessions_one_after_the_other(home):
    for number in (1, 2):
        with ray_session(1):
            assert ray.get(ray.remote(lambda number=number: number).remote()) == number


TOO_SLOW = """
import itertools
from ray._private import node, services
from breezeway.core.ray_session import ray_session

def unknown(*_):
    raise RuntimeError("no such node yet")

seconds = itertools.count(step=20)
services.get_node = unknown
node.time.monotonic = lambda: next(seconds)
with ray_session(1):
    pass
"""


def test_a_ray_that_starts_too_slowly_may_be_tried_again(home):
    """Ray itself waits and complains, by a clock that jumps; we know it by its words."""
    known = set(psutil.Process().children(recursive=True))
    ended = subprocess.run(
        [sys.executable, "-c", TOO_SLOW], capture_output=True, text=True, timeout=300, check=False
    )
    assert "ServiceUnavailable: Ray did not start within its 30 seconds" in ended.stderr
    _, alive = psutil.wait_procs(new_processes(known), timeout=30)
    assert not alive
