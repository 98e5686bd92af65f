"""Has what comes in changed since training? Evidently's reports, for a person to read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from breezeway.errors import DataError

SAMPLE_ROWS = 2_000
"""Rows of either side that go into a report: enough for its tests and pictures, and its cost
grows with them."""


@dataclass(frozen=True)
class DriftSummary:
    """What a drift report found.

    Args:
        drifted: names of the columns whose distribution differs from the reference.
        columns: how many were compared.
    """

    drifted: list[str]
    columns: int


def sample(table: pa.Table, rows: int = SAMPLE_ROWS) -> pa.Table:
    """Rows at even distances: the same ones each time."""
    if len(table) <= rows:
        return table
    return table.take(pa.array(np.linspace(0, len(table) - 1, rows).astype(np.int64)))


def report_drift(
    reference: pa.Table, current: pa.Table, columns: list[str], folder: Path
) -> DriftSummary:
    """Write `drift.html` and `drift.json` on how `columns` differ between two tables.

    Works badly with few rows: below some hundred a test finds only gross changes. Columns
    without a value on either side are left out.

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
    snapshot = Report([DataDriftPreset(columns=columns)]).run(new, old)
    _write(snapshot, folder / "drift")
    drifted = [
        metric["config"]["column"]
        for metric in snapshot.dict()["metrics"]
        if metric["config"]["type"].endswith(":ValueDrift") and _is_drift(metric)
    ]
    return DriftSummary(drifted, len(columns))


def _is_drift(metric: dict[str, Any]) -> bool:
    """A p-value is small where there is drift, a distance is large."""
    config = metric["config"]
    below = "p_value" in config["method"]
    value, threshold = float(metric["value"]), config["threshold"]
    return value < threshold if below else value >= threshold


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
