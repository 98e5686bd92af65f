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
    difference must rule out a loss larger than the gate allows. Without labels nothing is
    promoted.

    Raises:
        DataError: the evidence lacks a needed metric.

    Example:
        >>> from types import SimpleNamespace
        >>> decide(SimpleNamespace(max_loss=0.02), Evidence(labelled=False, champion=None)).promote
        False
    """
    if not evidence.labelled:
        return Decision(False, "The tested rows have no labels, so nothing shows how good it is.")
    score = evidence.average_precision
    if score is None:
        return Decision(False, "The tested rows hold no event, so nothing shows how good it is.")
    if evidence.champion is None:
        decision = _decide_alone(score, evidence.baseline)
    else:
        decision = _decide_against(gate, score, evidence)
    told = [decision.reason, _two_fits(evidence) if evidence.refit else "", evidence.beside_clock]
    return replace(decision, reason=" ".join(filter(None, told)))


def _two_fits(evidence: Evidence) -> str:
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
