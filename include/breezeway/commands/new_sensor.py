"""Look at the first rows of a file and write a first version of its sensor contract.

It guesses how the file is read, the interval, device, labels, and the fields with their types and
ranges, and says what it is unsure of. Beside the contract it writes a page of what the readings
look like by it. Read both before you load the file.

Example:
  breezeway new-sensor pump.csv --contract sensors/pump.toml
"""

import argparse
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from breezeway.contract.contract import Contract
from breezeway.core.errors import UsageError
from breezeway.core.files import write_text
from breezeway.core.scratch import scratch
from breezeway.core.settings import Settings
from breezeway.readings import file_guesses, file_loads
from breezeway.readings.arrow import ID
from breezeway.readings.file_mistakes import toml
from breezeway.readings.file_text import stem

NO_LABEL = """
# [label]                     # without it a model learns what is normal, and promises a rate of
# table = "labels"            # false alarms; the table is where imported labels go"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="CSV, JSON lines or Parquet")
    parser.add_argument(
        "--contract", type=Path, metavar="FILE", help="the file to write (<name>.toml, here)"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    file: Path = arguments.file
    if not file.is_file():
        raise UsageError(f"{file}: there is no such file.")
    name = re.sub("[^a-z0-9]+", "-", stem(file).lower()).strip("-")[:41].strip("-")
    name = name if re.match("[a-z]", name) else f"sensor-{name}".rstrip("-")[:41]
    target: Path = arguments.contract or Path(f"{name}.toml")
    if target.exists():
        raise UsageError(f"--contract: {target} is there already; name another file.")
    profile = target.with_name(f"{target.stem}-profile.html")
    with scratch(settings, "new-sensor") as folder:
        found = file_guesses.guess(file, folder)
        tried = _try_out(file, name, found, folder)
        found.interval = file_guesses.interval(tried.first_times())
        found.unsure += [tried.mistakes] if tried.mistakes else []
        text = _text(name, found)
        page = _page(file, Contract.from_text(text, target.name), found, tried, folder)
    if page:
        write_text(profile, page)
    write_text(target, text)
    shown = {"profile": str(profile)} if page else {}
    return {"contract": str(target), **shown, "unsure": found.unsure}


def _try_out(file: Path, name: str, found: file_guesses.Guess, folder: Path) -> file_loads.TriedOut:
    """Read the file by the proposal; by another time format if only that fits all rows."""
    first = None
    guessed = found.files.get("time_format", "")
    for time_format in (guessed, *map(toml, found.other_times if guessed else ())):
        if time_format:
            found.files["time_format"] = time_format
        contract = Contract.from_text(_text(name, found), "the proposed contract")
        tried = file_loads.try_out(file, contract, folder)
        if not tried.mistakes:
            return tried
        first = first or tried
    if guessed:
        found.files["time_format"] = guessed
    return first or tried


def _page(
    file: Path,
    contract: Contract,
    found: file_guesses.Guess,
    tried: file_loads.TriedOut,
    folder: Path,
) -> str:
    """What the rows look like by the contract; empty if none could be read."""
    if not any(len(table) for table in tried.rows):
        return ""
    from breezeway.preprocessing.dataset import try_readings
    from breezeway.preprocessing.profile_page import profile_page
    from breezeway.preprocessing.spec import DatasetSpec

    rows = sum(len(table) for table in tried.rows)
    others = "" if tried.is_whole else "; others were not looked at, or stand near a mistake"
    spec = DatasetSpec(contract, str(file))
    would_be = try_readings(_numbered(tried.rows), spec, folder, threads=1)
    return profile_page(
        contract,
        would_be.manifest,
        would_be.profile,
        title=f"Profile of {file.name}",
        source=f"{rows:,} rows of {file}{others}",
        questions=found.unsure,
        read_as={"interval_seconds": f"{found.interval:g}", **found.files},
    )


def _numbered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Readings that arrived in the order of the file."""
    first = 0
    for table in tables:
        ids = pa.array(np.arange(first, first + len(table)))
        yield table.select(["device", "time", "payload", "label"]).append_column(ID, ids)
        first += len(table)


def _text(name: str, found: file_guesses.Guess) -> str:
    parts = [
        f'name = "{name}"',
        f"interval_seconds = {found.interval:g}",
        '\n[payload]\nformat = "json"',
        *(f"{key} = {value}" for key, value in found.payload.items()),
        "\n[files]",
        *(f"{key} = {value}" for key, value in found.files.items()),
    ]
    if found.columns:
        parts.append("\n[files.columns]")
        parts += [f"{k} = {toml(column)}" for k, column in found.columns.items()]
    for key, values in found.fields.items():
        parts.append(f"\n[fields.{key}]")
        parts += [f"{each} = {value}" for each, value in values.items()]
    numbers = [key for key, values in found.fields.items() if "categories" not in values]
    parts += [
        "\n[features]\nwindow = 30                   # readings of one device",
        "\n[features.reading]",
        *(f'{key} = "{key}"' for key in found.fields),
    ]
    if numbers:
        parts.append("\n[features.rolling]")
        parts += [f'{key} = ["mean", "std"]' for key in numbers]
    parts += [
        '\n[label]\ncolumn = "label"' if found.has_label else NO_LABEL,
        "\n[alarm]\nfalse_episodes_per_day = 0.2  # for each device",
        '\n[split]\nby = "time"\nfolds = 3',
    ]
    return "\n".join(parts) + "\n"
