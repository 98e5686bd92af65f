"""The rows of a query from PostgreSQL, as Arrow batches, from ADBC's driver in a thread.

ADBC waits for a server as long as that is silent, and where a result is left it first reads the
rest. So a thread of its own waits: whoever wants the rows can stop to wait, and end the query. The
thread reads no more than one batch ahead.

This is the only module that uses a private part of ADBC: `Cursor._results.reader`. What the public
`fetch_record_batch` returns is the same reader without what it knows of errors: one in the midst of
the rows then has no SQLSTATE, only a text in the language of the server. A test in
tests/servers/readings/test_postgres.py fails when an upgrade changes this; pyproject.toml
bounds the version.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Queue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import adbc_driver_manager
import pyarrow as pa

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

BATCH_BYTES = 2 << 20
"""A batch ends when it reaches this; a row is whole."""
LEAVE_SECONDS = 10
"""How long the thread may take to end, after the server was told that the query is not wanted."""


CANCEL_SECONDS = 0.2
"""How often the server is told so."""


class Silent(Exception):
    """The server has not answered for too long."""


@contextmanager
def reading(
    address: str,
    prepare: "Callable[[Cursor], None]",
    query: str,
    silence: Callable[[], float],
) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Run a query; give its columns and its rows, and end it where the caller leaves.

    Args:
        address: what libpq connects to, as a connection string.
        prepare: what is done first, in the transaction of the query.
        query: one SELECT.
        silence: how many seconds the server may be silent from now on.

    Raises:
        Silent: it was for longer.
        adbc_driver_manager.Error: the server answers with an error, or fails.
    """
    rows = _Rows(address, prepare, query)
    rows.start()
    try:
        yield rows.answer(silence()), iter(lambda: rows.answer(silence()), None)
    finally:
        rows.leave()


class _Left(Exception):
    """Nobody wants the rest."""


class _Rows(Thread):
    """Puts into its queue: the columns, each batch, and None behind the last; or an error."""

    def __init__(self, address: str, prepare: "Callable[[Cursor], None]", query: str):
        super().__init__(name="rows of the raw store", daemon=True)
        self._address = address
        self._prepare = prepare
        self._query = query
        self._answers: Queue[Any] = Queue(maxsize=1)
        self._is_left = False
        self._cursor: Cursor | None = None
        self._guard = Lock()
        """Held while the cursor is cancelled, and while it is taken away to be closed."""

    def run(self) -> None:
        with suppress(_Left):
            try:
                self._read()
                self._put(None)
            except Exception as error:
                self._put(error)

    def _read(self) -> None:
        # It imports pandas, which a step that reads no PostgreSQL does without.
        from adbc_driver_postgresql.dbapi import connect

        with connect(self._address) as connection, connection.cursor() as cursor:
            self._cursor = cursor
            try:
                self._prepare(cursor)
                options = {"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)}
                cursor.adbc_statement.set_options(**options)
                # ADBC runs COPY (…): a comment at the end must not swallow what follows.
                cursor.execute(f"{self._query}\n")
                reader = cursor._results.reader  # type: ignore[union-attr]
                self._put(reader.schema)
                for batch in reader:
                    self._put(batch)
            except _Left:  # perhaps before there was anything to cancel
                cursor.adbc_cancel()
                raise
            finally:
                with self._guard:
                    self._cursor = None

    def _put(self, answer: Any) -> None:
        if self._is_left:
            raise _Left
        self._answers.put(answer)

    def answer(self, seconds: float) -> Any:
        """The next one.

        Raises:
            Silent: it did not come in that time.
        """
        try:
            found = self._answers.get(timeout=seconds)
        except Empty:
            raise Silent from None
        if isinstance(found, Exception):
            raise found
        return found

    def leave(self) -> None:
        """End the query, and the thread, unless the server does not let it end."""
        self._is_left = True
        deadline = time.monotonic() + LEAVE_SECONDS
        while self.is_alive() and time.monotonic() < deadline:
            # More than once: the query may be about to begin.
            with self._guard:
                if self._cursor is not None:
                    with suppress(adbc_driver_manager.Error):
                        self._cursor.adbc_cancel()
            with suppress(Empty):  # the thread may wait for a place in the queue
                self._answers.get_nowait()
            self.join(CANCEL_SECONDS)
