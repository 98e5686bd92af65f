"""Files that are either complete or absent: written to another name, then renamed."""

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write or replace a file; a reader sees either the old content or the new one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON; equal values give equal bytes, whatever the order of their keys.

    Raises:
        ValueError: a number in it is not finite, which JSON does not allow.
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, indent=1, sort_keys=True)
    write_text(path, text + "\n")
