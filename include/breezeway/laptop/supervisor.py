"""The process supervisor, supervisord, which the launcher configures and calls.

supervisord restarts programs that die, ends whole process groups and rotates logs. This module
writes its configuration file and calls its XML-RPC interface on a socket.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple
from xmlrpc.client import Fault, ServerProxy

from breezeway.core.errors import InternalError, ServiceUnavailable, UsageError
from breezeway.laptop.processes import end_group

SOCKET_VARIABLE = "BREEZEWAY_SUPERVISOR_SOCKET"

_HEAD = f"""\
[supervisord]
nodaemon = true
silent = true
logfile = logs/supervisord.log
logfile_maxbytes = 1MB
logfile_backups = 1
pidfile = run/supervisord.pid

[unix_http_server]
file = %(ENV_{SOCKET_VARIABLE})s
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

_PROGRAM = """
[program:{name}]
command = {command}
autostart = false
autorestart = true
startsecs = 5
startretries = 3
stopsignal = {stop_signal}
stopasgroup = {by_group}
killasgroup = true
stopwaitsecs = 10
redirect_stderr = true
stdout_logfile = logs/{name}.log
stdout_logfile_maxbytes = 20MB
stdout_logfile_backups = 2
"""

# Groups are stopped one after the other, the highest priority first.
_GROUP = """
[group:{name}]
programs = {programs}
priority = {priority}
"""


@dataclass(frozen=True)
class Program:
    """A program under supervision.

    Args:
        name: of the program and of its log.
        command: words without spaces; searched in PATH, run in the platform's home.
        variables: that this program has beside those of all.
        stop_signal: sent to its process group, of a store only to the program itself.
        group: `workers` are stopped first, then `servers`, then `stores`.
    """

    name: str
    command: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"
    group: Literal["stores", "servers", "workers"] = "servers"


class Event(NamedTuple):
    """What has happened to a program, as a sentence for people."""

    program: str
    sentence: str


def _environment_file(name: str) -> str:
    """Of a program; from the platform's home, in which programs start."""
    return f"run/{name}.environment.json"


class Supervisor:
    """One supervisord for one home.

    Args:
        home: working folder of the programs, with the folders `run` and `logs`.
        programs: each starts only by `start_program`.
        environment: the variables of all programs, and of supervisord itself.
    """

    def __init__(self, home: Path, programs: Sequence[Program], environment: Mapping[str, str]):
        self.home = home
        self.programs = {program.name: program for program in programs}
        self._folder = socket_folder(home)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._pids: dict[str, int | None] = {}
        self._deaths: dict[str, int] = {}
        self._given_up: set[str] = set()

    def start(self) -> None:
        """Start supervisord itself.

        Raises:
            InternalError: it ends immediately, or does not answer.
        """
        configuration = self.home / "run" / "supervisord.conf"
        private_write(configuration, self._configuration())
        for program in self.programs.values():
            environment = json.dumps({**self._environment, **program.variables})
            private_write(self.home / _environment_file(program.name), environment)
        with (self.home / "logs" / "supervisord.out").open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
                cwd=self.home,
                env=self._environment
                | {SOCKET_VARIABLE: str(self._folder / "s"), "PATH": self._path()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is the launcher's to handle
            )
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise InternalError(f"supervisord does not start.{self.tail('supervisord.out')}")
            time.sleep(0.05)

    def _path(self) -> str:
        """Where supervisord finds the `python` that becomes a program."""
        here = str(Path(sys.executable).parent)
        return os.pathsep.join([here, self._environment.get("PATH", os.defpath)])

    def _configuration(self) -> str:
        """The configuration file. It names no path of this machine, so nothing needs escaping."""
        text = _HEAD
        for program in self.programs.values():
            text += _PROGRAM.format(
                name=program.name,
                command=" ".join(
                    [
                        *("python", "-m", "breezeway.laptop.with_environment"),
                        *(_environment_file(program.name), *program.command),
                    ]
                ),
                stop_signal=program.stop_signal,
                by_group="false" if program.group == "stores" else "true",
            )
        for priority, group in enumerate(("stores", "servers", "workers"), start=1):
            names = ",".join(p.name for p in self.programs.values() if p.group == group)
            text += _GROUP.format(name=group, programs=names, priority=priority) if names else ""
        return text

    def _answers(self) -> bool:
        try:
            self._ask("getState")
        except OSError:
            return False
        return True

    def _ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of supervisord's documented XML-RPC interface.

        Python's XML-RPC client does not support Unix sockets. supervisord's own transport
        does, but it is not documented, so pyproject.toml bounds the version.
        """
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(serverurl=f"unix://{self._folder / 's'}")
        server = ServerProxy("http://supervisor", transport=transport)
        try:
            return getattr(server.supervisor, method)(*arguments)
        finally:
            transport.close()

    def start_program(self, name: str) -> None:
        """Start a program. If that fails, supervisord tries again; `events` tells of it."""
        from supervisor.xmlrpc import Faults

        try:
            self._ask("startProcess", f"{self.programs[name].group}:{name}", False)
        except Fault as fault:
            if fault.faultCode != Faults.SPAWN_ERROR:
                raise

    def pid(self, name: str) -> int:
        return int(self._ask("getProcessInfo", f"{self.programs[name].group}:{name}")["pid"])

    def events(self) -> list[Event]:
        """One for each program that died since the last call. The rest of its process group is
        ended.

        Raises:
            ServiceUnavailable: supervisord itself has ended.
        """
        try:
            states = self._ask("getAllProcessInfo")
        except (OSError, Fault) as error:
            raise ServiceUnavailable(
                f"supervisord is gone ({error}); its log: {self.home / 'logs/supervisord.log'}."
            ) from None
        events = []
        for state in states:
            name, pid, before = state["name"], state["pid"], self._pids.get(state["name"])
            log = f"its log: {self.home / 'logs' / name}.log"
            if state["statename"] == "FATAL" and name not in self._given_up:
                self._given_up.add(name)
                events.append(Event(name, f"{name} does not stay up and is given up; {log}"))
            elif pid and before and before != pid:
                end_group(self.home, before)
                self._deaths[name] = self._deaths.get(name, 0) + 1
                events.append(Event(name, f"{name} ended and was started again; {log}"))
            self._pids[name] = pid or before
        return events

    def hopeless(self, name: str) -> bool:
        """Whether the program died so often, as far as `events` saw, that waiting is useless."""
        return name in self._given_up or self._deaths.get(name, 0) >= 3

    def tail(self, log: str, lines: int = 15) -> str:
        """The end of a log, to append to a sentence."""
        path = self.home / "logs" / log
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        return f" The end of {path}:\n" + "\n".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """Stop all programs, group after group, and then supervisord."""
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)


def private_write(path: Path, text: str) -> None:
    """Write a file that only its owner may read: under another name, then rename it."""
    aside = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        aside.unlink()
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    aside.replace(path)


def socket_folder(home: Path) -> Path:
    """A private folder with a short name, because a socket's path has at most about 100 bytes.

    Raises:
        UsageError: somebody else has created it.
    """
    name = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"breezeway-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise UsageError(f"{folder} belongs to somebody else; set TMPDIR to a folder of yours.")
    return folder
