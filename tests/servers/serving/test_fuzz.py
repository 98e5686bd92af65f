"""Whatever is sent, the server answers with a sentence, goes on, and grows no memory."""

import asyncio
import json
import random
import select
import socket
from collections import Counter
from contextlib import closing

import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.fixtures.fuzz import Round, rounds
from tests.fixtures.serving import add_deployment, examples_of, make_model

NAME = "fuzzed"
HEADERS = "Host: localhost\r\nContent-Type: application/json\r\n"
BODIES = 10_000
WARM_UP = 2_000
CONNECTIONS = 8
GROWTH_BYTES = 24 * 2**20
BEYOND_OPENAPI = [negative_data_rejection, positive_data_acceptance]
"""What is accepted the model's own contract says, too."""

SCALARS = [
    *("NaN", "-Infinity", "1e999", "-0", "0x10", "1" * 400, "1e-400", "01", "null", "true", "tru"),
    *('""', '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\u202e\u0661"', '"\\', "'", "\ufeff"),
    *("[]", "{}", "[" * 5_000, "[" * 500 + "]" * 500, '{"a":' * 2_000 + "1" + "}" * 2_000),
    *('"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59-23:59"', '"2026-13-01T00:00:00Z"'),
    *('"2026-01-01T24:00:00Z"', '"2026-W01-1"', '"20260101T000000Z"', '"2026-01-01"'),
    *(json.dumps("x" * 50_000), json.dumps("1" * 5_000), '"pump-' + "9" * 500 + '"', '"pump-1\\n"'),
]


@pytest.fixture(scope="module")
def example(model_server, tmp_path_factory) -> dict:
    """A request that the live model answers."""
    model = make_model(tmp_path_factory.mktemp("fuzzed") / "m")
    example = examples_of(model)[0]
    model_server.store.point(add_deployment(model_server.store, NAME, 1, model))
    model_server.wait(NAME, lambda status: status.get("model_version") == "1")
    return {"device": example["device"], "readings": example["readings"]}


def still_answers(model_server, example) -> bool:
    answer = model_server.predict(NAME, **example)
    return (answer.status_code, answer.json()["model_version"]) == (200, "1")


# -- what the service says of itself


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_it_answers_as_its_openapi_says(model_server, example, mode):
    document = model_server.http.get("/openapi.json").json()
    # Narrowed to what is there, or hardly any request would get past its name.
    document["components"]["parameters"]["model"]["schema"] = {"enum": [NAME]}
    request = document["components"]["schemas"]["Request"]["properties"]
    request["device"] = {"enum": [example["device"], "pump-1", "mill"]}
    reading = request["readings"]["items"]["properties"]
    payloads = [reading["payload"] for reading in example["readings"]]
    reading["payload"] = {"anyOf": [{"enum": payloads}, {"type": "string"}]}
    schema = schemathesis.openapi.from_dict(document)
    if mode is GenerationMode.NEGATIVE:
        schema = schema.include(method="POST")  # a GET has nothing to be wrong about

    for operation in (result.ok() for result in schema.get_all_operations()):

        @settings(
            max_examples=25,
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            case.call_and_validate(base_url=model_server.url, excluded_checks=BEYOND_OPENAPI)

        check()
    assert still_answers(model_server, example)


# -- ten thousand bodies


def harm_text(text: str, rng: random.Random) -> str:
    """Put something hostile in the place of a value, a key or any stretch of the text."""
    starts = [place for place, sign in enumerate(text) if sign in ":,[{"]
    start = rng.choice(starts) + 1 if starts and rng.random() < 0.8 else rng.randrange(len(text))
    stops = [place for place in range(start, len(text)) if text[place] in ",]}"]
    stop = stops[0] if stops and rng.random() < 0.8 else min(len(text), start + rng.randrange(20))
    return text[:start] + rng.choice(SCALARS) + text[stop:]


def harm_bytes(body: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat or insert bytes: what is no UTF-8 any more, too."""
    for _ in range(rng.randint(1, 4)):
        at, end = rng.randrange(len(body) + 1), rng.randrange(len(body) + 1)
        match rng.randrange(4):
            case 0:
                body = body[:at] + rng.randbytes(rng.randint(1, 8)) + body[at:]
            case 1:
                body = body[:at] + body[at + rng.randint(1, 8) :]
            case 2:
                body = body[:at] + body[min(at, end) : min(at, end) + 200] + body[at:]
            case 3:
                body = body[:at]
    return body


def harmed_request(example: dict, rng: random.Random) -> dict:
    """A request whose shape is right and whose content is not."""
    readings = [dict(reading) for reading in example["readings"]]
    reading = rng.choice(readings)
    match rng.randrange(4):
        case 0:
            reading["payload"] = harm_text(reading["payload"], rng)
        case 1:
            reading["time"] = rng.choice(SCALARS).strip('"')
        case 2:
            payload = json.loads(reading["payload"])
            payload[rng.choice(list(payload))] = rng.choice([None, -1e308, 10**30, "", [], {}, "é"])
            reading["payload"] = json.dumps(payload)
        case 3:
            rng.shuffle(readings)
    return {"device": example["device"], "readings": readings}


def rows_of_features(names: list[str], rng: random.Random) -> tuple[str, dict]:
    """A path and a body of one of the protocols for rows of features."""
    rows = [[rng.choice([0, 1.5, -40, None, 1e30]) for _ in names] for _ in range(rng.randrange(4))]
    match rng.randrange(3):
        case 0:
            tensor = {"name": "features", "datatype": "FP64", "data": rows}
            tensor["shape"] = [len(rows), len(names)]
            return f"v2/models/{NAME}/infer", {"inputs": [tensor], "outputs": [{"name": "score"}]}
        case 1:
            frame = {"columns": rng.sample(names, len(names)), "data": rows}
            return f"v1/models/{NAME}/invocations", {"dataframe_split": frame}
        case _:
            records = [dict(zip(names, row, strict=True)) for row in rows]
            return f"v1/models/{NAME}/invocations", {"dataframe_records": records}


def make_bodies(
    example: dict, names: list[str], count: int, rng: random.Random
) -> list[tuple[str, bytes]]:
    """The path and the body of so many requests."""
    feedback = {"prediction_id": f"{NAME}.1.0123456789abcdef0123456789abcdef", "label": True}
    made = []
    for _ in range(count):
        document, path = harmed_request(example, rng), "predict"
        kind = rng.random()
        if kind < 0.2:
            document = {"requests": [harmed_request(example, rng) for _ in range(rng.randrange(4))]}
            path = "predict-batch"
        elif kind < 0.3:
            document, path = feedback, "feedback"
        elif kind < 0.4:
            path = "versions/1/predict"
        path = f"v1/models/{NAME}/{path}"
        if kind > 0.8:
            path, document = rows_of_features(names, rng)
        text = json.dumps(document)
        harm = rng.random()
        if harm < 0.4:
            text = harm_text(text, rng)
        body = text.encode()
        if 0.4 <= harm < 0.6:
            body = harm_bytes(body, rng)
        made.append((path, body))
    return made


async def post_all(port: int, bodies: list[tuple[str, bytes]]) -> list[tuple[int, dict]]:
    """Post over a few connections that stay open; an answer each."""
    waiting, answers = list(bodies), []

    async def post() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
        while waiting:
            path, body = waiting.pop()
            head = f"POST /{path} HTTP/1.1\r\n{HEADERS}"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            content = json.loads(await reader.readexactly(length))
            answers.append((int(answer.split(b" ", 2)[1]), content))
        writer.close()

    await asyncio.gather(*(post() for _ in range(CONNECTIONS)))
    return answers


@pytest.mark.fuzz
def test_ten_thousand_hostile_bodies(model_server, example, record_property):
    for chance in rounds(1):
        send_hostile_bodies(model_server, example, chance, record_property)


def send_hostile_bodies(model_server, example, chance: Round, record_property):
    metadata = model_server.http.get(f"/v2/models/{NAME}").json()
    names = metadata["inputs"][0]["parameters"]["feature_names"]
    bodies = make_bodies(example, names, BODIES, chance)
    worker = psutil.Process(model_server.worker_pid)
    answers = asyncio.run(post_all(model_server.port, bodies[:WARM_UP]))
    before = worker.memory_info().rss
    answers += asyncio.run(post_all(model_server.port, bodies[WARM_UP:]))
    growth = worker.memory_info().rss - before

    counts = Counter(status for status, _ in answers)
    record_property("answers", f"{dict(counts)}, {growth / 2**20:+.1f} MiB")
    print(chance.number, dict(counts), f"{growth / 2**20:+.1f} MiB")
    assert len(answers) == BODIES
    assert set(counts) == {200, 400, 422}, chance.number
    for status, content in answers:
        assert status < 300 or content["error"].endswith(".")
    assert growth < GROWTH_BYTES
    assert worker.is_running()
    assert still_answers(model_server, example)


# -- below HTTP's surface

POST = f"POST /v1/models/{NAME}/predict HTTP/1.1\r\n{HEADERS}".encode()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"BREW /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/models/%00%ff%2e%2e HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://other/v1/models/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/models/x?" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/models/x HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /v1/models/x HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET /v1/models/x HTTP/1.1\r\nHost : x\r\n folded\r\n\x00: y\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n{}",
        POST + b"Content-Length: 99999999999999999999\r\n\r\n{}",
        POST + b"Content-Length: two\r\n\r\n{}",
        POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}",
        POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip\r\n\r\n{}",
        POST + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
        POST + b"\r\n",
        b"GET /v1/models/x HTTP/1.1\r\nHost: localhost\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[-40:]),
)
def test_what_is_no_proper_http_is_refused_or_cut_off(model_server, example, sent):
    with closing(socket.create_connection(("127.0.0.1", model_server.port), timeout=5)) as client:
        answer = b""
        try:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            while piece := client.recv(65_536):
                answer += piece
        except ConnectionError:
            pass  # cut off while it was sending or reading
    assert answer == b"" or 400 <= int(answer.split(b" ", 2)[1]) < 500
    assert still_answers(model_server, example)


def test_bodies_that_do_not_come_hold_up_nobody(model_server, example):
    clients = [socket.create_connection(("127.0.0.1", model_server.port)) for _ in range(100)]
    for client in clients:
        client.sendall(POST + b'Content-Length: 1000\r\n\r\n{"device"')
    assert still_answers(model_server, example)
    given_up, *_ = select.select(clients, [], [], 0)
    assert given_up == [], "it answers while it still waits for all of them"
    for _ in range(20):
        assert still_answers(model_server, example)
    for client in clients:
        client.close()
    assert still_answers(model_server, example)
