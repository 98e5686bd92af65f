"""What runs on one machine: who listens where, and who is told which secret."""

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from breezeway.core.settings import Settings
from breezeway.laptop.programs import Addresses, Keys, environment, own_variables, programs

PORTS = {"airflow": 8080, "mlflow": 5000, "serving": 3000, "postgres": 15432}
ADDRESSES = Addresses("127.0.0.1", PORTS)
KEYS = Keys("of-database", "of-session", "of-tokens", "of-serving", "of-fernet", "of-person")


def words(addresses: Addresses, name: str) -> str:
    (program,) = (
        p for p in programs(addresses, own_variables(Settings(), addresses, KEYS)) if p.name == name
    )
    return " ".join(program.command)


def test_keys_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    keys = Keys.of(file)
    assert Keys.of(file) == keys
    values = json.loads(file.read_text()).values()
    assert len(set(values)) == 6
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not any(value in repr(keys) for value in values)


def test_keys_of_an_earlier_release_stay_and_get_what_is_new(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    keys = Keys.of(file)
    earlier = json.loads(file.read_text())
    del earlier["serving"]
    file.write_text(json.dumps(earlier))
    now = Keys.of(file)
    assert (now.password, now.database) == (keys.password, keys.database)
    assert now.serving != keys.serving
    assert Keys.of(file) == now


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:5000"),
        ("0.0.0.0", "http://127.0.0.1:5000"),
        ("localhost", "http://127.0.0.1:5000"),
        ("192.0.2.7", "http://192.0.2.7:5000"),
    ],
)
def test_a_part_is_reached_where_it_listens(host: str, url: str) -> None:
    assert Addresses(host, PORTS).url("mlflow") == url


def test_no_secret_stands_in_a_command_line_or_in_what_all_are_told(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    all_are_told = environment(settings, ADDRESSES, tmp_path / "passwords.json")
    said = "\n".join(
        [*all_are_told.values()]
        + [
            word
            for p in programs(ADDRESSES, own_variables(Settings(), ADDRESSES, KEYS))
            for word in p.command
        ]
    )
    for secret in vars(KEYS).values():
        assert secret not in said


def test_each_program_is_told_its_own_secrets_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BREEZEWAY_RAW_URL", "mysql+pymysql://me:of-raw@h/d")
    monkeypatch.setenv("BREEZEWAY_SERVING_TOKEN", "of-clients")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-s3")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "of-another-airflow")
    monkeypatch.setenv("AIRFLOW_HOME", "of-another-airflow")
    settings = Settings.from_environment()
    own = own_variables(settings, ADDRESSES, KEYS)
    told = {p.name: str(p.variables) for p in programs(ADDRESSES, own)}
    of_all = environment(settings, ADDRESSES, tmp_path / "passwords.json")
    told["all"] = str(of_all)
    assert not any(of_all.keys() & p.variables.keys() for p in programs(ADDRESSES, own))

    def who_knows(secret: str) -> set[str]:
        return {name for name, variables in told.items() if secret in variables}

    airflow = {"api-server", "scheduler", "dag-processor", "triggerer"}
    assert who_knows("of-fernet") == who_knows("of-tokens") == who_knows("of-session") == airflow
    upkeep = {"airflow-upkeep", "mlflow-upkeep"}
    assert who_knows("of-database") == airflow | upkeep | {"mlflow", "postgres"}
    assert who_knows("of-s3") == airflow | {"mlflow"}
    assert who_knows("of-raw") == {"scheduler"}
    assert who_knows("of-clients") == {"scheduler", "serving"}
    assert who_knows(KEYS.serving) == {"serving"}
    assert who_knows("of-another-airflow") == who_knows("of-person") == set()


def test_mlflow_answers_to_loopbacks_names_only_unless_it_is_reached_by_another() -> None:
    assert "--allowed-hosts 127.0.0.1:*,localhost:*" in words(ADDRESSES, "mlflow")
    assert "--allowed-hosts *" in words(Addresses("0.0.0.0", PORTS), "mlflow")


def test_the_model_server_has_the_machines_names_where_it_is_reached_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BREEZEWAY_SERVING_HOSTS", raising=False)

    def names(host: str) -> str | None:
        addresses, passwords = Addresses(host, PORTS), tmp_path / "passwords.json"
        told = environment(Settings(home=tmp_path), addresses, passwords)
        return told.get("BREEZEWAY_SERVING_HOSTS")

    assert names("127.0.0.1") is None
    assert {"localhost", socket.gethostname()} <= set(json.loads(names("0.0.0.0") or ""))
    monkeypatch.setenv("BREEZEWAY_SERVING_HOSTS", '["mine.example"]')
    assert names("0.0.0.0") == '["mine.example"]'


def test_another_airflows_settings_have_no_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_DEFAULT_CONNECTIONS", "True")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("NO_PROXY", "mine.example")
    told = environment(Settings(home=tmp_path), ADDRESSES, tmp_path / "passwords.json")
    assert told["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert "AIRFLOW__CORE__LOAD_DEFAULT_CONNECTIONS" not in told
    assert "PYTHONDONTWRITEBYTECODE" not in told
    assert told["NO_PROXY"] == "mine.example,127.0.0.1,127.0.0.1,localhost"
    assert told["PATH"].split(os.pathsep)[1:] == os.environ["PATH"].split(os.pathsep)
