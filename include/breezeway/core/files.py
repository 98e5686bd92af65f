"""Files that are either complete or absent: written to another name, then renamed."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from breezeway.core.errors import ServiceUnavailable

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file in the error of a full disk: to an open file, the system itself names none."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = str(path)
        raise


def no_space(error: BaseException) -> ServiceUnavailable | None:
    """What to tell of the error of a full disk; None if it is another error."""
    if not isinstance(error, OSError) or error.errno not in FULL:
        return None
    place = "on the device" if error.filename is None else f"to write {error.filename}"
    return ServiceUnavailable(f"No space is left {place}: remove something, then try again.")


def write_text(path: Path, text: str) -> None:
    """Write or replace a file; a reader sees either the old content or the new one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON; equal values give equal bytes, whatever the order of their keys.

    Raises:
        ValueError: a number in it is not finite, which JSON does not allow.
    """
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, indent=1, sort_keys=True)
    write_text(path, text + "\n")
