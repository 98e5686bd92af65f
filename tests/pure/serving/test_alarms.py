"""An alarm says why: where it begins, on demand, in a batch, and never at the cost of an answer."""

import asyncio
import json
import logging

import pytest

from breezeway.core.settings import Settings
from breezeway.serving.active import ActiveModels, families
from breezeway.serving.app import App
from breezeway.serving.loading import load
from breezeway.serving.metrics import exposition
from tests.fixtures.pointers import pointer_to
from tests.fixtures.serving import make_model

READINGS = 8
"""The window of the model has 5."""
HOT, COLD = 95.0, -10.0


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp("model") / "m")
    usual = {"ranges": {"temperature": [40.0, 60.0, 80.0]}}
    (folder / "extra_files" / "usual.json").write_text(json.dumps(usual))
    return load(folder, pointer_to(3))


@pytest.fixture
def models(live):
    models = ActiveModels()
    models.hold(live, "store", 0.0)
    return models


def body(temperatures: list[float]) -> dict:
    return {
        "device": "pump-1",
        "readings": [
            {
                "time": f"2026-01-01T00:{minute:02d}:00Z",
                "payload": json.dumps(
                    {"env": {"temperature": value}, "mode": "busy", "vibration": [0.1, -0.1]}
                ),
            }
            for minute, value in enumerate(temperatures)
        ],
    }


def ask(models: ActiveModels, document: dict, query: str = "", path: str = "predict"):
    """Status and body of the answer to one request."""
    sent = []

    async def receive() -> dict:
        return {"type": "http.request", "body": json.dumps(document).encode()}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/v1/models/pump/{path}",
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
    }
    asyncio.run(App(models, None, Settings())(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


ENDS = [COLD] * (READINGS - 1) + [HOT]
GOES_ON = [COLD] * (READINGS - 3) + [HOT] * 3


def test_where_an_alarm_begins_the_answer_says_why(models):
    _, answer = ask(models, body(ENDS))
    assert answer["alarm"]
    first = answer["why"][0]
    assert (first["field"], first["value"], first["usual"]) == ("temperature", HOT, [40.0, 80.0])
    assert (first["direction"], first["unit"]) == ("high", "°C")
    assert 0 < sum(reason["share"] for reason in answer["why"]) <= 1.000001
    assert answer["reason"].startswith("temperature 95 °C, usually 40 to 80")


def test_an_alarm_that_goes_on_says_why_only_when_asked(models):
    _, answer = ask(models, body(GOES_ON))
    assert answer["alarm"]
    assert "why" not in answer
    _, answer = ask(models, body(GOES_ON), "explain=true")
    assert answer["why"][0]["field"] == "temperature"


def test_with_no_more_than_a_window_each_alarm_may_be_a_beginning(models):
    assert "why" in ask(models, body([HOT] * 5))[1]
    assert "why" in ask(models, body([HOT]))[1]
    assert "why" not in ask(models, body([HOT] * 6))[1]


def test_a_reading_before_that_is_refused_is_not_known(models):
    document = body(GOES_ON)
    document["readings"][-2]["payload"] = "{"
    assert "why" in ask(models, document)[1]


def test_no_alarm_and_no_wish_is_not_explained(models):
    cold = body([COLD] * READINGS)
    assert not ask(models, cold)[1]["alarm"]
    assert "why" not in ask(models, cold, "explain=true")[1]
    assert "why" not in ask(models, body(ENDS), "explain=false")[1]


def test_each_version_explains_too(models):
    assert "why" in ask(models, body(ENDS), path="versions/3/predict")[1]


def test_an_explanation_changes_nothing_else(models):
    keys = ("score", "alarm", "threshold", "model", "model_version", "data_tag")
    told, untold = (ask(models, body(ENDS), f"explain={wish}")[1] for wish in ("true", "false"))
    assert [told[key] for key in keys] == [untold[key] for key in keys]
    assert set(told) - set(untold) == {"why", "reason"}


def test_a_batch_explains_as_single_requests_are_explained(models):
    batch = {"requests": [body(ENDS), body(GOES_ON), body([COLD] * 8), {}, body(ENDS)]}
    for query in ("", "explain=true", "explain=false"):
        _, answer = ask(models, batch, query, "predict-batch")
        singly = [ask(models, each, query)[1] for each in batch["requests"]]
        given = answer["predictions"]
        assert [a.get("why") for a in given] == [a.get("why") for a in singly]
        assert [a.get("reason") for a in given] == [a.get("reason") for a in singly]


@pytest.mark.parametrize(
    "query",
    [
        "explain",
        "explain=",
        "explain=1",
        "explain=True",
        "explain=yes",
        "explain=true&explain=true",
        "explain=true%00",
        "explain=%FF",
        "explain=" + "x" * 10_000,
        "a=b&explain=tru",
    ],
)
@pytest.mark.parametrize("path", ["predict", "predict-batch", "versions/3/predict"])
def test_another_wish_is_400_and_says_what_is_expected(models, query, path):
    status, answer = ask(models, body(ENDS), query, path)
    assert status == 400
    assert answer["error"].startswith("explain: expected true or false, once; found ")
    assert len(answer["error"]) < 200


@pytest.mark.parametrize("query", ["", "explain=true", "other=1", "&&", "%&=explain"])
def test_another_query_is_left_alone(models, query):
    assert ask(models, body(ENDS), query)[0] == 200


def test_first_reasons_are_counted_by_field(models):
    for _ in range(3):
        ask(models, body(ENDS))
    ask(models, body(GOES_ON))
    line = (
        'breezeway_alarm_reasons_total{field="temperature",model="pump",model_version="3",'
        'role="champion"} 3.0'
    )
    assert line in exposition(families(models)).splitlines()


def test_an_explanation_that_fails_costs_nobody_an_answer(models, live, monkeypatch, caplog):
    monkeypatch.setattr(live, "explainer", None)
    with caplog.at_level(logging.ERROR, "breezeway.serving"):
        status, answer = ask(models, body(ENDS))
    assert (status, answer["alarm"]) == (200, True)
    assert "why" not in answer
    assert "an alarm is not explained" in caplog.text
