"""Settings say what is wrong, and print no secret."""

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
