"""One request: the answer, and every way to be refused."""

import copy
import json

import pytest

from breezeway.core.errors import DataError
from breezeway.serving.loading import load
from breezeway.serving.metrics import Metrics, Tally
from breezeway.serving.predict import LiveModel, Signer, read_request
from breezeway.serving.refusal import Refusal
from breezeway.serving.trial import Contender
from tests.fixtures.pointers import pointer_to
from tests.fixtures.serving import examples_of, make_model, make_readings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def live(folder) -> LiveModel:
    return load(folder, pointer_to(3))


@pytest.fixture
def body() -> dict:
    return {"device": "pump-1", "readings": make_readings(seed=5)}


def refusal(live: LiveModel, body: object) -> Refusal:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Refusal) as refused:
        answer(live, content)
    return refused.value


def answer(live: LiveModel, content: bytes) -> dict:
    return Contender(live, (Tally(),), Metrics()).predict(*read_request(content))


def test_the_answer_is_the_score_at_training_and_says_whose(live, folder):
    example = examples_of(folder)[0]
    told = answer(live, json.dumps(example).encode())
    assert told.pop("prediction_id").startswith("pump.3.")
    assert told == {
        "score": example["score"],
        "alarm": example["score"] >= 0.5,
        "threshold": 0.5,
        "model": "pump",
        "model_version": "3",
        "data_tag": "v1",
    }


def test_prediction_ids_differ(live, body):
    content = json.dumps(body).encode()
    assert answer(live, content)["prediction_id"] != answer(live, content)["prediction_id"]


def test_only_the_window_counts(live, body):
    whole = live.score(body["device"], body["readings"])
    assert live.score(body["device"], body["readings"][-5:]) == whole
    spoilt = [{"time": "?", "payload": "?"}, *body["readings"]]
    assert live.score(body["device"], spoilt) == whole


def test_one_reading_is_enough(live, body):
    assert 0 <= live.score(body["device"], body["readings"][-1:]) <= 1


def test_a_time_may_have_any_offset_from_utc_and_is_utc_without_one(live, body):
    score = live.score(body["device"], body["readings"])
    for reading in body["readings"]:
        reading["time"] = reading["time"].replace("+00:00", "Z")
    assert live.score(body["device"], body["readings"]) == score
    body["readings"][-1]["time"] = "2026-01-01T02:06:00+02:00"
    assert live.score(body["device"], body["readings"]) == score
    body["readings"][-1]["time"] = "2026-01-01T00:06:00"
    assert live.score(body["device"], body["readings"]) == score


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b'"\\ud800"'],
)
def test_a_body_that_is_no_json_object_is_400(live, content):
    assert refusal(live, content).status == 400


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"device": None}, "device"),
        ({"device": 7}, "device"),
        ({"device": "p" * 256}, "device"),
        ({"device": ""}, "device"),
        ({"readings": None}, "readings"),
        ({"readings": []}, "readings"),
        ({"readings": {}}, "readings"),
        ({"readings": [{"payload": "{}"}]}, "time"),
        ({"readings": [{"time": 1, "payload": "{}"}]}, "time"),
        ({"readings": [{"time": "2026-01-01T00:00:00Z", "payload": {}}]}, "payload"),
    ],
)
def test_a_body_of_another_shape_is_400_and_names_the_key(live, body, change, field):
    refused = refusal(live, body | change)
    assert refused.status == 400
    assert refused.body["field"] == field


def test_too_many_readings_are_413(live, body):
    refused = refusal(live, body | {"readings": body["readings"] * 1500})
    assert (refused.status, refused.body["field"]) == (413, "readings")


def test_readings_that_are_no_objects_are_400(live, body):
    refused = refusal(live, body | {"readings": [*body["readings"], "x"]})
    assert refused.status == 400
    assert refused.body["reading"] == 7


def test_a_device_that_the_contract_does_not_know_is_422(live, body):
    refused = refusal(live, body | {"device": "mill-1"})
    assert refused.status == 422
    assert refused.body["field"] == "device"


def payload(**change) -> str:
    whole = {"env": {"temperature": 60.0}, "mode": "busy", "vibration": [1, 2]} | change
    return json.dumps({key: value for key, value in whole.items() if value is not ...})


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ("{", "payload", "not_json"),
        ("", "payload", "not_json"),
        ("[]", "payload", "not_json"),
        (payload(env={}), "temperature", "missing"),
        (payload(env=1), "temperature", "missing"),
        (payload(env={"temperature": "6O"}), "temperature", "wrong_type"),
        (payload(env={"temperature": True}), "temperature", "wrong_type"),
        (payload(env={"temperature": None}), "temperature", "null"),
        (payload(env={"temperature": 151}), "temperature", "out_of_range"),
        (payload().replace("60.0", "NaN"), "temperature", "null"),
        (payload().replace("60.0", "1e999"), "payload", "not_json"),
        (payload(mode="mad"), "mode", "unknown_category"),
        (payload(vibration=[1]), "vibration", "length"),
        (payload(vibration=[1, None]), "vibration", "null"),
        (payload(vibration=...), "vibration", "missing"),
    ],
)
def test_a_payload_that_breaks_the_contract_is_422_and_says_where(live, body, text, field, reason):
    body["readings"][6]["payload"] = text
    refused = refusal(live, body)
    assert (refused.status, refused.body["reading"]) == (422, 6)
    assert refused.body["error"].startswith("readings[6]: ")
    assert (refused.body["field"], refused.body["reason"]) == (field, reason)


@pytest.mark.parametrize(
    "time", ["yesterday", "", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+23:59"]
)
def test_a_last_reading_without_a_time_is_422(live, body, time):
    body["readings"][-1]["time"] = time
    refused = refusal(live, body)
    assert (refused.status, refused.body["field"]) == (422, "time")
    assert (refused.body["reading"], refused.body["reason"]) == (6, "wrong_type")


def test_a_model_that_scores_otherwise_than_at_training_is_not_loaded(tmp_path):
    folder = make_model(tmp_path / "m")
    examples = examples_of(folder)
    examples[1]["score"] += 1e-4
    (folder / "extra_files" / "examples.json").write_text(json.dumps(examples))
    with pytest.raises(DataError, match=r"examples.json: \[1\]: the score is .*, at training"):
        load(folder, pointer_to(3))


@pytest.mark.parametrize("score", [float("nan"), -1.0])
def test_no_number_passes_for_a_score(tmp_path, score):
    folder = make_model(tmp_path / "m")
    examples = copy.deepcopy(examples_of(folder))
    examples[0]["score"] = score
    (folder / "extra_files" / "examples.json").write_text(json.dumps(examples))
    with pytest.raises(DataError, match=r"examples.json: \[0\]"):
        load(folder, pointer_to(3))


def test_a_model_without_examples_is_not_loaded(tmp_path):
    folder = make_model(tmp_path / "m")
    (folder / "extra_files" / "examples.json").write_text("[]")
    with pytest.raises(DataError, match="no example was recorded"):
        load(folder, pointer_to(3))


def test_a_signature_is_of_one_key_and_one_id():
    signers = [Signer(b"k" * 16), Signer(b"K" * 16), Signer(None), Signer(None)]
    for signer in signers:
        answer = {"prediction_id": "pump.3.0123456789abcdef"}
        signer.sign(answer)
        assert [other for other in signers if other.signed(answer["prediction_id"])] == [signer]
        assert not signer.signed("pump.4" + answer["prediction_id"][6:])
        assert not signer.signed("pump.3.0123456789abcdef")
    answer = {"prediction_id": "pump.3.0123456789abcdef"}
    signers[0].sign(answer)
    assert Signer(b"k" * 16).signed(answer["prediction_id"])
