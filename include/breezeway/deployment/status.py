"""What a model server says of itself: what it serves, what it could not take up, what it counted.

The server writes it as JSON (`GET /v1/models/<model>`); the steps that deploy and watch read it.
"""

from dataclasses import dataclass
from functools import reduce

from pydantic import TypeAdapter, ValidationError

from breezeway.deployment.store import Challenger, Pointer, Served


@dataclass(frozen=True)
class Histogram:
    """Counts of values by bucket: at most the first bound, …, above the last."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float

    def __add__(self, other: "Histogram") -> "Histogram":
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Histogram(self.bounds, counts, self.sum + other.sum)


@dataclass(frozen=True)
class FeedbackCounts:
    """Answers whose truth came back: alarms that were right and wrong, and the same of the rest."""

    true_alarms: int
    false_alarms: int
    missed: int
    true_normals: int

    @property
    def right(self) -> int:
        return self.true_alarms + self.true_normals

    @property
    def total(self) -> int:
        return self.right + self.false_alarms + self.missed

    def __add__(self, other: "FeedbackCounts") -> "FeedbackCounts":
        return FeedbackCounts(
            self.true_alarms + other.true_alarms,
            self.false_alarms + other.false_alarms,
            self.missed + other.missed,
            self.true_normals + other.true_normals,
        )


@dataclass(frozen=True)
class Comparison:
    """A challenger beside the champion on the same readings.

    Args:
        compared: readings.
        disagreements: of them, those for which only one of the two gives an alarm.
        difference_sum: of the scores, without signs.
        champion_score: the champion's scores of these readings.
    """

    compared: int
    disagreements: int
    difference_sum: float
    champion_score: Histogram

    def __add__(self, other: "Comparison") -> "Comparison":
        return Comparison(
            self.compared + other.compared,
            self.disagreements + other.disagreements,
            self.difference_sum + other.difference_sum,
            self.champion_score + other.champion_score,
        )


@dataclass(frozen=True)
class Counts:
    """What was counted of one version since the trial began.

    Args:
        predictions: scores that were given.
        alarms: of them.
        rejected: requests that broke the model's contract.
        errors: requests on which it failed.
        latency: seconds of the predictions.
        score: of the predictions.
        shadow: a challenger's, compared with the champion.
    """

    predictions: int
    alarms: int
    rejected: int
    errors: int
    latency: Histogram
    score: Histogram
    feedback: FeedbackCounts
    shadow: Comparison

    @property
    def failed(self) -> int:
        return self.errors + self.rejected

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.predictions + other.predictions,
            self.alarms + other.alarms,
            self.rejected + other.rejected,
            self.errors + other.errors,
            self.latency + other.latency,
            self.score + other.score,
            self.feedback + other.feedback,
            self.shadow + other.shadow,
        )


def total(counts: "list[Counts]") -> Counts:
    """Sum what several servers counted of one version; at least one of them."""
    return reduce(Counts.__add__, counts)


@dataclass(frozen=True)
class Failure:
    """What could not be taken up, and why.

    Args:
        deployment, deployed_at: as the pointer names it; empty where the pointer cannot be read.
        reason: one sentence.
        at: when it was tried last (ISO 8601).
    """

    deployment: str
    deployed_at: str
    reason: str
    at: str

    def concerns(self, served: Served) -> bool:
        return self.deployed_at == served.deployed_at.isoformat()


@dataclass(frozen=True)
class ChallengerStatus:
    """The challenger that is live, on its terms."""

    model_version: str
    deployment: str
    bento: str
    data_tag: str
    mode: str
    share: float
    loaded_at: str


@dataclass(frozen=True)
class TrialStatus:
    """What both did since the trial began on this server."""

    since: str
    champion: Counts
    challenger: Counts


@dataclass(frozen=True)
class ServerStatus:
    """What a server says of a model; all is empty where it never heard of the name.

    Args:
        model_version, deployment, bento, data_tag, threshold, loaded_at: of the champion.
        server: the process; another one counts anew.
        source: where the champion came from.
        swaps, failed_loads: since the process began.
        failure, challenger_failure: what was last not taken up in each role; None where all was.
    """

    model: str = ""
    model_version: str | None = None
    deployment: str | None = None
    bento: str | None = None
    data_tag: str | None = None
    threshold: float | None = None
    loaded_at: str | None = None
    server: str = ""
    source: str | None = None
    swaps: int = 0
    failed_loads: int = 0
    failure: Failure | None = None
    challenger: ChallengerStatus | None = None
    challenger_failure: Failure | None = None
    trial: TrialStatus | None = None

    def serves(self, pointer: Pointer) -> bool:
        """Whether this is the champion."""
        return self.deployment == pointer.deployment

    def has(self, challenger: Challenger) -> bool:
        """Whether this is on trial, in this mode."""
        live = self.challenger
        return live is not None and (live.deployment, live.mode) == (
            challenger.deployment,
            challenger.mode,
        )

    def tries(self, challenger: Challenger) -> bool:
        """Whether this is on trial, in this mode and with this share."""
        live = self.challenger
        return live is not None and self.has(challenger) and live.share == challenger.share


_STATUS = TypeAdapter(ServerStatus)


def read_status(content: bytes) -> ServerStatus:
    """Read what a server answered.

    Raises:
        ValueError: that is no status; the message names the field.
    """
    try:
        return _STATUS.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "content"
        raise ValueError(f"{field}: {first['msg']}") from None
