"""What a client may take before its request is whole: bytes, time and connections."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import psutil
import pytest
import uvicorn

from breezeway.serving import connections
from breezeway.serving.connections import Connection, Limits, Phase
from tests.fixtures.processes import eventually, new_port
from tests.fixtures.serving import add_deployment, examples_of, make_model

SLOW_CLIENTS = 500
GROWTH_BYTES = 64 * 2**20
PATIENCE = 30
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = HEAD + b"Content-Length: 2\r\n\r\n{}"


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def read_until_closed(client: socket.socket) -> bytes:
    """What the server sends until it closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(65536):
            received += piece
    return received


def send_until_closed(client: socket.socket, piece: bytes, most: int) -> int:
    """Bytes that could be sent of so many."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < most:
            client.sendall(piece)
            sent += len(piece)
    return sent


# -- bytes: the real server


@pytest.fixture(scope="module")
def example(model_server, tmp_path_factory) -> dict:
    """A request that the live model answers."""
    model = make_model(tmp_path_factory.mktemp("besieged") / "m")
    example = examples_of(model)[0]
    model_server.store.point(add_deployment(model_server.store, "besieged", 1, model))
    model_server.wait("besieged", lambda status: status.get("model_version") == "1")
    return {"device": example["device"], "readings": example["readings"]}


def test_500_slow_clients_cost_no_memory_and_no_answer(model_server, example, record_property):
    worker = psutil.Process(model_server.worker_pid)
    assert model_server.predict("besieged", **example).status_code == 200
    before = worker.memory_info().rss
    with ExitStack() as clients:
        slow = [clients.enter_context(connect(model_server.port)) for _ in range(SLOW_CLIENTS)]
        for number, client in enumerate(slow):
            match number % 4:
                case 0:  # half a head, of as many bytes as are taken
                    client.sendall(HEAD + b"".join(b"x-%d: y\r\n" % n for n in range(60)))
                    client.sendall(b"x: " + b"z" * 14_000)
                case 1:  # a large body that does not come
                    client.sendall(HEAD + b"Content-Length: 4000000\r\n\r\n" + b"{" * 50_000)
                case 2:  # answers that are not read
                    client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10)
                case 3:  # a request, and then nothing
                    client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert model_server.predict("besieged", **example).status_code == 200
        growth = worker.memory_info().rss - before
    record_property("growth", f"{growth / 2**20:+.1f} MiB")
    print(f"{growth / 2**20:+.1f} MiB")
    assert growth < GROWTH_BYTES


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (HEAD + b"x: ", b"y" * 65536),
        (HEAD, b"x: yyyyyyyy\r\n" * 5_000),
        (b"GET /", b"y" * 65536),
        (CHUNKED + b"1;", b"x" * 65536),
        (CHUNKED + b"0\r\n", b"x: yyyyyyyy\r\n" * 5_000),
        (CHUNKED + b"0\r\nx: ", b"y" * 65536),
        (b"", HEAD + b"\r\n" + b"GET / HTTP/1.1\r\n\r\n" * 3_000),
    ],
    ids=["header", "headers", "address", "extension", "trailers", "trailer", "pipeline"],
)
def test_200_mb_that_are_no_body_are_refused_at_once(model_server, example, begin, piece):
    worker = psutil.Process(model_server.worker_pid)
    before = worker.memory_info().rss
    with connect(model_server.port) as client:
        client.sendall(begin)
        sent = send_until_closed(client, piece, 200_000_000)
        assert sent < 20_000_000
    assert worker.memory_info().rss - before < GROWTH_BYTES
    assert model_server.predict("besieged", **example).status_code == 200


def test_too_large_a_head_is_refused_with_a_sentence(model_server):
    for head in (HEAD + b"x: " + b"y" * 17_000, HEAD + b"x: y\r\n" * 101):
        with connect(model_server.port) as client:
            client.sendall(head)
            answer = read_until_closed(client)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert answer.endswith(b'takes."}')


# -- time and connections: the same protocol with shorter times


async def echo(scope, receive, send):
    """Answers with 4 MB where that is asked for, without reading a body."""
    content = b"x" * (4_000_000 if scope["path"] == "/large" else 2)
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


@pytest.fixture
def serve(monkeypatch) -> Iterator:
    """Starts servers with given limits; returns the port and the protocol's connections."""
    monkeypatch.setattr(connections, "SWEEP_SECONDS", 0.02)
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(**limits) -> tuple[int, set]:
        port = new_port()
        config = uvicorn.Config(
            echo,
            port=port,
            loop="uvloop",
            http=partial(Connection, limits=Limits(**limits)),
            ws="none",
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
        thread.start()
        running.append((server, thread))
        eventually(lambda: server.started)
        return port, server.server_state.connections

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(PATIENCE)


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"x: y"])
def test_a_head_has_its_time(serve, sent):
    port, _ = serve(head=Phase(0.1))
    with connect(port) as client:
        client.sendall(sent)
        assert read_until_closed(client) == b""


def test_a_head_that_drips_has_no_more_time(serve):
    port, _ = serve(head=Phase(0.2))
    with connect(port) as client:
        client.sendall(HEAD)
        client.settimeout(0.01)
        closed = []

        def drip() -> bool:
            with contextlib.suppress(TimeoutError):
                try:
                    client.sendall(b"x: y\r\n")
                    closed.append(client.recv(1) == b"")
                except ConnectionError:
                    closed.append(True)
            return any(closed)

        eventually(drip)


def test_a_connection_between_two_requests_has_its_time(serve):
    port, _ = serve(idle=Phase(0.1))
    with connect(port) as client:
        client.sendall(WHOLE)
        assert read_until_closed(client).startswith(b"HTTP/1.1 200 ")
    with connect(port) as client:
        client.sendall(WHOLE)
        client.sendall(b"\r\n")  # is no request
        assert read_until_closed(client).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_goes_on_after_the_answer_has_its_time(serve):
    port, _ = serve(body=Phase(0.1))
    with connect(port) as client:
        client.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")
        assert read_until_closed(client).startswith(b"HTTP/1.1 200 ")


def test_who_does_not_read_the_answer_is_cut_off(serve):
    port, connected = serve(answer=Phase(0.1), idle=Phase(0.1))
    with connect(port) as client:
        client.sendall(WHOLE.replace(b"POST /", b"POST /large") * 5)
        eventually(lambda: connected)
        eventually(lambda: not connected)
        assert len(read_until_closed(client)) < 20_000_000


def test_one_connection_serves_many_requests(serve):
    port, _ = serve(head=Phase(0.2), body=Phase(0.2), idle=Phase(5))
    with connect(port) as client:
        answers = client.makefile("rb")
        for _ in range(200):
            client.sendall(WHOLE)
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            while answers.readline() != b"\r\n":
                pass
            assert answers.read(2) == b"xx"


def test_the_connection_that_has_waited_longest_makes_room(serve):
    port, connected = serve(connections=10)
    with ExitStack() as clients:
        idle = clients.enter_context(connect(port))
        idle.sendall(WHOLE)
        assert idle.recv(1000).startswith(b"HTTP/1.1 200 ")
        others = [clients.enter_context(connect(port)) for _ in range(9)]
        for client in others:
            client.sendall(HEAD)
        eventually(lambda: len(connected) == 10)
        with connect(port) as newest:
            newest.sendall(WHOLE)
            assert newest.recv(1000).startswith(b"HTTP/1.1 200 ")
            assert read_until_closed(idle) in (b"", b"xx")  # between two requests: the first to go
            with connect(port) as another:
                another.sendall(WHOLE)
                assert another.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert len(connected) <= 10


def test_no_number_of_slow_clients_keeps_a_request_out(model_server, example):
    with ExitStack() as clients:
        for _ in range(Limits().connections + 50):
            clients.enter_context(connect(model_server.port)).sendall(HEAD)
        fresh = clients.enter_context(connect(model_server.port))
        fresh.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert fresh.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert model_server.predict("besieged", **example).status_code == 200
