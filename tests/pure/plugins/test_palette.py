"""The pages in Airflow have one palette, for light and dark."""

import re
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader

from tests.fixtures import ROOT

TEMPLATES = ROOT / "plugins/breezeway_airflow/templates"


@pytest.mark.parametrize("base", ["page.html", "themed.html"])
def test_each_colour_of_a_page_is_defined_once_for_both_schemes(base: str) -> None:
    pages = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    drawn = pages.get_template(base).render()
    defined = re.findall(r"--(\w+): light-dark\(#\w+, #\w+\)", drawn)
    assert len(defined) == len(set(defined))
    assert set(re.findall(r"var\(--(\w+)\)", every_text())) <= set(defined)
    assert "color-scheme: light dark" in drawn


def test_no_other_template_defines_a_colour() -> None:
    owners = [path.name for path in sorted(TEMPLATES.glob("*")) if "--text:" in text_of(path)]
    assert owners == ["palette.html"]


def every_text() -> str:
    return "".join(text_of(path) for path in TEMPLATES.glob("*.html"))


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")
