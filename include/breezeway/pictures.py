"""Pictures of a search and of a model: the same data gives the same bytes.

Matplotlib's object interface on Agg: no window, no state that is shared with anyone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

INK, GREY, PALE = "#1f2933", "#8a94a0", "#d5dae0"
BLUE, ORANGE, RED = "#2563a8", "#e07a1f", "#c23b3b"

STYLE = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so a picture is the same everywhere
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceff2",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}

SHOWN_POINTS = 4000
"""A longer curve is thinned to this many points."""
SHOWN_DEVICES = 3
SHOWN_FEATURES = 20


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})


def _figure(width: float, height: float, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    return figure, figure.subplots(1, columns, **options)


def draw_search(
    trials: Sequence[Mapping[str, Any]], best: int, rounds_a_step: int, path: Path
) -> None:
    """Draw a search for parameters: every trial's curve, and how the best came about.

    Args:
        trials: `curve` (average precision after each step) and `ended` of each, by number.
        best: number of the best trial.
    """
    with rc_context(STYLE):
        figure, (left, right) = _figure(11, 4.4, 2, sharey=True)
        for number, trial in enumerate(trials):
            rounds = rounds_a_step * np.arange(1, len(trial["curve"]) + 1)
            colour = {best: ORANGE}.get(number, PALE if trial["ended"] == "behind" else GREY)
            width = 2.4 if number == best else 1.2
            left.plot(rounds, trial["curve"], color=colour, lw=width, zorder=1 + (number == best))
            left.plot(rounds[-1], trial["curve"][-1], ".", color=colour)
        left.set(title="Trials as they grow", xlabel="boosting rounds")
        left.set_ylabel("average precision, mean of folds")

        values = [max(trial["curve"]) for trial in trials]
        numbers = np.arange(1, len(trials) + 1)
        best_so_far = np.maximum.accumulate(values)
        right.step(numbers, best_so_far, where="post", color=ORANGE, lw=2, label="best so far")
        stopped = np.array([trial["ended"] == "behind" for trial in trials])
        for chosen, colour, label in (
            (~stopped, GREY, "ran to its end"),
            (stopped, PALE, "stopped early: behind the median"),
        ):
            if chosen.any():
                right.plot(
                    numbers[chosen], np.array(values)[chosen], "o", color=colour, label=label
                )
        right.plot(best + 1, values[best], "o", ms=10, color=ORANGE, label="best")
        right.annotate(
            f"{values[best]:.4f}", (best + 1, values[best]), (0, 9), textcoords="offset points",
            ha="center", color=ORANGE, weight="bold",
        )  # fmt: skip
        right.annotate(
            "defaults", (1, values[0]), (6, -14), textcoords="offset points", color=GREY
        )
        right.set(title="The search", xlabel="trial")
        right.xaxis.get_major_locator().set_params(integer=True)
        low = min(values)
        span = max(best_so_far[-1] - low, 0.01)
        right.set_ylim(max(0, low - 0.6 * span), min(1.02, best_so_far[-1] + 0.25 * span))
        right.legend(loc="lower right")
        _save(figure, path)
