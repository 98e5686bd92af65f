"""The page of a batch of predictions: what was scored, what is in alarm, and what was left out."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

MOST_DAYS = 400
"""Lines of the table of days."""
CSS = """\
body { font-family: sans-serif; color: #1f2933 }
table { border-collapse: collapse } th, td { padding: 0.3em 0.8em; text-align: right }
th:first-child, td:first-child { text-align: left } tr { border-bottom: 1px solid #eceff2 }
"""
FIGURES = ("read", "quarantined", "rows", "alarms", "episodes")
HEADER = ("Read", "Quarantined", "Predictions", "In alarm", "Alarm episodes")


def draw(manifest: Mapping[str, Any], tag: str) -> str:
    """One HTML file without scripts; names of devices and examples of values are escaped.

    Args:
        manifest: of the predictions.
        tag: of the dataset version.
    """
    title = escape(f"Predictions {tag}")
    days = list(manifest["days"].items())
    lines = [(day, *(of_day[name] for name in FIGURES)) for day, of_day in days[:MOST_DAYS]]
    total = ("All", *(manifest[name] for name in FIGURES))
    parts = [
        f"<!doctype html>\n<meta charset='utf-8'><title>{title}</title>",
        f"<style>{CSS}</style>\n<h1>{title}</h1>",
        f"<p>Model {escape(manifest['model_name'])}, version {escape(manifest['model_version'])}; "
        f"a reading is in alarm from the score {manifest['threshold']:.6g} on.</p>",
        _table(("Day", *HEADER), [*lines, total]),
    ]
    if len(days) > MOST_DAYS:
        parts.append(f"<p>{len(days) - MOST_DAYS} more days are in the manifest.</p>")
    if manifest["devices"]:
        parts.append("<h2>Devices with the most readings in alarm</h2>")
        parts.append(_table(("Device", "In alarm"), manifest["devices"].items()))
    if manifest["rejected"]:
        rejected = [
            (f"{each['field']}: {each['reason']}", each["rows"], each["example"])
            for each in manifest["rejected"]
        ]
        parts.append("<h2>Quarantined</h2>")
        parts.append(_table(("Reason", "Readings", "Example"), rejected))
    parts += [f"<p>{escape(sentence)}</p>" for sentence in manifest["warnings"]]
    return "\n".join(parts) + "\n"


def _table(header: Iterable[str], lines: Iterable[Iterable[object]]) -> str:
    cells = ["".join(f"<th>{escape(cell)}</th>" for cell in header)]
    cells += ["".join(f"<td>{escape(str(cell))}</td>" for cell in line) for line in lines]
    rows = "\n".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table>\n{rows}\n</table>"
