"""Which hosts and origins a model server takes for its own."""

import pytest

from breezeway.core.settings import Settings
from breezeway.serving.guard import Guard
from breezeway.serving.refusal import Refusal


def allows(settings: Settings, **headers: bytes) -> bool:
    try:
        Guard(settings).check("/v1/models", {n.encode(): value for n, value in headers.items()})
    except Refusal as refusal:
        assert refusal.status == 403
        return False
    return True


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        (b"localhost", True),
        (b"LOCALHOST:3000", True),
        (b"localhost.:3000", True),
        (b"127.0.0.1:3000", True),
        (b"10.1.2.3", True),
        (b"[::1]:3000", True),
        (b"evil.example", False),
        (b"evil.example:3000", False),
        (b"localhost.evil.example", False),
        (b"notlocalhost", False),
        (b"127.0.0.1.evil.example", False),
        (b"1.evil", False),
        (b"[::1", True),
        (b"[evil.example]", False),
        (b"", False),
        (b"localhost@evil.example", False),
        (b"\xff", False),
    ],
)
def test_without_a_setting_a_server_is_localhost_and_its_addresses(host, allowed):
    assert allows(Settings(), host=host) is allowed


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        (b"a.example", True),
        (b"x.b.example:80", True),
        (b"b.example", False),
        (b"xb.example", False),
        (b"localhost", False),
    ],
)
def test_names_may_be_set(host, allowed):
    settings = Settings(serving_hosts=frozenset({"A.example", "*.b.example"}))
    assert allows(settings, host=host) is allowed


def test_any_name_may_be_allowed():
    assert allows(Settings(serving_hosts=frozenset("*")), host=b"any.example")


def test_a_client_that_is_no_browser_needs_neither():
    assert allows(Settings())


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (b"http://localhost:3000", True),
        (b"http://localhost:3001", False),
        (b"http://10.0.0.1", False),
        (b"https://ours.example", True),
        (b"http://ours.example", False),
        (b"https://ours.example.evil", False),
        (b"null", False),
        (b"", False),
    ],
)
def test_only_its_own_pages_and_those_that_are_named_may_ask(origin, allowed):
    settings = Settings(serving_origins=frozenset({"https://ours.example"}))
    assert allows(settings, host=b"localhost:3000", origin=origin) is allowed
