"""The argument parser of every command, and the types of arguments that several share."""

import argparse
import re
from typing import NoReturn

from breezeway.core.errors import UsageError


class ArgumentParser(argparse.ArgumentParser):
    """Raises `UsageError` where argparse would exit with 2."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}")


def tag_name(text: str) -> str:
    """A dataset tag: what git accepts as a tag name, without slashes.

    Raises:
        argparse.ArgumentTypeError: a character or a form that is not allowed.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text) or (
        ".." in text or text.endswith((".", ".lock"))
    ):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no dataset tag: up to 100 letters, digits, '.', '_' or '-', "
            "beginning with a letter or a digit, without '..' and not ending in '.' or '.lock'"
        )
    return text


def positive_count(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
