"""The documentation as a site: built strictly, it can be searched and asks no other host."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures import ROOT

LOADED = re.compile(
    r"""(?:\bsrc|<link[^>]*\bhref|\bimport|@import|url\()[=(\s]*["']?\s*(?:https?:)?//[^"')\s>]+"""
)
"""What a browser loads by itself from another host; a link to follow is not."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = ["-q", "-W", "--keep-going", "-c", "docs", ".", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_every_page_is_built_and_in_the_navigation(site: Path) -> None:
    wanted = {path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]}
    built = {path.relative_to(site).with_suffix(".md") for path in site.glob("**/*.html")}
    assert wanted <= built
    start = (site / "docs" / "README.html").read_text(encoding="utf-8")
    for page in ("quickstart", "contract", "glossary", "decisions/README"):
        assert re.search(rf'class="reference internal" href="{page}.html"', start), page


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    files = [path for kind in ("html", "css", "js") for path in site.glob(f"**/*.{kind}")]
    found = {
        (path.name, text)
        for path in files
        for text in LOADED.findall(path.read_text(encoding="utf-8", errors="replace"))
    }
    assert len(files) > 60
    assert found == set()


def test_a_link_that_is_loaded_is_told_from_one_to_follow() -> None:
    for loaded in (
        '<script src="https://cdn.example/a.js">',
        "<link rel=stylesheet href='//fonts.example/css'>",
        "@import url(https://fonts.example/css)",
    ):
        assert LOADED.search(loaded), loaded
    assert not LOADED.search('<a href="https://example.org">')


def test_it_can_be_searched_without_a_server(site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert "quarantin" in index and "docs/glossary" in index
