"""The candidates of `[features] auto = true`: groups of features that `tune` may choose from.

Each is what a person could have written into the contract, so that history and server compute
it as any other, and what is chosen becomes an explicit contract without `auto`. The groups follow
from the contract alone, not from any reading.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import TYPE_CHECKING, Any

from breezeway.contract.feature_sections import MOST_NAMES
from breezeway.contract.statistics import LONGEST, LONGEST_DAYS, RollingFeature

if TYPE_CHECKING:
    from breezeway.contract.contract import Contract

MOST_SIGNALS = 12
"""The features of one reading that windows are tried of: the first ones of the contract."""
MOST_EXPLAINING = 8
"""Of them those that are tried as what explains the others."""
MOST_PAIRS = 15
"""Of fields, in each group of pairs."""
SHORTEST = 4
"""Readings of a window that has shorter ones beside it."""
LONGEST_TRIED = 1000
"""Readings that a request is asked for at most, unless the contract's own windows are longer."""
NUMBERS = ("float", "int")
"""The types of fields that windows and pairs are tried of, beside vectors."""
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True)
class CandidateGroup:
    """Features that are tried together: entries of a contract.

    Args:
        name: for people.
        reading, rolling: as in `[features]`, what is added to them.
        of, given: the same of `[features.residual]`.
    """

    name: str
    reading: Mapping[str, str] = field(default_factory=dict)
    rolling: Mapping[str, Sequence[str]] = field(default_factory=dict)
    of: Sequence[str] = ()
    given: Sequence[str] = ()


def candidate_groups(own: "Contract") -> list[CandidateGroup]:
    """The groups that are tried beside the features that a contract names.

    Args:
        own: the contract without `auto`, from `explicit`.
    """
    made = _Groups(own)
    groups = [*made.of_windows(), *made.of_residuals(), *made.of_pairs()]
    return [group for group in groups if group.reading or group.rolling or group.of]


def with_candidates(own: "Contract", table: Mapping[str, Any]) -> dict[str, Any]:
    """The table of a contract with all candidates, for `preprocess` to make.

    Without the residuals: no dataset holds them.

    Args:
        own: of the table, with the features that it names.
        table: of the contract's TOML.
    """
    columns = [CandidateGroup(g.name, g.reading, g.rolling) for g in candidate_groups(own)]
    return _merged(table, columns)


def explicit(contract: "Contract", groups: Sequence[CandidateGroup] = ()) -> "Contract":
    """The contract with its own features and those of some groups, without `auto`.

    Its text is that of the same contract, written anew: comments are lost.
    """
    import tomli_w  # not installed in the model server, where no contract has candidates

    table = tomllib.loads(contract.text)
    table["features"].pop("auto", None)
    text = tomli_w.dumps(_merged(table, groups))
    return type(contract).from_text(text, f"the contract {contract.name} with chosen features")


def _merged(table: Mapping[str, Any], groups: Sequence[CandidateGroup]) -> dict[str, Any]:
    merged: dict[str, Any] = deepcopy(dict(table))
    features = merged["features"]
    rolling = features.setdefault("rolling", {})
    residual = features.pop("residual", {"of": [], "given": []})
    for group in groups:
        features["reading"].update(group.reading)
        for name, texts in group.rolling.items():
            known = rolling.setdefault(name, [])
            known += [text for text in texts if text not in known]
        for key, names in (("of", group.of), ("given", group.given)):
            residual[key] += [name for name in names if name not in residual[key]]
    # What one group explains another may explain by: it is then no longer explained itself.
    residual["of"] = [name for name in residual["of"] if name not in residual["given"]]
    if residual["of"]:
        features["residual"] = residual
    return merged


class _Groups:
    """Makes the groups; see `candidate_groups`."""

    def __init__(self, own: "Contract"):
        self._own = own
        self._taken = {*own.detector_features, "device", "time", "label"}
        self._signals = list(islice(_signals(own), MOST_SIGNALS))
        self._window = own.window
        self._has_windows = own.window >= SHORTEST
        self._short, self._middle = max(2, own.window // 6), max(3, own.window // 3)
        room = LONGEST - own.alarm.lookback
        self._long = min(4 * own.window, max(own.window, LONGEST_TRIED), room)

    def of_windows(self) -> Iterator[CandidateGroup]:
        if not self._has_windows:
            return
        short, middle, whole, long = self._short, self._middle, self._window, self._long
        yield self._of_all("short windows", f"mean:{short}", f"slope:{short}")
        yield self._of_all("middle windows", f"mean:{middle}", f"std:{middle}", f"slope:{middle}")
        names = ("mean", "std", "slope", "min", "max")
        yield self._of_all("whole windows", *(f"{name}:{whole}" for name in names))
        if long > whole:
            yield self._of_all("long windows", f"mean:{long}", f"std:{long}")
        yield self._of_all("changes", "diff", f"lag:{short}", f"lag:{middle}")
        yield self._of_all("own past", f"zscore:{whole}:{short}", f"from_median:{whole}:{short}")
        if long > whole:
            yield self._of_all("long own past", f"zscore:{long}:{middle}")
        if time := self._time_of(middle):
            yield self._of_all("windows by time", f"mean:{time}", f"std:{time}")
        if self._own.features.baseline:
            texts = ("baseline_zscore", f"baseline_zscore:{middle}", f"from_baseline:{middle}")
            yield self._of_all("own baseline", *texts)

    def _of_all(self, name: str, *texts: str) -> CandidateGroup:
        """Statistics of all signals, without those that the contract has."""
        rolling = {}
        for signal in self._signals:
            if new := [text for text in texts if self._is_new(signal, text)]:
                rolling[signal] = new
        return CandidateGroup(name, rolling=rolling)

    def _is_new(self, signal: str, text: str) -> bool:
        own = self._own
        known = own.rolling.get(signal, [])
        wanted = RollingFeature.of(text, own.features.window)
        return wanted not in known and _column(signal, text) not in self._taken

    def _time_of(self, readings: int) -> str:
        """How long so many readings take, as a window by time; empty if that is none, or if the
        contract's window does not hold them."""
        seconds = readings * self._own.interval_seconds
        if seconds != int(seconds) or readings > self._own.features.window:
            return ""
        unit, size = next(each for each in _UNITS if not seconds % each[1])
        number = int(seconds) // size
        return f"{number}{unit}" if number <= 99_999 and seconds <= LONGEST_DAYS * 86_400 else ""

    def of_residuals(self) -> Iterator[CandidateGroup]:
        """What others do not explain: by what the contract names, or by each signal in turn."""
        own = self._own.features.residual
        known = set(own.of) | set(own.given) if own else set()
        means = {signal: self._mean(signal) for signal in self._signals}
        if own:
            of = {s: name for s, (name, _) in means.items() if name not in known}
            of = {s: of[s] for s in list(of)[: MOST_NAMES - len(own.of)] if s not in own.given}
            rolling = {s: means[s][1] for s in of if means[s][1]}
            yield CandidateGroup("residuals of all", rolling=rolling, of=list(of.values()))
            return
        for signal in self._signals[:MOST_EXPLAINING]:
            others = [name for other, (name, _) in means.items() if other != signal]
            if not others:
                return
            rolling = {other: texts for other, (_, texts) in means.items() if texts}
            given = list(dict.fromkeys((signal, means[signal][0])))
            name = f"residuals given {signal}"
            yield CandidateGroup(name, rolling=rolling, of=others, given=given)

    def _mean(self, signal: str) -> tuple[str, list[str]]:
        """The name of a signal's mean over a middle window, and what has to be added for it; its
        own name where there are no windows."""
        if not self._has_windows:
            return signal, []
        text = f"mean:{self._middle}"
        wanted = RollingFeature.of(text, self._own.features.window)
        texts = self._own.features.rolling.get(signal, [])
        for has, feature in zip(texts, self._own.rolling.get(signal, []), strict=True):
            if feature == wanted:
                return _column(signal, has), []
        if _column(signal, text) in self._taken:
            return signal, []
        return _column(signal, text), [text]

    def of_pairs(self) -> Iterator[CandidateGroup]:
        fields = [
            (name, each.unit) for name, each in self._own.fields.items() if each.type in NUMBERS
        ]
        pairs = list(combinations(fields, 2))
        alike = [(a, b) for (a, unit), (b, other) in pairs if unit and unit == other]
        unlike = [(a, b) for (a, unit), (b, other) in pairs if unit != other]
        yield self._of_pairs("ratios", alike, "/", "per")
        yield self._of_pairs("differences", alike, "-", "minus")
        yield self._of_pairs("products", unlike, "*", "times")

    def _of_pairs(
        self, name: str, pairs: Sequence[tuple[str, str]], sign: str, word: str
    ) -> CandidateGroup:
        texts = {text.replace(" ", "") for text in self._own.features.reading.values()}
        reading = {
            f"{a}_{word}_{b}": f"{a} {sign} {b}"
            for a, b in pairs
            if not {f"{a}{sign}{b}", f"{b}{sign}{a}"} & texts
        }
        free = ((key, text) for key, text in reading.items() if self._is_free(key))
        reading = dict(islice(free, MOST_PAIRS))
        if not self._has_windows:
            return CandidateGroup(name, reading=reading)
        text = f"mean:{self._middle}"
        return CandidateGroup(name, reading=reading, rolling={key: [text] for key in reading})

    def _is_free(self, name: str) -> bool:
        texts = (name, _column(name, f"mean:{self._middle}"))
        return len(texts[1]) <= 100 and not {*texts} & self._taken


def _signals(own: "Contract") -> Iterator[str]:
    """The features of one reading that are measured, and no category, clock or constant."""
    for name, expression in own.expressions.items():
        kinds = {own.fields[each].type for each in expression.fields}
        if kinds and not expression.takes_time and kinds <= {*NUMBERS, "vector"}:
            yield name


def _column(signal: str, text: str) -> str:
    return f"{signal}_{text.replace(':', '_')}"
