"""The platform's two databases, in a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from breezeway.core.errors import UsageError
from breezeway.laptop.databases import Databases
from tests.fixtures.postgres import PASSWORD, Postgres
from tests.fixtures.processes import eventually


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("postgres") / "postgres")
    try:
        eventually(server.answers)
        yield server
    finally:
        server.stop()


def test_they_are_made_once_and_keep_the_release_that_made_their_tables(
    server: Postgres, tmp_path: Path
) -> None:
    databases = Databases(tmp_path, server.port.number, PASSWORD)
    assert databases.answer()
    assert databases.make() == {"airflow": None, "mlflow": None}
    databases.stamp("airflow", "3.3.2; it's mine")
    assert databases.make() == {"airflow": "3.3.2; it's mine", "mlflow": None}


def test_another_password_is_said_with_what_to_do(server: Postgres, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"keys\.json.* remove both, or the whole home"):
        Databases(tmp_path, server.port.number, "guessed").answer()


def test_a_server_that_is_not_there_yet_does_not_answer(tmp_path: Path) -> None:
    assert not Databases(tmp_path, 9, PASSWORD).answer()
