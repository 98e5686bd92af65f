"""Who may speak to the model server, and whose feedback counts."""

import os
import subprocess
import sys

import httpx
import pytest

from tests.fixtures.processes import new_port
from tests.fixtures.serving import (
    ModelServer,
    add_deployment,
    make_model,
    make_readings,
    put_on_trial,
)


def feedback(server: ModelServer, model_name: str, prediction_id: str) -> httpx.Response:
    body = {"prediction_id": prediction_id, "label": True}
    return server.http.post(f"/v1/models/{model_name}/feedback", json=body)


def test_invented_predictions_do_not_count(model_server, tmp_path):
    put_on_trial(model_server, "forged", tmp_path, "canary", 0.5)
    real = model_server.predict("forged", device="pump-1", readings=make_readings(1)).json()
    name, version, number = real["prediction_id"].rsplit(".", 2)
    other = "2" if version == "1" else "1"
    flipped = f"{int(number[15], 16) ^ 1:x}"
    forgeries = [f"{name}.{version}.{n:032x}" for n in range(1000)]
    forgeries += [
        f"{name}.{other}.{number}",
        f"{name}.{version}.{number[:15]}{flipped}{number[16:]}",
    ]
    for forgery in forgeries:
        response = feedback(model_server, "forged", forgery)
        assert (response.status_code, response.json()["reason"]) == (400, "unsigned")
    trial = model_server.status("forged")["trial"]
    for role in ("champion", "challenger"):
        assert set(trial[role]["feedback"].values()) == {0}
    ignored = 'breezeway_feedback_ignored_total{model="forged",reason="unsigned"} 1002.0'
    assert ignored in model_server.http.get("/metrics").text


def test_feedback_for_a_version_that_was_rolled_back_is_not_lost_silently(model_server, tmp_path):
    put_on_trial(model_server, "withdrawn", tmp_path, "canary", 1.0)
    answer = model_server.predict("withdrawn", device="pump-1", readings=make_readings(1)).json()
    assert answer["model_version"] == "2"
    pointer = model_server.store.pointer("withdrawn")
    model_server.store.point(pointer.model_copy(update={"challenger": None}))
    model_server.wait("withdrawn", lambda s: not s["challenger"])
    response = feedback(model_server, "withdrawn", answer["prediction_id"])
    assert (response.status_code, response.json()) == (
        202,
        {"counted": False, "reason": "not_live"},
    )
    ignored = 'breezeway_feedback_ignored_total{model="withdrawn",reason="not_live"} 1.0'
    assert ignored in model_server.http.get("/metrics").text


def test_replicas_with_one_key_count_each_others_predictions_and_after_a_restart(
    new_model_server, tmp_path
):
    key = {"BREEZEWAY_SERVING_KEY": "0123456789abcdef-key"}
    first, second = new_model_server(**key).start(), new_model_server(**key).start()
    without = new_model_server().start()
    first.store.point(add_deployment(first.store, "pump", 1, make_model(tmp_path / "a")))
    ids = []
    for server in (first, second, without):
        server.wait("pump", lambda s: s.get("model_version") == "1")
        answer = server.predict("pump", device="pump-1", readings=make_readings(1)).json()
        ids.append(answer["prediction_id"])
    assert feedback(second, "pump", ids[0]).json() == {"counted": True}
    assert feedback(first, "pump", ids[1]).json() == {"counted": True}
    refused = feedback(first, "pump", ids[2])
    assert refused.status_code == 400
    assert "BREEZEWAY_SERVING_KEY" in refused.json()["error"]
    for server in (first, without):
        server.kill()
        server.start()
        server.wait("pump", lambda s: s.get("model_version") == "1")
    assert feedback(first, "pump", ids[0]).json() == {"counted": True}
    assert feedback(without, "pump", ids[2]).status_code == 400
    logs = first.log.read_text() + without.log.read_text()
    assert "BREEZEWAY_SERVING_KEY is not set" in logs
    assert key["BREEZEWAY_SERVING_KEY"] not in logs


def test_another_site_cannot_have_a_browser_ask(model_server):
    http, url = model_server.http, "/v1/models/nobody/predict"
    for headers, status in (
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Content-Type": "text/plain"}, 404),  # there is no model whose body could be read
        ({"Origin": model_server.url}, 404),
        ({"Host": "localhost:1"}, 404),
    ):
        assert http.post(url, content=b"{}", headers=headers).status_code == status
    assert http.get("/metrics", headers={"Host": "evil.example"}).status_code == 403


def test_pages_of_an_allowed_site_may_ask(new_model_server):
    site = "https://dashboard.example"
    allowed = new_model_server(
        BREEZEWAY_SERVING_TOKEN="s3cret",
        BREEZEWAY_SERVING_ORIGINS=f'["{site}"]',
        BREEZEWAY_SERVING_HOSTS='["*.example"]',
    ).start()
    preflight = {
        "Origin": site,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = allowed.http.request("OPTIONS", "/v1/models", headers=preflight)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == site
    headers = {"Origin": site, "Authorization": "Bearer s3cret", "Host": "models.example"}
    answer = allowed.http.get("/v1/models", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == site
    for other in ({"Origin": "https://evil.example"}, {"Host": "localhost"}):
        assert allowed.http.get("/v1/models", headers=headers | other).status_code == 403


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"BREEZEWAY_SERVING_TOKEN": ""}, "BREEZEWAY_SERVING_TOKEN: it is empty"),
        ({"BREEZEWAY_SERVING_TOKEN": " "}, "BREEZEWAY_SERVING_TOKEN: it is empty"),
        ({"BREEZEWAY_SERVING_KEY": ""}, "BREEZEWAY_SERVING_KEY: expected at least 16"),
        ({"BREEZEWAY_SERVING_KEY": "short-key"}, "BREEZEWAY_SERVING_KEY: expected at least 16"),
        ({"BREEZEWAY_SERVING_HOSTS": "a.example"}, "BREEZEWAY_SERVING_HOSTS: expected a JSON"),
    ],
)
def test_a_server_that_would_be_open_by_mistake_does_not_start(tmp_path, variables, named):
    done = subprocess.run(
        [sys.executable, "-m", "breezeway.serving.server", "--port", str(new_port())],
        env=os.environ | {"BREEZEWAY_HOME": str(tmp_path)} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 64
    assert named in done.stderr
    assert "short-key" not in done.stderr + done.stdout


def test_a_token_is_asked_for_where_one_is_set(new_model_server, tmp_path):
    server = new_model_server(
        BREEZEWAY_SERVING_TOKEN="s3cret", BREEZEWAY_SERVING_OPEN_PATHS='["/livez", "/readyz"]'
    ).start()
    server.store.point(add_deployment(server.store, "pump", 1, make_model(tmp_path / "a")))
    http = server.http
    for path in ("/", "/v1/models", "/v1/models/pump", "/metrics", "/openapi.json", "/nothing"):
        refused = http.get(path)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    for token in ("", "Bearer", "Bearer wrong", "Basic s3cret"):
        assert http.get("/v1/models", headers={"Authorization": token}).status_code == 401
    http.headers["Authorization"] = "Bearer s3cret"
    server.wait("pump", lambda s: s.get("model_version"))
    assert server.predict("pump", device="pump-1", readings=make_readings(1)).status_code == 200
    for path in ("/metrics", "/openapi.json"):
        assert http.get(path).status_code == 200
    assert b"s3cret" not in server.log.read_bytes()
