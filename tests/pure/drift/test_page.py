"""Our verdict stands above Evidently's plots."""

import pyarrow as pa
import pytest

from breezeway.drift.decision import Finding
from breezeway.drift.page import about_plots, page_of_findings

FOUND = Finding("temperature <mean>", "m-1", "level", 2.0, 1e-9)


@pytest.mark.parametrize(
    ("findings", "verdict", "said"),
    [([], "quiet", "<p>None.</p>"), ([FOUND], "drifted", "<td>temperature &lt;mean&gt;</td>")],
)
def test_the_page_says_what_was_decided(findings, verdict, said):
    page = page_of_findings("pump <1>", findings, "below & beside")
    assert f">{verdict}</span></h1>" in page
    assert said in page
    assert "pump &lt;1&gt;" in page
    assert "below &amp; beside" in page
    assert page.count("<div") == page.count("</div>") == 1


def test_the_plots_are_said_to_decide_nothing():
    sides = (pa.table({"x": [1.0, 2.0, 3.0]}), pa.table({"x": [1.0]}))
    said = about_plots(sides, "the 7 judged")
    assert "of 1 of the 7 judged rows and 3 rows of the training data" in said
    assert "They do not decide anything here." in said
