"""Readings aggregated by device and hour: the only input of the drift statistics.

Days and hours are those that clocks show in a time zone, so a shift that begins at six begins at
six all year. An hour that is shown twice, as clocks are set back, has the readings of both times.
"""

import math
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pyarrow as pa

from breezeway.core.days import UTC_ZONE, clock_changes, day_end, day_start

HOUR = 3_600_000_000
"""Microseconds."""
DAY = 24 * HOUR
MIN_WEEKS = 3
"""With at least this many weeks in the reference, an hour is compared with the same hour of the
week; with fewer, with the same hour of the day."""


class Cube(NamedTuple):
    """Figures of one column: float64 (devices, units, hours), NaN if there are none.

    A unit that is not a day has one hour.
    """

    level: np.ndarray
    spread: np.ndarray
    """Logarithm of the standard deviation within the hour; NaN where nothing varies."""
    missing: np.ndarray
    """Share of the rows."""
    constant: np.ndarray
    """Whether (1 or 0) all of at least `STUCK_ROWS` values were the same."""

    def of(self, devices: np.ndarray) -> "Cube":
        return Cube(*(part[devices] for part in self))

    def of_units(self, units: slice) -> "Cube":
        return Cube(*(part[:, units] for part in self))


STUCK_ROWS = 3


class Hours:
    """Rows, aggregated by device and hour, in a database that spills to disk.

    Args:
        rows: batches of `device`, `time` and the columns; any number of them.
        columns: float64 columns; a value that is not finite is missing.
        unit: microseconds of a unit: `DAY`, or less if there are few days.
        threads: of the database.
        zone: of days and hours.
    """

    def __init__(
        self,
        rows: pa.RecordBatchReader,
        columns: Sequence[str],
        unit: int = DAY,
        threads: int = 2,
        zone: ZoneInfo = UTC_ZONE,
    ):
        self.columns = list(columns)
        self._spill = tempfile.TemporaryDirectory(prefix="breezeway-drift-")
        self._connection = duckdb.connect(
            config={
                "threads": threads,
                "memory_limit": "256MB",
                "temp_directory": self._spill.name,
            }
        )
        self._connection.execute("SET TimeZone = 'UTC'")
        hour = HOUR if unit == DAY else unit
        self._hours = unit // hour  # of a unit
        figures = ", ".join(
            f"count(c{k}) AS n{k}, avg(c{k}) AS m{k}, stddev_pop(c{k}) AS s{k}"
            for k in range(len(self.columns))
        )
        values = ", ".join(
            f"CASE WHEN isfinite({_quoted(name)}) THEN {_quoted(name)} END AS c{k}"
            for k, name in enumerate(self.columns)
        )
        shown = pa.RecordBatchReader.from_batches(
            rows.schema, (on_the_clock(batch, zone) for batch in rows)
        )
        self._connection.register("incoming", shown)
        self._connection.execute(
            f"CREATE TABLE hours AS SELECT device, hour, count(*) AS rows, {figures} FROM "
            f"(SELECT device, epoch_us(time) // {hour} AS hour, {values} FROM incoming) "
            "GROUP BY device, hour"
        )
        self._connection.unregister("incoming")
        found = self._connection.execute(
            "SELECT DISTINCT device FROM hours ORDER BY device"
        ).fetchnumpy()
        self.devices = np.asarray(found["device"], dtype=str)
        found = self._connection.execute(
            f"SELECT DISTINCT hour // {self._hours} AS unit FROM hours ORDER BY unit"
        ).fetchnumpy()
        self.units = np.asarray(found["unit"], dtype=np.int64)
        """int (units,): number of each unit since 1970."""
        self._zone = zone if unit == DAY else None
        self.weekly = unit == DAY and len(self.units) >= 7 * MIN_WEEKS
        self._connection.execute("CREATE TABLE names (device VARCHAR, number INTEGER)")
        self._connection.execute(
            "INSERT INTO names SELECT device, row_number() OVER (ORDER BY device) - 1 FROM "
            "(SELECT DISTINCT device FROM hours)"
        )

    def _cells(self, figures: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        found = self._connection.execute(
            f"SELECT number, hour, rows, {figures} FROM hours JOIN names USING (device)"
        ).fetchnumpy()
        hour = np.asarray(found["hour"], dtype=np.int64)
        unit = np.searchsorted(self.units, hour // self._hours)
        cell = (np.asarray(found["number"]) * len(self.units) + unit) * self._hours
        return cell + hour % self._hours, found

    def _cube(self, cell: np.ndarray, values: np.ndarray, empty: float = np.nan) -> np.ndarray:
        cube = np.full(len(self.devices) * len(self.units) * self._hours, empty)
        cube[cell] = values
        return cube.reshape(len(self.devices), len(self.units), self._hours)

    def rows(self) -> np.ndarray:
        """Rows in an hour's time: float64 (devices, units, hours); NaN for an hour that clocks did
        not show."""
        cell, found = self._cells("0 AS nothing")
        rows = self._cube(cell, found["rows"], 0.0)
        if self._zone is None:
            return rows
        lengths = np.array([_hour_lengths(int(unit), self._zone) for unit in self.units])
        with np.errstate(invalid="ignore"):
            return np.asarray(rows / lengths.reshape(1, -1, self._hours))

    def cube(self, column: str) -> Cube:
        k = self.columns.index(column)
        cell, found = self._cells(f"n{k} AS n, m{k} AS mean, s{k} AS deviation")
        count = np.asarray(found["n"], dtype=np.float64)
        mean, deviation = (
            np.ma.filled(np.ma.asarray(found[name], dtype=np.float64), np.nan)
            for name in ("mean", "deviation")
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.where(deviation > 0, np.log(deviation), np.nan)
        constant = (deviation == 0) & (count >= STUCK_ROWS)
        missing = 1 - count / found["rows"]
        return Cube(*(self._cube(cell, part) for part in (mean, spread, missing, constant)))

    def scale(self, column: str) -> float:
        """Standard deviation of rows from their device's mean; NaN if there are none."""
        k = self.columns.index(column)
        found = self._connection.execute(
            f"SELECT sum(n{k} * (s{k} ** 2 + (m{k} - middle) ** 2)) / sum(n{k}) FROM hours JOIN "
            f"(SELECT device, sum(n{k} * m{k}) / sum(n{k}) AS middle FROM hours GROUP BY device) "
            "USING (device)"
        ).fetchone()
        return math.sqrt(found[0]) if found and found[0] is not None else math.nan


def on_the_clock(rows: pa.RecordBatch, zone: ZoneInfo) -> pa.RecordBatch:
    """Rows with the times that clocks show; in UTC the same rows."""
    if not len(rows) or zone.key == UTC_ZONE.key:
        return rows
    place = rows.schema.get_field_index("time")
    field = rows.schema.field(place)
    time = rows.column(place).cast(MICROSECONDS).cast(pa.int64()).to_numpy()
    shown = pa.array(time + _ahead(time, zone)).cast(MICROSECONDS).cast(field.type)
    return rows.set_column(place, field, shown)


MICROSECONDS = pa.timestamp("us", "UTC")


def _ahead(time: np.ndarray, zone: ZoneInfo) -> np.ndarray:
    """What clocks are ahead of UTC, in microseconds."""
    changes = [change for year in _years(time) for change in clock_changes(year, zone)]
    since = np.array([round(moment.timestamp()) * 1_000_000 for moment, _ in changes])
    ahead = np.array([round(ahead.total_seconds()) * 1_000_000 for _, ahead in changes])
    return np.asarray(ahead[np.maximum(np.searchsorted(since, time, "right") - 1, 0)])


def _years(time: np.ndarray) -> Sequence[int]:
    """The years of some times, from 1900 to 2999."""
    first, last = (
        min(max(datetime.fromtimestamp(int(edge) // 1_000_000, UTC).year, 1900), 2999)
        for edge in (time.min(), time.max())
    )
    if last - first < 2:
        return range(first, last + 1)
    # Only those that there are: a wrong clock may show the year 1, another 9999.
    years = time.astype("datetime64[us]").astype("datetime64[Y]").astype(np.int64) + 1970
    found: list[int] = np.unique(years.clip(first, last)).tolist()
    return found


def _hour_lengths(unit: int, zone: ZoneInfo) -> list[float]:
    """For how long clocks show each hour of a day, in hours."""
    day, quarter = date(1970, 1, 1) + timedelta(days=unit), timedelta(minutes=15)
    start, end = day_start(day, zone), day_end(day, zone)
    if end - start == timedelta(days=1):  # clocks that are set twice in a day are not known
        return [1.0] * 24
    lengths = [0.0] * 24
    for number in range(round((end - start) / quarter)):
        lengths[(start + number * quarter).astimezone(zone).hour] += 0.25
    return lengths


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
