"""The whole platform on one machine: PostgreSQL, Airflow, MLflow and the model server.

All files are in one home folder. All servers stop with this process; unless `host` names another
address, they listen on loopback.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Self

import httpx
from filelock import FileLock, Timeout
from pydantic import SecretStr

from breezeway.core.errors import ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.laptop import interrupted
from breezeway.laptop.databases import Databases
from breezeway.laptop.processes import Port, sweep
from breezeway.laptop.programs import (
    LOOPBACK,
    USER,
    Addresses,
    Keys,
    environment,
    own_variables,
    programs,
)
from breezeway.laptop.supervisor import Supervisor, private_write

POOLS = "pools.json"
"""File in the folder of the DAGs: the pools that they use, for `airflow pools import`."""
FIRST_PORTS = {"airflow": 8080, "mlflow": 5000, "serving": 3000, "postgres": 15432}
DISTRIBUTIONS = {"airflow": "apache-airflow", "mlflow": "mlflow"}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Each of these signals ends us as Ctrl-C does, so that the platform is stopped."""
PATIENCE_SECONDS = 300
"""How long a part may take to start. On two quiet cores it takes a tenth of that."""

MIGRATION_SECONDS = 1800
"""Far more than a migration takes; without an end nobody would see that it waits for a lock."""
MIGRATIONS = {
    "airflow": ["-m", "airflow", "db", "migrate"],
    # The command wants the address as an argument, so `ps` would show the password.
    "mlflow": [
        "-c",
        "import os; from mlflow.cli import cli; "
        "cli(['db', 'upgrade', os.environ['MLFLOW_BACKEND_STORE_URI']])",
    ],
}


class Platform:
    """A context manager: entering starts the platform, leaving stops it.

    If a platform was killed before it could stop, the next start in the same home removes what
    it left behind. The platform is not a service: it does not outlive the user's session.

    Args:
        settings: `home`, `dags`, and the settings of the steps.
        host: the address that Airflow, MLflow and the model server listen at. Only Airflow asks
            for a password.
        ports: part (`airflow`, `mlflow`, `serving`) → its port. A part that is not named, or
            has None, gets a free port.
        variables: more environment variables of all parts.
        say: called with a sentence on each event.

    Raises:
        UsageError: there are no DAGs, it runs already in this home, or a fixed port is taken.
        ServiceUnavailable: a part does not start; the end of its log is in the message.
    """

    mode = 0o700
    """Of the home: readings, models and logs are its owner's."""
    _addresses: Addresses
    _databases: Databases
    _environment: dict[str, str]
    _own: dict[str, dict[str, str]]
    _supervisor: Supervisor

    def __init__(
        self,
        settings: Settings,
        host: str = LOOPBACK,
        ports: Mapping[str, int | None] | None = None,
        variables: Mapping[str, str] | None = None,
        say: Callable[[str], object] = print,
    ):
        self.settings = settings
        self.home = settings.root
        self._pools = settings.dags.expanduser().resolve() / POOLS
        if not self._pools.is_file():
            raise UsageError(
                f"BREEZEWAY_DAGS: {self._pools.parent} holds no DAGs of Breezeway (no {POOLS}). "
                "Start in a checkout of Breezeway, or set BREEZEWAY_DAGS to the folder `dags` of "
                "one."
            )
        self._host = host
        self._fixed_ports = ports or {}
        self._variables = variables or {}
        self.say = say
        self._http = httpx.Client(timeout=10, trust_env=False)
        self._lock = FileLock(self.home / "run" / "launcher.lock")
        self._running = ExitStack()
        self.password = ""
        self._scheduler_died_at: datetime | None = None

    def url(self, part: str) -> str:
        return self._addresses.url(part)

    def __enter__(self) -> Self:
        for folder in ("run", "logs", "airflow"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        self.home.chmod(self.mode)
        (self.home / "run").chmod(0o700)
        self._acquire()
        self._handlers = {number: signal.signal(number, _interrupt) for number in SIGNALS}
        if self._handlers[signal.SIGHUP] == signal.SIG_IGN:  # by nohup
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _acquire(self) -> None:
        """Make sure that no other platform runs in this home; wait for one that is stopping."""
        for seconds in (3, 60):
            try:
                self._lock.acquire(timeout=seconds)
                return
            except Timeout:
                running = running_platform(self.home)
                if running:
                    raise UsageError(
                        f"The platform runs already in {self.home}: "
                        f"Airflow {running['airflow_url']}, MLflow {running['mlflow_url']}, "
                        f"model server {running['serving_url']}. Stop it with Ctrl-C where it was "
                        f"started (process {running['process']})."
                    ) from None
                self.say(f"Another start in {self.home} has not ended yet; waiting for it.")
        raise UsageError(f"Another platform is starting in {self.home}.")

    def _start(self) -> None:
        if swept := sweep(self.home):
            self.say(f"Swept away {swept} processes that an earlier start left behind.")
        keys = self._prepare()
        # As much as possible at the same time: most of a start is Python imports.
        self._supervisor.start_program("serving")
        self._supervisor.start_program("postgres")
        self._databases = Databases(self.home, self._addresses.ports["postgres"], keys.database)
        self._until("postgres", self._databases.answer)
        stamps = self._databases.make()
        self._start_mlflow(stamps["mlflow"])
        self._start_airflow(stamps["airflow"])
        # Request what the first step needs: this makes the server load it now.
        ready = "/api/2.0/mlflow/experiments/search?max_results=1"
        self._until("mlflow", lambda: self._get("mlflow", ready))
        self._databases.stamp("mlflow", _release("mlflow"))
        self._until("serving", lambda: self._get("serving", "/livez"))
        # Nothing in a demo needs these, so do not wait for them.
        for program in ("step-server", "triggerer", "airflow-upkeep", "mlflow-upkeep"):
            if program in self._supervisor.programs:
                self._supervisor.start_program(program)
        raw = self.settings.raw_url
        private_write(
            self.home / "run" / "platform.json",
            json.dumps(
                {f"{part}_url": self.url(part) for part in ("airflow", "mlflow", "serving")}
                | {"host": self._addresses.host, "ports": self._addresses.ports}
                | {"process": os.getpid(), "sensors": self._environment["BREEZEWAY_SENSORS"]}
                | {"dags": str(self._pools.parent)}
                # The address of a server has a password. Without one, the contract leads to it.
                | ({"raw_url": self.settings.raw_address} if _is_file(raw) else {})
            ),
        )

    def _prepare(self) -> Keys:
        """Prepare ports and keys, and start the supervisor without any program."""
        self._running.callback(sweep, self.home)
        ports = {}
        for part, first in FIRST_PORTS.items():
            host = LOOPBACK if part == "postgres" else self._host
            port = Port(part, host, first, self._fixed_ports.get(part))
            self._running.callback(port.release)
            ports[part] = port.number
        self._addresses = Addresses(self._host, ports)
        keys = Keys.of(self.home / "run" / "keys.json")
        self.password = keys.password
        passwords = self.home / "run" / "airflow-passwords.json"
        private_write(passwords, json.dumps({USER: keys.password}))
        self._own = own_variables(self.settings, self._addresses, keys)
        self._environment = {
            **environment(self.settings, self._addresses, passwords),
            **self._variables,
        }
        self._supervisor = Supervisor(
            self.home, programs(self._addresses, self._own), self._environment
        )
        self._running.callback(self._supervisor.stop)
        self._supervisor.start()
        return keys

    def stop(self) -> None:
        """Stop all programs, servers first, the database last; then end whatever is left."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # another Ctrl-C must not interrupt this
        (self.home / "run" / "platform.json").unlink(missing_ok=True)
        self._running.close()
        self._lock.release()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def watch(self) -> list[str]:
        """One sentence for each program that died since the last call; it was started again.

        Raises:
            ServiceUnavailable: the supervisor is gone.
        """
        events = self._supervisor.events()
        said = [event.sentence for event in events]
        died = any(event.program == "scheduler" for event in events)
        if died:
            self._scheduler_died_at = datetime.now(UTC)
        if self._scheduler_died_at is None:
            return said
        try:
            with self.airflow() as client:
                taken_up = interrupted.take_up(client, before=self._scheduler_died_at)
        except (ServiceUnavailable, httpx.HTTPError) as error:
            # The next call tries again.
            return said + [f"Its tasks are not taken up yet: {error}"] * died
        self._scheduler_died_at = None
        return said + taken_up

    def airflow(self) -> httpx.Client:
        """A client of Airflow's REST API, logged in.

        Raises:
            ServiceUnavailable: it does not answer, or gives no token.
        """
        account = {"username": USER, "password": self.password}
        base = self.url("airflow")
        try:
            answer = self._http.post(base + "/auth/token", json=account, timeout=60)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise ServiceUnavailable(f"Airflow gives no token: {error}.") from None
        token = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        return httpx.Client(base_url=base, headers=token, timeout=60, trust_env=False)

    # How each part starts.

    def _start_mlflow(self, stamp: str | None) -> None:
        """Migrate the tables of an older release; the server creates new ones itself."""
        if stamp not in (None, _release("mlflow")):
            self._migrate("mlflow")
        self._supervisor.start_program("mlflow")

    def _start_airflow(self, stamp: str | None) -> None:
        if stamp != _release("airflow"):
            self._migrate("airflow")
            self._databases.stamp("airflow", _release("airflow"))
        for part in ("api-server", "dag-processor"):
            self._supervisor.start_program(part)
        # The API for tasks is set up at the first request, which takes some seconds.
        self._until("api-server", lambda: self._get("airflow", "/execution/health"))
        with self.airflow() as client:
            for name, pool in json.loads(self._pools.read_text()).items():
                # One heavy step for each core; the file's number is for a cluster.
                slots = {"slots": os.cpu_count() or 1} if name == "compute" else {}
                _make_pool(client, {"name": name} | pool | slots)
            for sentence in interrupted.take_up(client):
                self.say(sentence)
            # Its tasks ask the API server, and what was interrupted must not run twice.
            self._supervisor.start_program("scheduler")

            def healthy(part: str) -> bool:
                try:
                    health = client.get("/api/v2/monitor/health").json()
                except (httpx.TransportError, ValueError):
                    return False
                return bool(health[part]["status"] == "healthy")

            self._until("scheduler", lambda: healthy("scheduler"))
            self._until("dag-processor", lambda: healthy("dag_processor"))

    def _migrate(self, part: str) -> None:
        log = f"{part}-migration.log"
        with (self.home / "logs" / log).open("wb") as output:
            try:
                code: int | None = subprocess.run(
                    [sys.executable, *MIGRATIONS[part]],
                    env=self._environment | self._own[part],
                    cwd=self.home,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    timeout=MIGRATION_SECONDS,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                code = None
        if code != 0:
            raise ServiceUnavailable(
                f"The tables of {part} could not be created.{self._supervisor.tail(log)}"
            )

    def _get(self, part: str, path: str) -> bool:
        try:
            return self._http.get(self.url(part) + path).is_success
        except httpx.TransportError:
            return False

    def _until(self, program: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ready():
            for sentence in self.watch():
                self.say(sentence)
            if self._supervisor.hopeless(program) or time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"{program} does not start.{self._supervisor.tail(f'{program}.log')}"
                )
            time.sleep(0.5)


def running_platform(home: Path) -> dict[str, Any]:
    """Addresses of the platform that runs in this home; empty if none does."""
    file = home / "run" / "platform.json"
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def _is_file(address: SecretStr | None) -> bool:
    return address is not None and address.get_secret_value().startswith("sqlite")


def _release(part: str) -> str:
    return version(DISTRIBUTIONS[part])


def _make_pool(client: httpx.Client, pool: dict[str, Any]) -> None:
    answer = client.post("/api/v2/pools", json=pool)
    if answer.status_code != httpx.codes.CONFLICT:  # it is there already
        answer.raise_for_status()


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(signal.Signals(number).name)
