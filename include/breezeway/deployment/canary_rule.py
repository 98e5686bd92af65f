"""The rule by which a challenger on trial is promoted or rolled back.

The servers count the results of both models at the same time. At each look the counts of all
servers are summed. The challenger is rolled back if it is significantly worse than the champion by
more than the section `[canary]` of the sensor contract allows:

- requests without a score, and slow predictions: exact intervals of a share
  [Clopper and Pearson 1934];
- its scores: the distance of both distributions on the same readings, beyond what sampling explains
  [Massart 1990, the constant of the Dvoretzky-Kiefer-Wolfowitz inequality];
- the share of its alarms that labels confirm: Beta posteriors with a flat prior;
- in shadow mode, the share of readings for which only one of the two raises an alarm.

Many looks lead to more errors. So a trial's `error_level` is divided by the number of checks and
of looks (Bonferroni). This holds even though the looks depend on each other: of challengers that
are as good as the champion, at most this share is rolled back in the whole trial.

Devices differ from each other. So scores are compared on the same readings: when the challenger
answers, the champion's score is computed too. Failures, times and labels come from the requests of
each model, and are assumed to be independent; with few devices a shadow is the fairer trial.

    Clopper, Pearson (1934), The use of confidence or fiducial limits, Biometrika 26.
    Massart (1990), The tight constant in the DKW inequality, Annals of Probability 18.
    Thompson (1933), On the likelihood that one unknown probability exceeds another, Biometrika 25.
    Scott (2010), A modern Bayesian look at the multi-armed bandit, ASMBI 26.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from breezeway.contract.schema import Canary
from breezeway.deployment.status import Counts, FeedbackCounts

SLOW_SHARE = 0.05
"""Above the 95th percentile."""
MIN_LABELS = 10
"""For each of the two; with fewer labels a bandit changes no share and promotes nobody."""
SHARES = (0.01, 0.99)
"""The limits of a bandit's share: a model without requests could never show that it is better."""


class Verdict(NamedTuple):
    """What to do, and why (one sentence for a person)."""

    decision: Literal["promote", "roll back", "wait"]
    reason: str


def judge(
    rule: Canary,
    champion: Counts,
    challenger: Counts,
    mode: Literal["canary", "shadow", "bandit"],
    *,
    looks: int,
    last: bool,
) -> Verdict:
    """Look at a trial once.

    Args:
        rule: section `[canary]` of the sensor contract.
        champion: its counts on all servers since the trial began.
        challenger: the same of the challenger.
        mode: of the trial.
        looks: how many looks the trial has in all.
        last: whether this is the last one.

    Returns:
        "wait" before the last look, unless the challenger is clearly worse. At the last look, a
        challenger with too few predictions is rolled back.
    """
    checks = [*CHECKS, _disagreements] if mode == "shadow" else CHECKS
    level = rule.error_level / (looks * len(checks))
    for check in checks:
        if reason := check(rule, champion, challenger, level):
            return Verdict("roll back", reason)
    if not last:
        return Verdict("wait", "Nothing says that the challenger is worse.")
    return _missing(rule, champion, challenger, mode) or Verdict(
        "promote",
        f"Over {challenger.predictions} predictions beside {champion.predictions} of the "
        f"champion, nothing says that it is worse: {_compared(champion, challenger)}.",
    )


def _missing(rule: Canary, champion: Counts, challenger: Counts, mode: str) -> Verdict | None:
    """A reason against promotion, though no check has found that the challenger is worse."""
    few = min(champion.predictions, challenger.predictions)
    if few < rule.min_predictions:
        return Verdict(
            "roll back",
            f"Too little was seen: {challenger.predictions} predictions beside "
            f"{champion.predictions} of the champion; it takes {rule.min_predictions} of each.",
        )
    if mode != "bandit":
        return None
    if not _enough_labels(champion.feedback, challenger.feedback):
        return Verdict(
            "roll back",
            f"Not enough labels came back: a bandit needs {MIN_LABELS} of each of the two.",
        )
    better = probability_better(champion.feedback, challenger.feedback)
    if better < 0.5:
        return Verdict("roll back", f"By the labels it is better with probability {better:.2f}.")
    return None


def share_interval(count: int, of: int, level: float) -> tuple[float, float]:
    """Exact interval of a share; the probability that an end is wrong is at most `level`.

    Example:
        >>> low, high = share_interval(0, 100, 0.05)
        >>> low, round(float(high), 4)
        (0.0, 0.0295)
    """
    from scipy.special import (
        betaincinv,
    )  # half a second, so not at the start

    low = betaincinv(count, of - count + 1, level) if count else 0.0
    high = betaincinv(count + 1, of - count, 1 - level) if count < of else 1.0
    return low, high


def _failures(rule: Canary, champion: Counts, challenger: Counts, level: float) -> str | None:
    _, high = share_interval(*_failed(champion), level / 2)
    low, _ = share_interval(*_failed(challenger), level / 2)
    if low - high <= rule.max_error_increase:
        return None
    return (
        f"Requests without a score: {_share(*_failed(challenger))} against "
        f"{_share(*_failed(champion))} of the champion, surely more than "
        f"{rule.max_error_increase:.1%} above."
    )


def _failed(counted: Counts) -> tuple[int, int]:
    return counted.failed, counted.failed + counted.predictions


def _latency(rule: Canary, champion: Counts, challenger: Counts, level: float) -> str | None:
    """Whether more of the challenger's predictions are slow, with a limit that is larger by the
    allowed ratio. The champion's limit is the bound below its 95th percentile."""
    bounds = champion.latency.bounds
    slow = [bound for bound in bounds if _reaches(*_slower(champion, bound))]
    bound = slow[-1] if slow else bounds[0]
    limit = next((b for b in bounds if b >= rule.max_latency_ratio * bound), None)
    if limit is None:
        return None
    before, now = _slower(champion, bound), _slower(challenger, limit)
    if share_interval(*now, level / 2)[0] <= share_interval(*before, level / 2)[1]:
        return None
    return (
        f"Slow: {_share(*now)} of its predictions took longer than {limit:g} s, {_share(*before)} "
        f"of the champion's longer than {bound:g} s."
    )


def _reaches(slower: int, of: int) -> bool:
    return slower >= SLOW_SHARE * of


def _slower(counted: Counts, bound: float) -> tuple[int, int]:
    counts = counted.latency.counts
    return sum(counts[counted.latency.bounds.index(bound) + 1 :]), sum(counts)


def _scores(rule: Canary, champion: Counts, challenger: Counts, level: float) -> str | None:
    both = challenger.score, challenger.shadow.champion_score
    counts = [sum(histogram.counts) for histogram in both]
    if not all(counts):
        return None
    distance = score_distance(challenger)
    explained = sum(math.sqrt(math.log(4 / level) / (2 * count)) for count in counts)
    if distance - explained <= rule.max_score_shift:
        return None
    return (
        f"Its scores are others: Kolmogorov distance {distance:.3f}, of which sampling explains "
        f"{explained:.3f} and the contract allows {rule.max_score_shift:g}."
    )


def score_distance(challenger: Counts) -> float:
    """Kolmogorov distance of its scores from the champion's scores of the same readings, at the
    bounds of their histograms; 0 to 1."""
    shares = [
        np.cumsum(histogram.counts) / max(1, sum(histogram.counts))
        for histogram in (challenger.score, challenger.shadow.champion_score)
    ]
    return float(np.abs(shares[0] - shares[1]).max())


def _precision(rule: Canary, champion: Counts, challenger: Counts, level: float) -> str | None:
    before, now = _right_alarms(champion), _right_alarms(challenger)
    if probability_lower(before, now, rule.max_precision_loss) <= 1 - level:
        return None
    return (
        f"Of its alarms {_share(*now)} were right, of the champion's {_share(*before)}: "
        f"surely more than {rule.max_precision_loss:.1%} fewer."
    )


def _right_alarms(counted: Counts) -> tuple[int, int]:
    right = counted.feedback.true_alarms
    return right, right + counted.feedback.false_alarms


def _disagreements(rule: Canary, champion: Counts, challenger: Counts, level: float) -> str | None:
    found = challenger.shadow.disagreements, challenger.shadow.compared
    if share_interval(*found, level)[0] <= rule.max_disagreements:
        return None
    return (
        f"It disagrees with the champion about {_share(*found)} of the alarms; "
        f"{rule.max_disagreements:.1%} are allowed."
    )


Check = Callable[[Canary, Counts, Counts, float], str | None]
CHECKS: list[Check] = [_failures, _latency, _scores, _precision]


def thompson_share(champion: FeedbackCounts, challenger: FeedbackCounts) -> float | None:
    """The challenger's share of a bandit: the probability that its answers are better.

    This is Thompson sampling for all requests until the next look: a model that is better with
    probability p answers the share p of them.

    Args:
        champion: `true_alarms`, `false_alarms`, `missed`, `true_normals` of what it answered.
        challenger: the same.

    Returns:
        The share, within `SHARES`; None if there are too few labels.
    """
    if not _enough_labels(champion, challenger):
        return None
    lowest, highest = SHARES
    return min(max(probability_better(champion, challenger), lowest), highest)


def _enough_labels(*feedback: FeedbackCounts) -> bool:
    return all(labels.total >= MIN_LABELS for labels in feedback)


def probability_better(champion: FeedbackCounts, challenger: FeedbackCounts) -> float:
    """Probability that the challenger's answers, with or without alarm, are right more often."""
    return 1 - probability_lower(_right_answers(champion), _right_answers(challenger))


def _right_answers(feedback: FeedbackCounts) -> tuple[int, int]:
    return feedback.right, feedback.total


def probability_lower(
    champion: tuple[int, int], challenger: tuple[int, int], margin: float = 0.0
) -> float:
    """Posterior probability that a share is lower than another by more than a margin.

    Args:
        champion: successes, trials; the prior of the share is flat.
        challenger: the same.

    Example:
        >>> round(probability_lower((8, 10), (4, 10)), 3)
        0.96
    """
    from scipy.special import betainc, betaln, xlog1py, xlogy

    a, b = champion[0] + 1, champion[1] - champion[0] + 1
    mean, spread = a / (a + b), math.sqrt(a * b / (a + b + 1)) / (a + b)
    share = np.linspace(max(0, mean - 10 * spread), min(1, mean + 10 * spread), 4001)
    density = np.exp(xlogy(a - 1, share) + xlog1py(b - 1, -share) - betaln(a, b))
    lower = betainc(
        challenger[0] + 1, challenger[1] - challenger[0] + 1, np.clip(share - margin, 0, 1)
    )
    return float(np.trapezoid(density * lower, share) / np.trapezoid(density, share))


def _compared(champion: Counts, challenger: Counts) -> str:
    both = (challenger, champion)
    failed, right = ([of(counted) for counted in both] for of in (_failed, _right_alarms))
    alarms = "no label of an alarm came back"
    if any(of for _, of in right):
        alarms = f"alarms called right {_share(*right[0])} against {_share(*right[1])}"
    return (
        f"without a score {_share(*failed[0])} against {_share(*failed[1])}, score distance "
        f"{score_distance(challenger):.3f}, {alarms}"
    )


def _share(count: int, of: int) -> str:
    return f"{count / of:.1%} ({count} of {of})" if of else "none"
