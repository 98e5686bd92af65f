"""Names: what each rule allows, and what its sentence says."""

import pytest

from breezeway.core.names import (
    CONTRACT_NAME,
    DATASET_TAG,
    DEVICE,
    MODEL_NAME,
    MODEL_VERSION,
    PATH,
    RUN_NAME,
    NameRule,
    paths_mistake,
)


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        (DATASET_TAG, ["v1", "plant-day-20261101-1", "a.b_c", "x" * 100, "maintain", "ahead"]),
        (RUN_NAME, ["v1", "Lauf 7: größer", "a/b", "x" * 120]),
        (MODEL_NAME, ["plant", "a", "a_b-c", "x" * 63]),
        (MODEL_VERSION, ["1", "12", "champion", "as-of_monday"]),
        (CONTRACT_NAME, ["plant", "p", "x" * 41]),
        (PATH, ["a", ".dvc/config", "é ü/*.txt", "features/part-00000.parquet", "...", "x" * 255]),
        (DEVICE, ["machine-01", "größer 7/b", "x" * 255]),
    ],
)
def test_is_allowed(rule: NameRule, names: list[str]) -> None:
    assert [rule.mistake(name) for name in names] == [None] * len(names)


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        (DATASET_TAG, ["main", "Main", "HEAD", "head", "FETCH_HEAD", "a" * 40]),
        (
            PATH,
            ["", ".", "..", "../a", "a/../b", "/a", "a//b", "a/", "a\\b", "a\0", "a\nb", "\ud800"],
        ),
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


@pytest.mark.parametrize(
    ("paths", "mistake"),
    [
        (["a", "a"], "'a' is there twice"),
        (["a/b", "a"], "'a' is both a file and a folder"),
        (["A/b", "a/c"], "'a' and 'A' are one file on some disks"),
        (["\u00e9", "e\u0301"], "are one file on some disks"),
        (["a", "b/../../c"], "is not a path of a file"),
        (["é" * 200], "is too long"),
        (["/".join(["x" * 200] * 6)], "is too long"),
        ([str(number) for number in range(100_001)], "there are 100001 files"),
    ],
)
def test_files_that_are_no_folder_on_every_disk(paths: list[str], mistake: str) -> None:
    assert mistake in (paths_mistake(paths) or "")


def test_files_of_a_folder() -> None:
    assert paths_mistake(["a/b", "a/c", "a.b", "ab", "manifest.json"]) is None
