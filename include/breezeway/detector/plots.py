"""Plots of a search and of a model: the same data give the same bytes.

They use Matplotlib's object interface with Agg: no window, no global state.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from breezeway.detector.alarm_reasons import AlarmReasons
from breezeway.detector.calibration import Calibration
from breezeway.detector.delays import DelayCurve
from breezeway.detector.groups import Group
from breezeway.detector.scorecard import Rows
from breezeway.detector.thresholds import Choice, ThresholdCurve

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

    from breezeway.detector.search import FamilyResult, SearchTrial

INK, GREY, PALE = "#1f2933", "#8a94a0", "#bcc5ce"
BLUE, ORANGE, RED = "#2563a8", "#e07a1f", "#c23b3b"

STYLE: "dict[RcKeyType, Any]" = {
    "font.family": "DejaVu Sans",  # part of Matplotlib, so plots are the same everywhere
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

SHOWN_POINTS = 3000
"""A longer curve is thinned to this many points."""
SHOWN_DEVICES = 4
SHOWN_FEATURES = 20
SHOWN_GROUPS = 30


def save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})


def new_figure(width: float, height: float, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    return figure, figure.subplots(1, columns, **options)


def draw_search(
    trials: Sequence["SearchTrial"],
    best: int,
    rounds_a_step: int,
    path: Path,
    unit: str = "boosting rounds",
) -> None:
    """Plot a search for parameters: the learning curve of each trial, and the best so far.

    Args:
        trials: by number.
        best: number of the best trial.
        unit: of rounds.
    """
    with rc_context(STYLE):
        figure, (left, right) = new_figure(11, 4.4, 2, sharey=True)
        for number, trial in enumerate(trials):
            rounds = rounds_a_step * np.arange(1, len(trial.curve) + 1)
            colour = {best: ORANGE}.get(number, PALE if trial.ended == "behind" else GREY)
            width = 2.4 if number == best else 1.2
            left.plot(rounds, trial.curve, color=colour, lw=width, zorder=1 + (number == best))
            left.plot(rounds[-1], trial.curve[-1], ".", color=colour)
        peak = int(np.argmax(trials[best].curve))
        left.plot(rounds_a_step * (peak + 1), trials[best].curve[peak], "o", ms=9, color=ORANGE)
        left.set(title="Trials as they grow", xlabel=unit)
        left.set_ylabel("average precision, mean of folds")

        values = [max(trial.curve) for trial in trials]
        numbers = np.arange(1, len(trials) + 1)
        best_so_far = np.maximum.accumulate(values)
        right.step(numbers, best_so_far, where="post", color=ORANGE, lw=2, label="best so far")
        stopped = np.array([trial.ended == "behind" for trial in trials])
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
        right.annotate("defaults", (1, values[0]), (6, -14), textcoords="offset points", color=GREY)
        right.set(title="The search", xlabel="trial")
        right.xaxis.get_major_locator().set_params(integer=True)
        low = min(values)
        span = max(best_so_far[-1] - low, 0.01)
        right.set_ylim(max(0, low - 0.6 * span), min(1.02, best_so_far[-1] + 0.25 * span))
        right.legend(loc="lower right")
        save(figure, path)


def draw_families(results: Sequence["FamilyResult"], path: Path) -> None:
    """Plot what each family of a search reached, and what its trials cost."""
    names = [f"{result.family}\n{result.trials} trials" for result in results]
    with rc_context(STYLE):
        figure, (reached, cost) = new_figure(9, 1.4 + 0.5 * len(results), 2, sharey=True)
        for axes, values, form, title in (
            (reached, [result.average_precision for result in results], "{:.4f}", "Best trial"),
            (cost, [result.cpu_seconds for result in results], "{:.1f}", "All trials"),
        ):
            colours = [ORANGE, *[BLUE] * (len(results) - 1)] if axes is reached else GREY
            bars = axes.barh(names, values, color=colours)
            axes.bar_label(bars, fmt=form, padding=3)
            axes.margins(x=0.2)
            axes.grid(axis="y", visible=False)
            axes.set_title(title)
        reached.set_xlabel("average precision, mean of folds")
        cost.set_xlabel("CPU seconds")
        reached.invert_yaxis()
        save(figure, path)


def draw_training(growth: np.ndarray, rounds: int, rounds_a_step: int, path: Path) -> None:
    """Plot learning curves: average precision over boosting rounds, of rows seen and unseen.

    A model that does not grow by trees has a single point.

    Args:
        growth: (folds, 2, stages), as `OutOfFold` has it.
        rounds: of the models; the last step may have fewer rounds.
    """
    whole_alone = growth.shape[2] == 1
    shown = np.minimum(rounds_a_step * np.arange(1, growth.shape[2] + 1), rounds)
    style = {"marker": "o", "ls": ""} if whole_alone else {}
    title = "The model as its trees become more; one thin line a fold, the mean thick"
    if whole_alone:
        title = "The whole model; one pale point a fold"
    with rc_context(STYLE):
        figure, axes = new_figure(8, 4.6)
        for kind, colour, label in (
            (0, GREY, "rows that it was fitted on"),
            (1, BLUE, "rows that it did not see"),
        ):
            axes.plot(shown, growth[:, kind].T, color=colour, lw=0.8, alpha=0.5, **style)
            mean = growth[:, kind].mean(axis=0)
            axes.plot(shown, mean, color=colour, lw=2.4, label=f"{label}: {mean[-1]:.3f}", **style)
        axes.set(
            title=title,
            xlabel="" if whole_alone else "boosting rounds",
            ylabel="average precision",
            ylim=(0, 1.03),
        )
        axes.legend(loc="lower right")
        save(figure, path)


def draw_precision_recall(
    label: np.ndarray, score: np.ndarray, threshold: float, average: float, path: Path
) -> None:
    """Plot precision over recall, with the point of the threshold."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    caught, alarms = np.cumsum(label[order])[last], last + 1
    recall, precision = caught / caught[-1], caught / alarms
    shown = _thin(len(recall))
    with rc_context(STYLE):
        figure, axes = new_figure(6, 4.6)
        axes.plot(recall[shown], precision[shown], color=BLUE, lw=2, label="model")
        axes.axhline(label.mean(), color=GREY, ls="--", lw=1.2, label="always in alarm")
        alarm = score >= threshold
        if alarm.any():
            at = (label[alarm].sum() / label.sum(), label[alarm].mean())
            axes.plot(*at, "o", ms=9, color=ORANGE, label=f"threshold {threshold:.3g}")
        axes.set(
            title=f"Precision and recall of readings: average precision {average:.3f}",
            xlabel="recall: share of positive readings in alarm",
            ylabel="precision: share of alarms that are right",
            xlim=(-0.02, 1.02),
            ylim=(0, 1.03),
        )
        axes.legend(loc="center left")
        save(figure, path)


def draw_threshold(curve: ThresholdCurve, choice: Choice, path: Path) -> None:
    """Plot events hit and false episodes over the candidate thresholds, with the chosen one and
    its interval."""
    effects, threshold = curve.effects, choice.threshold
    with rc_context(STYLE):
        figure, (hits, false) = new_figure(10, 4.2, 2)
        hit = (curve.events - effects.missed) / max(1, curve.events)
        hits.step(curve.threshold, hit, where="pre", color=BLUE, lw=2)
        hits.set(title=f"Events hit, of {curve.events}", ylim=(-0.02, 1.03))
        hits.yaxis.set_major_formatter(PercentFormatter(1))
        per_day = effects.false_episodes / effects.device_days
        false.step(curve.threshold, per_day, where="pre", color=BLUE, lw=2)
        false.set(title="False episodes in a day of one device", ylim=(0, None))
        figure.suptitle(
            f"Alarm threshold {threshold:.3g}; on resampled readings "
            f"{choice.low:.3g} to {choice.high:.3g}",
            color=ORANGE,
        )
        for axes in (hits, false):
            axes.axvspan(choice.low, choice.high, color=ORANGE, alpha=0.15, lw=0)
            axes.axvline(threshold, color=ORANGE, lw=1.6)
            axes.set_xlabel("threshold on the score")
            axes.set_xlim(curve.threshold[-1], min(1.02, curve.threshold[0] + 0.02))
        save(figure, path)


def draw_score_over_time(rows: Rows, score: np.ndarray, threshold: np.ndarray, path: Path) -> None:
    """Plot the scores of the devices with the most positive readings, with shaded events."""
    positive = np.bincount(rows.device, weights=rows.label, minlength=len(rows.names))
    size = np.bincount(rows.device, minlength=len(rows.names))
    devices = np.lexsort((-size, -positive))[: min(SHOWN_DEVICES, int((size > 0).sum()))]
    with rc_context(STYLE):
        figure, panels = _figure_of_rows(10, 1.0 + 1.55 * len(devices), len(devices))
        for axes, device in zip(panels, devices, strict=True):
            own = np.flatnonzero(rows.device == device)
            time = rows.time[own].astype("datetime64[us]")
            label, level = rows.label[own], threshold[own]
            ends = np.flatnonzero(np.diff(label.astype(int), prepend=0, append=0)).reshape(-1, 2)
            for start, end in ends:
                axes.axvspan(time[start], time[end - 1], color=RED, alpha=0.18, lw=0)
            shown = _thin(len(own), keep=score[own] >= level)
            axes.plot(time[shown], score[own][shown], color=BLUE, lw=0.8)
            axes.step(time, level, where="post", color=ORANGE, lw=1.3)
            axes.set_title(str(rows.names[device]), fontsize=10, weight="normal")
            axes.set(ylim=(-0.03, 1.05), yticks=[0, 0.5, 1])
            locator = AutoDateLocator()
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        figure.suptitle(
            "Score over time: events shaded, threshold orange; every score from a model that "
            "did not see the reading",
            fontsize=10,
        )
        save(figure, path)


def draw_confusion(label: np.ndarray, alarm: np.ndarray, path: Path) -> None:
    """Plot the confusion matrix of readings."""
    counts = np.array([[((label == y) & (alarm == a)).sum() for a in (0, 1)] for y in (0, 1)])
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    with rc_context({**STYLE, "axes.grid": False}):
        figure, axes = new_figure(4.6, 4.0)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25)
        for y in (0, 1):
            for a in (0, 1):
                axes.text(
                    a, y, f"{counts[y, a]:,}\n{shares[y, a]:.1%}", ha="center", va="center",
                    fontsize=13, color="white" if shares[y, a] > 0.6 else INK,
                )  # fmt: skip
        axes.set(
            title="Readings, by truth and by alarm",
            xticks=[0, 1],
            xticklabels=["no alarm", "alarm"],
            yticks=[0, 1],
            yticklabels=["normal", "event"],
        )
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        save(figure, path)


def draw_importance(gain: Mapping[str, float], path: Path) -> None:
    """Plot the feature importance: the share of each feature in the total gain."""
    total = sum(gain.values()) or 1
    top = sorted(gain.items(), key=lambda item: (-item[1], item[0]))[:SHOWN_FEATURES]
    with rc_context(STYLE):
        figure, axes = new_figure(7, 1.2 + 0.28 * max(1, len(top)))
        axes.barh([name for name, _ in top], [value / total for _, value in top], color=BLUE)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        more = f", the first {len(top)} of {len(gain)}" if len(gain) > len(top) else ""
        axes.set(title=f"Features by share of the model's gain{more}")
        save(figure, path)


def draw_reasons(reasons: AlarmReasons, path: Path) -> None:
    """Plot by field in how many alarms it is the first reason, right and false ones apart."""
    if not reasons.fields:
        draw_note("No reading is in alarm.", path)
        return
    shown = reasons.fields[:SHOWN_FEATURES]
    kinds = [
        (label, colour, values)
        for label, colour, values in (
            ("alarms in an event", BLUE, [field.right for field in shown]),
            ("alarms in normal time", ORANGE, [field.false for field in shown]),
        )
        if values[0] is not None
    ] or [("alarms", BLUE, [field.first for field in shown])]
    thick = 0.8 / len(kinds)
    with rc_context(STYLE):
        figure, axes = new_figure(8, 1.8 + 0.42 * len(shown))
        for number, (label, colour, values) in enumerate(kinds):
            places = np.arange(len(shown)) + thick * (number - (len(kinds) - 1) / 2)
            bars = axes.barh(places, np.array(values, float), thick, color=colour, label=label)
            axes.bar_label(bars, fmt="{:.0%}", padding=3, fontsize=9)
        axes.set_yticks(range(len(shown)), [field.field for field in shown])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, 1.08)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        of = f"{reasons.explained} of " if reasons.explained < reasons.alarms else ""
        axes.set_title(
            f"The field that is the first reason, of {of}{reasons.alarms} readings in alarm"
        )
        if len(kinds) > 1:
            figure.legend(loc="outside lower center", ncols=2)
        save(figure, path)


def draw_reliability(found: Calibration, path: Path) -> None:
    """Plot the share of positive readings over the score, and how many readings have it."""
    with rc_context(STYLE):
        figure = Figure(figsize=(6, 5.4), dpi=120, layout="constrained")
        axes, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
        axes.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1.2, label="a probability")
        there = found.rows > 0
        axes.plot(found.score[there], found.share[there], "o-", color=BLUE, lw=2, label="model")
        axes.set(
            title=f"Is the score a probability? Brier {found.brier:.3f}, expected error "
            f"{found.expected_error:.3f}",
            ylabel="share of positive readings",
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.03),
        )
        axes.legend(loc="upper left")
        width = 1 / len(found.rows)
        below.bar(width * (np.arange(len(found.rows)) + 0.5), found.rows, 0.9 * width, color=PALE)
        below.set(xlabel="score", ylabel="readings", yscale="symlog")
        save(figure, path)


def draw_note(note: str, path: Path) -> None:
    """Draw a sentence, in place of a plot for which there is nothing to show."""
    with rc_context({**STYLE, "axes.grid": False}):
        figure, axes = new_figure(6, 2)
        axes.set_axis_off()
        axes.text(0.5, 0.5, note, ha="center", va="center", color=GREY)
        save(figure, path)


def draw_delays(curve: DelayCurve, chosen: float, budget: float | None, path: Path) -> None:
    """Plot events found, and how soon, over false alarms a day.

    Args:
        chosen: false alarms a day at the threshold that was chosen.
        budget: those that the contract allows; None if it names costs.
    """
    minutes = np.array([curve.median_seconds, curve.p90_seconds]) / 60
    # The first threshold at each price is not the lowest one; what a budget buys is the last.
    last = np.flatnonzero(np.append(np.diff(curve.false_per_day) != 0, True))
    price = curve.false_per_day[last]
    with rc_context(STYLE):
        figure, (found, soon) = new_figure(10, 4.8, 2)
        for values, colour, label in (
            (curve.found, BLUE, "found"),
            (curve.prompt, GREY, "found within the horizon"),
        ):
            found.step(price, values[last], where="post", color=colour, lw=2, label=label)
        found.set(title="Events found", ylim=(-0.02, 1.03))
        found.yaxis.set_major_formatter(PercentFormatter(1))
        for values, colour, label in (
            (minutes[0], BLUE, "half of those found"),
            (minutes[1], GREY, "90 % of those found"),
        ):
            soon.step(price, values[last], where="post", color=colour, lw=2, label=label)
        soon.set(title="Minutes from an event's start to its alarm", ylim=(0, None))
        for axes in (found, soon):
            axes.axvline(chosen, color=ORANGE, lw=1.6, label="chosen")
            if budget is not None:
                axes.axvline(budget, color=RED, lw=1.2, ls="--", label="budget")
            axes.set_xlabel("false alarms in a day of a device")
            axes.set_xscale("symlog", linthresh=max(0.01, price[price > 0].min(initial=1)))
            axes.set_xlim(0, None)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
        save(figure, path)


def draw_groups(groups: Sequence[Group], path: Path) -> None:
    """Plot events hit and normal time in alarm by group; those served worse come first."""
    ranked = sorted(groups, key=lambda group: (not group.worse, -(group.events), group.name))
    shown = ranked[:SHOWN_GROUPS]
    names = [f"{group.kind} {group.name}" for group in shown]
    with rc_context(STYLE):
        figure, panels = new_figure(10, 1.6 + 0.3 * len(shown), 2, sharey=True)
        for axes, figure_of in zip(panels, ("hit", "false"), strict=True):
            for place, group in enumerate(shown):
                share = getattr(group, figure_of)
                if share is not None:
                    colour = RED if group.worse else BLUE
                    axes.plot([share.low, share.high], [place, place], color=colour, lw=1.6)
                    axes.plot(share.value, place, "o", color=colour)
            axes.xaxis.set_major_formatter(PercentFormatter(1))
        panels[0].set_yticks(range(len(names)), names)
        panels[0].invert_yaxis()
        more = f", {len(shown)} of {len(groups)} groups" if len(groups) > len(shown) else ""
        panels[0].set(title=f"Events hit, with 95 % intervals{more}", xlim=(-0.03, 1.03))
        panels[1].set(title="Normal time in alarm")
        if any(group.worse for group in shown):
            figure.supxlabel("red: worse than all together, beyond chance", color=RED, fontsize=9.5)
        save(figure, path)


def draw_table(
    title: str, header: Sequence[str], lines: Sequence[Sequence[str]], path: Path, note: str = ""
) -> None:
    """Draw a table; the first line, that of the model, is highlighted.

    Args:
        note: a sentence below it.
    """
    with rc_context({**STYLE, "axes.grid": False}):
        figure, axes = new_figure(
            1.9 + 1.35 * len(header[1:]), 1.0 + 0.38 * (1 + len(lines)) + 0.5 * bool(note)
        )
        axes.set_axis_off()
        axes.set_title(title)
        widths = [1.6] + [1.35] * len(header[1:])
        table = axes.table(
            cellText=[list(line) for line in lines],
            colLabels=list(header),
            colWidths=[width / sum(widths) for width in widths],
            cellLoc="right",
            bbox=(0, 0, 1, 1),
            edges="horizontal",
        )
        table.auto_set_font_size(False)
        table.set_fontsize(9.5)
        for (line, column), cell in table.get_celld().items():
            cell.set_edgecolor(PALE)
            cell.get_text().set_ha("left" if column == 0 else "right")
            if line == 0:
                cell.get_text().set_color(GREY)
            if line == 1:
                cell.get_text().set_weight("bold")
        if note:
            figure.supxlabel(fill(note, int(11 * figure.get_figwidth())), fontsize=9.5, color=RED)
        save(figure, path)


def _figure_of_rows(width: float, height: float, rows: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    return figure, list(figure.subplots(rows, 1, squeeze=False)[:, 0])


def _thin(points: int, keep: np.ndarray | None = None) -> np.ndarray:
    """Return about `SHOWN_POINTS` evenly spaced positions, and those to keep in any case."""
    shown = np.zeros(points, dtype=bool)
    shown[np.linspace(0, points - 1, min(points, SHOWN_POINTS)).astype(int)] = True
    return np.flatnonzero(shown if keep is None else shown | keep)
