"""Where the readings of a contract are, as SQL: the table `readings`, or what `[source]` names.

All that reads readings asks here for the names of their columns, and for the condition of a time.
Names of a contract are quoted.
"""

import re
from collections.abc import Iterable
from datetime import date
from typing import Self
from zoneinfo import ZoneInfo

from breezeway.contract.contract import Contract
from breezeway.contract.source import EVERYTHING, Source
from breezeway.contract.time_formats import EPOCHS, ISO
from breezeway.core.days import UTC_ZONE
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.readings.columns import Column, Kind
from breezeway.readings.stretches import Calendar, Epoch, Times

PER_SECOND = {name: round(1_000_000 / unit) for name, unit in EPOCHS.items()}
WHOLE = {
    "mysql": "({0}) DIV {1}",
    "postgresql": "FLOOR(({0}) / {1})",
    "sqlite": "CAST(({0}) / {1} AS INTEGER)",
}
"""Dialect → SQL that divides numbers from 0 on, without the rest."""


class SourceTable:
    """The SQL of readings.

    Args:
        source: the section of the contract; None for the table `readings`.
        fields: the names of the contract's fields.
        dialect: of the database, as `dialect_of` tells it.

    Attributes:
        rows: what stands after FROM.
        device: the column of the device; None if all readings have the same one.
        times: the column of the time, and its conditions.
        payload: the columns of the payload: one, or one for each field.
    """

    def __init__(
        self,
        source: Source | None,
        dialect: str,
        fields: Iterable[str] = (),
        label: str | None = None,
    ):
        self.source, self._label = source, label
        self._mark = "`" if dialect == "mysql" else '"'
        self._is_mysql = dialect == "mysql"
        if source is None:
            self.rows, self.payload = "readings", ["payload"]
            self.device: str | None = "device"
            self._device, self._time, self._values = "device", "time", {"payload": "payload"}
            self._id: str | None = "id"
            self.times: Times = Calendar()
            return
        quote = self.quote
        self.rows = f"({source.query}\n) AS source"
        if source.table is not None:
            self.rows = ".".join(map(quote, source.table.split(".")))
        self._id = source.id_column
        self._device, self._time = source.device_column, source.time_column
        self._values = _values_of(source, fields)
        self.device = quote(self._device) if source.device is None else None
        self.payload = list(map(quote, self._values.values()))
        time = quote(source.time_column)
        if source.time_format == ISO:
            self.times = Calendar(time, ZoneInfo(source.time_zone))
        else:
            self.times = Epoch(time, PER_SECOND[source.time_format], WHOLE[dialect])

    @classmethod
    def of(cls, contract: Contract, dialect: str) -> Self:
        return cls(contract.source, dialect, contract.fields, contract.label.column)

    def quote(self, name: str) -> str:
        if self.source is None:
            return name
        return f"{self._mark}{name.replace(self._mark, self._mark * 2)}{self._mark}"

    def literal(self, text: str) -> str:
        """A text in SQL."""
        doubled = text.replace("\\", "\\\\") if self._is_mysql else text
        return "'" + doubled.replace("'", "''") + "'"

    @property
    def fixed_device(self) -> str:
        """The device of all readings, where no column holds it."""
        return (self.source and self.source.device) or ""

    @property
    def has_fields(self) -> bool:
        """Whether payloads are made of columns."""
        return self.source is not None and self.source.columns is not None

    @property
    def zone(self) -> ZoneInfo:
        """Of times that have none."""
        return self.times.zone if isinstance(self.times, Calendar) else UTC_ZONE

    @property
    def per_second(self) -> int | None:
        """Of times that are numbers."""
        return self.times.per_second if isinstance(self.times, Epoch) else None

    @property
    def time(self) -> Column:
        kind: Kind = "time"
        if self.source:
            kind = "epoch" if self.per_second else "local"
        return Column(self._time, kind)

    def columns(self, label: str | None, *, with_ids: bool) -> list[Column]:
        """The columns of a result: device and time, the payload, label and id."""
        columns = [self.time]
        if self.device is not None:
            columns.insert(0, Column(self._device, "device"))
        kind: Kind = "value" if self.has_fields else "payload"
        columns += [Column(name, kind) for name in self._values.values()]
        columns.append(Column(self._own(label) or "label", "label", required=label is not None))
        if with_ids and self._id:
            columns.append(Column(self._id, "id", required=self.source is not None))
        return columns

    def _own(self, label: str | None) -> str | None:
        """The column of the label that a contract calls so."""
        return (self.source and label and self.source.label_column) or label

    def of_query(self, query: str, label: str | None) -> str:
        """A query in which `source` stands for what the contract names."""
        if self.source is None or self.source.table == "source":
            return query
        if query.strip() == EVERYTHING:
            return self.select(label)
        if not re.search(r"(?i)\bsource\b", query):
            return query
        begin = re.match(r"(?i)\s*WITH(\s+RECURSIVE)?\s", query)
        rest = f", {query[begin.end() :]}" if begin else f" {query}"
        whole = f"source AS (SELECT * FROM {self.rows})"
        return f"{begin[0] if begin else 'WITH '}{whole}{rest}"

    def select(self, label: str | None, *, has_ids: bool = False) -> str:
        """The SELECT of all readings, without a condition.

        Args:
            label: the column of the label that the contract names.
            has_ids: whether the table `readings` has a column `id`.
        """
        found = [*filter(None, [self.device]), self.times.column, *self.payload]
        found += [self.quote(name) for name in filter(None, [self._own(label)])]
        if self._id and (has_ids or self.source):
            found.append(self.quote(self._id))
        return f"SELECT {', '.join(dict.fromkeys(found))} FROM {self.rows}"

    def label_and_id(self, label: str | None, *, has_ids: bool) -> str:
        """The columns of label and id, NULL where there is none; as for `select`."""
        own = self._own(label)
        id = self._id if has_ids or self.source else None
        return ", ".join(self.quote(name) if name else "NULL" for name in (own, id))

    def keys(self) -> dict[str, str]:
        """The columns that the contract names: key → column."""
        if self.source is None:
            return {}
        place = "source.columns.{}" if self.has_fields else "source.{}_column"
        keys = {place.format(key): name for key, name in self._values.items()}
        keys["source.time_column"] = self._time
        if self.device is not None:
            keys["source.device_column"] = self._device
        if self._id:
            keys["source.id_column"] = self._id
        if label := self._own(self._label):
            keys["source.label_column" if self.source.label_column else "label.column"] = label
        return keys


def _values_of(source: Source, fields: Iterable[str]) -> dict[str, str]:
    """The payload, or each field → its column."""
    if source.columns is None:
        return {"payload": source.payload_column or "payload"}
    return {name: source.columns.get(name, name) for name in fields}


def times_of_day(contract: Contract, query: str, day: date) -> Times | None:
    """The column by which a query finds a day's readings; None if it finds other readings.

    Args:
        query: as `RawStore.query_of_days` made it, in any dialect.
    """
    condition = query.rpartition(" WHERE ")[2]
    for dialect in WHOLE:
        times = SourceTable.of(contract, dialect).times
        # A column that has a zone, as only the database knows, is compared in UTC.
        for way in (times, Calendar(times.column)):
            if way.of_days(day, day, contract.zone) == condition:
                return way
    return None


def refuse_writing(contract: Contract, settings: Settings, what: str) -> None:
    """Make sure that readings are in a store of Breezeway's own.

    Args:
        what: what would write them, for the message.

    Raises:
        UsageError: the contract says that they are in a database of the user's.
    """
    if contract.source is not None:
        raise UsageError(
            f"{settings.sensors.name}: [source] says that readings are in a database of your own, "
            f"which Breezeway only reads, so {what} is refused. To keep readings in a store of "
            "Breezeway, take the section out."
        )
