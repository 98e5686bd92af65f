"""Labels: fault intervals, and the periods of readings that a person has reviewed."""

import hashlib
import json
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from breezeway.contract.contract import Contract
from breezeway.core.errors import TryAgain, UsageError
from breezeway.readings import sql_tables
from breezeway.readings.arrow import (
    LABELS,
    REVIEWS,
    as_labels,
    as_schema,
    label_rows,
    labels_table,
)
from breezeway.readings.columns import Column
from breezeway.readings.database import Database

COLUMNS = (
    Column("device", "device"),
    Column("start_time", "time"),
    Column("end_time", "time"),
    Column("labelled_by", "device", required=False),
    Column("labelled_at", "time", required=False),
)

IMPORTED = "labels"
"""The table that imported labels go into."""


class LabelStore(Database):
    """The labels in the raw store, with who gave them."""

    tables = written = (sql_tables.labels, sql_tables.reviews)

    def labels(self, table: str = "labels") -> pa.Table:
        """All fault intervals, by device and start.

        Args:
            table: its name in the store; it has the columns device, start_time and end_time,
                and may have labelled_by and labelled_at.

        Returns:
            As `LABELS`.

        Raises:
            UsageError: there is no such table.
            DataError: a column is missing, a value is null or not a time, or an interval ends
                before it begins.
        """
        query = f"SELECT * FROM {self._quoted(table)} ORDER BY device, start_time"
        parts = [labels_table(block) for block in self._blocks(query, COLUMNS)]
        return as_labels(pa.concat_tables(parts) if parts else LABELS.empty_table())

    def labels_of(self, contract: Contract) -> pa.Table | None:
        """The fault intervals of the table that a contract names; None if it names a column.

        Raises:
            UsageError, DataError: as for `labels`.
        """
        table = contract.label.table
        if table is None:
            return None
        try:
            return self.labels(table)
        except UsageError:
            with self._judged():
                if sa.inspect(self._sql).has_table(table):
                    raise
            raise UsageError(
                f"label.table: the raw store has no table {table!r} with the faults: create it, "
                "with the columns device, start_time and end_time; it may be empty."
            ) from None

    def append(self, labels: pa.Table) -> int:
        """Append fault intervals: device, start, end (UTC without a zone).

        If known, `labelled_by` says who found the fault, and `labelled_at` when.

        Returns:
            Number of intervals.

        Raises:
            DataError: a column is missing, or an interval ends before it begins.
        """
        with self._transaction() as connection:
            return self._insert(connection, "labels", label_rows(labels))

    def imported(self) -> pa.Table:
        """The faults that `append` and `append_reviews` have written, as `LABELS`; may be empty."""
        return self._if_there(IMPORTED)

    def reviews(self) -> pa.Table:
        """Periods that a person has reviewed, as `LABELS`; may be empty."""
        return self._if_there("reviews")

    def _if_there(self, table: str) -> pa.Table:
        with self._judged():
            there = sa.inspect(self._sql).has_table(table)
        return self.labels(table) if there else LABELS.empty_table()

    def append_reviews(self, reviews: pa.Table) -> int:
        """Record reviews of periods of readings; each fault becomes a label.

        This is one transaction. If the same person gave the same label to the same period before,
        nothing changes.

        Args:
            reviews: as `REVIEWS`, without nulls.

        Returns:
            The number of new reviews.

        Raises:
            DataError: a period ends before it begins.
            ServiceUnavailable: the store does not answer.
            TryAgain: another process was writing the same.
        """
        whole = as_schema(reviews, REVIEWS)
        labels = label_rows(whole)
        keys = [_key(row) for row in whole.to_pylist()]
        with self._transaction() as connection:
            known = set(connection.execute(sa.select(sql_tables.reviews.c.content)).scalars())
            rows = {key: row for row, key in enumerate(keys) if key not in known}
            unknown = pa.array(rows.values(), pa.int64())
            new, fault = labels.take(unknown), whole["fault"].take(unknown)
            noted = new.append_column("content", pa.array(rows, pa.string()))
            noted = noted.append_column("fault", fault.cast(pa.int8()))
            try:
                self._insert(connection, "reviews", noted)
            except sa.exc.IntegrityError:
                raise TryAgain("Another process was importing the same labels.") from None
            self._insert(connection, "labels", new.filter(fault))
        return len(rows)


def _key(review: dict[str, Any]) -> str:
    """A digest of device, period, label and person, but not of the time of the review."""
    said = [str(review[name]) for name in ("device", "start", "end", "fault", "labelled_by")]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
