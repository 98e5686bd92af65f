"""The form refuses whatever a step would refuse after hours of work."""

import importlib
from argparse import Namespace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from breezeway.core.arguments import ArgumentParser
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway_airflow import form

FIELDS = [
    ("preprocess", "tag", "--tag"),
    ("tune", "tag", "--tag"),
    ("train", "run_name", "--run-name"),
    ("train", "model_name", "--model-name"),
    ("test", "model_name", "--model-name"),
    ("test", "model_version", "--model-version"),
    ("deploy", "model_name", "--model-name"),
    ("deploy", "model_version", "--model-version"),
]
"""A step, a field of the form, and the step's option that gets it."""

ANYTHING = st.one_of(
    st.text(max_size=130),
    st.text("abz019._-/ ", max_size=130),
    st.from_regex(r"[A-Za-z0-9._-]{50,120}", fullmatch=True),
)


@cache
def lenient_parser(step: str) -> ArgumentParser:
    """A step's command line of which any part may be missing."""
    parser = ArgumentParser()
    importlib.import_module(f"breezeway.steps.{step}").add_arguments(parser)
    for part in (*parser._actions, *parser._mutually_exclusive_groups):
        part.required = False
    return parser


def step_takes(step: str, option: str, text: str) -> bool:
    try:
        return isinstance(lenient_parser(step).parse_args([f"{option}={text}"]), Namespace)
    except UsageError:
        return False


def form_refuses(field: str, text: str) -> str | None:
    """The form's sentence about a field; None where the field is right."""
    empty: dict[str, Any] = dict.fromkeys(
        ("query", "test_query", "tag", "run_name", "model_name", "model_version"), ""
    )
    params = {**empty, "count": 1, "steps": [], field: text}
    try:
        form.check(params, datetime(2026, 11, 28, tzinfo=UTC), Settings())
    except UsageError as error:
        assert f"field '{field}': {text!r} is not a" in str(error)
        return str(error)
    return None


@pytest.mark.parametrize(("step", "field", "option"), FIELDS)
def test_the_form_refuses_what_a_step_refuses(step: str, field: str, option: str) -> None:
    @settings(deadline=None, max_examples=25)
    @given(ANYTHING.map(str.strip).filter(bool))
    @example("Versuch (1)")
    @example("plant.v2")
    @example("x" * 80)
    @example("a..b")
    @example("a.lock")
    @example("0")
    def refuses(text: str) -> None:
        assert step_takes(step, option, text) or form_refuses(field, text)

    refuses()
