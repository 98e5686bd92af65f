"""MLflow's door: one real server, one that is away, one that hangs."""

import socket

import pytest

from breezeway.core.errors import ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.tracking import mlflow_client


def settings_for(url: str) -> Settings:
    return Settings(mlflow_url=url)


@pytest.fixture
def silent_port():
    """A port that accepts connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def closed_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def test_check_passes_when_the_server_is_there(mlflow_server):
    mlflow_client.check(settings_for(mlflow_server))


def test_check_names_the_address_when_nobody_listens(closed_port):
    with pytest.raises(ServiceUnavailable, match=f"127.0.0.1:{closed_port}.*BREEZEWAY_MLFLOW_URL"):
        mlflow_client.check(settings_for(f"http://127.0.0.1:{closed_port}"))


def test_check_gives_up_on_a_server_that_hangs(silent_port, monkeypatch):
    monkeypatch.setattr(mlflow_client, "ANSWER_SECONDS", 0.3)
    with pytest.raises(ServiceUnavailable, match="timed out"):
        mlflow_client.check(settings_for(f"http://127.0.0.1:{silent_port}"))


def test_the_unknown_is_a_usage_error(mlflow_server):
    settings = settings_for(mlflow_server)
    with pytest.raises(UsageError, match="no-such-model"), mlflow_client.errors(settings):
        mlflow_client.client(settings).get_model_version("no-such-model", "1")


@pytest.mark.timeout(60)  # by its own choice MLflow's client would try for minutes
def test_a_server_that_went_away_is_unavailable(closed_port, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    settings = settings_for(f"http://127.0.0.1:{closed_port}")
    with pytest.raises(ServiceUnavailable, match=str(closed_port)), mlflow_client.errors(settings):
        mlflow_client.client(settings).get_model_version("plant", "1")


def test_our_own_defects_pass_through():
    with pytest.raises(ZeroDivisionError), mlflow_client.errors(settings_for("http://127.0.0.1:1")):
        _ = 1 / 0
