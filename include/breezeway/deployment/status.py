"""The status of a model server: what it serves, what it could not load, what it counted.

The server returns it as JSON (`GET /v1/models/<model>`); the steps that deploy and watch read it.
"""

from dataclasses import dataclass
from functools import reduce

from pydantic import TypeAdapter, ValidationError

from breezeway.deployment.store import Challenger, Pointer, Served


@dataclass(frozen=True)
class Histogram:
    """Counts of values in buckets: up to the first bound, …, above the last."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float

    def __add__(self, other: "Histogram") -> "Histogram":
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Histogram(self.bounds, counts, self.sum + other.sum)


@dataclass(frozen=True)
class FeedbackCounts:
    """Answers with a label: right and wrong alarms, and right and wrong answers without alarm."""

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
        disagreements: readings for which only one of the two gives an alarm.
        difference_sum: sum of the absolute differences of the scores.
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
    """The counts of one version since the trial began.

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
    """Sum the counts of one version on several servers, at least one."""
    return reduce(Counts.__add__, counts)


@dataclass(frozen=True)
class Failure:
    """A deployment that could not be loaded, and why.

    Args:
        deployment, deployed_at: as in the pointer; empty if the pointer cannot be read.
        reason: one sentence.
        at: time of the last attempt (ISO 8601).
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
    """The status of a model on a server; empty if the server does not know the name.

    Args:
        model_version, deployment, bento, data_tag, threshold, loaded_at: of the champion.
        server: the process; a new one starts to count from zero.
        source: where the champion was loaded from.
        swaps, failed_loads: since the process began.
        failure, challenger_failure: the last failure to load in each role; None without failure.
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
    """Read the answer of a server.

    Raises:
        ValueError: it is not a status; the message names the field.
    """
    try:
        return _STATUS.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "content"
        raise ValueError(f"{field}: {first['msg']}") from None
