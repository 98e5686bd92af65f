"""What runs on one machine: each program of the platform, and the environment of all of them."""

import json
import os
import secrets
import socket
import sys
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path

from breezeway.core.forked_step import ADDRESS_VARIABLE
from breezeway.core.settings import Settings, quiet_environment
from breezeway.laptop import postgres
from breezeway.laptop.processes import mark
from breezeway.laptop.step_server import LIBRARIES
from breezeway.laptop.supervisor import Program, private_write, socket_folder

LOOPBACK = "127.0.0.1"
OWN_HOSTS = (LOOPBACK, "localhost", "::1")
"""Addresses that only this machine reaches."""
USER = "admin"
"""The user of Airflow."""


@dataclass(frozen=True)
class Addresses:
    """Where the parts listen.

    Args:
        host: the address that Airflow, MLflow and the model server listen at.
        ports: part (`airflow`, `mlflow`, `serving`, `postgres`) → its port.
    """

    host: str
    ports: dict[str, int]

    @property
    def name(self) -> str:
        """The host by which this machine calls them."""
        return LOOPBACK if self.host in ("0.0.0.0", "localhost") else self.host

    def url(self, part: str) -> str:
        return f"http://{self.name}:{self.ports[part]}"


@dataclass(frozen=True, repr=False)
class Keys:
    """The secrets of one home. Only `password` is for a person."""

    database: str
    session: str
    tokens: str
    serving: str
    fernet: str
    password: str

    @classmethod
    def of(cls, file: Path) -> "Keys":
        """Read them; at the first start create them, in a file that only its owner may read."""
        keys = json.loads(file.read_text()) if file.is_file() else {}
        new = {name: secrets.token_urlsafe(32) for name in ("database", "session", "tokens")}
        new["serving"] = secrets.token_urlsafe(32)
        new["fernet"] = urlsafe_b64encode(secrets.token_bytes(32)).decode()
        new["password"] = secrets.token_urlsafe(12)
        if new.keys() - keys.keys():  # a new home, or one of an earlier release
            keys = new | keys
            private_write(file, json.dumps(keys))
        return cls(**keys)


COMMON = (
    *("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"),
    *("BENTOML_", "BREEZEWAY_", "COVERAGE_", "DYLD_", "LC_", "LD_LIBRARY_PATH", "MKL_", "OMP_"),
    *("OPENBLAS_", "PYTHON", "SSL_CERT_", "XDG_"),
)
"""Variables of the user's environment, and beginnings of their names, that every part gets. What
else there is, such as the keys of an object store, is for Airflow and MLflow."""
SECRETS = (
    *("BREEZEWAY_NOTIFIERS", "BREEZEWAY_RAW_URL"),
    *("BREEZEWAY_SERVING_KEY", "BREEZEWAY_SERVING_TOKEN"),
)
"""Those of ours that hold a password; a part gets only those that it needs."""


AIRFLOW_DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
MLFLOW_DATABASE = "MLFLOW_BACKEND_STORE_URI"


def _is_common(name: str) -> bool:
    return name.startswith(COMMON) and name not in SECRETS


def own_variables(
    settings: Settings, addresses: Addresses, keys: Keys
) -> dict[str, dict[str, str]]:
    """Part → the variables that only this part gets, because they hold its secrets.

    The part `tasks` is what runs the tasks of Airflow, `notices` what tells people of them.
    """
    # No settings of another Airflow, and none that `environment` sets.
    foreign = ("AIRFLOW__", "AIRFLOW_HOME", "NO_PROXY", "no_proxy", *quiet_environment(), *SECRETS)
    users = {
        name: text
        for name, text in os.environ.items()
        if not _is_common(name) and not name.startswith(foreign)
    }
    token = (
        {"BREEZEWAY_SERVING_TOKEN": settings.serving_token.get_secret_value()}
        if settings.serving_token
        else {}
    )
    notifiers = (
        {"BREEZEWAY_NOTIFIERS": settings.notifiers.get_secret_value()} if settings.notifiers else {}
    )
    # A stored key: a restart must not make the feedback for earlier predictions worthless.
    key = settings.serving_key.get_secret_value() if settings.serving_key else keys.serving
    database = f"{postgres.USER}:{keys.database}@{LOOPBACK}:{addresses.ports['postgres']}"
    return {
        "postgres": {postgres.PASSWORD_VARIABLE: keys.database},
        "airflow": users
        | {
            AIRFLOW_DATABASE: f"postgresql+psycopg2://{database}/airflow",
            "AIRFLOW__CORE__FERNET_KEY": keys.fernet,
            "AIRFLOW__API__SECRET_KEY": keys.session,
            "AIRFLOW__API_AUTH__JWT_SECRET": keys.tokens,
        },
        "tasks": token | {"BREEZEWAY_RAW_URL": settings.raw_address},
        "notices": notifiers,
        "mlflow": users | {MLFLOW_DATABASE: f"postgresql+psycopg2://{database}/mlflow"},
        "serving": token | {"BREEZEWAY_SERVING_KEY": key},
    }


def programs(addresses: Addresses, own: dict[str, dict[str, str]]) -> list[Program]:
    """The programs that a supervisor runs.

    Args:
        own: what `own_variables` returns.
    """
    port = {part: str(number) for part, number in addresses.ports.items()}
    bound = ["--host", addresses.host, "--port"]
    # If it listens on more than loopback, its host names are unknown.
    mlflow_names = "*" if addresses.host != LOOPBACK else f"{LOOPBACK}:*,localhost:*"
    python = ["python", "-m"]
    return [
        Program(
            "postgres",
            [*python, "breezeway.laptop.postgres", "postgres", port["postgres"]],
            own["postgres"],
            stop_signal="INT",  # with SIGTERM it would wait for its clients
            group="stores",
        ),
        Program(
            "mlflow",
            [
                *(*python, "mlflow", "server", *bound, port["mlflow"], "--workers", "1"),
                *("--artifacts-destination", "mlflow-artifacts"),
                *("--allowed-hosts", mlflow_names),
            ],
            own["mlflow"] | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        ),
        Program(
            "serving",
            [*python, "breezeway.serving.server", *bound, port["serving"]],
            own["serving"],
        ),
        *_airflow_programs(own),
        *([_step_server()] if sys.platform == "linux" else []),
        *(
            Program(
                f"{part}-upkeep",
                [*python, "breezeway.laptop.upkeep", part],
                {variable: own[part][variable]},
            )
            for part, variable in (("airflow", AIRFLOW_DATABASE), ("mlflow", MLFLOW_DATABASE))
        ),
    ]


def _airflow_programs(own: dict[str, dict[str, str]]) -> list[Program]:
    airflow, python = own["airflow"], ["python", "-m", "airflow"]
    return [
        Program("api-server", [*python, "api-server"], airflow),
        Program(
            "scheduler",
            [*python, "scheduler", "--skip-serve-logs"],
            airflow | own["tasks"] | own["notices"],
            # With another signal its tasks would tell Airflow that they failed, and lose an
            # attempt. They are taken up at the next start.
            stop_signal="KILL",
            group="workers",
        ),
        # It has no state to lose, and it ignores other signals.
        Program(
            "dag-processor",
            [*python, "dag-processor"],
            airflow | own["notices"],  # it tells of runs that took too long
            "KILL",
        ),
        Program(
            "triggerer",
            [*python, "triggerer", "--skip-serve-logs"],
            airflow,
            group="workers",
        ),
    ]


def _step_server() -> Program:
    return Program(
        "step-server",
        ["python", "-m", "breezeway.laptop.step_server", *LIBRARIES],
        group="workers",
    )


def environment(settings: Settings, addresses: Addresses, passwords: Path) -> dict[str, str]:
    """The environment of all programs, without their secrets.

    Args:
        passwords: the file with the passwords of Airflow's users.
    """
    home = settings.root
    path = [str(Path(sys.executable).parent), *filter(None, [os.environ.get("PATH")])]
    # Beyond loopback it has the machine's name too; its addresses need no setting.
    names = sorted({"localhost", addresses.host, socket.gethostname()})
    hosts = os.environ.get("BREEZEWAY_SERVING_HOSTS", json.dumps(names))
    local = ",".join(
        filter(None, [os.environ.get("NO_PROXY"), addresses.name, LOOPBACK, "localhost"])
    )
    # No setting that makes each start slower.
    slow = "PYTHONDONTWRITEBYTECODE"
    return {
        **{name: text for name, text in os.environ.items() if _is_common(name) and name != slow},
        **quiet_environment(),
        **mark(home),
        "PATH": os.pathsep.join(path),
        "NO_PROXY": local,
        "no_proxy": local,
        "PYTHONUNBUFFERED": "1",
        # macOS stops a process that forks after it has used a system library.
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
        "BREEZEWAY_HOME": str(home),
        ADDRESS_VARIABLE: str(socket_folder(home) / "steps"),
        "BREEZEWAY_SENSORS": str(settings.sensors.resolve()),
        "BREEZEWAY_MLFLOW_URL": addresses.url("mlflow"),
        "BREEZEWAY_SERVING_URL": addresses.url("serving"),
        **({} if addresses.host == LOOPBACK else {"BREEZEWAY_SERVING_HOSTS": hosts}),
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.dags.expanduser().resolve()),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{addresses.url('airflow')}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__API__HOST": addresses.host,
        "AIRFLOW__API__PORT": str(addresses.ports["airflow"]),
        "AIRFLOW__API__BASE_URL": addresses.url("airflow"),
        "AIRFLOW__API__WORKERS": "1",
        # A run of `training` waits for its loop ten times; each loop costs 30 ms of CPU.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        # Tasks of a scheduler that was killed are tried again after a minute, not after five.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
        # A run that continues after a restart waits a minute for the api-server, not some seconds.
        "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "12",
        "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "15",
        # On a busy machine an answer takes longer than the five seconds that it has otherwise.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        # A changed file is still parsed at once.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs" / "airflow"),
    }
