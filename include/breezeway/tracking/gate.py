"""The gate: the evidence that a version needs to become the champion."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from breezeway.core.errors import DataError

CHANCE = ("always_on", "random")
"""Baselines that a version must beat if there is no champion."""

LONGEST_QUERY = 1000
"""The most characters of the query in a tag, because its length is limited."""


@dataclass(frozen=True)
class Decision:
    """Whether a version becomes (or is) the champion, and why (one sentence for a person)."""

    promote: bool
    reason: str


class Gate(Protocol):
    """The section `[gate]` of a sensor contract.

    max_loss: by how much a challenger's average precision may be below the champion's.
    """

    max_loss: float


@dataclass(frozen=True)
class Difference:
    """The version's average precision minus the champion's, with a 95 % interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class KeptPromise:
    """How a version keeps to its limits of false alarms, on rows that it was not trained on.

    Args:
        episodes: alarm episodes outside of events that labels name.
        device_days: time of these rows.
        low, high: of the episodes in a day of a device, the 95 % interval.
        budget: as many are promised; None if the contract promises a share of time alone.
        share, share_low: of the time in alarm, and the lower end of its 95 % interval.
        max_share: so much is promised.
        replayed: whether the recorded examples got their recorded scores.
    """

    episodes: int
    device_days: float
    low: float
    high: float
    budget: float | None
    share: float
    share_low: float
    max_share: float
    replayed: bool

    @property
    def broken(self) -> str:
        """What is not as promised, as a sentence; empty if nothing is, or chance may explain it."""
        if not self.replayed:
            return "The recorded examples did not get their recorded scores."
        if self.budget is not None and self.low > self.budget:
            return f"That is more than the {self.budget:g} a day that are promised."
        if self.share_low > self.max_share:
            return f"That is more time in alarm than the {self.max_share:.2%} that are promised."
        return ""

    @property
    def measured(self) -> str:
        """What was measured, as a sentence."""
        return (
            f"Alarm episodes on {self.device_days:.1f} device days that it was not trained on: "
            f"{self.episodes}, or {self.episodes / self.device_days:.3g} a day, 95 % interval "
            f"{self.low:.3g} to {self.high:.3g}; {self.share:.2%} of the time was in alarm."
        )


@dataclass(frozen=True)
class Evidence:
    """What the step `test` found about a version.

    Args:
        labelled: whether the rows have labels of both classes; without, there are no metrics.
        champion: the champion at the time of the test; None if there was none.
        query: of the rows.
        rows: how many rows were evaluated.
        tested_at: ISO 8601, UTC.
        average_precision: of the version.
        baseline: the same of baselines, by name.
        champion_average_precision: of the champion, on the same rows.
        difference: None if the champion could not be scored on them.
        drifted: columns that have changed since the training.
        trained_on: the evaluated fit saw readings before this time (ISO 8601, UTC).
        refit: whether the version serves with another fit than the evaluated one: the same
            parameters and threshold on all rows of its dataset.
        beside_clock: a sentence, where a clock that sees no sensor is not clearly worse.
        has_labels, champion_has_labels: whether the contracts of the two name labels.
        promise: where one of the two learned without labels; None if there was no normal row.
    """

    labelled: bool
    champion: str | None
    query: str = ""
    rows: int = 0
    tested_at: str = ""
    average_precision: float | None = None
    baseline: Mapping[str, float] | None = None
    champion_average_precision: float | None = None
    difference: Difference | None = None
    drifted: int = 0
    trained_on: str = ""
    refit: bool = False
    beside_clock: str = ""
    has_labels: bool = True
    champion_has_labels: bool = True
    promise: KeptPromise | None = None

    @classmethod
    def from_json(cls, text: str) -> "Evidence":
        """Read what `to_json` wrote.

        Raises:
            ValueError: a key is missing or of another type; the message names it.
        """
        try:
            return _EVIDENCE.validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "content"
            raise ValueError(f"{field}: {first['msg']}") from None

    def to_json(self) -> str:
        """The text for the tag of the version."""
        kept = replace(self, query=self.query[:LONGEST_QUERY])
        return json.dumps(asdict(kept), ensure_ascii=False)


_EVIDENCE = TypeAdapter(Evidence)


def decide(gate: Gate, evidence: Evidence) -> Decision:
    """Decide whether the evidence of a test is enough to promote the version.

    Without a champion, the version must beat the baselines. With a champion, the interval of the
    difference must rule out a loss larger than the gate allows. Where the champion learned without
    labels, the version must keep its promise of false alarms, too. A version that learned without
    labels must keep its promise, and is not promoted over one that learned with labels. A version
    that learned with labels is not promoted where the tested rows have none.

    Raises:
        DataError: the evidence lacks a needed metric.

    Example:
        >>> from types import SimpleNamespace
        >>> decide(SimpleNamespace(max_loss=0.02), Evidence(labelled=False, champion=None)).promote
        False
    """
    if not evidence.has_labels:
        return _decide_without_labels(evidence)
    if not evidence.labelled:
        return Decision(False, "The tested rows have no labels, so nothing shows how good it is.")
    score = evidence.average_precision
    if score is None:
        return Decision(False, "The tested rows hold no event, so nothing shows how good it is.")
    if evidence.champion is None:
        decision = _decide_alone(score, evidence.baseline)
    else:
        decision = _decide_against(gate, score, evidence)
    if promise := evidence.promise:
        decision = Decision(
            decision.promote and not promise.broken,
            " ".join(filter(None, (decision.reason, promise.measured, promise.broken))),
        )
    told = [decision.reason, two_fits(evidence) if evidence.refit else "", evidence.beside_clock]
    return replace(decision, reason=" ".join(filter(None, told)))


def _decide_without_labels(evidence: Evidence) -> Decision:
    promise = evidence.promise
    if evidence.champion is not None and evidence.champion_has_labels:
        return Decision(
            False,
            f"Champion {evidence.champion} learned from labels and this version did not: without "
            "labels nothing shows that it is as good. Name the labels in [label].",
        )
    if promise is None:
        return Decision(False, "No row was tested, so nothing shows that it keeps its promise.")
    told = [
        promise.measured,
        promise.broken or "That is within what is promised.",
        "Without labels nothing shows what it finds or misses.",
        two_fits(evidence) if evidence.refit else "",
    ]
    return Decision(not promise.broken, " ".join(filter(None, told)))


def two_fits(evidence: Evidence) -> str:
    return (
        f"Judged was the fit on readings before {evidence.trained_on[:16]}; the one that serves "
        "has the same parameters and threshold, and was fitted on all readings of the dataset."
    )


def _decide_alone(score: float, baseline: Mapping[str, float] | None) -> Decision:
    by_chance = [baseline[name] for name in CHANCE if name in baseline] if baseline else []
    if not by_chance:
        raise DataError(
            f"The evidence of the test is incomplete: its baseline has no {' or '.join(CHANCE)}."
        )
    chance = max(by_chance)
    beats = score > chance
    return Decision(
        beats,
        f"There is no champion, and its average precision of {score:.3f} is "
        f"{'above' if beats else 'not above'} the {chance:.3f} of chance.",
    )


def _decide_against(gate: Gate, score: float, evidence: Evidence) -> Decision:
    difference, champions = evidence.difference, evidence.champion_average_precision
    if difference is None:
        return Decision(False, "The champion could not be scored on the same rows.")
    if champions is None:
        raise DataError(
            "The evidence of the test is incomplete: it has no champion_average_precision."
        )
    enough = difference.low >= -gate.max_loss
    return Decision(
        enough,
        f"Average precision {score:.3f} against {champions:.3f} of champion {evidence.champion}: "
        f"difference {difference.estimate:+.3f}, 95 % interval {difference.low:+.3f} to "
        f"{difference.high:+.3f}; a loss of more than {gate.max_loss:g} is "
        f"{'ruled out' if enough else 'not ruled out'}.",
    )
