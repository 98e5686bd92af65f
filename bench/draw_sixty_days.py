"""Draws docs/sixty-days.png, of what tests/servers/pipeline/test_sixty_days.py has lived through.

    .venv/bin/python -m bench.draw_sixty_days FOLDER/timeline.json

The timeline is kept beside the picture, as docs/sixty-days.json.
"""

import json
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.frame import ROOT

PICTURE = ROOT / "docs" / "sixty-days.png"
LAST = 60
COLOURS = {"1": "#4a7194", "2": "#2f8f5b"}
VERDICTS = {
    "quiet": "#9bc49b",
    "suspected": "#e8c15a",
    "drifted": "#c0504d",
    "not judged": "#b8b8b8",
}
OFF = "#b03a3a"


class Story:
    """What a timeline tells, by the numbers of its days."""

    def __init__(self, told: dict[str, Any]):
        self.told = told
        self._first = date.fromisoformat(told["first"])

    def number(self, of: str) -> float:
        """The number of a day, or of a moment with its share of the day."""
        moment = datetime.fromisoformat(of)
        share = (moment.hour + moment.minute / 60) / 24
        return (moment.date() - self._first).days + 1 + share

    def figures(self, name: str) -> dict[int, Any]:
        return {int(k): about[name] for k, about in self.told["days"].items() if name in about}

    @property
    def services(self) -> list[tuple[str, float, float]]:
        """Version, since when, until when."""
        found = self.told["done"]["end"]["services"]
        ends = [*(self.number(service["since"]) for service in found[1:]), LAST + 1]
        return [
            (service["version"], self.number(service["since"]), end)
            for service, end in zip(found, ends, strict=True)
        ]


def draw(told: dict[str, Any], path: Path) -> None:
    story = Story(told)
    with rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 6.2), dpi=110, layout="constrained")
        heights = {"height_ratios": [3.4, 1, 1, 1]}
        panels = figure.subplots(4, 1, sharex=True, gridspec_kw=heights)
        for axes, part in zip(panels, (_alarms, _nights, _served, _history), strict=True):
            part(axes, story)
            for kill in told["kills"]:
                begin, end = story.number(kill["at"]), story.number(kill["back"])
                axes.axvspan(begin, max(end, begin + 0.1), color=OFF, alpha=0.3, lw=0, zorder=0)
        panels[-1].set_xlim(1, LAST + 1)
        panels[-1].set_xlabel("simulated day; red: the power fails, once for a week")
        figure.align_ylabels(panels)
        FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})


def _alarms(axes: Axes, story: Story) -> None:
    """Of what served on each day; and of the first version after that."""
    first, second = (story.figures(f"false_episodes_of_{version}") for version in "12")
    changed = int(story.services[1][1])
    for version, counts in (("1", first), ("2", second)):
        shown = {n: count for n, count in counts.items() if (n >= changed) == (version == "2")}
        axes.bar(
            shown.keys(),
            shown.values(),
            color=COLOURS[version],
            width=0.85,
            align="edge",
            label=f"version {version}, in service",
        )
    old = {n: count for n, count in first.items() if n >= changed}
    axes.stairs(
        list(old.values()),
        [*old, max(old) + 1],
        color=COLOURS["1"],
        ls=":",
        lw=1.6,
        label="version 1, had it stayed",
    )
    top = 1.3 * max(first.values())
    for event in story.told["events"]:
        what = "drift announced " if event["of"] == "drift" else " retraining"
        night = story.number(event["date"]) + 1
        axes.axvline(night, color="#555555", lw=0.8, ls="--", zorder=0)
        side = "right" if event["of"] == "drift" else "left"
        axes.annotate(what, (night, top), ha=side, va="top", color="#555555")
    axes.set_ylim(0, top)
    axes.legend(loc="upper left", frameon=False)
    axes.set_ylabel("false alarm\nepisodes a day")


def _nights(axes: Axes, story: Story) -> None:
    seen = set()
    for night in story.told["nights"]:
        verdict = night["verdict"]
        axes.bar(
            story.number(night["date"]),
            1,
            color=VERDICTS[verdict],
            width=0.9,
            align="edge",
            label=None if verdict in seen else verdict,
        )
        seen.add(verdict)
    axes.legend(loc="center left", ncols=2, frameon=False)
    axes.set_ylabel("night's\nverdict")
    axes.set_yticks([])


def _served(axes: Axes, story: Story) -> None:
    for version, begin, end in story.services:
        axes.barh(0, end - begin, left=begin, color=COLOURS[version], height=0.8)
        axes.text(begin + 0.4, 0, f"version {version}", va="center", color="white")
    axes.set_ylabel("serves")
    axes.set_yticks([])


def _history(axes: Axes, story: Story) -> None:
    """How many revisions each day has."""
    for of, tag in story.told["done"]["end"]["published"].items():
        count = int(tag.rpartition("-")[2])
        colour = "#7b8a97" if count == 1 else "#a5843f"
        axes.bar(story.number(of), count, color=colour, width=0.9, align="edge")
    axes.set_ylabel("revisions\nof the day")
    axes.set_yticks([1, 2])


if __name__ == "__main__":
    timeline = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    draw(timeline, PICTURE)
    text = json.dumps(timeline, indent=1, ensure_ascii=False) + "\n"
    PICTURE.with_suffix(".json").write_text(text, encoding="utf-8")
