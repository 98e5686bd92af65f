"""The argument parser of every command, and types of arguments that several commands use."""

import argparse
import re
from datetime import date
from typing import NoReturn

from breezeway.core.errors import UsageError
from breezeway.core.names import DATASET_TAG, MODEL_NAME, MODEL_VERSION, RUN_NAME, NameRule


class ArgumentParser(argparse.ArgumentParser):
    """Raises `UsageError` when argparse would exit with 2."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}")


def tag_name(text: str) -> str:
    """A dataset tag; raises `argparse.ArgumentTypeError`, as `run_name` and `model_name` do."""
    return _named(DATASET_TAG, text)


def run_name(text: str) -> str:
    return _named(RUN_NAME, text)


def model_name(text: str) -> str:
    return _named(MODEL_NAME, text)


def model_version(text: str) -> str:
    """The number of a version, or an alias."""
    return _named(MODEL_VERSION, text)


def _named(rule: NameRule, text: str) -> str:
    if mistake := rule.mistake(text):
        raise argparse.ArgumentTypeError(mistake)
    return text


def day(text: str) -> date:
    """A day, `YYYY-MM-DD`, of a time in which there were sensors; so days around it exist too."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.isoformat() != text or not 1900 <= found.year < 3000:
        message = f"{text[:80]!r} is not a day: expected one such as 2026-01-31"
        raise argparse.ArgumentTypeError(message)
    return found


def positive_count(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
