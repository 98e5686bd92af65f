"""Why an alarm rang: the fields of a contract that raised a score, and what would be usual.

Each feature's part of a score is in log odds, and parts add up to the score, so the part of a field
is the sum of those of its features. Of trees they are SHAP values, by XGBoost's own TreeSHAP
(Lundberg et al., "From local explanations to global understanding with explainable AI for trees",
2020); what those of another family are, its module says.

A feature of several fields, such as `torque * speed`, is shared among them by how much it changes
when each of them alone is put to its usual value (occlusion by a baseline: Sundararajan and Najmi,
"The many Shapley values for model explanation", 2020); in equal parts where that is not known. The
hour and the weekday are one source of their own, which is no sensor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from breezeway.contract.clock import HOUR
from breezeway.contract.contract import Contract
from breezeway.contract.expressions import Expression
from breezeway.contract.statistics import RollingFeature
from breezeway.detector.families.family import FittedModel
from breezeway.detector.residuals import LARGEST
from breezeway.detector.usual import Usual, category_features

CLOCK = HOUR
"""The source that is the time; no field can have this name."""
MOST_REASONS = 5
LEAST_SHARE = 0.05
"""What raised a score by less than this part of all that raised it is no reason."""
IN_UNIT = ("rms", "mean", "max", "min", "std")
"""Figures of a vector that have its unit; the first of them that a contract names is shown."""
PER_STEP = ("slope", "diff")
WITHOUT_UNIT = ("kurtosis", "zscore")


class Reason(NamedTuple):
    """A field that raised a score.

    Args:
        field: of the contract, or `CLOCK`.
        share: of all that raised the score, above 0 and at most 1.
        feature: what is told of the field: its present value, or what is unusual of its window if
            the present value is usual.
        value: of the feature: a number, a word of a category, or None if it is missing.
        usual: of the feature: lowest and highest, or the words; None if it is not known.
        direction: on which side of the usual the value is; None for neither.
        unit: of value and usual.
        given: the fields, such as the load, beside whose values `usual` is; none: beside any.
        sentence: for people, such as `vibration 4.1 g, usually 1.2 to 1.9`.
    """

    field: str
    share: float
    feature: str
    value: float | str | None
    usual: tuple[float, float] | tuple[str, ...] | None
    direction: Literal["high", "low"] | None
    unit: str
    given: tuple[str, ...] = ()
    sentence: str = ""

    def told(self) -> dict[str, Any]:
        """For JSON, without the sentence."""
        told = self._asdict()
        del told["sentence"]
        return told

    @property
    def is_usual(self) -> bool:
        """Whether the value is known to be a usual one."""
        if self.usual is None or self.value is None:
            return False
        return self.value in self.usual if isinstance(self.value, str) else self.direction is None


@dataclass(frozen=True)
class _Shared:
    """An expression of several fields whose features are shared by occlusion."""

    columns: list[int]
    """Of its features."""
    places: list[int]
    """Of its sources."""
    own: list[int]
    """The column of each source's own value."""
    middles: list[float]
    expression: Expression

    def weights(self, names: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """Return (rows, sources): the shares of each row, which sum to 1."""
        pairs = zip(self.places, self.own, strict=True)
        values = {names[place]: rows[:, own].astype(np.float64) for place, own in pairs}
        whole = self.expression(values)
        changes = np.empty((len(rows), len(self.places)))
        for number, (place, middle) in enumerate(zip(self.places, self.middles, strict=True)):
            other = {**values, names[place]: np.full(len(rows), middle)}
            changes[:, number] = np.abs(whole - self.expression(other))
        changes[~np.isfinite(changes)] = 0.0
        total = changes.sum(axis=1, keepdims=True)
        equal = np.full_like(changes, 1 / len(self.places))
        return np.divide(changes, total, out=equal, where=total > 0)


class Explainer:
    """Explains the scores of a model by the fields of its contract.

    Args:
        model: of the contract's features.
        usual: of the normal readings that it learned from.

    Attributes:
        sources: the contract's fields and, if a feature takes the time, `CLOCK`.
    """

    def __init__(self, model: FittedModel, contract: Contract, usual: Usual):
        self._model, self._contract, self._usual = model, contract, usual
        self.sources: list[str] = [*contract.fields, *([CLOCK] if contract.takes_time else [])]
        self._own = own_features(contract)
        self._categories = category_features(contract)
        self._names = contract.feature_names
        self._bases = _bases(contract)
        self._columns_of: dict[str, list[int]] = {source: [] for source in self.sources}
        self._fixed = np.zeros((len(self._names), len(self.sources)))
        self._shared: list[_Shared] = []
        for name, expression in contract.expressions.items():
            self._add(name, expression)
        self._explained = model.residuals.of.tolist()
        for number, column in enumerate(self._explained):
            for columns in self._columns_of.values():
                if column in columns:
                    columns.append(len(self._names) + number)
        names = [self._bases[column][0] for column in model.residuals.given.tolist()]
        fields = set().union(*(contract.expressions[name].fields for name in names))
        self._given = tuple(source for source in self.sources if source in fields)

    def _add(self, name: str, expression: Expression) -> None:
        sources = [s for s in self.sources if s in expression.fields]
        if expression.takes_time:
            sources.append(CLOCK)
        columns = [column for column, (base, _) in enumerate(self._bases) if base == name]
        for source in sources:
            self._columns_of[source] += columns
        places = [self.sources.index(source) for source in sources]
        own = [self._own.get(source, "") for source in sources]
        known = all(feature in self._usual.ranges for feature in own)
        if len(sources) > 1 and known and not (expression.takes_time or expression.takes_vectors):
            middles = [self._usual.ranges[feature][1] for feature in own]
            at = [self._names.index(feature) for feature in own]
            self._shared.append(_Shared(columns, places, at, middles, expression))
        elif sources:  # a constant is nobody's
            self._fixed[np.ix_(columns, places)] = 1 / len(sources)

    def contributions(self, rows: np.ndarray) -> np.ndarray:
        """Return float64 (rows, sources): by how much each raised the log odds of a row's score.

        Args:
            rows: float64 or float32 (rows, features); NaN is missing.
        """
        return self._by_source(rows, self._model.parts(rows))

    def _by_source(self, rows: np.ndarray, parts: np.ndarray) -> np.ndarray:
        values = self._model.residuals.by_feature(parts[:, :-1])
        found: np.ndarray = values @ self._fixed
        for shared in self._shared:
            part = values[:, shared.columns].sum(axis=1, keepdims=True)
            found[:, shared.places] += part * shared.weights(self.sources, rows)
        return found

    def shares(self, rows: np.ndarray) -> np.ndarray:
        """Return float64 (rows, sources): each one's share of all that raised a row's score; what
        lowered it has none. A row sums to 1, or to 0 if nothing raised its score."""
        return _shares(self.contributions(rows))

    def reasons(self, row: np.ndarray) -> list[Reason]:
        """Return at most `MOST_REASONS` reasons for the score of a row, the largest first.

        A value that is usual is no reason that helps anybody: it is left out. Only where it has the
        largest share, and nothing unusual is beside it, it is told that it is usual by itself.

        Args:
            row: float64 or float32 (features,).
        """
        rows = row[None, :]
        values = self._model.parts(rows)
        share = _shares(self._by_source(rows, values))[0]
        bounded = np.clip(rows, -LARGEST, LARGEST).astype(np.float32)
        whole = np.append(row, self._model.residuals.of_rows(bounded)[0].astype(np.float64))
        largest = np.argsort(-share, kind="stable")[:MOST_REASONS]
        found = [
            self._reason(self.sources[place], float(share[place]), values[0], whole)
            for place in largest.tolist()
            if share[place] >= LEAST_SHARE
        ]
        first = found[:1] if all(each.is_usual or each.field == CLOCK for each in found) else []
        return [each for each in found if each in first or not each.is_usual]

    def _reason(self, source: str, share: float, values: np.ndarray, whole: np.ndarray) -> Reason:
        place = self._told(source, values, whole)
        column = self._column(place)
        name, value = self._names[column], float(whole[column])
        told: float | str | None = None if math.isnan(value) else float(f"{value:.6g}")
        usual: tuple[float, float] | tuple[str, ...] | None = None
        direction: Literal["high", "low"] | None = None
        if name in self._categories:
            told = None if told is None else self._categories[name][int(value)]
            usual = self._usual.words.get(name)
        elif source != CLOCK and (span := self._range(place, whole)):
            low, high = span
            usual = float(f"{low:.6g}"), float(f"{high:.6g}")
            direction = "low" if value < low else "high" if value > high else None
        unit = "" if source == CLOCK else self._unit(source, column)
        given = self._given if place >= len(self._names) else ()
        reason = Reason(source, share, name, told, usual, direction, unit, given)
        label = source if name == self._own.get(source) else name
        time = "the time of the day or the week"
        return reason._replace(sentence=time if source == CLOCK else _told_sentence(label, reason))

    def _told(self, source: str, values: np.ndarray, whole: np.ndarray) -> int:
        """The place in a whole row of what is told of a source."""
        places = sorted(self._columns_of[source], key=lambda place: -values[place])
        if source not in self._own:
            return self._column(places[0])
        own = self._names.index(self._own[source])
        for place in (own, *(place for place in places if values[place] > 0)):
            if self._is_unusual(place, whole):
                return place
        return own

    def _column(self, place: int) -> int:
        """The feature at a place in a whole row: there, or whose residual is there."""
        return place if place < len(self._names) else self._explained[place - len(self._names)]

    def _range(self, place: int, whole: np.ndarray) -> tuple[float, float] | None:
        """What is usual of the feature at a place: at all, or beside what explains it."""
        column = self._column(place)
        ranges = self._usual.ranges if column == place else self._usual.residuals
        found = ranges.get(self._names[column])
        explained = float(whole[column] - whole[place])  # 0 for a feature itself
        return found and (explained + found[0], explained + found[2])

    def _is_unusual(self, place: int, whole: np.ndarray) -> bool:
        column = self._column(place)
        name, value = self._names[column], float(whole[column])
        if math.isnan(whole[place]):
            return place == column
        if name in self._categories:
            words = self._usual.words.get(name)
            return words is not None and self._categories[name][int(value)] not in words
        low, high = self._range(place, whole) or (-math.inf, math.inf)
        return not low <= value <= high

    def _unit(self, source: str, column: int) -> str:
        unit, (base, rolling) = self._contract.fields[source].unit, self._bases[column]
        statistic = rolling.statistic if rolling else "last"
        if not unit or base != self._own.get(source) or statistic in WITHOUT_UNIT:
            return ""
        per = self._contract.features.rate_per
        return f"{unit} per {per}" if statistic in PER_STEP else unit


def own_features(contract: Contract) -> dict[str, str]:
    """The feature that shows the present value of a field, by field: the field as it is, or a
    vector's figure in the vector's unit; fields without such a feature are left out."""
    found: dict[str, str] = {}
    for name, expression in contract.expressions.items():
        if field := expression.field:
            found.setdefault(field, name)
    texts = {text.replace(" ", ""): name for name, text in contract.features.reading.items()}
    for field in contract.fields:
        for figure in IN_UNIT:
            if (own := f"{figure}({field})") in texts:
                found.setdefault(field, texts[own])
    return found


def _bases(contract: Contract) -> list[tuple[str, RollingFeature | None]]:
    """For each feature the one of a reading that it is of, and which statistic of a window."""
    rolling = contract.rolling.items()
    return [
        *((name, None) for name in contract.features.reading),
        *((name, feature) for name, features in rolling for feature in features),
    ]


def _shares(contributions: np.ndarray) -> np.ndarray:
    raised = np.clip(contributions, 0, None)
    total = raised.sum(axis=1, keepdims=True)
    found: np.ndarray = np.divide(raised, total, out=np.zeros_like(raised), where=total > 0)
    return found


def _told_sentence(label: str, reason: Reason) -> str:
    unit = f" {reason.unit}" if reason.unit else ""
    match reason.value, reason.usual:
        case None, _:
            told = f"{label} is missing"
        case str(word), _:
            told = f"{label} {word}"
        case number, _:
            told = f"{label} {_short(number)}{unit}"
    if not reason.usual:
        return told
    shown = [each if isinstance(each, str) else _short(each) for each in reason.usual]
    joined = (" or " if isinstance(reason.usual[0], str) else " to ").join(dict.fromkeys(shown))
    if reason.is_usual:
        return f"{told}, which is usual by itself ({joined})"
    beside = f" at this {' and '.join(reason.given)}" if reason.given else ""
    return f"{told}, usually {joined}{beside}"


def _short(number: float) -> str:
    """Three digits, and all of those before the point."""
    size = abs(number)
    if size and not 1e-4 <= size < 1e9:
        return f"{number:.3g}"
    digits = max(0, 2 - math.floor(math.log10(size))) if size else 0
    text = f"{number:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
