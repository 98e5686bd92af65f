"""Clients of others: Triton's by the Open Inference Protocol, and MLflow's of its own server."""

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from breezeway.contract.contract import Contract
from breezeway.contract.features import latest_features
from breezeway.core.times import from_iso
from breezeway.deployment.store import Challenger
from tests.fixtures import triton
from tests.fixtures.serving import (
    CONTRACT,
    ModelServer,
    add_deployment,
    make_model,
    make_readings,
)

NAME = "protocols"
MODEL = Contract.from_text(CONTRACT, "contract.toml")


def readings_of(seed: int) -> list[dict[str, str]]:
    """Of a pump about whose temperature the models are of several minds."""
    generator = np.random.default_rng(seed)
    readings = make_readings(seed)
    for reading in readings:
        payload = json.loads(reading["payload"])
        payload["env"]["temperature"] = float(generator.uniform(-20, 30))
        reading["payload"] = json.dumps(payload)
    return readings


READINGS = [readings_of(seed) for seed in range(200)]


def features_of(readings: list[dict[str, str]]) -> np.ndarray:
    payloads = [MODEL.parser.parse(reading["payload"]) for reading in readings]
    return latest_features(MODEL, payloads, [from_iso(reading["time"]) for reading in readings])[0]


ROWS = np.array([features_of(readings) for readings in READINGS])


@pytest.fixture(scope="module")
def server(new_server: Callable[[], ModelServer], tmp_path_factory) -> ModelServer:
    """With version 1 in service and version 2 in its shadow."""
    server, folder = new_server(), tmp_path_factory.mktemp("models")
    one, two = (
        add_deployment(server.store, NAME, number, make_model(folder / str(number), number, NAME))
        for number in (1, 2)
    )
    shadow = Challenger.of(two, "shadow")
    server.store.point(one.model_copy(update={"challenger": shadow}))
    server.wait(NAME, lambda status: bool(status.get("challenger")))
    return server


@pytest.fixture(scope="module")
def new_server(tmp_path_factory) -> Iterator[Callable[[], ModelServer]]:
    server = ModelServer(tmp_path_factory.mktemp("protocols") / "home")
    yield server.start
    server.kill()


@pytest.fixture(scope="module")
def client(server) -> Iterator[Callable[..., Any]]:
    """Calls a function of `tests.fixtures.triton` for this server and model."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        address = server.url.removeprefix("http://")
        yield lambda ask, *more, **options: process.submit(
            ask, address, NAME, *more, **options
        ).result(60)


@pytest.fixture(scope="module")
def answers(server) -> list[dict]:
    """What our own API answers to the readings that the rows were made of."""
    requests = [{"device": "pump-1", "readings": readings} for readings in READINGS]
    answer = server.http.post(f"/v1/models/{NAME}/predict-batch", json={"requests": requests})
    predictions = answer.raise_for_status().json()["predictions"]
    assert len({prediction["score"] for prediction in predictions}) >= 10
    assert {prediction["alarm"] for prediction in predictions} == {True, False}
    return predictions


def test_tritons_client_learns_what_the_model_takes(client):
    healthy, server, model = client(triton.metadata)
    assert healthy == [True, True, True]
    assert (server["name"], server["extensions"]) == ("breezeway", ["binary_tensor_data"])
    assert (model["name"], model["versions"]) == (NAME, ["1", "2"])
    (tensor,) = model["inputs"]
    assert tensor["shape"] == [-1, len(MODEL.feature_names)]
    assert tensor["parameters"]["feature_names"] == MODEL.feature_names


@pytest.mark.parametrize("binary", [(True, True), (False, False), (True, False), (False, True)])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_tritons_client_gets_the_scores_of_our_own_api(client, answers, datatype, binary):
    rows = ROWS.astype({"FP32": np.float32, "FP64": np.float64}[datatype])
    scores, alarms, answer = client(triton.infer, rows, datatype, binary, request_id="a row")
    assert scores.tolist() == [answer["score"] for answer in answers]
    assert alarms.tolist() == [answer["alarm"] for answer in answers]
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("a row", NAME, "1")


def test_tritons_client_may_ask_the_challenger(client, answers):
    scores, _, answer = client(triton.infer, ROWS, "FP64", model_version="2")
    assert answer["model_version"] == "2"
    assert scores.tolist() != [answer["score"] for answer in answers]


def test_tritons_client_is_told_what_is_wrong(client):
    assert "Version '9' of protocols is not live." in client(
        triton.infer, ROWS, "FP64", model_version="9"
    )
    assert "expected [rows, 6], found [200, 5]" in client(triton.infer, ROWS[:, :5], "FP64")
    compressed = client(triton.infer, ROWS, "FP64", request_compression_algorithm="gzip")
    assert "a compressed body is not taken" in compressed


def test_mlflows_client_gets_the_scores_of_our_own_api(server, answers):
    client = ScoringServerClient("127.0.0.1", server.port)
    client.wait_server_ready()
    frame = pd.DataFrame(ROWS, columns=MODEL.feature_names)
    given = client.invoke(frame[frame.columns[::-1]]).get_predictions()
    assert given["score"].tolist() == [answer["score"] for answer in answers]
    assert given["alarm"].tolist() == [answer["alarm"] for answer in answers]
    with pytest.raises(Exception, match="'vibration_rms_max' is missing"):
        client.invoke(frame[frame.columns[:-1]])


def test_a_value_that_is_missing_is_missing_by_each_protocol(server, client):
    rows = ROWS.copy()
    rows[::2, 0] = np.nan
    scores, _, _ = client(triton.infer, rows, "FP64")
    as_json, _, _ = client(triton.infer, rows, "FP64", (False, False))
    frame = pd.DataFrame(rows, columns=MODEL.feature_names)
    given = ScoringServerClient("127.0.0.1", server.port).invoke(frame).get_predictions()
    assert scores.tolist() == as_json.tolist() == given["score"].tolist()
    assert scores.tolist() != client(triton.infer, ROWS, "FP64")[0].tolist()


def test_rows_are_counted_beside_readings_and_in_no_trial(server, client):
    def counted() -> tuple[float, float]:
        lines = server.http.get("/metrics").text.splitlines()
        of_model = [line for line in lines if f'model="{NAME}"' in line]
        requests = [line for line in of_model if 'endpoint="infer"' in line and '"200"' in line]
        rows = [line for line in of_model if line.startswith("breezeway_predictions_total")]
        total = sum(float(line.split()[-1]) for line in rows if 'model_version="1"' in line)
        return float(requests[0].split()[-1]), total

    client(triton.infer, ROWS, "FP64")
    requests, rows = counted()
    trial = server.status(NAME)["trial"]
    client(triton.infer, ROWS, "FP64")
    assert counted() == (requests + 1, rows + len(ROWS))
    assert server.status(NAME)["trial"]["champion"] == trial["champion"]


def test_many_rows_let_other_requests_run(server):
    """The largest request is scored in pieces."""
    rows = np.tile(ROWS, (50, 1))
    body = {"dataframe_split": {"columns": MODEL.feature_names, "data": rows.tolist()}}
    given = server.http.post("/invocations", json=body).raise_for_status().json()["predictions"]
    assert len(given) == len(rows) == 10_000
    assert given[: len(ROWS)] == given[-len(ROWS) :]


def test_where_there_are_two_models_one_has_to_be_named(server, tmp_path):
    body = {"dataframe_split": {"columns": MODEL.feature_names, "data": ROWS[:1].tolist()}}
    assert server.http.post("/invocations", json=body).status_code == 200
    server.store.point(add_deployment(server.store, "second", 1, make_model(tmp_path / "m")))
    server.wait("second", lambda status: status.get("model_version") == "1")
    refused = server.http.post("/invocations", json=body)
    assert refused.status_code == 404
    assert "/v1/models/<model>/invocations" in refused.json()["error"]
    named = server.http.post(f"/v1/models/{NAME}/invocations", json=body)
    assert named.status_code == 200


@pytest.mark.parametrize("path", ["/v2/x", "/v2/models/protocols/x", "/v2/models", "/v2/health"])
def test_what_the_protocol_does_not_have_is_not_there(server, path):
    assert server.http.get(path).status_code == 404
