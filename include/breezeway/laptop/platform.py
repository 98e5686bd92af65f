"""The whole platform on one machine: PostgreSQL, Airflow, MLflow and the model server.

Everything lies below one home folder, listens on loopback, and goes when the launcher goes.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn, Self

import httpx
import psycopg2
from filelock import FileLock, Timeout

from breezeway.core.errors import ServiceUnavailable, UsageError
from breezeway.core.settings import Settings, quiet_environment
from breezeway.laptop import postgres
from breezeway.laptop.processes import Port, mark, sweep
from breezeway.laptop.supervisor import Program, Supervisor, private_write

LOOPBACK = "127.0.0.1"
USER = "admin"
MODEL_SERVER = "breezeway.serving.service:ModelServer"
POOLS = "pools.json"
"""Beside the DAGs: the pools that they name, as `airflow pools import` takes them."""
FIRST_PORTS = {"airflow": 8080, "mlflow": 5000, "serving": 3000, "postgres": 15432}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Each wish to end us ends us as Ctrl-C does, so that the platform is stopped."""
PATIENCE_SECONDS = 300
"""How long a part may take to come up. It takes a tenth of that on two quiet cores."""

MLFLOW_UPGRADE = """
import os
from mlflow.store.db import utils
utils._upgrade_db(utils.create_sqlalchemy_engine_with_retry(os.environ["MLFLOW_BACKEND_STORE_URI"]))
"""
"""As `mlflow db upgrade`, which wants the password on its command line."""


class Platform:
    """A context manager: entering starts the platform, leaving stops it.

    What was killed before it could stop is swept away by the next start in the same home.
    The platform does not outlive the machine's user session by itself: it is no service.

    Args:
        settings: `home`, `dags`, and what the steps are to know.
        host: the address that Airflow, MLflow and the model server listen at. Only Airflow asks
            for a password.
        ports: part (`airflow`, `mlflow`, `serving`) → the one port that it may have. Others
            get a free one.
        say: is told what happens.

    Raises:
        UsageError: there are no DAGs, it runs already in this home, or a fixed port is taken.
        ServiceUnavailable: a part does not come up; the end of its log is in the message.
    """

    def __init__(
        self,
        settings: Settings,
        host: str = LOOPBACK,
        ports: dict[str, int | None] | None = None,
        say: Callable[[str], None] = print,
    ):
        self.settings = settings
        self.home = settings.root
        self._dags = settings.dags.expanduser().resolve()
        if not (self._dags / POOLS).is_file():
            raise UsageError(
                f"BREEZEWAY_DAGS: {self._dags} holds no DAGs of Breezeway (no {POOLS}). Start in "
                "a checkout of Breezeway, or set BREEZEWAY_DAGS to the folder `dags` of one."
            )
        self.host = host
        self.say = say
        self.address = LOOPBACK if host in ("0.0.0.0", "localhost") else host
        self._fixed_ports = ports or {}
        self._ports: dict[str, Port] = {}
        self._supervisor: Supervisor | None = None
        self._http = httpx.Client(timeout=10, trust_env=False)
        self._lock = FileLock(self.home / "run" / "launcher.lock")
        self.password_file = self.home / "run" / "airflow-passwords.json"
        self.password = ""

    def url(self, part: str) -> str:
        return f"http://{self.address}:{self._ports[part].number}"

    def __enter__(self) -> Self:
        for folder in ("run", "logs", "airflow"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
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
        """Be the only one in this home; one that is just stopping is waited for."""
        for seconds in (3, 60):
            try:
                self._lock.acquire(timeout=seconds)
                return
            except Timeout:
                running = running_platform(self.home)
                if running:
                    raise UsageError(
                        f"The platform runs already in {self.home}: Airflow {running['airflow']}, "
                        f"MLflow {running['mlflow']}, model server {running['serving']}. Stop it "
                        f"with Ctrl-C where it was started (process {running['process']})."
                    ) from None
                self.say(f"Another start in {self.home} has not ended yet; waiting for it.")
        raise UsageError(f"Another platform is starting in {self.home}.")

    def _start(self) -> None:
        if swept := sweep(self.home):
            self.say(f"Swept away {swept} processes that an earlier start left behind.")
        for part, first in FIRST_PORTS.items():
            host = LOOPBACK if part == "postgres" else self.host
            self._ports[part] = Port(part, host, first, self._fixed_ports.get(part))
        keys = _keys(self.home / "run" / "keys.json")
        self.password = keys["password"]
        private_write(self.password_file, json.dumps({USER: self.password}))
        self._supervisor = Supervisor(self.home, self._programs(keys), self._environment())
        self._supervisor.start()
        # All at once where nothing forbids it: most of a start is Python importing things.
        self._supervisor.start_program("serving")
        self._start_database(keys["database"])
        self._start_mlflow()
        self._start_airflow()
        # Each is asked for what a first step needs: that makes the server ready for it, now.
        ready = "/api/2.0/mlflow/experiments/search?max_results=1"
        self._until("mlflow", lambda: self._get("mlflow", ready))
        self._stamp("mlflow")
        self._until("serving", lambda: self._get("serving", "/livez"))
        # Nothing of ours waits for a trigger, so nothing waits for the triggerer.
        self._supervisor.start_program("triggerer")
        self._database.close()
        private_write(
            self.home / "run" / "platform.json",
            json.dumps(
                {part: self.url(part) for part in ("airflow", "mlflow", "serving")}
                | {"process": os.getpid()}
            ),
        )

    def stop(self) -> None:
        """Stop all that runs, servers first, the database last; then look that nothing is left."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # once more Ctrl-C must not leave things behind
        (self.home / "run" / "platform.json").unlink(missing_ok=True)
        if self._supervisor:
            self._supervisor.stop()
        sweep(self.home)
        for port in self._ports.values():
            port.release()
        self._lock.release()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def watch(self) -> list[str]:
        """Sentences on what died since the last call; what died was started again.

        Raises:
            ServiceUnavailable: the supervisor is gone.
        """
        return self._supervisor.events()

    def airflow(self) -> httpx.Client:
        """A client of Airflow's REST API, logged in.

        Raises:
            ServiceUnavailable: it does not answer, or not as ours would.
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

    # What runs, and with what around it.

    def _programs(self, keys: dict[str, str]) -> list[Program]:
        port = {part: str(port.number) for part, port in self._ports.items()}
        bound = ["--host", self.host, "--port"]
        address = f"{postgres.USER}:{keys['database']}@{LOOPBACK}:{port['postgres']}"
        airflow = {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{address}/airflow",
            "AIRFLOW__CORE__FERNET_KEY": keys["fernet"],
            "AIRFLOW__API__SECRET_KEY": keys["session"],
            "AIRFLOW__API_AUTH__JWT_SECRET": keys["tokens"],
        }
        self._migrations = {
            "airflow": airflow,
            "mlflow": {"MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://{address}/mlflow"},
        }
        # Reached by another name than loopback's, MLflow cannot know which names are right.
        mlflow_names = "*" if self.host != LOOPBACK else f"{LOOPBACK}:*,localhost:*"
        python = ["python", "-m"]
        return [
            Program(
                "postgres",
                [*python, "breezeway.laptop.postgres", "postgres", port["postgres"]],
                {postgres.PASSWORD_VARIABLE: keys["database"]},
                stop_signal="INT",  # with SIGTERM it would wait for its clients
                serves_others=True,
            ),
            Program(
                "mlflow",
                [
                    *(*python, "mlflow", "server", *bound, port["mlflow"], "--workers", "1"),
                    *("--artifacts-destination", "mlflow-artifacts"),
                    *("--allowed-hosts", mlflow_names),
                ],
                self._migrations["mlflow"] | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            ),
            Program(
                "serving",
                [*python, "bentoml", "serve", MODEL_SERVER, *bound, port["serving"]],
            ),
            Program("api-server", [*python, "airflow", "api-server"], airflow),
            Program("scheduler", [*python, "airflow", "scheduler", "--skip-serve-logs"], airflow),
            # It keeps nothing that could be lost, and it hears no other signal.
            Program("dag-processor", [*python, "airflow", "dag-processor"], airflow, "KILL"),
            Program("triggerer", [*python, "airflow", "triggerer", "--skip-serve-logs"], airflow),
        ]

    def _environment(self) -> dict[str, str]:
        """Of all parts. Secrets are not here: each part gets only its own."""
        path = [str(Path(sys.executable).parent), *filter(None, [os.environ.get("PATH")])]
        local = ",".join(
            filter(None, [os.environ.get("NO_PROXY"), self.address, LOOPBACK, "localhost"])
        )
        # Neither the settings of another Airflow, nor a wish that makes each start slower.
        foreign = ("AIRFLOW__", "PYTHONDONTWRITEBYTECODE")
        return {
            **{name: text for name, text in os.environ.items() if not name.startswith(foreign)},
            "PATH": os.pathsep.join(path),
            **quiet_environment(),
            **mark(self.home),
            "NO_PROXY": local,
            "no_proxy": local,
            "PYTHONUNBUFFERED": "1",
            # macOS stops a process that forked after it touched a system library.
            "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
            "BREEZEWAY_HOME": str(self.home),
            "BREEZEWAY_SENSORS": str(self.settings.sensors.resolve()),
            "BREEZEWAY_RAW_URL": self.settings.raw_address,
            "BREEZEWAY_MLFLOW_URL": self.url("mlflow"),
            "BREEZEWAY_SERVING_URL": self.url("serving"),
            "AIRFLOW_HOME": str(self.home / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "8",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url('airflow')}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.password_file),
            "AIRFLOW__API__HOST": self.host,
            "AIRFLOW__API__PORT": str(self._ports["airflow"].number),
            "AIRFLOW__API__BASE_URL": self.url("airflow"),
            "AIRFLOW__API__WORKERS": "1",
            # A run of `training` waits for its loop ten times; each turn takes 30 ms of a core.
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            # A file that has changed is parsed at once all the same.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.home / "logs" / "airflow"),
        }

    # How each part comes up.

    def _start_database(self, password: str) -> None:
        self._supervisor.start_program("postgres")

        def connects() -> bool:
            try:
                self._connect("postgres", password).close()
            except psycopg2.OperationalError as error:
                if "password authentication" in str(error):
                    raise UsageError(
                        f"{self.home / 'postgres'} was made with another password than that in "
                        f"{self.home / 'run' / 'keys.json'}. Without that file the database "
                        "cannot be read: remove both, or the whole home."
                    ) from None
                return False
            return True

        self._until("postgres", connects)
        connection = self._connect("postgres", password)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database")
            self._stamps = dict(cursor.fetchall())
            for name in {"airflow", "mlflow"} - self._stamps.keys():
                cursor.execute(f"CREATE DATABASE {name}")
        self._database = connection

    def _connect(self, database: str, password: str) -> Any:
        return psycopg2.connect(
            host=LOOPBACK,
            port=self._ports["postgres"].number,
            user=postgres.USER,
            password=password,
            dbname=database,
            connect_timeout=10,
        )

    def _start_mlflow(self) -> None:
        """Bring the tables of an older release up to date; new ones the server makes itself."""
        if self._stamps.get("mlflow") not in (None, _release("mlflow")):
            self._migrate("mlflow", ["-c", MLFLOW_UPGRADE])
        self._supervisor.start_program("mlflow")

    def _start_airflow(self) -> None:
        if self._stamps.get("airflow") != _release("airflow"):
            self._migrate("airflow", ["-m", "airflow", "db", "migrate"])
            self._stamp("airflow")
        for part in ("api-server", "scheduler", "dag-processor"):
            self._supervisor.start_program(part)
        # What tasks talk to is put together at the first request, for some seconds.
        self._until("api-server", lambda: self._get("airflow", "/execution/health"))
        with self.airflow() as client:
            for name, pool in json.loads((self._dags / POOLS).read_text()).items():
                _make_pool(client, {"name": name} | pool)

            def healthy(part: str) -> bool:
                health = client.get("/api/v2/monitor/health").json()
                return health[part.replace("-", "_")]["status"] == "healthy"

            for part in ("scheduler", "dag-processor"):
                self._until(part, lambda part=part: healthy(part))

    def _migrate(self, part: str, words: list[str]) -> None:
        log = f"{part}-migration.log"
        with (self.home / "logs" / log).open("wb") as output:
            code = subprocess.run(
                [sys.executable, *words],
                env=self._environment() | self._migrations[part],
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            ).returncode
        if code:
            raise ServiceUnavailable(
                f"The tables of {part} could not be made.{self._supervisor.tail(log)}"
            )

    def _stamp(self, part: str) -> None:
        """Note in the database itself for which release its tables were made."""
        with self._database.cursor() as cursor:
            cursor.execute(f"COMMENT ON DATABASE {part} IS %s", (_release(part),))

    def _get(self, part: str, path: str) -> bool:
        try:
            return self._http.get(self.url(part) + path).is_success
        except httpx.TransportError:
            return False

    def _until(self, part: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ready():
            for sentence in self.watch():
                self.say(sentence)
            if self._supervisor.hopeless(part) or time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"{part} does not come up.{self._supervisor.tail(f'{part}.log')}"
                )
            time.sleep(0.5)


def running_platform(home: Path) -> dict[str, Any]:
    """Addresses of the platform that runs in this home; empty where none does."""
    file = home / "run" / "platform.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def _keys(file: Path) -> dict[str, str]:
    """Password and keys, generated once, in a file that only its owner may read."""
    if not file.is_file():
        keys = {name: secrets.token_urlsafe(32) for name in ("database", "session", "tokens")}
        keys["fernet"] = urlsafe_b64encode(secrets.token_bytes(32)).decode()
        keys["password"] = secrets.token_urlsafe(12)
        private_write(file, json.dumps(keys))
    return json.loads(file.read_text())


def _release(part: str) -> str:
    return version({"airflow": "apache-airflow", "mlflow": "mlflow"}[part])


def _make_pool(client: httpx.Client, pool: dict[str, Any]) -> None:
    answer = client.post("/api/v2/pools", json=pool)
    if answer.status_code != httpx.codes.CONFLICT:  # it is there already
        answer.raise_for_status()


def _interrupt(number: int, _: object) -> NoReturn:
    raise KeyboardInterrupt(signal.Signals(number).name)
