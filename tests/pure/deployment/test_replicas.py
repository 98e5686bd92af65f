"""Each replica behind a name is asked, as they come and go; on real sockets."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from breezeway.core.errors import ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.deployment.replicas import NobodyThere, Replicas
from breezeway.deployment.status import ServerStatus
from tests.fixtures.processes import new_port


class Handler(BaseHTTPRequestHandler):
    """Answers as a model server, with where it is and the host that it was asked as."""

    def do_GET(self) -> None:
        self.send_response(self.server.code)
        self.end_headers()
        said = {"server": self.server.server_address[0], "source": self.headers["Host"]}
        self.wfile.write(self.server.answer or json.dumps(said).encode())

    def log_message(self, *_: object) -> None:
        pass


Listen = Callable[..., ThreadingHTTPServer]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Starts HTTP servers; all are gone when the test ends."""
    servers: list[ThreadingHTTPServer] = []

    def listen(
        address: str, port: int, code: int = 200, answer: bytes = b""
    ) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer((address, port), Handler)
        server.code, server.answer = code, answer
        servers.append(server)
        threading.Thread(target=server.serve_forever).start()
        return server

    yield listen
    for server in servers:
        stop(server)


def stop(server: ThreadingHTTPServer) -> None:
    server.shutdown()
    server.server_close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Name → addresses, as a headless Service would have them."""
    known: dict[str, list[str]] = {}
    ask = socket.getaddrinfo

    def resolve(host: str, *arguments: object, **options: object) -> list:
        return [
            place
            for address in known.get(host, [host])
            for place in ask(address, *arguments, **options)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


def asked(replicas: Replicas) -> list[str]:
    return [status.server for _, status in replicas.statuses()]


def test_every_address_of_a_name_is_asked_anew_each_time(listen, names) -> None:
    port = new_port()
    names["serving"] = ["127.0.0.2", "127.0.0.1", "127.0.0.3"]
    replicas = Replicas(Settings(serving_url=f"http://serving:{port}"), "pump")
    with pytest.raises(NobodyThere, match="BREEZEWAY_SERVING_URL"):
        replicas.statuses()
    first = listen("127.0.0.1", port)
    assert asked(replicas) == ["127.0.0.1"], "an address where nobody listens yet is no replica"
    listen("127.0.0.2", port)
    assert asked(replicas) == ["127.0.0.1", "127.0.0.2"]
    assert {status.source for _, status in replicas.statuses()} == {f"serving:{port}"}
    stop(first)
    with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1"):
        replicas.statuses()
    names["serving"] = ["127.0.0.2"]
    assert asked(replicas) == ["127.0.0.2"], "what the name does not lead to any more is gone"


def test_several_addresses_may_be_named(listen) -> None:
    servers = [listen("127.0.0.1", 0) for _ in range(2)]
    urls = [f"http://127.0.0.1:{server.server_port}" for server in servers]
    replicas = Replicas(Settings(serving_url=", ".join(urls)), "pump")
    assert [str(replica) for replica, _ in replicas.statuses()] == [f"{url}/" for url in urls]


@pytest.mark.parametrize(
    ("code", "error"), [(401, UsageError), (403, UsageError), (500, ServiceUnavailable)]
)
def test_one_that_refuses_is_named(listen, code, error) -> None:
    server = listen("127.0.0.1", 0, code)
    replicas = Replicas(Settings(serving_url=f"http://127.0.0.1:{server.server_port}"), "pump")
    with pytest.raises(error, match=str(server.server_port)):
        replicas.statuses()


def test_a_model_that_the_server_does_not_know_has_no_status(listen) -> None:
    server = listen("127.0.0.1", 0, 404)
    replicas = Replicas(Settings(serving_url=f"http://127.0.0.1:{server.server_port}"), "pump")
    assert [status for _, status in replicas.statuses()] == [ServerStatus()]


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"swaps": "many"}'])
def test_what_is_no_model_server_is_said(listen, answer) -> None:
    server = listen("127.0.0.1", 0, answer=answer)
    replicas = Replicas(Settings(serving_url=f"http://127.0.0.1:{server.server_port}"), "pump")
    with pytest.raises(ServiceUnavailable, match="no model server"):
        replicas.statuses()


def test_a_name_that_nobody_knows_is_unavailable() -> None:
    replicas = Replicas(Settings(serving_url="http://nobody.invalid"), "pump")
    with pytest.raises(ServiceUnavailable, match=r"nobody\.invalid"):
        replicas.statuses()
