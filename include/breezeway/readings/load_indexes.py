"""The indexes of readings, made at once after a load has filled an empty table.

To keep three indexes in order row by row costs more than half of a load into SQLite, and to sort
them at the end a fifth of that. All is in the load's transaction: if it ends before, nothing of
it was.
"""

from collections.abc import Mapping

import sqlalchemy as sa

from breezeway.readings import sql_tables


class LateIndexes:
    """Indexes that wait, as long as readings come in order.

    Without them, the store cannot be asked for a reading. So a load that brings a reading of a
    device that is not later than those before it has to `make` them first.

    Args:
        connection: in a transaction that others do not see.
        may_wait: whether the store can take an index away, and back, in a transaction.
    """

    def __init__(self, connection: sa.Connection, may_wait: bool):
        readings = sql_tables.readings
        self._connection = connection
        self._last: dict[str, str] = {}
        self._indexes: list[sa.Index] = []
        if may_wait and not connection.execute(sa.select(readings.c.id).limit(1)).first():
            self._indexes = sorted(readings.indexes, key=lambda index: str(index.name))
            for index in self._indexes:
                index.drop(connection, checkfirst=True)

    @property
    def wait(self) -> bool:
        return bool(self._indexes)

    def are_later(self, spans: Mapping[str, tuple[str, str]]) -> bool:
        """Whether readings between two times of each device are later than all that it has, which
        are those that came here before."""
        if any(first <= self._last.get(device, "") for device, (first, _) in spans.items()):
            return False
        self._last.update((device, last) for device, (_, last) in spans.items())
        return True

    def make(self) -> None:
        while self._indexes:
            self._indexes.pop(0).create(self._connection)
