"""Files that are whole or not there: written aside, then renamed."""

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a file, in the place of an earlier one; whoever reads it sees one or the other."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON; equal values give equal bytes, whatever the order of their keys.

    Raises:
        ValueError: a number in it is not finite, which JSON does not know.
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, indent=1, sort_keys=True)
    write_text(path, text + "\n")
