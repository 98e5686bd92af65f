"""Supervisord, fed and asked: what it runs, what dies, and that nothing of it is left."""

import os
import stat
from pathlib import Path

import psutil
import pytest

from breezeway.core.errors import InternalError, ServiceUnavailable, UsageError
from breezeway.laptop import supervisor as supervisor_module
from breezeway.laptop.processes import mark, marked
from breezeway.laptop.supervisor import Program, Supervisor, private_write
from tests.fixtures.processes import command_line, eventually


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


SECRET = "a % %(x)s \"quoted\" 'twice' \\ ; # two\nlines ü"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / 'a "home" # with %s ; in it'
    for folder in ("run", "logs"):
        (home / folder).mkdir(parents=True)
    return home


def test_what_dies_is_started_again_and_reported(home: Path) -> None:
    programs = [
        Program("store", ["sleep", "600"], {"TOKEN": SECRET}, "INT", group="stores"),
        Program("beat", ["sleep", "601"]),
        Program("broken", ["sh", "-c", "exit"]),
    ]
    supervisor = Supervisor(home, programs, os.environ | mark(home))
    supervisor.start()
    try:
        for program in programs:
            supervisor.start_program(program.name)
        supervisor.events()
        commands: dict[str, psutil.Process] = {}

        def both_run() -> bool:
            commands.update({command_line(process): process for process in marked(home)})
            return {"sleep 600", "sleep 601"} <= commands.keys()

        eventually(both_run)
        assert commands["sleep 600"].environ()["TOKEN"] == SECRET
        assert "TOKEN" not in commands["sleep 601"].environ()
        assert {mode(file) for file in (home / "run").glob("*.*n*")} == {0o600}
        commands["sleep 601"].kill()
        said: list[str] = []

        def reported() -> bool:
            said.extend(event.sentence for event in supervisor.events())
            return any("beat ended and was started again" in text for text in said)

        eventually(reported)
        eventually(lambda: bool(supervisor.events()) or supervisor.hopeless("broken"))
        assert not supervisor.hopeless("beat")
    finally:
        supervisor.stop()
    assert marked(home) == []


def test_what_never_stays_up_is_given_up_and_said_once(home: Path) -> None:
    broken = Program("broken", ["sh", "-c", "exit"])
    supervisor = Supervisor(home, [broken], os.environ | mark(home))
    supervisor.start()
    said: list[str] = []
    try:
        supervisor.start_program("broken")

        def given_up() -> bool:
            said.extend(event.sentence for event in supervisor.events())
            return any("does not stay up and is given up" in sentence for sentence in said)

        eventually(given_up, 60)
        assert supervisor.hopeless("broken")
        assert f"its log: {home / 'logs' / 'broken'}.log" in said[-1]
        assert supervisor.events() == []
    finally:
        supervisor.stop()


def test_a_program_that_cannot_be_started_at_once_is_started_again(home: Path) -> None:
    supervisor = Supervisor(home, [Program("beat", ["sleep", "600"])], os.environ | mark(home))
    supervisor.start()
    in_the_way = home / "logs" / "beat.log"
    in_the_way.mkdir()
    try:
        supervisor.start_program("beat")
        assert supervisor.pid("beat") == 0
        in_the_way.rmdir()
        eventually(lambda: supervisor.pid("beat"))
    finally:
        supervisor.stop()


def test_a_supervisor_that_is_gone_is_said(home: Path) -> None:
    supervisor = Supervisor(home, [Program("beat", ["sleep", "600"])], os.environ | mark(home))
    supervisor.start()
    try:
        assert supervisor.events() == []
        for process in marked(home):
            process.kill()
        eventually(lambda: marked(home) == [])
        with pytest.raises(ServiceUnavailable, match=r"supervisord is gone .*supervisord\.log"):
            supervisor.events()
    finally:
        supervisor.stop()
    supervisor.stop()


def test_a_supervisor_that_does_not_start_is_said_with_its_words(home: Path) -> None:
    bad = Program("bad name]", ["sleep", "600"], stop_signal="NO SUCH SIGNAL")
    supervisor = Supervisor(home, [bad], os.environ | mark(home))
    try:
        with pytest.raises(InternalError, match="supervisord does not start"):
            supervisor.start()
    finally:
        supervisor.stop()
    assert marked(home) == []


def test_programs_that_serve_others_are_stopped_last(home: Path) -> None:
    """The store would end at once, the server takes its time."""
    said = home / "said"
    programs = [
        Program("store", ["sh", "program", "store", "0"], stop_signal="INT", group="stores"),
        Program("server", ["sh", "program", "server", "0.5"]),
    ]
    (home / "program").write_text(
        'trap "sleep $2; echo $1 >> said; exit" TERM INT\ntouch up-$1\n'
        "while :; do sleep 0.05; done\n"
    )
    supervisor = Supervisor(home, programs, os.environ | mark(home))
    supervisor.start()
    try:
        for program in programs:
            supervisor.start_program(program.name)
        eventually(lambda: len(list(home.glob("up-*"))) == 2)
    finally:
        supervisor.stop()
    assert said.read_text().split() == ["server", "store"]


def test_the_tail_of_a_log_is_its_last_lines(home: Path) -> None:
    supervisor = Supervisor(home, [], {})
    (home / "logs" / "x.log").write_text("\n".join(map(str, range(100))))
    assert supervisor.tail("x.log", 2).endswith("x.log:\n98\n99")
    assert supervisor.tail("nothing.log").endswith("nothing.log:\n")
    supervisor.stop()


def test_a_secret_file_is_its_owners_alone_even_where_one_was_left(tmp_path: Path) -> None:
    (tmp_path / ".keys.new").touch(0o666)  # of a process that was killed
    (tmp_path / "keys").touch(0o666)
    private_write(tmp_path / "keys", "secret")
    assert (tmp_path / "keys").read_text() == "secret"
    assert mode(tmp_path / "keys") == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_asocket_folder_that_somebody_else_made_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module.tempfile, "tempdir", str(tmp_path))
    folder = supervisor_module.socket_folder(Path("/home of mine"))
    assert supervisor_module.socket_folder(Path("/home of mine")) == folder
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="belongs to somebody else; set TMPDIR"):
        supervisor_module.socket_folder(Path("/home of mine"))
