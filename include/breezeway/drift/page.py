"""What stands above Evidently's plots: our verdict, and what it found."""

import html
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from breezeway.drift.decision import Finding

COLOURS = {"quiet": "#2e7d32", "suspected": "#b26a00", "drifted": "#c62828"}

STYLE = """
.breezeway {font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1.5rem;
  color: #222; background: #fff}
.breezeway h1 {font-size: 1.5rem; margin: 0 0 .5rem}
.breezeway h2 {font-size: 1.1rem; margin: 1.5rem 0 .3rem}
.breezeway .verdict {display: inline-block; padding: .1rem .7rem; border-radius: 1rem; color: #fff}
.breezeway table {border-collapse: collapse; width: 100%} .breezeway p {margin: .4rem 0}
.breezeway th, .breezeway td {text-align: left;
  padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #ddd}
.breezeway td.number, .breezeway th.number {text-align: right; font-variant-numeric: tabular-nums}
"""


def beginning(title: str, verdict: str) -> str:
    """The heading, with a verdict of `COLOURS`; the page ends with `</div>`."""
    colour = COLOURS.get(verdict, "#616161")
    return (
        f"<style>{STYLE}</style><div class='breezeway'><h1>{escaped(title)} "
        f"<span class='verdict' style='background:{colour}'>{verdict}</span></h1>"
    )


def about_plots(sides: tuple[pa.Table, pa.Table], whole: str) -> str:
    """What Evidently's plots show, and that they decide nothing.

    Args:
        sides: the rows that are drawn, of the training data and of what is compared with them.
        whole: what the second are a part of, with its number of rows.
    """
    return (
        f"The plots below are Evidently's, of {len(sides[1])} of {whole} rows and {len(sides[0])} "
        "rows of the training data, both evenly spaced. Their tests assume that rows are "
        "independent of each other, so they find drift on quiet days too. They do not decide "
        "anything here."
    )


def page_of_findings(title: str, findings: Sequence[Finding], note: str) -> str:
    """The page of one comparison.

    Args:
        note: about the plots below it.
    """
    rows = [
        [finding.column, finding.device or "all", str(finding), f"{finding.p_value:.1g}"]
        for finding in findings
    ]
    return "".join(
        [
            beginning(title, "drifted" if findings else "quiet"),
            *table("What has changed", ["column", "device", "change", "p"], rows),
            f"<h2>Distributions</h2><p>{escaped(note)}</p></div>",
        ]
    )


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return [f"<h2>{title}</h2><p>None.</p>"] if title else []
    cells = ["".join(f"<td>{escaped(text)}</td>" for text in row) for row in rows]
    return [
        f"<h2>{title}</h2>" if title else "",
        "<table><tr>" + "".join(f"<th>{name}</th>" for name in header) + "</tr>",
        *(f"<tr>{row}</tr>" for row in cells),
        "</table>",
    ]


def escaped(text: Any) -> str:
    return html.escape(str(text))
