"""Processes and ports of one machine: which are ours, who holds a port, what to end."""

import contextlib
import os
import socket
from pathlib import Path

import psutil

from breezeway.core.errors import InternalError, UsageError

MARK = "BREEZEWAY_LAUNCHER"
"""The variable that every process of a platform has: the home of its launcher.

It is not `BREEZEWAY_HOME`, because a person may export that in a shell that also runs other
programs."""


def mark(home: Path) -> dict[str, str]:
    """Variables by which `sweep` finds the processes of a home."""
    # Airflow uses setproctitle, which would otherwise overwrite the environment that the
    # kernel shows, including the mark.
    return {MARK: str(home), "SPT_NOENV": "1"}


def marked(home: Path) -> list[psutil.Process]:
    """The processes with the mark of this home, without this one and its ancestors."""
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in spared:
            continue
        # A process that has ended needs nothing; one that we may not read is another user's.
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            if process.environ().get(MARK) == str(home):
                found.append(process)
    return found


def sweep(home: Path, grace_seconds: float = 5) -> int:
    """End every process with the mark of this home; return how many there were.

    Each gets SIGTERM and, if it is still alive after the grace period, SIGKILL.

    Raises:
        InternalError: some are still alive after several rounds.
    """
    swept = 0
    for _ in range(5):
        processes = marked(home)
        if not processes:
            return swept
        swept += len(processes)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=grace_seconds)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=grace_seconds)
    left = ", ".join(f"{p.name()} ({p.pid})" for p in marked(home))
    raise InternalError(f"Processes of {home} do not end: {left}.")


def end_group(home: Path, group: int) -> None:
    """End what a program that died left of its process group.

    Workers of a scheduler that was killed would hold its connections to the database, and
    with them its locks.
    """
    for process in marked(home):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group:
                process.kill()


class Port:
    """A free TCP port, reserved for us until its server listens there.

    We also bind the UDP port of the same number, which nothing else here uses. So if two
    launchers search at the same time, only one gets the number, and the kernel frees it
    when its holder ends.

    Args:
        name: of the server, for messages.
        host: address that the server will listen at.
        first: where the search begins.
        fixed: the only port to try; None to search.

    Raises:
        UsageError: the fixed port, or each of a hundred ports, is taken.
    """

    def __init__(self, name: str, host: str, first: int, fixed: int | None = None):
        for number in [fixed] if fixed else range(first, first + 100):
            holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                holder.bind((host, number))
                check_free(host, number)
            except OSError:
                holder.close()
                continue
            self.number = number
            self._holder = holder
            return
        if fixed:
            raise UsageError(
                f"Port {fixed}, which {name} should use, is taken by {owner(fixed)}. "
                "Choose another one, or choose none to use any free port."
            )
        raise UsageError(f"No port from {first} to {first + 99} is free for {name}.")

    def release(self) -> None:
        self._holder.close()


def check_free(host: str, number: int) -> None:
    """Raise `OSError` if something listens at the port, even on a single address."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", number)) == 0:
            raise OSError(f"something answers at port {number}")
    with socket.socket() as probe:
        # As servers do. Without it, recently closed connections would make the port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, number))


def owner(number: int) -> str:
    """Who listens at a TCP port, as far as this user may see it."""
    with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess):
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == number
                and connection.pid
            ):
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "another program"
