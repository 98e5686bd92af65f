"""Swaps under load, and whatever may befall the store, the disk and the server meanwhile."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from breezeway.core.settings import Settings
from breezeway.deployment.store import DeploymentStore, Pointer
from tests.fixtures import disk
from tests.fixtures.serving import ModelServer, add_deployment, examples_of, make_model

CLIENTS = 64
SWAPS = 10


class Answer(NamedTuple):
    asked: float
    answered: float
    status: int
    body: dict


class Load(threading.Thread):
    """Clients that ask one thing again and again, each as soon as it has its answer."""

    def __init__(self, port: int, path: str, request: dict):
        super().__init__(daemon=True)
        body = json.dumps(request).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        self._port = port
        self._done = threading.Event()
        self.answers: list[Answer] = []
        self.failures: list[Exception] = []

    def wait_for_more(self, count: int = 500) -> None:
        """Return when so many more answers have come."""
        enough = len(self.answers) + count
        wait_for(lambda: len(self.answers) >= enough or self.failures)

    def run(self) -> None:
        asyncio.run(self._ask_all())

    async def _ask_all(self) -> None:
        await asyncio.gather(*(self._ask() for _ in range(CLIENTS)))

    async def _ask(self) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            while not self._done.is_set():
                asked = time.monotonic()
                writer.write(self._request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
                body = json.loads(await reader.readexactly(length))
                status = int(head.split(b" ", 2)[1])
                self.answers.append(Answer(asked, time.monotonic(), status, body))
            writer.close()
        except Exception as error:
            self.failures.append(error)

    def stop(self) -> list[Answer]:
        self._done.set()
        self.join()
        assert self.failures == []
        return self.answers


def put(server: ModelServer, version: int, folder: Path) -> tuple[Pointer, dict]:
    """Put a model of a version's own scores into the store; returns what it answers, too."""
    example = examples_of(make_model(folder / f"m{version}", seed=version))[0]
    return add_deployment(server.store, "pump", version, folder / f"m{version}"), example


def point(server: ModelServer, pointer: Pointer) -> dict:
    """Move the pointer and wait until the server reports it."""
    server.store.point(pointer)
    return server.wait("pump", lambda s: s.get("deployment") == pointer.deployment)


def answers_with(server: ModelServer, version: int, example: dict) -> bool:
    """Whether the server answers, with the whole of that version."""
    answer = server.predict("pump", device=example["device"], readings=example["readings"])
    assert answer.status_code == 200
    body = answer.json()
    return (body["model_version"], body["score"]) == (str(version), example["score"])


def test_ten_deployments_under_load_lose_no_request(new_model_server, tmp_path, record_property):
    server = new_model_server().start()
    first, example = put(server, 1, tmp_path)
    point(server, first)
    request = {key: example[key] for key in ("device", "readings")}
    deployments = [put(server, version, tmp_path)[0] for version in range(2, SWAPS + 2)]

    load = Load(server.port, "/v1/models/pump/predict", request)
    load.start()
    swaps = []
    for pointer in deployments:
        load.wait_for_more()
        moved = time.monotonic()
        point(server, pointer)
        swaps.append((moved, time.monotonic()))
    load.wait_for_more()
    answers = load.stop()

    assert {answer.status for answer in answers} == {200}
    versions = np.array([int(answer.body["model_version"]) for answer in answers])
    assert set(versions.tolist()) == set(range(1, SWAPS + 2))
    asked, answered = (np.array([a[place] for a in answers]) for place in (0, 1))
    for version, (moved, reported) in enumerate(swaps, start=2):
        assert (versions[asked > reported] >= version).all()
        assert (versions[answered < moved] < version).all()
    scores = {(a.body["model_version"], a.body["data_tag"], a.body["score"]) for a in answers}
    assert len(scores) == SWAPS + 1  # each answer is one version's whole
    assert ("1", "data-1", example["score"]) in scores
    assert server.status("pump")["swaps"] == SWAPS

    during = np.zeros(len(answers), bool)
    for moved, reported in swaps:
        during |= (answered > moved) & (asked < reported)
    p99 = [1000 * np.percentile((answered - asked)[kept], 99) for kept in (during, ~during)]
    said = f"{len(answers)} requests, p99 during swaps {p99[0]:.0f} ms, else {p99[1]:.0f} ms"
    record_property("swaps", said)
    print(said)


# -- what may befall it


@pytest.mark.parametrize("moment", ["loads it", "keeps it"])
def test_a_server_killed_in_mid_swap_comes_back_with_a_good_model(
    new_model_server, tmp_path, moment
):
    server = new_model_server().start()
    examples = {}
    for version in (1, 2):
        pointer, examples[version] = put(server, version, tmp_path)
        if version == 1:
            point(server, pointer)
    kept = DeploymentStore(Settings(home=server.home).deployment_copy)
    wait_for(lambda: kept.pointer("pump"))

    server.store.point(pointer)
    if moment == "keeps it":
        wait_for(lambda: any((kept.folder / "pump").glob(f"*{pointer.deployment}")))
    else:
        time.sleep(0.25)  # of the half second until the server looks
    server.kill()

    away = server.store.folder.with_name("away")
    server.store.folder.rename(away)
    server.start()
    status = server.wait("pump", lambda s: s.get("model_version"))
    assert status["source"] == "local copy"
    version = int(status["model_version"])
    assert answers_with(server, version, examples[version])

    away.rename(server.store.folder)
    server.wait("pump", lambda s: s["model_version"] == "2" and s["source"] == "store")
    assert answers_with(server, 2, examples[2])


def wait_for(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def test_the_store_may_go_away_and_come_back(new_model_server, tmp_path):
    server = new_model_server().start()
    pointer, first = put(server, 1, tmp_path)
    point(server, pointer)
    pointer, second = put(server, 2, tmp_path)
    away = server.store.folder.with_name("away")

    server.store.folder.rename(away)
    wait_for(lambda: "breezeway_deployment_store_up 0.0" in server.http.get("/metrics").text)
    assert answers_with(server, 1, first)
    server.kill()
    server.start()  # nothing is left but what it kept itself
    assert server.http.get("/readyz").status_code == 200
    assert answers_with(server, 1, first)

    away.rename(server.store.folder)
    point(server, pointer)
    assert answers_with(server, 2, second)


def test_a_deployment_harmed_on_disk_is_not_what_a_restart_serves(new_model_server, tmp_path):
    server = new_model_server().start()
    pointer, example = put(server, 1, tmp_path)
    point(server, pointer)
    kept = DeploymentStore(Settings(home=server.home).deployment_copy)
    wait_for(lambda: kept.pointer("pump"))
    server.kill()
    model = server.store.folder / "pump" / pointer.deployment / "model" / "model.onnx"
    model.write_bytes(model.read_bytes().replace(b"LOGISTIC", b"LOGISTIX"))

    server.start()
    server.wait("pump", lambda s: s.get("failure") and s["model_version"])
    server.look_again()
    status = server.status("pump")
    assert "model.onnx: the file is not what was deployed" in status["failure"]["reason"]
    assert (status["source"], status["model_version"]) == ("local copy", "1")
    assert answers_with(server, 1, example)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    with disk.small_disk(tmp_path / "disk", "256k") as folder:
        yield folder


def fill(folder: Path) -> None:
    with suppress(OSError), (folder / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_for_the_local_copy_costs_no_swap(
    new_model_server, tmp_path, small_disk, monkeypatch
):
    monkeypatch.setenv("BREEZEWAY_SERVING_COPY", str(small_disk))
    server = new_model_server().start()
    pointer, first = put(server, 1, tmp_path)
    point(server, pointer)
    wait_for(lambda: DeploymentStore(small_disk).pointer("pump"))

    fill(small_disk)
    pointer, second = put(server, 2, tmp_path)
    point(server, pointer)
    assert answers_with(server, 2, second)
    wait_for(lambda: "cannot be kept" in server.log.read_text())

    server.kill()
    server.store.folder.rename(server.store.folder.with_name("away"))
    server.start()
    assert answers_with(server, 1, first)  # the last that could be kept


def test_a_full_disk_for_the_store_leaves_what_is_served(new_model_server, tmp_path, small_disk):
    server = new_model_server()
    (server.home).mkdir(parents=True)
    server.store.folder.symlink_to(small_disk)
    server.start()
    pointer, example = put(server, 1, tmp_path)
    point(server, pointer)

    make_model(tmp_path / "m2", seed=2)
    fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        add_deployment(server.store, "pump", 2, tmp_path / "m2")
    with pytest.raises(OSError, match="No space left"):
        server.store.point(pointer.verified())
    (small_disk / "filling").unlink()  # for a look to be seen
    server.look_again()
    assert server.status("pump")["failure"] is None
    assert answers_with(server, 1, example)
    server.kill()
    server.start()
    assert answers_with(server, 1, example)
