"""Settings say what is wrong, and print no secret."""

from pathlib import Path

import pytest

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings, redacted

SECRET = "s3cr3t-5f1d"


def test_settings_print_no_secret_in_any_form() -> None:
    settings = Settings(
        raw_url=f"mysql+pymysql://me:{SECRET}@h/d?ssl_key=k&password={SECRET}",
        serving_token=SECRET,
        dataset_repository=f"https://me:{SECRET}@git.example/data.git",
        dataset_remote=f"https://store.example/x?sig={SECRET}",
        mlflow_url=f"http://me:{SECRET}@mlflow.example",
        serving_url=f"http://serving.example/?api_token={SECRET}",
    )
    for text in (
        repr(settings),
        str(settings),
        f"{settings}",
        str(settings.model_dump()["raw_url"]),
    ):
        assert SECRET not in text
    assert "git.example/data.git" in repr(settings)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://a:b@h/p?x=1", "at http://h/p?x=1"),
        ("mysql://me:p@ss:w@h/d", "mysql://h/d"),
        (
            "mysql://h/d?user=me&password=x&charset=utf8",
            "mysql://h/d?user=me&password=***&charset=utf8",
        ),
        (
            "https://h/?AWSAccessKeyId=a&Signature=b%2B#c",
            "https://h/?AWSAccessKeyId=a&Signature=***#c",
        ),
        ("s3://bucket/folder@2026", "s3://bucket/folder@2026"),
        ("user@host without an address", "user@host without an address"),
    ],
)
def test_an_address_is_shown_without_its_secrets(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_a_wrong_variable_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BREEZEWAY_THREADS", SECRET)
    with pytest.raises(UsageError, match=r"BREEZEWAY_THREADS: .*integer") as raised:
        Settings.from_environment()
    assert SECRET not in str(raised.value)


def test_each_contract_has_a_raw_store_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "any.toml"
    own.write_text('name = "mill-7"')
    home = Settings(home=tmp_path)
    assert home.raw_address == f"sqlite:///{tmp_path / 'raw.db'}"
    assert home.with_sensors("skab").raw_address == f"sqlite:///{tmp_path / 'raw-skab.db'}"
    monkeypatch.setenv("BREEZEWAY_SENSORS", str(own))
    assert Settings(home=tmp_path).raw_address == f"sqlite:///{tmp_path / 'raw-mill-7.db'}"
    named = Settings(home=tmp_path, raw_url="sqlite:////elsewhere.db").with_sensors("skab")
    assert named.raw_address == "sqlite:////elsewhere.db"


@pytest.mark.parametrize("text", ["", "name", 'name = "../x"', "name = 1", 'name = "a/b"'])
def test_a_contract_whose_name_is_no_file_has_no_raw_store(tmp_path: Path, text: str) -> None:
    own = tmp_path / "any.toml"
    own.write_text(text)
    with pytest.raises(UsageError, match="name"):
        _ = Settings(home=tmp_path, sensors=own).raw_address
