"""The picture of the packages is that of the code."""

import runpy

from tests.fixtures import ROOT


def test_the_picture_of_the_packages_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "docs/draw_packages.py"))
    drawn = script["FILE"].read_text("utf-8")
    assert drawn == script["picture"](), "run: .venv/bin/python docs/draw_packages.py"
