"""The platform's two databases; each records the release that its tables are for."""

from pathlib import Path

import psycopg2
from psycopg2.extensions import connection

from breezeway.core.errors import UsageError
from breezeway.laptop import postgres
from breezeway.laptop.programs import LOOPBACK

NAMES = ("airflow", "mlflow")


class Databases:
    """The databases of Airflow and MLflow, in the PostgreSQL of one home.

    Args:
        home: of the platform, for messages.
        port: where PostgreSQL listens.
        password: its own.
    """

    def __init__(self, home: Path, port: int, password: str):
        self._home, self._port, self._password = home, port, password

    def answer(self) -> bool:
        """Whether the server accepts connections.

        Raises:
            UsageError: it expects another password.
        """
        try:
            self._connect().close()
        except psycopg2.OperationalError as error:
            if "password authentication" in str(error):
                raise UsageError(
                    f"{self._home / 'postgres'} was made with another password than that in "
                    f"{self._home / 'run' / 'keys.json'}. Without that file the database "
                    "cannot be read: remove both, or the whole home."
                ) from None
            return False
        return True

    def make(self) -> dict[str, str | None]:
        """Create missing databases; return name → stamp, None if there is no stamp."""
        server = self._connect()
        try:
            with server.cursor() as cursor:
                cursor.execute(
                    "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database"
                )
                stamps: dict[str, str | None] = dict(cursor.fetchall())
                for name in NAMES:
                    if name not in stamps:
                        cursor.execute(f"CREATE DATABASE {name}")
        finally:
            server.close()
        return {name: stamps.get(name) for name in NAMES}

    def stamp(self, name: str, release: str) -> None:
        """Record in a database the release that its tables are for."""
        server = self._connect()
        try:
            with server.cursor() as cursor:
                cursor.execute(f"COMMENT ON DATABASE {name} IS %s", (release,))
        finally:
            server.close()

    def _connect(self) -> connection:
        server = psycopg2.connect(
            host=LOOPBACK,
            port=self._port,
            user=postgres.USER,
            password=self._password,
            dbname="postgres",
            connect_timeout=10,
        )
        server.autocommit = True
        return server
