"""Reads the rows of a dataset that a model may learn from: the labelled ones or, of a contract
without labels, all."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector import scorecard
from breezeway.detector.holdout import TrainingScope, training_scope, whole_scope
from breezeway.detector.scorecard import Rows


class Table(NamedTuple):
    """The rows that a model may learn from, in the order (device, time)."""

    rows: Rows
    features: np.ndarray
    """float32 (rows, features); NaN is missing."""
    scope: TrainingScope
    """Which rows of the dataset these are; the others are held out to evaluate the model."""

    def frame(self, score: np.ndarray, kept: np.ndarray | slice = slice(None)) -> dict[str, Any]:
        """Return the columns that `breezeway.detector.scorecard` reads, of the rows in `kept`."""
        rows = self.rows
        return {
            "device": pa.DictionaryArray.from_arrays(rows.device[kept], rows.names),
            "time": rows.time[kept].astype("datetime64[us]"),
            "label": rows.label[kept].astype(np.int8),
            "score": score[kept],
        }

    def where(self, kept: np.ndarray) -> "Table":
        """Return some of the rows; the scope stays.

        Args:
            kept: bool, of the rows.
        """
        return Table(self.rows.where(kept), self.features[kept], self.scope)


def read_table(folder: Path, contract: Contract, *, whole: bool = False) -> Table:
    """Read the rows of a dataset folder that a model may learn from.

    Args:
        whole: hold out none.

    Raises:
        DataError: a column is missing, no row has a label, or the labels hold one class only.
    """
    names = contract.feature_names
    parts = sorted((folder / "features").glob("part-*.parquet"))
    if not parts:
        raise DataError(f"{folder}: expected features/part-*.parquet, found none.")
    tables = []
    for part in parts:
        missing = {"device", "time", "label", *names} - set(pq.read_schema(part).names)
        if missing:
            raise DataError(f"{part.name}: the column {min(missing)} is missing.")
        table = pq.read_table(part, columns=["device", "time", "label", *names])
        tables.append(learnable(table, contract))
    return labelled_table(pa.concat_tables(tables), contract, whole=whole)


def learnable(table: pa.Table, contract: Contract) -> pa.Table:
    """Return the readings that a model may learn from: those with a label. Of a contract without
    labels it is all of them, presumed normal: their label is 0.

    Args:
        table: device, time, label and the features.
    """
    if contract.has_labels:
        return table.filter(table["label"].is_valid())
    place = table.column_names.index("label")
    return table.set_column(place, "label", pa.array(np.zeros(len(table), np.int8)))


def labelled_table(table: pa.Table, contract: Contract, *, whole: bool = False) -> Table:
    """Order readings with their features, and leave out those that are held out.

    Args:
        table: device, time, label (never null) and the features, as `learnable` gives them.
        whole: hold out none.

    Raises:
        DataError: no row has a label, or the labels hold one class only.
    """
    names = contract.feature_names
    if not len(table):
        if not contract.has_labels:
            raise DataError("There is no row to learn from.")
        raise DataError("label: no row has one, and a model learns from labelled rows only.")
    rows = scorecard.rows_of(table)
    if contract.has_labels:
        _check_classes(rows.label, "rows")
    scope = (whole_scope if whole else training_scope)(rows, contract)
    rows = rows.where(scope.covers(rows.names[rows.device], rows.time))
    if contract.has_labels:
        _check_classes(rows.label, "rows to train on, without those held out,")
    features = np.empty((len(rows.label), len(names)), dtype=np.float32)
    for number, name in enumerate(names):
        features[:, number] = table[name].to_numpy()[rows.order]
    return Table(rows, features, scope)


def held_out_rows(folder: Path, contract: Contract, scope: TrainingScope) -> Table:
    """Read the rows of a dataset folder that a scope holds out of training.

    Raises:
        DataError: as for `read_table`.
    """
    table = read_table(folder, contract, whole=True)
    rows = table.rows
    return table.where(~scope.covers(rows.names[rows.device], rows.time))


def _check_classes(label: np.ndarray, which: str) -> None:
    positive = int(label.sum())
    if positive in (0, len(label)):
        raise DataError(
            f"The labels hold one class only: {positive} of {len(label)} {which} are positive."
        )
