"""The gate of promotion: what evidence is enough to make a version the champion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from breezeway.core.errors import DataError


@dataclass(frozen=True)
class Decision:
    """Whether a version is champion by this decision, and why (one sentence for a person)."""

    promote: bool
    reason: str


class Gate(Protocol):
    """The section `[gate]` of a sensor contract.

    max_loss: average precision that a challenger may lose against the champion.
    """

    max_loss: float


def decide(gate: Gate, evidence: Mapping[str, Any]) -> Decision:
    """Whether what a test found is enough to promote the tested version.

    Without a champion, the version must beat detectors that look at no sensor. Against one, the
    interval of the difference must rule out a loss larger than the gate allows. Without labels
    nothing is known, so nothing is promoted.

    Args:
        evidence: as the step `test` writes it: `labelled`, `champion`, `average_precision`,
            `baseline` (name → average precision, or figures that hold it),
            `champion_average_precision`, `difference` (`estimate`, `low`, `high`).

    Raises:
        DataError: the evidence misses a key.

    Example:
        >>> from types import SimpleNamespace
        >>> decide(SimpleNamespace(max_loss=0.02), {"labelled": False}).promote
        False
    """
    if not evidence.get("labelled"):
        return Decision(False, "The tested rows have no labels, so nothing shows how good it is.")
    score = evidence.get("average_precision")
    if score is None:
        return Decision(False, "The tested rows hold no event, so nothing shows how good it is.")
    try:
        if evidence["champion"] is None:
            return _decide_alone(score, evidence["baseline"])
        return _decide_against(gate, score, evidence)
    except (KeyError, TypeError) as error:
        raise DataError(f"The evidence of the test is not whole: {error}.") from None


def _decide_alone(score: float, baseline: Mapping[str, Any]) -> Decision:
    chance = max(
        figures["average_precision"] if isinstance(figures, Mapping) else figures
        for name, figures in baseline.items()
        if name in ("always_on", "random")
    )
    beats = score > chance
    return Decision(
        beats,
        f"There is no champion, and its average precision of {score:.3f} is "
        f"{'above' if beats else 'not above'} the {chance:.3f} of chance.",
    )


def _decide_against(gate: Gate, score: float, evidence: Mapping[str, Any]) -> Decision:
    difference = evidence["difference"]
    if difference is None:
        return Decision(False, "The champion could not be scored on the same rows.")
    enough = difference["low"] >= -gate.max_loss
    return Decision(
        enough,
        f"Average precision {score:.3f} against {evidence['champion_average_precision']:.3f} of "
        f"champion {evidence['champion']}: difference {difference['estimate']:+.3f}, 95 % interval "
        f"{difference['low']:+.3f} to {difference['high']:+.3f}; a loss of more than "
        f"{gate.max_loss:g} is {'ruled out' if enough else 'not ruled out'}.",
    )
