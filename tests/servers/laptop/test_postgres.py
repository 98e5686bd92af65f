"""PostgreSQL in a folder: it survives a kill, gives up root, and asks for its password."""

import os
import signal
import stat
import tempfile
from pathlib import Path

import psutil
import psycopg2
import pytest

from breezeway.laptop import postgres
from tests.fixtures.postgres import PASSWORD, Postgres
from tests.fixtures.processes import eventually


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_postgres_survives_a_kill_and_asks_for_its_password(tmp_path: Path) -> None:
    folder = tmp_path / "post gres"
    (folder / "data.new").mkdir(parents=True)  # of a start that was killed
    server = Postgres(folder)
    try:
        eventually(server.answers)
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            server.connect("guessed")
        assert PASSWORD not in " ".join(psutil.Process(server.process.pid).cmdline())
    finally:
        server.stop(signal.SIGKILL)
    # The number of the killed server belongs to another program by now.
    lock = folder / "data" / "postmaster.pid"
    lock.write_text(lock.read_text().replace(str(server.process.pid), str(os.getpid()), 1))
    server = Postgres(folder)
    try:
        eventually(server.answers)
    finally:
        assert server.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up")
def test_postgres_becomes_nobody_where_namespaces_are_forbidden(tmp_path: Path) -> None:
    closed = Postgres(tmp_path, "del os.unshare")  # the tests' folder is closed to others
    assert closed.process.wait(20) == 1
    if any(not mode(path) & 0o001 for path in postgres.program("postgres").parents):
        pytest.skip("the environment's folder is closed to others, too")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        server = Postgres(Path(folder) / "postgres", "del os.unshare")
        try:
            eventually(server.answers)
            assert psutil.Process(server.process.pid).username() == "nobody"
        finally:
            assert server.stop() == 0
