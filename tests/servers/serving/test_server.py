"""The running model server: what it answers, how it swaps, what cannot take it down."""

import json
from pathlib import Path

import pytest

from tests.fixtures.serving import (
    BENTOML_SERVICE,
    ModelServer,
    add_deployment,
    examples_of,
    make_model,
    make_readings,
)


def deploy(server: ModelServer, model_name: str, version: int, folder: Path) -> dict:
    """Point at a good model and wait until it is live."""
    pointer = add_deployment(server.store, model_name, version, folder)
    server.store.point(pointer)
    return server.wait(model_name, lambda s: s.get("deployment") == pointer.deployment)


def reject(server: ModelServer, model_name: str, version: int, folder: Path, harm) -> dict:
    """Point at a model that was harmed on the way and wait until the server says so."""
    pointer = add_deployment(server.store, model_name, version, folder)
    harm(server.store.folder / model_name / pointer.deployment / "model")
    server.store.point(pointer)
    return server.wait(
        model_name, lambda s: (s.get("failure") or {}).get("deployment") == pointer.deployment
    )


def test_a_prediction_is_the_offline_score(model_server, tmp_path):
    example = examples_of(make_model(tmp_path / "a"))[0]
    deploy(model_server, "offline", 1, tmp_path / "a")
    answer = model_server.predict("offline", device=example["device"], readings=example["readings"])
    assert answer.status_code == 200
    assert answer.json()["score"] == example["score"]
    assert answer.json()["model_version"] == "1"


def test_an_alarm_says_why_over_http(model_server, tmp_path):
    folder = make_model(tmp_path / "a")
    deploy(model_server, "why", 1, folder)
    url, counter = "/v1/models/why/predict", "breezeway_alarm_reasons_total"
    hot = json.dumps({"env": {"temperature": 90}, "mode": "busy", "vibration": [1, 2]})
    times = [f"2026-01-01T00:{minute:02d}:00Z" for minute in range(8)]
    body = {"device": "pump-1", "readings": [{"time": time, "payload": hot} for time in times]}
    answers = [
        model_server.http.post(f"{url}{wish}", json=body).json()
        for wish in ("", "?explain=true", "?explain=false")
    ]
    assert [answer["alarm"] for answer in answers] == [True] * 3
    assert ["why" in answer for answer in answers] == [False, True, False]
    assert answers[1]["why"][0]["field"] == "temperature"
    assert len({answer["score"] for answer in answers}) == 1
    refused = model_server.http.post(f"{url}?explain=maybe", json=body)
    assert (refused.status_code, refused.json()["error"].count("'maybe'")) == (400, 1)
    metrics = model_server.http.get("/metrics").text
    assert f'{counter}{{field="temperature",model="why",model_version="1"' in metrics


def test_the_status_says_what_is_live(model_server, tmp_path):
    make_model(tmp_path / "a")
    status = deploy(model_server, "status", 4, tmp_path / "a")
    assert status.pop("loaded_at")
    assert str(model_server.worker_pid) in status.pop("server")
    assert status == {
        "model": "status",
        "model_version": "4",
        "deployment": "4-a",
        "bento": "status:4-a",
        "data_tag": "data-4",
        "threshold": 0.5,
        "source": "store",
        "swaps": 0,
        "failed_loads": 0,
        "failure": None,
        "challenger": None,
        "challenger_failure": None,
        "trial": None,
    }
    listed = model_server.http.get("/v1/models").json()["models"]
    assert [m["model_version"] for m in listed if m["model"] == "status"] == ["4"]


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/v1/models/nobody/predict", b"{}", 404),
        ("GET", "/v1/models/nobody", None, 404),
        ("GET", "/v1/models/../../etc/passwd", None, 404),
        ("GET", "/nothing", None, 404),
        ("GET", "/v1/models/refusing/predict", None, 405),
        ("DELETE", "/v1/models/refusing", None, 405),
        ("POST", "/v1/models/refusing/predict", b"{", 400),
        ("POST", "/v1/models/refusing/predict", b'{"device": "pump-1"}', 400),
        (
            "POST",
            "/v1/models/refusing/predict",
            json.dumps({"device": "x", "readings": make_readings(1)}).encode(),
            422,
        ),
        ("POST", "/v1/models/refusing/predict", b"x" * 5_000_000, 413),
        ("POST", "/v1/models/refusing/predict", iter([b"x" * 1_000_000] * 5), 413),
    ],
)
def test_what_is_wrong_with_a_request_is_said_in_a_sentence(
    model_server, tmp_path_factory, method, path, content, status
):
    if model_server.http.get("/v1/models/refusing").status_code == 404:
        deploy(model_server, "refusing", 1, make_model(tmp_path_factory.mktemp("m") / "a"))
    response = model_server.http.request(method, path, content=content)
    assert response.status_code == status
    assert response.json()["error"].endswith(".")


def truncate(model: Path) -> None:
    path = model / "model.onnx"
    path.write_bytes(path.read_bytes()[:100])


def remove(model: Path) -> None:
    (model / "extra_files" / "contract.toml").unlink()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (truncate, "model.onnx: the file is not what was"),
        (remove, "contract.toml: the file is mis"),
    ],
)
def test_a_harmed_deployment_leaves_the_old_one_serving(model_server, tmp_path, harm, reason):
    name = f"harmed-{harm.__name__}"
    deploy(model_server, name, 1, make_model(tmp_path / "a"))
    status = reject(model_server, name, 2, make_model(tmp_path / "b", seed=1), harm)
    assert reason in status["failure"]["reason"]
    assert status["model_version"] == "1"
    answer = model_server.predict(name, device="pump-1", readings=make_readings(1))
    assert (answer.status_code, answer.json()["model_version"]) == (200, "1")


def broken_model(folder: Path) -> None:
    """Harm that was there before the store took the files: their hashes are right."""
    (folder / "model.onnx").write_bytes(b"{L\x00\x00\xff" * 9)


def wrong_score(folder: Path) -> None:
    path = folder / "extra_files" / "examples.json"
    examples = json.loads(path.read_text())
    examples[0]["score"] = 0.123
    path.write_text(json.dumps(examples))


def other_contract(folder: Path) -> None:
    path = folder / "extra_files" / "contract.toml"
    path.write_text(path.read_text().replace('["max"]', '["min"]'))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (broken_model, "no model that loads"),
        (wrong_score, "the score is"),
        (other_contract, "features are not those of its contract"),
    ],
)
def test_a_bad_model_is_rejected_with_the_reason(model_server, tmp_path, spoil, reason):
    name = f"bad-{spoil.__name__}"
    deploy(model_server, name, 1, make_model(tmp_path / "a"))
    bad = make_model(tmp_path / "b", seed=1)
    spoil(bad)
    status = reject(model_server, name, 2, bad, lambda model: None)
    assert reason in status["failure"]["reason"]
    assert status["model_version"] == "1"


def test_a_pointer_that_vanishes_or_cannot_be_read_changes_nothing(model_server, tmp_path):
    deploy(model_server, "pointer", 1, make_model(tmp_path / "a"))
    path = model_server.store.folder / "pointer" / "current.json"
    path.write_text("{")
    status = model_server.wait("pointer", lambda s: s["failure"])
    assert "current.json" in status["failure"]["reason"]
    path.unlink()
    model_server.look_again()
    assert model_server.status("pointer")["model_version"] == "1"


def test_the_first_deployment_may_fail_and_the_second_work(model_server, tmp_path):
    bad = make_model(tmp_path / "a")
    wrong_score(bad)
    status = reject(model_server, "second-try", 1, bad, lambda model: None)
    assert status["model_version"] is None
    response = model_server.predict("second-try", device="pump-1", readings=make_readings(1))
    assert response.status_code == 503
    counted = 'breezeway_http_requests_total{code="503",endpoint="predict",model="second-try"} 1.0'
    assert counted in model_server.http.get("/metrics").text
    assert deploy(model_server, "second-try", 2, make_model(tmp_path / "b"))["deployment"] == "2-b"


def test_metrics_tell_models_and_outcomes_apart(model_server, tmp_path):
    deploy(model_server, "counted", 7, make_model(tmp_path / "a"))
    model_server.predict("counted", device="mill", readings=make_readings(1))
    outcomes = [
        "alarm" if answer.json()["alarm"] else "normal"
        for answer in (
            model_server.predict("counted", device="pump-1", readings=make_readings(seed))
            for seed in range(5)
        )
    ]
    for path in ("/nothing/here", "/v1/models/nobody"):
        model_server.http.get(path)
    text = model_server.http.get("/metrics").text
    of_model = 'model="counted",model_version="7"'
    champion = f'{of_model},role="champion"'
    counts = {"rejected": 1, **{outcome: outcomes.count(outcome) for outcome in outcomes}}
    for outcome in ("alarm", "error", "normal", "rejected"):
        expected = float(counts.get(outcome, 0))
        labels = f'model="counted",model_version="7",outcome="{outcome}",role="champion"'
        assert f"breezeway_predictions_total{{{labels}}} {expected}" in text
    assert f"breezeway_prediction_duration_seconds_count{{{champion}}} 5.0" in text
    assert f'breezeway_prediction_score_bucket{{le="+Inf",{champion}}} 5.0' in text
    assert 'breezeway_feature_value_count{feature="temperature",' + champion + "} 5.0" in text
    assert (
        'breezeway_contract_violations_total{action="rejected",field="device",'
        'model="counted",rule="unknown_device"} 1.0' in text
    )
    assert (
        'breezeway_http_requests_total{code="422",endpoint="predict",model="counted"} 1.0' in text
    )
    assert (
        'breezeway_model_info{data_tag="data-7",deployment="7-a",'
        'model="counted",model_version="7",role="champion"} 1.0' in text
    )
    assert 'breezeway_model_swaps_total{model="counted"} 0.0' in text
    assert "breezeway_deployment_store_up 1.0" in text
    assert "process_resident_memory_bytes" in text
    assert "nobody" not in text
    assert "nothing" not in text


def test_it_listens_at_one_socket_on_loopback(model_server):
    assert [where[1:] for where in model_server.listening()] == [("127.0.0.1", model_server.port)]
    unix = [
        socket.laddr
        for process in model_server.processes()
        for socket in process.net_connections("unix")
        if socket.laddr
    ]
    assert unix == []


def test_it_starts_with_nothing_and_comes_back_with_what_is_current(new_model_server, tmp_path):
    server = new_model_server().start()
    assert server.http.get("/readyz").status_code == 503
    assert server.http.get("/livez").status_code == 200
    assert server.http.get("/v1/models").json() == {"models": []}
    good = add_deployment(server.store, "pump", 1, make_model(tmp_path / "a")).verified()
    server.store.point(good)
    server.wait("pump", lambda s: s.get("model_version") == "1")
    assert server.http.get("/readyz").status_code == 200

    server.kill()
    bad = make_model(tmp_path / "b", seed=1)
    wrong_score(bad)
    pointer = add_deployment(server.store, "pump", 2, bad)
    server.store.point(pointer.model_copy(update={"previous": good}))
    server.start()
    status = server.wait("pump", lambda s: s.get("failure"))
    # A deployment that was never seen to work: the one before it serves.
    assert status["model_version"] == "1"
    assert status["failure"]["deployment"] == "2-b"
    assert server.http.get("/readyz").status_code == 200


def test_bentoml_serves_the_same_and_leaves_with_its_supervisor(new_model_server, tmp_path):
    server = new_model_server(BENTOML_SERVICE).start()
    assert server.http.get("/readyz").status_code == 503
    example = examples_of(make_model(tmp_path / "a"))[0]
    deploy(server, "pump", 1, tmp_path / "a")
    assert server.http.get("/readyz").status_code == 200
    answer = server.predict("pump", device=example["device"], readings=example["readings"])
    assert answer.json()["score"] == example["score"]
    assert 'model="pump"' in server.http.get("/metrics").text
    # What docs/serving.md says that it opens: its control port too, for which there is no login.
    ports = {where[1:] for where in server.listening()}
    assert ("127.0.0.1", server.port) in ports
    assert len(ports) > 1
    assert {address for address, _ in ports} == {"127.0.0.1"}
    server.kill_supervisor()
    assert not server.lives()
