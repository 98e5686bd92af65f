"""The page of what `test` found about a version: its figures, and those of what it must beat."""

from collections.abc import Callable, Iterable, Mapping
from html import escape

from breezeway.detector.alarm_rate import NOT_JUDGED
from breezeway.detector.clock import LEARNED_CLOCK
from breezeway.detector.scorecard import Scorecard
from breezeway.tracking.gate import Evidence, two_fits
from breezeway.tracking.run_summary import duration

CSS = """\
:root { color-scheme: light dark }
body { margin: 0; padding: 16px 20px; font: 14px/1.45 system-ui, sans-serif; max-width: 72rem }
h1 { font-size: 20px; margin: 0 0 8px } h2 { font-size: 16px; margin: 24px 0 6px }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { padding: 6px 14px 6px 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #8886 }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
thead th.n { white-space: normal; max-width: 11rem }
tbody th { font-weight: 600; min-width: 15rem } td.own { font-weight: 600 }
small { display: block; font-size: 12px; font-weight: 400; opacity: .75 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; margin: 0 }
dt { opacity: .75 } dd { margin: 0; overflow-wrap: anywhere }
"""

DETECTORS = {
    "always_on": ("always in alarm", "sees no sensor"),
    "clock_only": ("fixed times", "in alarm from 25 % to 95 % of each device's readings"),
    "random": ("at random", "as often in alarm as this version"),
}
"""Name in the figures → what a person calls it, and what it does."""

FIGURES: tuple[tuple[str, str, Callable[[Scorecard], str]], ...] = (
    ("Readings", "with a label", lambda card: f"{card.rows:,}"),
    ("Events found", "with an alarm inside", lambda card: f"{card.events_hit} of {card.events}"),
    (
        "Events found at once",
        "with an alarm so soon after their start",
        lambda card: f"{card.events_hit_promptly} within {duration(card.horizon_seconds)}",
    ),
    (
        "Half of them within",
        "from the start of an event that was found to its first alarm",
        lambda card: duration(card.median_delay_seconds),
    ),
    ("90 % of them within", "", lambda card: duration(card.p90_delay_seconds)),
    (
        "False alarms",
        "alarm episodes without an alarm inside an event; a person is called once for each",
        lambda card: f"{card.false_episodes:,}",
    ),
    (
        "False alarms an hour",
        "of normal time",
        lambda card: _shown(card.false_episodes_per_normal_hour, ".3g"),
    ),
    ("Normal time in alarm", "", lambda card: _shown(card.false_alarm_rate, ".2%")),
    (
        "Precision",
        "share of the readings in alarm that belong to an event",
        lambda card: _shown(card.precision, ".3f"),
    ),
    (
        "Recall",
        "share of the readings of events that are in alarm",
        lambda card: _shown(card.recall, ".3f"),
    ),
    (
        "Missed",
        "share of the readings of events that are not in alarm",
        lambda card: _shown(card.missed_share, ".2%"),
    ),
    ("F1", "precision and recall in one figure; 1 is best", lambda card: _shown(card.f1, ".3f")),
    (
        "Average precision",
        "the same over all thresholds; 1 is best. The gate compares this figure",
        lambda card: _shown(card.average_precision, ".3f"),
    ),
)


def draw(
    name: str, version: str, threshold: float, evidence: Evidence, cards: Mapping[str, Scorecard]
) -> str:
    """One HTML file without scripts; all text is escaped.

    Args:
        name, version: of the model.
        threshold: a reading is in alarm from this score on.
        evidence: what the gate is told.
        cards: by name of the detector, the version's own as `model`; empty without labels.
    """
    title = escape(f"Scorecard of {name} {version}")
    facts = "\n".join(f"<dt>{escape(k)}<dd>{escape(v)}" for k, v in _facts(evidence) if v)
    return (
        f"<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>{title}</title>\n"
        f"<style>{CSS}</style>\n<h1>{title}</h1>\n"
        f"<p>On readings that its training did not see. A reading is in alarm from the score "
        f"{threshold:.4g} on.</p>\n"
        f"{_table(evidence, cards) if cards else f'<p>{_why_none(evidence)}</p>'}\n"
        f"<h2>Evidence for the gate</h2>\n"
        f"<p>By this, promote decides whether the version becomes the champion.</p>\n"
        f"<dl>{facts}</dl>\n</html>\n"
    )


def _why_none(evidence: Evidence) -> str:
    if not evidence.has_labels:
        return NOT_JUDGED
    return (
        "These readings have no labels, or labels of one kind alone. So nothing shows how good the "
        "alarms are: test again with a query of readings of both kinds."
    )


def _table(evidence: Evidence, cards: Mapping[str, Scorecard]) -> str:
    titles = {
        "model": ("this version", ""),
        "champion": (f"champion, version {evidence.champion}", "on what it was not trained on"),
        **DETECTORS,
    }
    # What is compared stands side by side.
    shown = sorted(cards, key=list(titles).index)
    head = "".join(f"<th class='n'>{_titled(*titles[each])}" for each in shown)
    lines = (
        f"<tr><th>{_titled(words, about)}" + "".join(_cells(figure, shown, cards))
        for words, about, figure in FIGURES
    )
    return "\n".join(
        (f"<div class='scroll'><table><thead><tr><th>{head}</thead><tbody>", *lines)
    ) + ("\n</tbody></table></div>")


def _cells(
    figure: Callable[[Scorecard], str], shown: Iterable[str], cards: Mapping[str, Scorecard]
) -> Iterable[str]:
    for each in shown:
        own = " own" if each == "model" else ""
        yield f"<td class='n{own}'>{escape(figure(cards[each]))}"


def _titled(words: str, about: str) -> str:
    return escape(words) + (f"<small>{escape(about)}</small>" if about else "")


def _facts(evidence: Evidence) -> Iterable[tuple[str, str]]:
    yield "Readings judged", f"{evidence.rows:,}, of all kinds"
    yield "Query", evidence.query
    yield "Tested at", evidence.tested_at
    yield "Trained on", evidence.trained_on and f"readings before {evidence.trained_on}"
    yield "Serves with", two_fits(evidence) if evidence.refit else ""
    champion = f"version {evidence.champion}" if evidence.champion else "none"
    yield "Champion then", champion + ("" if evidence.champion_has_labels else ", without labels")
    if difference := evidence.difference:
        yield (
            "Beside the champion",
            f"average precision {_shown(evidence.average_precision, '.3f')} against "
            f"{_shown(evidence.champion_average_precision, '.3f')} on the readings that both did "
            f"not see: difference {difference.estimate:+.3f}, 95 % interval "
            f"{difference.low:+.3f} to {difference.high:+.3f}",
        )
    clock = (evidence.baseline or {}).get(LEARNED_CLOCK)
    if clock is not None:
        yield "A learned clock", f"average precision {clock:.3f}, by the time alone"
    yield "Beside that clock", evidence.beside_clock
    if promise := evidence.promise:
        kept = promise.broken or "That is within what is promised."
        yield "Promised alarms", f"{promise.measured} {kept}"
    yield "Drift", f"{evidence.drifted or 'no'} columns, beside the training data"


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
