"""Processes and ports of one machine: who is ours, who holds a port, and what gets swept away."""

import contextlib
import os
import socket
from pathlib import Path

import psutil

from breezeway.core.errors import InternalError, UsageError

MARK = "BREEZEWAY_LAUNCHER"
"""The variable that every process of a platform carries: the home of its launcher.

It is not `BREEZEWAY_HOME`, which a person may export in a shell whose other programs
are none of ours."""


def mark(home: Path) -> dict[str, str]:
    """Variables by which `sweep` knows the processes of a home."""
    # setproctitle, which Airflow uses, would otherwise overwrite the environment that the
    # kernel shows, and the mark with it.
    return {MARK: str(home), "SPT_NOENV": "1"}


def marked(home: Path) -> list[psutil.Process]:
    """The processes with the mark of this home, without this one and its ancestors."""
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in spared:
            continue
        # What ended meanwhile needs no sweeping, what may not be read is another user's.
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            if process.environ().get(MARK) == str(home):
                found.append(process)
    return found


def sweep(home: Path, grace_seconds: float = 5) -> int:
    """End every process with the mark of this home; return how many there were.

    Each is asked to end and, after the grace, ended.

    Raises:
        InternalError: there are still some after several rounds.
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
    """A TCP port that is free, kept for us until the server that it is for listens there.

    The number is also bound as a UDP port, which nothing here uses otherwise: so of two
    launchers that look at the same time only one gets it, and the kernel gives it back
    however its holder ends.

    Args:
        name: of the server, for the message.
        host: address that the server will listen at.
        first: where the search begins.
        fixed: the one port that will do.

    Raises:
        UsageError: the fixed port, or every port of a hundred, is taken.
    """

    def __init__(self, name: str, host: str, first: int, fixed: int | None = None):
        for number in [fixed] if fixed else range(first, first + 100):
            holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                holder.bind((host, number))
                _check_free(host, number)
            except OSError:
                holder.close()
                continue
            self.number = number
            self._holder = holder
            return
        if fixed:
            raise UsageError(
                f"Port {fixed}, which {name} is to have, is taken by {owner(fixed)}. "
                "Name another one, or none, and a free one is found."
            )
        raise UsageError(f"No port from {first} to {first + 99} is free for {name}.")

    def release(self) -> None:
        self._holder.close()


def _check_free(host: str, number: int) -> None:
    """Raise `OSError` if something listens at the port, be it on one address only."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", number)) == 0:
            raise OSError(f"something answers at port {number}")
    with socket.socket() as probe:
        # As servers do; without it connections that a server closed a minute ago would count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, number))


def owner(number: int) -> str:
    """Who listens at a TCP port, as far as this user may know."""
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
