"""The walk through all pages makes the screenshots of the documentation."""

import runpy
from pathlib import Path

import pytest

from tests.fixtures import ROOT

SCRIPT = ROOT / "docs/walk_pages.py"
DRAWN = {"drift-bench", "preprocess-bench", "serving-bench", "sixty-days"}
"""By the benches."""


@pytest.fixture(scope="module")
def walk() -> dict:
    return runpy.run_path(str(SCRIPT))


def test_no_screenshot_is_made_by_hand() -> None:
    names = {path.stem for path in (ROOT / "docs").glob("*.png")} - DRAWN
    text = SCRIPT.read_text(encoding="utf-8")
    assert names
    assert [n for n in sorted(names) if f'"{n}"' not in text and not n.endswith("-report")] == []


def test_pictures_of_the_same_name_are_replaced_and_no_other(walk, tmp_path, monkeypatch) -> None:
    replace_pictures = walk["replace_pictures"]
    docs, made = tmp_path / "docs", tmp_path / "made"
    for path in (docs / "a.png", docs / "bench.png", made / "a.png", made / "b.png"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(path))
    monkeypatch.setitem(replace_pictures.__globals__, "DOCS", docs)
    replace_pictures(made)
    kept = {path.name: Path(path.read_text()).parent.name for path in docs.iterdir()}
    assert kept == {"a.png": "made", "bench.png": "docs"}


def test_a_console_error_is_a_fault_unless_it_is_known(walk) -> None:
    failed = "Failed to load resource: the server responded with a status of 503"
    page = "http://127.0.0.1:8080/breezeway"
    said = [
        f"{failed} (Service Unavailable) {page}/preview/",
        f"{failed} (Service Unavailable) {page}/reports/",
        "x is not a function",
    ]
    assert list(walk["heard"](said)) == [f"console: {text}" for text in said[1:]]
