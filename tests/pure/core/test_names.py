"""Names: what each rule allows, and what its sentence says."""

import pytest

from breezeway.core.names import (
    CONTRACT_NAME,
    DATASET_TAG,
    DEVICE,
    MODEL_NAME,
    MODEL_VERSION,
    RUN_NAME,
    NameRule,
)


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        (DATASET_TAG, ["v1", "plant-day-20261101-1", "a.b_c", "x" * 100]),
        (RUN_NAME, ["v1", "Lauf 7: größer", "a/b", "x" * 120]),
        (MODEL_NAME, ["plant", "a", "a_b-c", "x" * 63]),
        (MODEL_VERSION, ["1", "12", "champion", "as-of_monday"]),
        (CONTRACT_NAME, ["plant", "p", "x" * 41]),
        (DEVICE, ["machine-01", "größer 7/b", "x" * 255]),
    ],
)
def test_is_allowed(rule: NameRule, names: list[str]) -> None:
    assert [rule.mistake(name) for name in names] == [None] * len(names)


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        (DATASET_TAG, ["", "-a", "a..b", "a.", "a.lock", "a/b", "a b", "a\n", "x" * 101, "é"]),
        (RUN_NAME, ["", "-a", "it's", "a\nb", "Versuch (1)", "x" * 121]),
        (MODEL_NAME, ["", "plant.v2", "-a", "a-", "a_", "a/b", "a\n", "x" * 64]),
        (MODEL_VERSION, ["", "0", "01", "-1", "1.5", "a b", "1\n"]),
        (CONTRACT_NAME, ["", "Plant", "1a", "a-", "x" * 42]),
        (DEVICE, ["", "a\nb", "\0", "x" * 256]),
    ],
)
def test_is_refused_with_what_is_expected(rule: NameRule, names: list[str]) -> None:
    for name in names:
        shown = name if len(name) <= 200 else f"{name[:200]}…"
        assert rule.mistake(name) == f"{shown!r} is not a {rule.kind}: expected {rule.expected}"
