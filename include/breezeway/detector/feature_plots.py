"""The picture of a choice among candidates of features: the same choice gives the same bytes."""

from pathlib import Path

from matplotlib import rc_context

from breezeway.detector.feature_choice import KEPT, FeatureChoice
from breezeway.detector.plots import BLUE, GREY, ORANGE, STYLE, new_figure, save


def draw_choice(choice: FeatureChoice, path: Path) -> None:
    """Plot the gain of each group, with its interval, beside its cost and the verdict."""
    with rc_context(STYLE):
        if not choice.groups:
            figure, axes = new_figure(8, 1.2)
            axes.set_axis_off()
            axes.set_title(f"No features were tried: {choice.why_none}")
            return save(figure, path)
        figure, axes = new_figure(9, 1.8 + 0.36 * len(choice.groups))
        for place, tried in enumerate(choice.groups):
            colour = ORANGE if tried.verdict == KEPT else GREY
            axes.plot([tried.low, tried.high], [place, place], color=colour, lw=2.4)
            axes.plot(tried.gain, place, "o", color=colour)
        axes.axvline(0, color=BLUE, lw=1)
        axes.set_yticks(
            range(len(choice.groups)),
            [
                f"{tried.name}, {len(tried.features)} features\n"
                f"{tried.microseconds} µs: {tried.verdict}"
                for tried in choice.groups
            ],
            fontsize=8,
        )
        axes.invert_yaxis()
        axes.set_xlabel(
            "average precision gained, with an interval that holds for all groups together"
        )
        axes.set_title(
            f"{len(choice.kept)} of {len(choice.groups)} groups kept; "
            f"{choice.variants} variants were fitted"
        )
        save(figure, path)
