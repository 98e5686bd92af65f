"""Has what comes in changed since training?

`find_drift` decides; Evidently's report, whose tests take neighbouring readings for independent
and so find drift on every quiet day, is for a person to read.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from breezeway import scorecard
from breezeway.errors import DataError

SAMPLE_ROWS = 2_000
"""Rows of either side that go into a report: enough for its tests and pictures, and its cost
grows with them."""

DAY = 86_400_000_000
"""Microseconds."""
SHORTEST_BLOCK = 60_000_000
MIN_UNITS = 8
"""Of the reference: with fewer there is no telling what is usual."""
FALSE_DISCOVERY_RATE = 0.01
MIN_EFFECT = {"level": 0.25, "spread": math.log(1.25), "missing": 0.05}
"""Changes that are too small to matter, however sure: a level in standard deviations of the
reference's rows, a logarithm of the ratio of spreads, a share of missing values."""


@dataclass(frozen=True)
class Finding:
    """One thing that has changed.

    Args:
        column: of the features, or `score`.
        device: whose; None where all of them changed together.
        change: `level`, `spread` or `missing`.
        effect: as `MIN_EFFECT` counts it, with its sign.
        p_value: before it was set against those of all that was compared.
    """

    column: str
    device: str | None
    change: str
    effect: float
    p_value: float

    def __str__(self) -> str:
        where = f" of {self.device}" if self.device else ""
        match self.change:
            case "level":
                how = f"is {self.effect:+.2f} standard deviations from its level"
            case "spread":
                how = f"varies {math.exp(self.effect):.2f} times as much"
            case _:
                how = f"is missing {self.effect:+.1%} of the time"
        return f"{self.column}{where} {how} (p = {self.p_value:.1g})"


class Summary(NamedTuple):
    """Figures of blocks of rows: float64 (blocks, columns) each, but for the first three."""

    device: np.ndarray
    """int (blocks,): index into the names of the devices."""
    block: np.ndarray
    """int (blocks,): number of the stretch of time since 1970."""
    rows: np.ndarray
    """int (blocks,)."""
    level: np.ndarray
    spread: np.ndarray
    """Logarithm of the standard deviation; NaN where a column does not vary."""
    missing: np.ndarray


def find_drift(
    reference: pa.Table, current: pa.Table, columns: list[str], *, by_device: bool
) -> list[Finding]:
    """What has changed between two tables, by more than chance and by enough to matter.

    Readings follow each other closely, so a million of them are no million observations. Rows
    are summed up in units that stand for themselves: days (shorter stretches, where the
    reference has few days), or devices where the model is to work on new ones. A change has to
    stand out from how units of the reference differ among themselves: a t-test of the mean of
    the new units against theirs, for all devices together and for each by itself, each device
    measured against its own level. Of what is found, for all together and for single devices,
    one in a hundred is expected to be wrong [Benjamini and Hochberg 1995].

    Works badly with a short reference: what changes with the seasons is not known from a week.

    Args:
        reference: rows of the training data: `device`, `time` and the columns.
        current: recent rows of the same form.
        columns: float64 columns of both; NaN is missing.
        by_device: whether the reference's devices are others than the current ones.

    Returns:
        The findings, the surest first. None where the reference has fewer than `MIN_UNITS`.

    References:
        Benjamini, Hochberg (1995), Controlling the false discovery rate, Journal of the Royal
        Statistical Society B 57.
    """
    names = np.unique(np.concatenate([_names(reference), _names(current)]))
    block = _block_length(reference)
    old, new = (summarise(table, columns, names, block) for table in (reference, current))
    scale = np.array([np.nanstd(reference[name].to_numpy()) or np.nan for name in columns])
    fleet: list[Finding] = []
    single: list[Finding] = []
    for change, unit in (("level", scale), ("spread", None), ("missing", None)):
        before, after = getattr(old, change), getattr(new, change)
        if unit is not None:
            before, after = before / unit, after / unit
        fleet += _compare(columns, None, change, *_fleet(old, new, before, after, by_device))
        if not by_device:
            for number in np.unique(new.device):
                mine = before[old.device == number], after[new.device == number]
                single += _compare(columns, str(names[number]), change, *mine)
    return sorted(_discoveries(fleet) + _discoveries(single), key=lambda found: found.p_value)


def summarise(table: pa.Table, columns: list[str], names: np.ndarray, block: int) -> Summary:
    """Sum up the rows of each device in each stretch of `block` microseconds."""
    device = np.searchsorted(names, np.asarray(table["device"]).astype(str))
    number = scorecard.microseconds(table["time"]) // block
    key = np.stack([device, number])
    (device, number), place, rows = np.unique(key, axis=1, return_inverse=True, return_counts=True)
    place = place.reshape(-1)
    level, spread, missing = (np.full((len(rows), len(columns)), np.nan) for _ in range(3))
    for position, name in enumerate(columns):
        value = table[name].to_numpy()
        there = ~np.isnan(value)
        count = np.bincount(place[there], minlength=len(rows))
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.bincount(place[there], value[there], len(rows)) / count
            deviation = np.square(value[there] - mean[place[there]])
            variance = np.bincount(place[there], deviation, len(rows)) / count
            spread[:, position] = np.where(variance > 0, np.log(variance) / 2, np.nan)
        level[:, position] = mean
        missing[:, position] = 1 - count / rows
    # A block that was cut off says little of how a whole one is.
    whole = rows >= np.median(rows) / 2
    return Summary(*(part[whole] for part in (device, number, rows, level, spread, missing)))


def _names(table: pa.Table) -> np.ndarray:
    return np.unique(np.asarray(table["device"]).astype(str))


def _block_length(table: pa.Table) -> int:
    """A day, or so much less that the reference still has enough of them."""
    time = scorecard.microseconds(table["time"])
    days = len(np.unique(time // DAY))
    if days >= MIN_UNITS:
        return DAY
    return max(SHORTEST_BLOCK, int(time.max() - time.min()) // (2 * MIN_UNITS))


def _fleet(
    old: Summary, new: Summary, before: np.ndarray, after: np.ndarray, by_device: bool
) -> tuple[np.ndarray, np.ndarray]:
    """One value a unit of all devices together: (units, columns) before and after."""
    if by_device:
        return _means(before, old.device), _means(after, new.device)
    # Each device against its own usual: which devices have rows in a block is no change.
    known = np.intersect1d(old.device, new.device)
    sides = []
    for summary, values in ((old, before), (new, after)):
        mine = np.isin(summary.device, known)
        sides.append((summary.device[mine], summary.block[mine], values[mine]))
    usual = np.full((old.device.max(initial=-1) + 1, before.shape[1]), np.nan)
    for device in known:
        usual[device] = _mean(sides[0][2][sides[0][0] == device])
    return tuple(_means(values - usual[device], block) for device, block, values in sides)


def _means(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The mean of the rows of each group: (groups, columns)."""
    parts = [_mean(values[group == one]) for one in np.unique(group)]
    return np.array(parts).reshape(-1, values.shape[1])


def _mean(values: np.ndarray) -> np.ndarray:
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0).sum(axis=0) / there.sum(axis=0)


def _compare(
    columns: list[str], device: str | None, change: str, before: np.ndarray, after: np.ndarray
) -> list[Finding]:
    """A t-test for each column: the mean of the units after, against the units before."""
    from scipy.special import stdtr

    tests = []
    for position, column in enumerate(columns):
        old, new = (side[~np.isnan(side[:, position]), position] for side in (before, after))
        if len(old) < MIN_UNITS or not len(new):
            continue
        effect = float(new.mean() - old.mean())
        error = old.std(ddof=1) * math.sqrt(1 / len(old) + 1 / len(new))
        if error > 0:
            p_value = 2 * float(stdtr(len(old) - 1, -abs(effect) / error))
        else:
            p_value = 1.0 if effect == 0 else 0.0
        tests.append(Finding(column, device, change, effect, p_value))
    return tests


def _discoveries(tests: list[Finding]) -> list[Finding]:
    ranked = sorted(tests, key=lambda test: test.p_value)
    level = FALSE_DISCOVERY_RATE / max(1, len(tests))
    last = max((i for i, test in enumerate(ranked, 1) if test.p_value <= i * level), default=0)
    return [test for test in ranked[:last] if abs(test.effect) >= MIN_EFFECT[test.change]]


def sample(table: pa.Table, rows: int = SAMPLE_ROWS) -> pa.Table:
    """Rows at even distances: the same ones each time."""
    if len(table) <= rows:
        return table
    return table.take(pa.array(np.linspace(0, len(table) - 1, rows).astype(np.int64)))


def report_drift(reference: pa.Table, current: pa.Table, columns: list[str], folder: Path) -> None:
    """Write Evidently's `drift.html` and `drift.json` on how `columns` differ.

    Columns without a value on either side are left out.

    Args:
        reference: rows of the training data.
        current: recent rows.
        columns: float64 columns of both.
        folder: where the files go.

    Raises:
        DataError: no column has values on both sides.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    columns = [
        name
        for name in columns
        if all(np.isfinite(side[name].to_numpy()).any() for side in (reference, current))
    ]
    if not columns:
        raise DataError("Not one feature has a value on both sides: there is nothing to compare.")
    definition = DataDefinition(numerical_columns=columns)
    new, old = (
        Dataset.from_pandas(side.select(columns).to_pandas(), data_definition=definition)
        for side in (current, reference)
    )
    _write(Report([DataDriftPreset(columns=columns)]).run(new, old), folder / "drift")


def report_classification(
    label: np.ndarray, score: np.ndarray, threshold: float, folder: Path
) -> None:
    """Write `classification.html` and `classification.json` on a model's alarms.

    Args:
        label: int8 (rows,), both classes.
        score: float64 (rows,), probabilities.
        threshold: a row is in alarm from this score on.
        folder: where the files go.
    """
    import pandas as pd
    from evidently import BinaryClassification, DataDefinition, Dataset, Report
    from evidently.presets import ClassificationPreset

    frame = pd.DataFrame({"label": label.astype(int), "score": score})
    definition = DataDefinition(
        numerical_columns=["score"],
        classification=[
            BinaryClassification(target="label", prediction_probas="score", pos_label=1)
        ],
    )
    data = Dataset.from_pandas(frame, data_definition=definition)
    snapshot = Report([ClassificationPreset(probas_threshold=threshold)]).run(data, None)
    _write(snapshot, folder / "classification")


def _write(snapshot: Any, path: Path) -> None:
    snapshot.save_html(str(path.with_suffix(".html")))
    document = json.loads(snapshot.json())
    path.with_suffix(".json").write_text(json.dumps(document, indent=1), encoding="utf-8")
