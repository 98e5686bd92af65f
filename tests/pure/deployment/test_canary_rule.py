"""The rule of a trial: right by simulation, in both directions."""

import math
import re
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.special import bdtr, betainc, ndtr

from breezeway.contract.schema import Canary
from breezeway.deployment import canary_rule
from breezeway.deployment.status import Comparison, Counts, FeedbackCounts, Histogram, total

LATENCY = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1]
SCORE = [round(0.05 * i, 2) for i in range(1, 20)]
RULE = Canary()
STRICT = Canary(
    max_error_increase=0,
    max_latency_ratio=1,
    max_score_shift=0,
    max_precision_loss=0,
    max_disagreements=0.01,
)
"""Allows nothing but what the champion itself does, so that chance alone is left."""
LOOKS = 8


@cache
def latency_shares(slowness: float) -> np.ndarray:
    """How much of a lognormal time around 2 ms, so much slower, falls between two bounds."""
    below = ndtr((np.log(LATENCY) - np.log(0.002 * slowness)) / 0.6)
    return np.diff(below, prepend=0, append=1)


USUAL_SCORES = np.diff(betainc(1, 6, SCORE), prepend=0, append=1)


def counted(
    generator: np.random.Generator,
    requests: int,
    *,
    errors: float = 0.002,
    slowness: float = 1.0,
    shift: int = 0,
    precision: float = 0.7,
    disagreements: float = 0.01,
) -> Counts:
    """What a server counts over so many requests of a model of these properties.

    Its scores lie so many bounds above the champion's of the same readings.
    """
    failed = int(generator.binomial(requests, errors))
    n = requests - failed
    usual = generator.multinomial(n, USUAL_SCORES)
    scores = np.roll(usual, shift)
    scores[-1] += scores[:shift].sum()
    scores[:shift] = 0
    labelled = int(generator.binomial(n, 0.1))
    right = int(generator.binomial(labelled, precision))
    different = int(generator.binomial(n, disagreements))
    return Counts(
        predictions=n,
        alarms=int(scores[SCORE.index(0.5) + 1 :].sum()),
        rejected=0,
        errors=failed,
        latency=histogram(LATENCY, generator.multinomial(n, latency_shares(slowness))),
        score=histogram(SCORE, scores),
        feedback=labels(right, labelled - right),
        shadow=Comparison(
            compared=n,
            disagreements=different,
            difference_sum=0.05 * shift * n,
            champion_score=histogram(SCORE, usual),
        ),
    )


def histogram(bounds: list[float], counts: np.ndarray) -> Histogram:
    """The sum, which no rule looks at, is that of the bounds."""
    values = [*bounds, bounds[-1]]
    return Histogram(tuple(bounds), tuple(counts.tolist()), float(counts @ values))


def labels(right: int, wrong: int) -> FeedbackCounts:
    return FeedbackCounts(true_alarms=right, false_alarms=wrong, missed=0, true_normals=0)


def trial(
    seed: int, mode: str = "canary", rule: Canary = RULE, each: int = 1000, **worse: Any
) -> tuple[canary_rule.Verdict, int]:
    """A whole trial, 10 % of it a canary's: the verdict and after which look it fell."""
    generator = np.random.default_rng(seed)
    both: list[Counts] = []
    for look in range(1, LOOKS + 1):
        requests = generator.poisson(each * (1 if mode == "shadow" else 0.1))
        seen = [
            counted(generator, generator.poisson(each * 0.9)),
            counted(generator, requests, **worse),
        ]
        both = [total([a, b]) for a, b in zip(both, seen, strict=True)] if both else seen
        champion, challenger = both
        verdict = canary_rule.judge(
            rule, champion, challenger, mode, looks=LOOKS, last=look == LOOKS
        )
        if verdict.decision != "wait":
            return verdict, look
    raise AssertionError("the last look decides")


@pytest.mark.parametrize("mode", ["canary", "shadow"])
def test_of_good_challengers_at_most_the_stated_share_is_rolled_back(mode):
    trials = 40  # without Bonferroni's division it would be too many in both modes
    verdicts = [trial(seed, mode, STRICT)[0] for seed in range(trials)]
    rolled_back = [verdict.reason for verdict in verdicts if verdict.decision == "roll back"]
    print(f"{mode}: {len(rolled_back)} of {trials} good challengers rolled back: {rolled_back}")
    # As many as a rule that is wrong in exactly the stated share would give once in a thousand.
    shares = bdtr(np.arange(trials), trials, RULE.error_level)
    assert len(rolled_back) <= np.searchsorted(shares, 0.999)


@pytest.mark.parametrize(
    ("worse", "reason"),
    [
        ({"errors": 0.05}, "without a score"),
        ({"slowness": 5}, "Slow"),
        ({"shift": 6}, "scores are others"),
        ({"precision": 0.3}, "alarms .* were right"),
    ],
    ids=["errors", "slow", "shifted", "imprecise"],
)
def test_a_bad_challenger_is_rolled_back(worse, reason):
    looks = []
    for seed in range(10):
        verdict, look = trial(seed, **worse)
        assert verdict.decision == "roll back"
        assert re.search(reason, verdict.reason)
        looks.append(look)
    print(worse, "found after looks", sorted(looks))
    assert np.median(looks) < LOOKS


def test_a_shadow_that_disagrees_is_rolled_back():
    verdict, _ = trial(1, "shadow", disagreements=0.2)
    assert verdict.decision == "roll back"
    assert "disagrees" in verdict.reason


def test_a_challenger_of_which_little_was_seen_is_not_promoted():
    verdict, look = trial(1, each=100)
    assert (verdict.decision, look) == ("roll back", LOOKS)
    assert "Too little was seen" in verdict.reason


def test_nothing_counted_is_no_reason_but_at_the_end():
    nothing = counted(np.random.default_rng(0), 0)
    for mode in ("canary", "shadow", "bandit"):
        look = canary_rule.judge(RULE, nothing, nothing, mode, looks=LOOKS, last=False)
        assert look.decision == "wait"
        look = canary_rule.judge(RULE, nothing, nothing, mode, looks=LOOKS, last=True)
        assert look.decision == "roll back"


def test_what_several_servers_counted_is_summed():
    generator = np.random.default_rng(3)
    parts = [counted(generator, 100), counted(generator, 50), counted(generator, 1)]
    both = total(parts)
    assert both.predictions == sum(part.predictions for part in parts)
    assert sum(both.latency.counts) == both.predictions
    assert both.latency.bounds == tuple(LATENCY)
    assert total(parts[:1]) == parts[0]


@pytest.mark.parametrize("pair", [((8, 10), (4, 10)), ((0, 0), (0, 0)), ((95, 100), (9000, 9500))])
@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_posterior_probability_equals_a_simulation(pair, margin):
    generator = np.random.default_rng(1)
    drawn = [generator.beta(k + 1, n - k + 1, 100_000) for k, n in pair]
    expected = (drawn[1] < drawn[0] - margin).mean()
    assert canary_rule.probability_lower(*pair, margin) == pytest.approx(expected, abs=0.006)


def test_share_interval_is_that_of_clopper_and_pearson():
    """At either end, as few or as many would be seen with just this probability."""

    def at_most(count: int, of: int, share: float) -> float:
        return sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(count + 1))

    for count, of in [(0, 10), (3, 10), (10, 10), (7, 5000)]:
        low, high = canary_rule.share_interval(count, of, 0.05)
        assert low == 0 if count == 0 else at_most(count - 1, of, low) == pytest.approx(0.95)
        assert high == 1 if count == of else at_most(count, of, high) == pytest.approx(0.05)


def test_a_bandit_moves_no_share_before_labels_and_never_all():
    assert canary_rule.thompson_share(labels(0, 0), labels(0, 0)) is None
    assert canary_rule.thompson_share(labels(50, 50), labels(9, 0)) is None
    assert canary_rule.thompson_share(labels(10, 10), labels(10, 10)) == pytest.approx(0.5)
    assert canary_rule.thompson_share(labels(0, 500), labels(500, 0)) == 0.99
    assert canary_rule.thompson_share(labels(500, 0), labels(0, 500)) == 0.01


@pytest.mark.parametrize(("champion", "challenger"), [(0.6, 0.9), (0.9, 0.6)])
def test_a_bandit_goes_to_the_better(champion, challenger):
    """Labels of 30 answers a look: after 30 looks the better has nearly all of them."""
    ends = []
    for seed in range(6):
        generator = np.random.default_rng(seed)
        given, share = [labels(0, 0), labels(0, 0)], 0.2
        for _ in range(30):
            second = int(generator.binomial(30, share))
            for place, (n, right) in enumerate([(30 - second, champion), (second, challenger)]):
                hits = int(generator.binomial(n, right))
                given[place] += labels(hits, n - hits)
            share = canary_rule.thompson_share(*given) or share
        ends.append(share)
    better = np.array(ends) if challenger > champion else 1 - np.array(ends)
    assert np.median(better) > 0.95
    assert (better > 0.5).all()


def test_a_bandit_promotes_by_labels():
    generator = np.random.default_rng(5)
    champion = counted(generator, 5000, precision=0.7)
    for precision, decision in [(0.9, "promote"), (0.65, "roll back")]:
        challenger = counted(generator, 5000, precision=precision)
        verdict = canary_rule.judge(RULE, champion, challenger, "bandit", looks=1, last=True)
        assert verdict.decision == decision, verdict.reason
