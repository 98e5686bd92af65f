"""Predictions in a table of the raw store, for those who look them up by SQL."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from breezeway.core.errors import DataError
from breezeway.readings import sql_tables
from breezeway.readings.database import Database

KEYS = ("device", "time", "model", "version")
VALUES = ("score", "alarm")


class PredictionStore(Database):
    """The table `predictions` of a raw store."""

    tables = written = (sql_tables.predictions,)

    def write(self, batches: Iterable[pa.RecordBatch], model_name: str, version: str) -> int:
        """Write predictions, each in place of an earlier one of its device, time and version.

        Each batch is one transaction. So it may be repeated, and killed at any point: what is
        written is right, and the next attempt writes the rest. The table is created if it is
        missing.

        Args:
            batches: device, time, score and alarm, without nulls.
            model_name, version: of the registered model.

        Returns:
            Number of predictions.

        Raises:
            UsageError: somebody else made a table of that name, or the user of the database may
                not create tables.
            DataError: a device's name ends with a blank.
            ServiceUnavailable: the store does not answer.
            TryAgain: another process was creating tables for too long.
        """
        self.create()
        end = self._engine.in_place_of(KEYS, VALUES)
        count = 0
        for batch in batches:
            _check_devices(batch["device"])
            rows = pa.table(
                {
                    "device": batch["device"],
                    "time": batch["time"],
                    "model": pa.repeat(model_name, len(batch)),
                    "version": pa.repeat(version, len(batch)),
                    "score": batch["score"],
                    "alarm": batch["alarm"].cast(pa.int8()),
                }
            )
            with self._transaction() as connection:
                count += self._insert(connection, "predictions", rows, end)
        return count


def _check_devices(devices: pa.Array) -> None:
    blank = pc.filter(devices, pc.ends_with(devices, " "))
    if len(blank):
        raise DataError(
            f"The device {blank[0].as_py()!r} ends with a blank, which keys of MySQL leave out: "
            "its predictions cannot be told from those of another device. Score without --table."
        )
