"""The choice among the candidates of `[features] auto`: what pays is kept.

A group of candidates is judged by the average precision that it adds, on rows that the models did
not see: the folds of the search for parameters. Rows that are held out, by which `test` judges a
model, have no say. Many groups are tried, so each gain's interval is wide enough to hold for all of
them together (Bonferroni). The gain must also be there beside a clock: where a device always fails
at the same age, whatever tells its age looks useful.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from breezeway.contract.candidates import CandidateGroup, candidate_groups, explicit
from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector import scorecard
from breezeway.detector.boosting import FINE_ROWS, SEED
from breezeway.detector.clock import seconds_of
from breezeway.detector.families.family import FoldRows
from breezeway.detector.families.registry import BOOSTED_TREES, families_of, family_of
from breezeway.detector.folds import Fold, split
from breezeway.detector.table import Table

log = logging.getLogger("breezeway")

PRICE = 1e-5
"""The average precision that a microsecond of a request has to gain: 0.001 for 100 µs."""
DOUBT = 0.05
"""At most this share of searches keeps a group that gains nothing."""
MIN_EVENTS = 10
"""With fewer events in the rows that are scored nothing is tried: intervals mean nothing then."""
MOST_FITTED = 100_000
"""Rows that a fold is fitted on: of more, every second, third and so on. Neighbours are alike."""

MANY_ROWS = FINE_ROWS + 1
"""Parameters are the defaults for so many: on both sides the bins are coarse, which takes a seventh
of the time."""

KEPT = "kept"
TOO_SMALL = "no clear gain"
NOT_WITH_OTHERS = "no clear gain beside those kept"
TOO_DEAR = "gains less than its time costs"
TELLS_TIME = "no clear gain beside a clock"
NEEDS_LABELS = "without labels no gain can be measured"
_CLOCK = "seconds_since_first_reading"

CostOf = Callable[[Sequence[CandidateGroup]], int]
"""The microseconds that a request takes with the contract's own features and those of groups."""


class Tried(NamedTuple):
    """A group of candidates and what became of it.

    Args:
        name: of the group.
        features: that it adds.
        gain, low, high: in average precision, and its interval.
        microseconds: that it adds to a request. It and the gain are beside the features that were
            there when the verdict fell.
        verdict: one of those above.
    """

    name: str
    features: list[str]
    gain: float
    low: float
    high: float
    microseconds: int
    verdict: str


class FeatureChoice(NamedTuple):
    """What was chosen.

    Args:
        contract: with the features that were chosen, without `auto`.
        groups: what was tried, the largest gain first.
        variants: how many sets of features were fitted and compared.
        before, after: average precision with the contract's own features, and with the chosen ones:
            of the rows that chose, so the latter is too optimistic.
        why_none: why nothing was tried; else empty.
    """

    contract: Contract
    groups: list[Tried]
    variants: int
    before: float | None
    after: float | None
    why_none: str = ""

    @property
    def kept(self) -> list[str]:
        return [tried.name for tried in self.groups if tried.verdict == KEPT]


def of_contract(table: Table, contract: Contract, chosen: Contract) -> Table:
    """The table with the features of one of several contracts alone.

    Args:
        contract: that the table was read by.
        chosen: names some of its features.
    """
    places = {name: place for place, name in enumerate(contract.feature_names)}
    columns = [places[name] for name in chosen.feature_names]
    return table._replace(features=np.ascontiguousarray(table.features[:, columns]))


def choose_features(
    table: Table, contract: Contract, cost_of: CostOf, threads: int
) -> FeatureChoice:
    """Choose among the candidates of a contract; the same arguments give the same choice.

    Each group is tried by itself, and then, the one that gains most first, beside those that are
    kept already.

    Args:
        table: read by the contract; its rows are those that a model may learn from.
        contract: with `[features] auto` and labels.
        cost_of: what requests cost.

    Raises:
        DataError: no fold has both classes.
    """
    own = explicit(contract)
    groups = candidate_groups(own)
    folds = [fold for fold in split(table.rows, contract) if table.rows.label[fold.scored].any()]
    if not folds:
        raise DataError("split: no fold has a positive row to be scored on; more data is needed.")
    scored = np.zeros(len(table.rows.label), dtype=bool)
    scored[np.concatenate([fold.scored for fold in folds])] = True
    events = int(scorecard.event_starts(table.rows.where(scored)).sum())
    if events < MIN_EVENTS or not groups:
        why = f"{events} events to judge by, at least {MIN_EVENTS} are expected"
        why = why if events < MIN_EVENTS else "the contract gives no candidates"
        log.warning("[features] auto: %s: the contract's own features stay", why)
        return FeatureChoice(own, [], 0, None, None, why)
    # One comparison decides on each group: by itself only if nothing was kept before.
    search = _Search(table, contract, folds, scored, len(groups), threads)
    return search.choose(own, groups, cost_of)


class _Search:
    """Fits sets of features and compares them; see `choose_features`.

    Args:
        scored: bool, of the table's rows: those that the folds score.
        comparisons: that the intervals have to hold for together.
    """

    def __init__(
        self,
        table: Table,
        contract: Contract,
        folds: Sequence[Fold],
        scored: np.ndarray,
        comparisons: int,
        threads: int,
    ):
        self._table, self._contract, self._threads = table, contract, threads
        self._folds = [
            fold._replace(fit=fold.fit[:: -(-len(fold.fit) // MOST_FITTED)]) for fold in folds
        ]
        self._scored, self._label = scored, table.rows.label[scored]
        frame = table.frame(np.zeros(len(scored)), scored)
        length = scorecard.block_seconds(contract)
        self._blocks = scorecard.time_blocks(frame["device"], frame["time"], length)
        usual, wanted = (NormalDist().inv_cdf(1 - p) for p in (0.025, DOUBT / comparisons))
        self._reach = wanted / usual
        self._family = families_of(contract)[0]
        self._clock = seconds_of(table.rows)[:, 0]
        self._cancelled = False
        self.variants = 0

    def choose(
        self, own: Contract, groups: Sequence[CandidateGroup], cost_of: CostOf
    ) -> FeatureChoice:
        before = self._scores(own, self._family)
        alone: dict[str, _Step] = {}
        for group in groups:
            cost = cost_of([group]) - cost_of([])
            step = alone[group.name] = self._step([group], before, cost)
            log.info("features, %s: average precision %+.4f", group.name, step.gain.estimate)

        def worth(group: CandidateGroup) -> float:
            return alone[group.name].gain.estimate - PRICE * alone[group.name].cost

        kept: list[CandidateGroup] = []
        score, found = before, []
        for group in sorted(groups, key=worth, reverse=True):  # of equals the first stays first
            step = alone[group.name]
            verdict = _verdict(step, TOO_SMALL)
            if kept and verdict in (KEPT, TOO_DEAR):  # beside others it may cost less
                cost = cost_of([*kept, group]) - cost_of(kept)
                step = self._step([*kept, group], score, cost)
                verdict = _verdict(step, NOT_WITH_OTHERS)
            if verdict == KEPT and not self._gains_beside_clock(kept, group):
                verdict = TELLS_TIME
            if verdict == KEPT:
                kept.append(group)
                score = step.score
            gain, low, high = step.gain
            added = _added(own, explicit(self._contract, [group]))
            found.append(Tried(group.name, added, gain, low, high, step.cost, verdict))
            log.info("features, %s: %+.4f (%.4f to %.4f): %s", group.name, *step.gain, verdict)
        return FeatureChoice(
            explicit(self._contract, kept),
            found,
            self.variants,
            scorecard.average_precision(self._label, before),
            scorecard.average_precision(self._label, score),
        )

    def _step(
        self, groups: Sequence[CandidateGroup], score: np.ndarray, microseconds: int
    ) -> "_Step":
        """What some groups reach, and gain beside a score."""
        own = self._scores(explicit(self._contract, groups), self._family)
        return _Step(own, self._gain(own, score), max(0, microseconds))

    def _gain(self, score: np.ndarray, other: np.ndarray) -> scorecard.Difference:
        """How much more average precision, with an interval that holds for all comparisons."""
        found = scorecard.compare(self._label, score, other, self._blocks, seed=SEED)
        low, high = (
            found.estimate + (bound - found.estimate) * self._reach
            for bound in (found.low, found.high)
        )
        return scorecard.Difference(found.estimate, low, high)

    def _gains_beside_clock(self, kept: Sequence[CandidateGroup], group: CandidateGroup) -> bool:
        """Whether a group gains where a clock is among the features of both sides.

        By boosted trees, whatever family is asked for: a clock goes on, and what is linear would
        follow it to where no row was.
        """
        clock = CandidateGroup("clock", {_CLOCK: next(iter(self._contract.fields))})
        without, with_it = (
            self._scores(explicit(self._contract, [*groups, clock]), BOOSTED_TREES)
            for groups in (kept, [*kept, group])
        )
        found = scorecard.compare(self._label, with_it, without, self._blocks, seed=SEED)
        return found.low > 0

    def _scores(self, variant: Contract, name: str) -> np.ndarray:
        """Cross-fitted scores of the scored rows, with the features of a contract."""
        self.variants += 1
        kind, table = family_of(name), self._table

        def of_fold(fold: Fold) -> np.ndarray:
            rows = FoldRows(
                self._features(variant, fold.fit),
                table.rows.label[fold.fit],
                self._features(variant, fold.scored),
            )
            params = kind.defaults(MANY_ROWS)
            (shared,) = kind.shared([rows], variant, params)
            model = kind.growing(shared, variant, params, SEED)
            for _ in range(-(-kind.default_rounds // kind.rounds_a_step)):
                scores = model.grow(self._go_on)
            return scores

        found = np.full(len(table.rows.label), np.nan)
        with ThreadPoolExecutor(self._threads) as pool:
            try:
                for fold, scores in zip(self._folds, pool.map(of_fold, self._folds), strict=True):
                    found[fold.scored] = scores
            finally:  # on SIGTERM, too
                self._cancelled = True
        self._cancelled = False
        scored: np.ndarray = found[self._scored]
        return scored

    def _go_on(self) -> None:
        if self._cancelled:
            raise InterruptedError

    def _features(self, variant: Contract, rows: np.ndarray) -> np.ndarray:
        features = np.empty((len(rows), len(variant.feature_names)), np.float32)
        places = {name: place for place, name in enumerate(self._contract.feature_names)}
        for column, name in enumerate(variant.feature_names):
            own = self._clock if name == _CLOCK else self._table.features[:, places[name]]
            features[:, column] = own[rows]
        return features


class _Step(NamedTuple):
    """Scores of the scored rows, their gain beside those of fewer features, and its cost in
    microseconds."""

    score: np.ndarray
    gain: scorecard.Difference
    cost: int


def _verdict(step: _Step, too_small: str) -> str:
    if step.gain.low <= 0:
        return too_small
    return KEPT if step.gain.estimate > PRICE * step.cost else TOO_DEAR


def _added(own: Contract, other: Contract) -> list[str]:
    known = set(own.detector_features)
    return [name for name in other.detector_features if name not in known]
