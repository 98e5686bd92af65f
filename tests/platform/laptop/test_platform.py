"""The launcher: ports, keys, supervision, the sweep, and the platform as it runs."""

import dataclasses
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import psycopg2
import pytest
from filelock import FileLock

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.laptop import postgres
from breezeway.laptop.platform import Platform
from breezeway.laptop.processes import Port, mark, marked, owner, sweep
from breezeway.laptop.programs import LOOPBACK, Keys
from breezeway.laptop.supervisor import Program, Supervisor


def eventually(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Ports


def test_a_taken_port_is_named_with_its_owner() -> None:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        taken = listener.getsockname()[1]
        with pytest.raises(UsageError, match=rf"Port {taken}, which mlflow .* {os.getpid()}\)"):
            Port("mlflow", LOOPBACK, 5000, fixed=taken)
        found = Port("mlflow", LOOPBACK, taken)
        assert found.number > taken
        found.release()


def test_two_launchers_that_look_at_once_get_two_ports() -> None:
    first = Port("serving", LOOPBACK, 23000)
    second = Port("serving", LOOPBACK, first.number)
    assert second.number > first.number
    second.release()
    first.release()
    again = Port("serving", LOOPBACK, first.number)
    assert again.number == first.number
    again.release()


def test_the_server_can_listen_at_the_port_that_is_kept_for_it() -> None:
    port = Port("serving", LOOPBACK, 23000)
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((LOOPBACK, port.number))
        server.listen()
        assert str(os.getpid()) in owner(port.number)
    port.release()


# The sweep


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


# Supervision


def test_what_dies_is_started_again_and_reported(tmp_path: Path) -> None:
    home = tmp_path / 'a "home" # with %s ; in it'
    for folder in ("run", "logs"):
        (home / folder).mkdir(parents=True)
    programs = [
        Program("store", ["sleep", "600"], {"TOKEN": "s3cret"}, "INT", serves_others=True),
        Program("beat", ["sleep", "601"]),
        Program("broken", ["sh", "-c", "exit"]),
    ]
    supervisor = Supervisor(home, programs, os.environ | mark(home))
    supervisor.start()
    try:
        for program in programs:
            supervisor.start_program(program.name)
        supervisor.events()
        commands = {command_line(process): process for process in marked(home)}
        assert commands["sleep 600"].environ()["TOKEN"] == "s3cret"
        assert "TOKEN" not in commands["sleep 601"].environ()
        assert mode(home / "run" / "supervisord.conf") == 0o600
        commands["sleep 601"].kill()
        said: list[str] = []

        def reported() -> bool:
            said.extend(supervisor.events())
            return any("beat ended and was started again" in text for text in said)

        eventually(reported)
        eventually(lambda: bool(supervisor.events()) or supervisor.hopeless("broken"))
        assert not supervisor.hopeless("beat")
    finally:
        supervisor.stop()
    assert marked(home) == []


# Starting


def test_keys_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    keys = Keys.of(file)
    assert Keys.of(file) == keys
    assert len(set(dataclasses.astuple(keys))) == 5
    assert mode(file) == 0o600


def test_a_second_start_in_one_home_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    addresses = {"airflow": "http://a", "mlflow": "http://m", "serving": "http://s", "process": 7}
    (run / "platform.json").write_text(json.dumps(addresses))
    with (
        FileLock(run / "launcher.lock"),
        pytest.raises(UsageError, match=r"http://a, MLflow http://m, .* http://s\..*process 7"),
        Platform(Settings(home=tmp_path)),
    ):
        pass


def test_a_start_that_is_killed_leaves_what_the_next_one_sweeps(tmp_path: Path) -> None:
    home = tmp_path / "ho me"
    process = subprocess.Popen(
        [sys.executable, "-m", "breezeway", "up", "--no-run"],
        env=os.environ | {"PYTHONPATH": "include", "BREEZEWAY_HOME": str(home)},
        stdout=subprocess.DEVNULL,
    )
    eventually(lambda: (home / "postgres" / "data" / "postmaster.pid").is_file(), 60)
    process.kill()
    process.wait()
    assert len(marked(home)) > 2
    assert sweep(home) > 2
    assert marked(home) == []


# PostgreSQL


class Server:
    """PostgreSQL as the supervisor runs it."""

    def __init__(self, folder: Path, before: str = ""):
        self.port = Port("postgres", LOOPBACK, 25432)
        code = (
            f"import os; {before}\n"
            "from pathlib import Path\n"
            "from breezeway.laptop import postgres\n"
            f"postgres.main(Path({str(folder)!r}), {self.port.number})"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": "include", postgres.PASSWORD_VARIABLE: "s3cret"},
            stderr=subprocess.DEVNULL,
        )

    def connect(self, password: str = "s3cret"):
        return psycopg2.connect(
            host=LOOPBACK, port=self.port.number, user=postgres.USER, password=password,
            dbname="postgres",
        )  # fmt: skip

    def answers(self) -> bool:
        assert self.process.poll() is None
        try:
            self.connect().close()
        except psycopg2.OperationalError:
            return False
        return True

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        self.port.release()
        return self.process.wait(20)


def test_postgres_survives_a_kill_and_asks_for_its_password(tmp_path: Path) -> None:
    folder = tmp_path / "post gres"
    (folder / "data.new").mkdir(parents=True)  # of a start that was killed
    server = Server(folder)
    try:
        eventually(server.answers)
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            server.connect("guessed")
        assert "s3cret" not in " ".join(psutil.Process(server.process.pid).cmdline())
    finally:
        server.stop(signal.SIGKILL)
    # The number of the killed server belongs to another program by now.
    lock = folder / "data" / "postmaster.pid"
    lock.write_text(lock.read_text().replace(str(server.process.pid), str(os.getpid()), 1))
    server = Server(folder)
    try:
        eventually(server.answers)
    finally:
        assert server.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up")
def test_postgres_becomes_nobody_where_namespaces_are_forbidden(tmp_path: Path) -> None:
    closed = Server(tmp_path, "del os.unshare")  # the tests' folder is closed to others
    assert closed.process.wait(20) == 1
    if any(not mode(path) & 0o001 for path in postgres._program("postgres").parents):
        pytest.skip("the environment's folder is closed to others, too")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        server = Server(Path(folder) / "postgres", "del os.unshare")
        try:
            eventually(server.answers)
            assert psutil.Process(server.process.pid).username() == "nobody"
        finally:
            assert server.stop() == 0


# The platform as it runs


def test_every_part_answers(platform: Platform) -> None:
    with platform.airflow() as client:
        health = client.get("/api/v2/monitor/health").json()
        pools = {pool["name"] for pool in client.get("/api/v2/pools").json()["pools"]}
    assert [health[part]["status"] for part in ("metadatabase", "scheduler", "dag_processor")] == [
        "healthy"
    ] * 3
    assert pools >= {"dataset_versions", "model_registry"}
    assert httpx.get(platform.url("mlflow") + "/health").is_success
    assert httpx.get(platform.url("serving") + "/livez").is_success


def test_nothing_listens_beyond_loopback(platform: Platform) -> None:
    ours = {process.pid for process in marked(platform.home)}
    listening = {
        connection.laddr.ip
        for connection in psutil.net_connections("inet")
        if connection.pid in ours and connection.status == psutil.CONN_LISTEN
    }
    assert listening == {LOOPBACK}


def test_secrets_stand_in_no_command_line_and_no_open_file(platform: Platform) -> None:
    run = platform.home / "run"
    keys = json.loads((run / "keys.json").read_text())
    commands = "\n".join(map(command_line, marked(platform.home)))
    logs = "\n".join(f.read_text(errors="replace") for f in platform.home.glob("logs/*.log"))
    for name, key in keys.items():
        assert key not in commands, name
        assert key not in logs, name
    files = [file for file in run.iterdir() if file.is_file()]
    assert {file.name for file in files if mode(file) & 0o077} <= {
        "launcher.lock",
        "supervisord.pid",
    }
    assert mode(run) == 0o700


def test_airflow_asks_for_the_password(platform: Platform) -> None:
    assert httpx.get(platform.url("airflow") + "/api/v2/dags").status_code == 401
    guess = {"username": "admin", "password": "admin"}
    assert httpx.post(platform.url("airflow") + "/auth/token", json=guess).status_code == 401


def test_a_part_that_is_killed_comes_back(platform: Platform) -> None:
    platform.watch()
    server = psutil.Process(platform._supervisor.pid("serving"))
    for child in server.children(recursive=True):
        child.kill()
    server.kill()
    said: list[str] = []
    eventually(lambda: bool(said.extend(platform.watch()) or said))
    assert said[0].startswith("serving ended and was started again; its log: ")
    eventually(lambda: platform._get("serving", "/livez"), 60)
