"""Look for what keeps a platform from working on this machine, and say what to do about it.

It looks at the installation, the machine (memory, disk, open files, ports), the folder
BREEZEWAY_HOME (.breezeway), the sensor contract, the raw store, and what an earlier start left. It
changes nothing, and works beside a running platform and without one.

Examples:
  breezeway doctor
  BREEZEWAY_SENSORS=pump.toml breezeway doctor
  breezeway doctor --json | jq -r '.[].advice'

Exit code: 0 if nothing is wrong, otherwise 64.
"""

import argparse
import json
import os
import resource
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path

import httpx
import psutil
from packaging.requirements import Requirement

from breezeway.contract.contract import load_contract
from breezeway.core.errors import BreezewayError, UsageError
from breezeway.core.settings import Settings
from breezeway.laptop.platform import FIRST_PORTS, POOLS, running_platform
from breezeway.laptop.processes import check_free, marked, owner
from breezeway.laptop.programs import LOOPBACK
from breezeway.readings.store import open_store

MEMORY_BYTES = 2 * 1024**3
"""The platform of one laptop with a training, rounded up."""
DISK_BYTES = 2 * 1024**3
"""The databases, the simulated plant and some trainings, with room to grow."""
OPEN_FILES = 1024
SECONDS = 5.0
"""How long a part of the platform may take to answer."""
HEALTH = {"airflow": "/api/v2/version", "mlflow": "/health", "serving": "/livez"}


@dataclass(frozen=True)
class Trouble:
    """What is wrong, and what to do about it, a sentence each."""

    about: str
    found: str
    advice: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        action="store_true",
        help="for programs: a JSON list of the troubles (without it, lines for people)",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> None:
    """Print each trouble.

    Raises:
        UsageError: there is one.
    """
    troubles = list(examine(settings))
    if arguments.json:
        print(json.dumps([asdict(trouble) for trouble in troubles], indent=2, ensure_ascii=False))
    else:
        for trouble in troubles:
            print(f"{trouble.about}: {trouble.found}\n    {trouble.advice}")
    if troubles:
        count = f"{len(troubles)} troubles were" if len(troubles) > 1 else "One trouble was"
        raise UsageError(f"{count} found in {settings.root} and on this machine.")
    if not arguments.json:
        print(f"Nothing is wrong in {settings.root} and on this machine.")


def examine(settings: Settings) -> Iterator[Trouble]:
    """All troubles. One that hides another does not keep the others from being looked for."""
    yield from packages(metadata.requires("breezeway") or [])
    yield from programs()
    yield from variables(os.environ)
    yield from memory(psutil.virtual_memory().available)
    yield from open_files()
    yield from dags(settings.dags.expanduser().resolve())
    yield from home(settings.root)
    running = running_platform(settings.root)
    if running:
        yield from parts(settings.root, running)
    else:
        yield from leftovers(settings.root)
        yield from ports()
    yield from contract_and_store(settings)


def packages(requirements: Iterable[str]) -> Iterator[Trouble]:
    """Packages of the laptop's platform that are absent or have another version.

    Args:
        requirements: as the metadata of a distribution names them.
    """
    wrong = []
    for requirement in _of_laptop(requirements):
        try:
            present = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(present, prereleases=True):
            wrong.append(f"{requirement.name} is {present}, not {requirement.specifier}")
    if wrong:
        yield Trouble(
            "Packages",
            f"{'; '.join(wrong[:5])}{'; …' if len(wrong) > 5 else ''}.",
            "In a checkout run `make .venv/installed`; elsewhere `pip install "
            "'breezeway[laptop]'`.",
        )


def _of_laptop(requirements: Iterable[str]) -> list[Requirement]:
    """The requirements of the extra `laptop`, and of the extras that it includes."""
    known = [Requirement(text) for text in requirements]
    extras, found = {"", "laptop"}, dict[str, Requirement]()
    grown = True
    while grown:
        grown = False
        for requirement in known:
            if requirement.marker and not any(
                requirement.marker.evaluate({"extra": extra}) for extra in extras
            ):
                continue
            if requirement.name == "breezeway":
                grown = grown or not requirement.extras <= extras
                extras |= requirement.extras
            else:
                found[str(requirement)] = requirement
    return list(found.values())


def programs() -> Iterator[Trouble]:
    if not shutil.which("git"):
        yield Trouble(
            "Programs",
            "git is not found; the versions of datasets are kept with it.",
            "Install git, or add its folder to PATH.",
        )


def variables(environment: Iterable[str]) -> Iterator[Trouble]:
    """Variables that look like settings and are none."""
    known = {f"BREEZEWAY_{field.upper()}" for field in Settings.model_fields}
    for name in sorted(set(environment) - known):
        if name.startswith("BREEZEWAY_") and (close := get_close_matches(name, known, 1, 0.85)):
            yield Trouble(
                "Settings",
                f"The variable {name} is set, and there is no such setting.",
                f"If you meant {close[0]}, rename it; otherwise unset it.",
            )


def memory(available: int) -> Iterator[Trouble]:
    if available < MEMORY_BYTES:
        yield Trouble(
            "Memory",
            f"{_gigabytes(available)} of memory are free; the platform takes up to "
            f"{_gigabytes(MEMORY_BYTES)}.",
            "Close other programs, or give this machine more memory.",
        )


def open_files() -> Iterator[Trouble]:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= limit < OPEN_FILES:
        yield Trouble(
            "Open files",
            f"A process may open {limit} files; the model server and Airflow need {OPEN_FILES}.",
            f"Run `ulimit -n {OPEN_FILES}` in the shell that starts the platform.",
        )


def dags(folder: Path) -> Iterator[Trouble]:
    if not (folder / POOLS).is_file():
        yield Trouble(
            "DAGs",
            f"{folder} holds no DAGs of Breezeway (no {POOLS}).",
            "Start in a checkout of Breezeway, or name the folder `dags` of one in BREEZEWAY_DAGS.",
        )


def home(folder: Path) -> Iterator[Trouble]:
    """Who may read and write the home, and how much room it has."""
    present = next(path for path in (folder, *folder.parents) if path.exists())
    if not present.is_dir() or not os.access(present, os.W_OK | os.X_OK):
        yield Trouble(
            "Home",
            f"{present} cannot be written to.",
            "Change its owner or its mode, or name another folder in BREEZEWAY_HOME.",
        )
    elif present == folder and folder.stat().st_mode & 0o077:
        yield Trouble(
            "Home",
            f"{folder} has the mode {folder.stat().st_mode & 0o777:o}: others may read passwords, "
            "readings and models.",
            f"Run `chmod 700 {folder}`.",
        )
    for place in dict.fromkeys((present, Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free
        if free < DISK_BYTES:
            yield Trouble(
                "Disk",
                f"{_gigabytes(free)} are free at {place}; a platform needs "
                f"{_gigabytes(DISK_BYTES)}.",
                "Free some, for instance by `breezeway housekeeping`, or name a folder of a larger "
                "disk in BREEZEWAY_HOME (for temporary files in TMPDIR).",
            )
    keys, database = folder / "run" / "keys.json", folder / "postgres" / "data"
    if database.is_dir() and not keys.is_file():
        yield Trouble(
            "Home",
            f"{keys} is gone, and with it the password of the database in {database}.",
            "Put it back, restore a whole backup (`breezeway restore`), or remove all of it "
            "(`breezeway uninstall`) and begin anew.",
        )


def leftovers(folder: Path) -> Iterator[Trouble]:
    """Processes of a platform that was killed."""
    if left := marked(folder):
        names = ", ".join(sorted({process.name() for process in left}))
        yield Trouble(
            "Leftovers",
            f"Of an earlier start these still run: {names} ({len(left)}).",
            "The next `make up` ends them.",
        )


def ports() -> Iterator[Trouble]:
    """Ports that a start would take first. It passes over those that are taken."""
    for part, first in FIRST_PORTS.items():
        if part == "postgres":
            continue  # nobody has to know its port
        try:
            check_free(LOOPBACK, first)
        except OSError:
            yield Trouble(
                "Ports",
                f"Port {first}, the usual one of {part}, is taken by {owner(first)}.",
                f"Stop that program, choose another port (`--{part}-port`), or let the next free "
                "one be taken; `make up` prints it.",
            )


def parts(folder: Path, running: dict[str, str]) -> Iterator[Trouble]:
    """Parts of the platform that do not answer."""
    file = folder / "run" / "platform.json"
    if not psutil.pid_exists(int(running["process"])):
        yield Trouble(
            "Leftovers",
            f"{file} names a platform (process {running['process']}) that is not there: it was "
            "killed. Commands take its addresses from there.",
            f"Start it again (`make up`), or remove {file}.",
        )
        return
    with httpx.Client(timeout=SECONDS, trust_env=False) as client:
        for part, path in HEALTH.items():
            address = running[f"{part}_url"]
            try:
                client.get(address + path).raise_for_status()
            except httpx.HTTPError as error:
                yield Trouble(
                    "Platform",
                    f"{part} gives no good answer at {address}: {error}.",
                    f"Look into {folder / 'logs'}; stop the platform with Ctrl-C and start it "
                    "again.",
                )


def contract_and_store(settings: Settings) -> Iterator[Trouble]:
    """What the first step reads: the contract, and readings."""
    try:
        load_contract(settings.sensors)
    except BreezewayError as error:
        yield Trouble("Contract", str(error), "Correct it; docs/contract.md lists all keys.")
        return
    if settings.is_simulated:
        return  # a start fills its store
    try:
        there = _has_store(settings) and open_store(settings).has_readings()
    except BreezewayError as error:
        yield Trouble(
            "Raw store", str(error), "Start the store, or correct BREEZEWAY_RAW_URL or [source]."
        )
        return
    if not there:
        yield Trouble(
            "Raw store",
            "There are no readings yet.",
            "Load some with `breezeway load-readings FILE`, or start with `make up SENSORS=… "
            "DATA=FILE`.",
        )


def _has_store(settings: Settings) -> bool:
    """Whether the store is on a server, or its file is there: to look must not create it."""
    return (
        settings.raw_url is not None
        or Path(settings.raw_address.removeprefix("sqlite:///")).is_file()
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1024**3:.1f} GB"
