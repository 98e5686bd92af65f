"""The settings, read from the environment in one place; the defaults are for a laptop."""

import os
import re
import tomllib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from breezeway.core.errors import UsageError
from breezeway.core.names import CONTRACT_NAME

SHORTEST_KEY = 16
"""Characters of a key that signs."""
QUERY_SECONDS = 7200.0


class Settings(BaseSettings):
    """Each field is the variable `BREEZEWAY_<FIELD>`; unset stores are folders in `home`."""

    model_config = SettingsConfigDict(env_prefix="BREEZEWAY_", frozen=True)

    shipped_sensors: ClassVar[Path] = Path(__file__).parents[1] / "sensors"
    """Folder of the sensor contracts that come with Breezeway."""

    home: Path = Path(".breezeway")
    """Folder of everything that is stored locally: stores, logs, work in progress."""
    dags: Path = Path("dags")
    """Folder of the DAGs that `breezeway up` runs."""
    sensors: Path = shipped_sensors / "plant.toml"
    """The sensor contract."""
    raw_url: SecretStr | None = None
    """SQLAlchemy address of the raw store (`mysql+pymysql://…`, `postgresql+psycopg://…` or
    `sqlite:///…`); unset, a file in `home`, one for each contract."""
    query_seconds: Annotated[float, Field(ge=1, le=365 * 86_400)] = QUERY_SECONDS
    """How long the raw store may take for one query of readings, with the time in which the step
    works on the rows. The store then ends the query, and the step fails."""
    dataset_repository: str | None = None
    """Address of the git repository that holds the history of dataset versions."""
    dataset_remote: str | None = None
    """Address of the DVC remote that holds their files (a folder or `s3://…`)."""
    mlflow_url: str = "http://127.0.0.1:5000"
    serving_url: str = "http://127.0.0.1:3000"
    serving_token: SecretStr | None = None
    """The bearer token that clients of the model server must send; unset, they need none."""
    serving_key: SecretStr | None = None
    """The key with which model servers sign the ids of predictions, the same for all replicas.
    Unset, each start of a server makes one: feedback for earlier predictions is then refused."""
    serving_hosts: frozenset[str] = frozenset({"localhost"})
    """The names under which clients may call the model server, beside its IP addresses: a JSON
    list. `*.example.org` stands for all names below, `*` for all names."""
    serving_origins: frozenset[str] = frozenset()
    """Whose web pages may call the model server, as `https://example.org`: a JSON list."""
    serving_open_paths: frozenset[str] = frozenset(
        {
            *("/docs", "/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"),
            *("/healthz", "/livez", "/metrics", "/openapi.json", "/readyz"),
        }
    )
    """Paths of the model server that need no token: a JSON list."""
    serving_copy: Path | None = None
    """Folder on the model server's own disk for copies of the last good deployments. The server
    starts from these if the deployment store does not answer."""
    result: Path | None = None
    """File to which a step writes its result; unset, the result is only logged."""
    run_id: str | None = None
    """The Airflow run (`dag_id/run_id`) that the step belongs to; a key of lineage."""
    pod_templates: Path | None = None
    """Folder with a pod manifest for each step, `<step>.yaml`. Set, Airflow runs steps as pods."""
    keep_failed_pods_seconds: float = 0
    """How long the pod of a failed step is kept for inspection; the first step after that time
    deletes it. 0: it is deleted at once."""
    notifiers: SecretStr | None = None
    """JSON list of what tells people of failures, drift and refusals. Each entry has the key
    `notifier` (`webhook`, or the import path of an Airflow notifier) and its arguments; they often
    hold a secret."""
    code: str | None = None
    """Git commit of the code, if it does not run from a checkout; images set it."""
    keep_days: Annotated[int, Field(ge=7)] = 90
    """How long housekeeping keeps runs, model versions and datasets that nothing needs."""
    lock_wait_seconds: float = 300
    """How long a writer waits for another one before it fails with `TryAgain`."""
    threads: int = 2
    """Threads of one computation. A model is reproducible only with the same number."""
    ray_min_rows: int = 50_000_000
    """From this many raw rows on, preprocessing starts Ray even if no cluster is configured."""

    @field_validator("serving_token", mode="after")
    @classmethod
    def _token_is_one(cls, token: SecretStr | None) -> SecretStr | None:
        text = "token" if token is None else token.get_secret_value()  # an empty one is false
        if not text.strip():
            raise ValueError("it is empty; set a token, or unset it if clients need none")
        if not (text.isascii() and text.isprintable() and text == text.strip()):
            raise ValueError("a token has printable ASCII characters, and no space at its ends")
        return token

    @field_validator("serving_key", mode="after")
    @classmethod
    def _key_is_long(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < SHORTEST_KEY:
            raise ValueError(f"expected at least {SHORTEST_KEY} characters, chosen at random")
        return key

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the environment.

        Raises:
            UsageError: a variable does not parse; its name is in the message.
        """
        try:
            return cls()
        except ValidationError as error:
            wrong = "; ".join(
                f"BREEZEWAY_{str(e['loc'][0]).upper()}: {e['msg'].removeprefix('Value error, ')}"
                for e in error.errors()
            )
            raise UsageError(f"The environment is wrong: {wrong}.") from None
        except SettingsError as error:  # of a list
            name = next((field for field in cls.model_fields if f'"{field}"' in str(error)), "?")
            raise UsageError(
                f"The environment is wrong: BREEZEWAY_{name.upper()}: expected a JSON list."
            ) from None

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, redacted(value) if isinstance(value, str) else value

    @cached_property
    def root(self) -> Path:
        return self.home.expanduser().resolve()

    @property
    def raw_address(self) -> str:
        """Of the raw store: if the user names none, each contract has its own in `home`.

        Raises:
            UsageError: the contract has no name that a file can have.
        """
        if self.raw_url is not None:
            return self.raw_url.get_secret_value()
        return f"sqlite:///{self.root / self._raw_file}"

    @cached_property
    def _raw_file(self) -> str:
        if self.is_simulated:
            return "raw.db"
        try:
            name = tomllib.loads(self.sensors.read_text(encoding="utf-8"))["name"]
        except (OSError, ValueError, KeyError, RecursionError) as error:
            raise UsageError(
                f"{self.sensors}: the sensor contract has no name that can be read: {error}."
            ) from None
        if mistake := CONTRACT_NAME.mistake(str(name)):
            raise UsageError(f"{self.sensors}: name: {mistake}.")
        return f"raw-{name}.db"

    @property
    def is_simulated(self) -> bool:
        """Whether the readings are those of the simulated plant, in a store of our own."""
        plant = self.shipped_sensors / "plant.toml"
        return self.raw_url is None and self.sensors.resolve() == plant.resolve()

    def with_sensors(self, chosen: str | None) -> Self:
        """Settings with another sensor contract.

        Args:
            chosen: one of those shipped, or a file; None for that of these settings.

        Raises:
            UsageError: there is no such contract.
        """
        known = {file.stem: file for file in self.shipped_sensors.glob("*.toml")}
        file = known.get(chosen, Path(chosen)) if chosen else self.sensors
        if not file.is_file():
            raise UsageError(
                f"--sensors: there is no contract {str(file)!r}; expected a file, or one of "
                f"{', '.join(sorted(known))}."
            )
        return type(self)(**{**self.model_dump(), "sensors": file.resolve()})

    @property
    def repository_address(self) -> str:
        return self.dataset_repository or str(self.root / "datasets.git")

    @property
    def remote_address(self) -> str:
        return self.dataset_remote or str(self.root / "dvc-remote")

    @property
    def dvc_cache(self) -> Path:
        return self.root / "dvc-cache"

    @property
    def deployments(self) -> Path:
        return self.root / "deployments"

    @property
    def serving_headers(self) -> dict[str, str]:
        """What a client of the model server sends with each request."""
        if self.serving_token is None:
            return {}
        return {"Authorization": f"Bearer {self.serving_token.get_secret_value()}"}

    @property
    def deployment_copy(self) -> Path:
        return self.serving_copy or self.root / "serving"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def work(self) -> Path:
        """Work in progress: what a step makes for the next one, before it is published."""
        return self.root / "work"


def quiet_environment() -> dict[str, str]:
    """Variables that switch off the telemetry of all programs and libraries that we use."""
    return {
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "BENTOML_DO_NOT_TRACK": "True",
        "RAY_USAGE_STATS_ENABLED": "0",
        "DVC_NO_ANALYTICS": "1",
        "OTEL_SDK_DISABLED": "true",
        "ORT_DISABLE_TELEMETRY": "1",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def silence_telemetry() -> None:
    os.environ.update(quiet_environment())


def redacted(text: str) -> str:
    """The text without the users and passwords in its addresses.

    >>> redacted("https://me:pw@git.example/a?x=1&access_token=s3cret#b")
    'https://git.example/a?x=1&access_token=***#b'
    """
    return _SECRET_VALUE.sub(r"\1***", _ACCOUNT.sub("://", text))


_ACCOUNT = re.compile(r"://[^/?#\s]*@")
_SECRET_VALUE = re.compile(
    r"([?&;][\w.-]{0,40}(?:passw(?:or)?d|pwd|token|secret|key|sig(?:nature)?)=)[^&;#\s]*", re.I
)
