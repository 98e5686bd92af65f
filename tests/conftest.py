"""Fixtures own the servers; a test says one thing.

A fixture imports what it needs when a test first asks for it, so that a test that asks for
nothing starts at once.
"""

import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fixtures import airflow

if TYPE_CHECKING:
    from xdist.scheduler import LoadFileScheduling

    from breezeway.core.settings import Settings
    from breezeway.laptop.platform import Platform
    from tests.fixtures.deployment import DeploySteps
    from tests.fixtures.mariadb import MariaDB
    from tests.fixtures.postgres import Postgres
    from tests.fixtures.prometheus import Prometheus, StatsdBridge
    from tests.fixtures.serving import ModelServer

# Airflow reads its configuration when it is first imported: before any test module is collected.
airflow.make_home()

ON_ONE_PLATFORM = {
    "tests/platform/dags/test_history.py",
    "tests/platform/laptop/test_platform.py",
    "tests/platform/test_training_end_to_end.py",
    "tests/platform/test_typed_commands.py",
    "tests/platform/test_web_ui.py",
}
"""Files that share the fixture `platform`, and so a process."""


def pytest_configure() -> None:
    """Python would search the hundreds of megabytes that the tests import again and again."""
    gc.set_threshold(100_000)


def pytest_collection_finish() -> None:
    gc.freeze()


def pytest_unconfigure() -> None:
    """Else libraries tell of leaks."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the platform takes longest and begins first; the short pure tests fill the end."""
    items.sort(
        key=lambda item: (
            "platform" not in item.fixturenames,
            item.nodeid.startswith("tests/pure"),
        )
    )


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "LoadFileScheduling":
    """Deals files, whole, to the processes, and those on one platform together."""
    from xdist.scheduler import LoadFileScheduling

    class OnePlatform(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "platform" if file in ON_ONE_PLATFORM else file

    return OnePlatform(config, log)


# Airflow and the platform


@pytest.fixture(scope="session")
def airflow_database() -> None:
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Settings":
    """Settings of a home that has nothing yet, for this process and those that it starts."""
    from breezeway.core.settings import Settings

    monkeypatch.setenv("BREEZEWAY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BREEZEWAY_RAW_URL", raising=False)
    return Settings.from_environment()


RUNNING = pytest.StashKey[ExitStack]()


@pytest.fixture(scope="session")
def platform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Platform"]:
    """The whole platform, started once by the real launcher.

    Addresses by `url(part)`, a logged-in REST client by `airflow()`, and its `settings`.
    """
    from breezeway.core.settings import Settings
    from breezeway.laptop.platform import Platform
    from breezeway.laptop.processes import marked

    home = tmp_path_factory.mktemp("plat form") / "home"
    # Not the machine's own stores, whatever the environment of the tests says.
    settings = Settings(
        home=home,
        raw_url=f"sqlite:///{home / 'raw.db'}",
        dataset_repository=str(home / "datasets.git"),
        dataset_remote=str(home / "dvc-remote"),
        sensors=Settings.shipped_sensors / "plant.toml",
    )
    with ExitStack() as running:
        started = running.enter_context(Platform(settings))
        request.session.stash[RUNNING] = running
        yield started
    assert marked(home) == []


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the platform behind the last test that needs it; idle it costs a fifth of a core."""
    if nextitem and "platform" not in nextitem.fixturenames and RUNNING in item.session.stash:
        item.session.stash[RUNNING].close()


# Readings and datasets


@contextmanager
def running_mariadb() -> Iterator["MariaDB"]:
    from tests.fixtures.mariadb import start_mariadb

    with tempfile.TemporaryDirectory(prefix="bzdb", dir="/tmp") as folder:
        server = start_mariadb(Path(folder))
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture(scope="session")
def mariadb() -> Iterator["MariaDB"]:
    """A server for the whole session; each test asks it for a `database(name)` of its own."""
    with running_mariadb() as server:
        yield server


@pytest.fixture
def mariadb_to_kill() -> Iterator["MariaDB"]:
    """A server of the test's own, which may kill it."""
    with running_mariadb() as server:
        yield server


@contextmanager
def running_postgres() -> Iterator["Postgres"]:
    from tests.fixtures.postgres import Postgres

    with tempfile.TemporaryDirectory(prefix="bzpg", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        server = Postgres(Path(folder) / "postgres")
        try:
            server.wait()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator["Postgres"]:
    """A server for the whole session; each test asks it for a `database(name)` of its own."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_to_kill() -> Iterator["Postgres"]:
    """A server of the test's own, which may kill it."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def plant_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder as preprocessing leaves it, split by time."""
    from tests.fixtures.plant import make_plant

    return make_plant(tmp_path_factory.mktemp("plant") / "dataset")


@pytest.fixture(scope="session")
def plant_home(tmp_path_factory: pytest.TempPathFactory, plant_dataset: Path) -> Path:
    """A home, with a blank in its path, in which that dataset is published as `v1`."""
    from breezeway.core.settings import Settings
    from breezeway.datasets import versions

    home = tmp_path_factory.mktemp("a home")
    versions.publish(Settings(home=home), plant_dataset, "v1", "for tests")
    return home


# MLflow and the model server


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server on SQLite, artifacts served; gone with the session."""
    from tests.fixtures.mlflow import serving

    folder = tmp_path_factory.mktemp("mlflow")
    with serving(folder, str(folder / "artifacts")) as url:
        yield url


@pytest.fixture(scope="session")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["ModelServer"]:
    """A model server for all tests of a session; each test uses a model name of its own."""
    from tests.fixtures.serving import ModelServer

    server = ModelServer(tmp_path_factory.mktemp("model server") / "home")
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture
def new_model_server(tmp_path: Path) -> Iterator[Callable[..., "ModelServer"]]:
    """Makes model servers that are not started yet; all are gone when the test ends."""
    from tests.fixtures.serving import ModelServer

    servers: list[ModelServer] = []

    def make(*target: str, **environment: str) -> ModelServer:
        servers.append(ModelServer(tmp_path / "home", *target, environment=environment))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


@pytest.fixture
def deploy(model_server: "ModelServer", mlflow_server: str, tmp_path: Path) -> "DeploySteps":
    from tests.fixtures.deployment import DeploySteps

    return DeploySteps([model_server], mlflow_server, tmp_path)


@pytest.fixture(scope="module")
def registered(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Model `turbine`: versions 1 and 2 are good, version 3 scores otherwise than it says."""
    from tests.fixtures.deployment import registered_turbine

    with registered_turbine(mlflow_server, tmp_path_factory.mktemp("registered")) as folder:
        yield folder


# The cluster's parts


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Helm chart without its dependencies, whose archives may be out of reach."""
    from tests.fixtures.chart import copy_chart

    return copy_chart(tmp_path_factory.mktemp("chart") / "breezeway")


@pytest.fixture(scope="module")
def statsd() -> Iterator["StatsdBridge"]:
    from tests.fixtures.prometheus import StatsdBridge

    bridge = StatsdBridge()
    try:
        yield bridge
    finally:
        bridge.close()


@pytest.fixture(scope="module")
def node_exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a node exporter."""
    from tests.fixtures.processes import new_port
    from tests.fixtures.prometheus import running

    address = f"127.0.0.1:{new_port()}"
    command = ["prometheus-node-exporter", f"--web.listen-address={address}"]
    with running(command, f"http://{address}/metrics", tmp_path_factory.mktemp("node")):
        yield address


@pytest.fixture(scope="module")
def prometheus_of(
    tmp_path_factory: pytest.TempPathFactory,
) -> "Callable[[dict[str, str]], Prometheus]":
    from tests.fixtures.prometheus import Prometheus

    return lambda targets: Prometheus(tmp_path_factory.mktemp("prometheus"), targets)
