"""A challenger beside the champion: who answers, what is counted, what it may never cost."""

import json
from pathlib import Path

import pytest
from scipy.stats import binomtest

from breezeway.deployment.store import Challenger, DeploymentStore
from breezeway.serving.active import ActiveModels
from breezeway.serving.loading import load
from breezeway.serving.metrics import Metrics, Tally
from breezeway.serving.refusal import Refusal
from breezeway.serving.trial import Contender, Serving
from tests.fixtures.pointers import pointer_to
from tests.fixtures.serving import (
    CONTRACT,
    add_deployment,
    examples_of,
    make_model,
    make_readings,
    put_on_trial,
)

DEVICES = [f"pump-{number}" for number in range(5000)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [make_model(root / f"m{seed}", seed) for seed in (0, 1)]


def serving(folders, mode: str = "canary", share: float = 0.1, deployment: int = 2) -> Serving:
    """Version 1 as champion and version 2 on trial."""
    metrics = Metrics()
    champion = Contender(load(folders[0], pointer_to(1)), (Tally(),), metrics)
    terms = Challenger.of(pointer_to(deployment), mode, share)
    return Serving(champion).with_challenger(load(folders[1], terms), terms, metrics)


def test_the_share_of_devices_is_within_its_binomial_bounds(folders):
    trial = serving(folders).trial
    theirs = {device for device in DEVICES if trial.answers_for(device)}
    assert binomtest(len(theirs), len(DEVICES), 0.1).pvalue > 0.001
    assert theirs == {device for device in DEVICES if trial.answers_for(device)}


def test_a_larger_share_takes_no_device_away_and_another_trial_takes_others(folders):
    small = serving(folders)
    theirs = {device for device in DEVICES if small.trial.answers_for(device)}
    large = small.on_terms(small.trial.terms.model_copy(update={"share": 0.5})).trial
    assert theirs < {device for device in DEVICES if large.answers_for(device)}
    other = serving(folders, deployment=3).trial
    both = theirs & {device for device in DEVICES if other.answers_for(device)}
    assert len(both) < 0.3 * len(theirs)


@pytest.mark.parametrize(("share", "answered"), [(0.0, 0), (1.0, 100)])
def test_no_share_and_the_whole(folders, share, answered):
    trial = serving(folders, share=share).trial
    assert sum(trial.answers_for(device) for device in DEVICES[:100]) == answered


def break_scoring(contender: Contender) -> None:
    def fail(_: object) -> float:
        raise RuntimeError("broken")

    contender.live.score_row = fail
    contender.live.model = None


def test_a_challenger_that_fails_costs_nobody_an_answer(folders):
    pair = serving(folders, share=1.0)
    request = {"device": "pump-1", "readings": make_readings(3)}
    break_scoring(pair.trial.challenger)
    assert pair.predict(**request)["model_version"] == "1"
    (answer,) = pair.predict_some([request], {})
    assert answer["model_version"] == "1"
    assert pair.trial.challenger_tally.outcomes["error"] == 2
    assert pair.trial.champion_tally.outcomes["error"] == 0


def test_a_challenger_that_refuses_costs_nobody_an_answer(folders, tmp_path):
    narrow = CONTRACT.replace("pump-[0-9]+", "pump-[0-2]")
    other = make_model(tmp_path / "narrow", 1, contract_text=narrow)
    pair = serving([folders[0], other], share=1.0)
    known, unknown = ({"device": f"pump-{n}", "readings": make_readings(3)} for n in (1, 7))
    answers = [
        pair.predict(**known),
        pair.predict(**unknown),
        *pair.predict_some([known, unknown], {}),
    ]
    assert [answer["model_version"] for answer in answers] == ["2", "1", "2", "1"]
    assert pair.trial.challenger_tally.outcomes["rejected"] == 2
    with pytest.raises(Refusal):
        pair.predict("mill-1", make_readings(3))


def test_a_shadow_that_fails_harms_nothing(folders):
    pair = serving(folders, mode="shadow")
    request = {"device": "pump-1", "readings": make_readings(3)}
    answer = pair.predict(**request)
    assert answer["model_version"] == "1"
    break_scoring(pair.trial.challenger)
    pair.compare(**request, answer=answer)
    assert pair.trial.challenger_tally.outcomes["error"] == 1
    assert pair.trial.challenger_tally.compared == 0


def test_the_counts_of_versions_long_gone_are_dropped_and_those_of_live_ones_kept():
    metrics = Metrics()
    for number in range(50):
        metrics.tally("pump", str(number), "champion", ["a"])
    other = metrics.tally("mill", "0", "champion", ["a"])
    metrics.forget_versions("pump", {"3"})
    versions = [version for name, version, _ in metrics.tallies if name == "pump"]
    assert versions == ["3", *map(str, range(30, 50))]
    assert metrics.tally("mill", "0", "champion", ["a"]) is other


def test_what_both_refuse_is_no_fault_of_the_challenger(folders):
    pair = serving(folders, share=1.0)
    bad = {"device": "mill-1", "readings": make_readings(3)}
    with pytest.raises(Refusal):
        pair.predict(**bad)
    assert isinstance(pair.predict_some([bad], {})[0], Refusal)
    assert pair.trial.challenger_tally.outcomes["rejected"] == 0


def test_scores_are_compared_on_the_same_readings(folders):
    pair = serving(folders, share=0.5)
    requests = [(device, make_readings(number)) for number, device in enumerate(DEVICES[:40])]
    theirs = []
    for device, readings in requests:
        answer = pair.predict(device, readings)
        pair.compare(device, readings, answer)
        if answer["model_version"] == "2":
            theirs.append((answer["score"], pair.champion.live.score(device, readings)))
    told = pair.trial.challenger_tally.counted().shadow
    assert 0 < told.compared == len(theirs) < 40
    assert told.difference_sum == pytest.approx(sum(abs(a - b) for a, b in theirs))
    assert told.champion_score.sum == pytest.approx(sum(b for _, b in theirs))
    assert pair.trial.champion_tally.counted().predictions == 40 - len(theirs)


def test_a_canary_answers_for_its_devices_until_the_trial_ends(model_server, tmp_path):
    status = put_on_trial(model_server, "canary", tmp_path, "canary", 0.3)
    assert status["model_version"] == "1"
    assert status["challenger"]["model_version"] == "2"
    assert (status["challenger"]["mode"], status["challenger"]["share"]) == ("canary", 0.3)
    readings = make_readings(4)

    def who(device: str) -> str:
        answer = model_server.predict("canary", device=device, readings=readings)
        return answer.json()["model_version"]

    devices = DEVICES[:60]
    answered = {device: who(device) for device in devices}
    challengers = [device for device, version in answered.items() if version == "2"]
    assert set(answered.values()) == {"1", "2"}
    assert {device: who(device) for device in devices} == answered
    trial = model_server.status("canary")["trial"]
    assert trial["challenger"]["predictions"] == 2 * len(challengers)
    assert trial["champion"]["predictions"] == 2 * (len(devices) - len(challengers))
    for version in ("1", "2"):
        url = f"/v1/models/canary/versions/{version}/predict"
        answer = model_server.http.post(url, json={"device": "pump-1", "readings": readings})
        assert answer.json()["model_version"] == version
    refused = model_server.http.post(
        "/v1/models/canary/versions/3/predict", json={"device": "pump-1", "readings": readings}
    )
    assert refused.status_code == 404

    store = model_server.store
    pointer = store.pointer("canary")
    wider = pointer.challenger.model_copy(update={"share": 1.0})
    store.point(pointer.model_copy(update={"challenger": wider}))
    wide = model_server.wait("canary", lambda s: s["challenger"]["share"] == 1)
    assert wide["trial"]["since"] == status["trial"]["since"]  # the same trial goes on
    assert who("pump-1") == "2"
    text = model_server.http.get("/metrics").text
    assert 'breezeway_challenger_share{model="canary",model_version="2"} 1.0' in text
    assert 'outcome="normal",role="challenger"' in text
    store.point(pointer.model_copy(update={"challenger": None}))
    ended = model_server.wait("canary", lambda s: s["challenger"] is None)
    assert (ended["trial"], ended["model_version"], ended["swaps"]) == (None, "1", 0)
    assert {who(device) for device in devices} == {"1"}


def test_a_shadow_is_scored_and_compared_and_not_answered(model_server, tmp_path):
    put_on_trial(model_server, "shadow", tmp_path, "shadow", 0)
    for number in range(20):
        answer = model_server.predict(
            "shadow", device=f"pump-{number}", readings=make_readings(number)
        )
        assert answer.json()["model_version"] == "1"
    requests = [{"device": "pump-1", "readings": make_readings(number)} for number in range(30)]
    model_server.http.post("/v1/models/shadow/predict-batch", json={"requests": requests})
    status = model_server.wait(
        "shadow", lambda s: s["trial"]["challenger"]["shadow"]["compared"] == 50
    )
    assert status["trial"]["challenger"]["shadow"]["difference_sum"] > 0
    assert status["trial"]["champion"]["predictions"] == 50
    text = model_server.http.get("/metrics").text
    labels = '{model="shadow",model_version="2"}'
    assert f"breezeway_shadow_score_difference_count{labels} 50.0" in text


def test_a_challenger_that_cannot_be_loaded_leaves_the_champion_alone(model_server, tmp_path):
    champion = add_deployment(model_server.store, "lone", 1, make_model(tmp_path / "a"))
    spoilt = make_model(tmp_path / "b", seed=1)
    (spoilt / "model.onnx").write_bytes(b"{L\x00\x00\xff" * 9)
    challenger = Challenger.of(add_deployment(model_server.store, "lone", 2, spoilt), "canary", 1.0)
    model_server.store.point(champion.model_copy(update={"challenger": challenger}))
    status = model_server.wait("lone", lambda s: s.get("challenger_failure"))
    assert "no model that loads" in status["challenger_failure"]["reason"]
    assert status["challenger_failure"]["deployed_at"] == challenger.deployed_at.isoformat()
    assert (status["challenger"], status["failure"]) == (None, None)
    answer = model_server.predict("lone", device="pump-1", readings=make_readings(1))
    assert (answer.status_code, answer.json()["model_version"]) == (200, "1")


def test_a_challenger_that_cannot_be_loaded_ends_the_trial_before_it(tmp_path):
    store, copy = DeploymentStore(tmp_path / "store"), DeploymentStore(tmp_path / "copy")
    champion, good = (
        add_deployment(store, "pump", number, make_model(tmp_path / f"m{number}", number))
        for number in (1, 2)
    )
    spoilt = make_model(tmp_path / "m3", seed=3)
    (spoilt / "model.onnx").write_bytes(b"{L\x00\x00\xff" * 9)
    bad = add_deployment(store, "pump", 3, spoilt)
    models = ActiveModels()
    for pointer in (good, bad):
        challenger = Challenger.of(pointer, "canary", 1.0)
        store.point(champion.model_copy(update={"challenger": challenger}))
        models.refresh(store, copy)
    status = models.status("pump")
    assert status.challenger is None
    assert status.challenger_failure.deployment == bad.deployment
    assert models.get("pump").predict("pump-1", make_readings(1))["model_version"] == "1"


def test_a_batch_is_answered_in_order_each_request_by_itself(model_server, tmp_path):
    example = examples_of(make_model(tmp_path / "copy"))[0]
    put_on_trial(model_server, "batch", tmp_path, "canary", 0.5)
    requests = [
        {"device": f"pump-{number}", "readings": make_readings(number)} for number in range(150)
    ]
    requests[3] = {"device": "mill"}
    requests[77] = {"device": "mill", "readings": make_readings(1)}
    requests[99] = 7
    answer = model_server.http.post("/v1/models/batch/predict-batch", json={"requests": requests})
    assert answer.status_code == 200
    predictions = answer.json()["predictions"]
    refused = {index: p["status"] for index, p in enumerate(predictions) if "error" in p}
    assert refused == {3: 400, 77: 422, 99: 400}
    assert predictions[77]["field"] == "device"
    assert {p["model_version"] for p in predictions if "score" in p} == {"1", "2"}
    for index in (0, 1, 50, 149):
        alone = model_server.predict("batch", **requests[index]).json()
        assert alone.pop("prediction_id") != predictions[index].pop("prediction_id")
        assert alone == predictions[index]
    url = "/v1/models/batch/versions/1/predict"
    body = {key: example[key] for key in ("device", "readings")}
    assert model_server.http.post(url, json=body).json()["score"] == example["score"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ([], 400),
        ({"requests": []}, 400),
        ({"requests": {}}, 400),
        ({"requests": [0] * 1001}, 413),
    ],
)
def test_what_is_no_batch_is_refused(model_server, tmp_path, body, status):
    pointer = add_deployment(model_server.store, "nobatch", 1, make_model(tmp_path / "a"))
    model_server.store.point(pointer)
    model_server.wait("nobatch", lambda s: s.get("model_version"))
    response = model_server.http.post("/v1/models/nobatch/predict-batch", json=body)
    assert response.status_code == status
    assert response.json()["error"].endswith(".")


def test_the_truth_about_a_prediction_is_counted_once(model_server, tmp_path):
    put_on_trial(model_server, "told", tmp_path, "canary", 0.5)
    expected = {"champion": dict.fromkeys(("true_alarms", "false_alarms"), 0)}
    expected["champion"] |= dict.fromkeys(("missed", "true_normals"), 0)
    expected["challenger"] = dict(expected["champion"])
    names = {(True, True): "true_alarms", (True, False): "false_alarms"}
    names |= {(False, True): "missed", (False, False): "true_normals"}
    for number in range(30):
        answer = model_server.predict(
            "told", device=f"pump-{number}", readings=make_readings(number)
        ).json()
        truth = {"prediction_id": answer["prediction_id"], "label": number % 3 == 0}
        for told in ({"counted": True}, {"counted": False, "reason": "known"}):
            response = model_server.http.post("/v1/models/told/feedback", json=truth)
            assert (response.status_code, response.json()) == (202, told)
        role = "champion" if answer["model_version"] == "1" else "challenger"
        expected[role][names[answer["alarm"], truth["label"]]] += 1
    trial = model_server.status("told")["trial"]
    assert {role: trial[role]["feedback"] for role in expected} == expected


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prediction_id": 7}, "prediction_id"),
        ({"prediction_id": f"other.1.{1:032x}"}, "prediction_id"),
        ({"prediction_id": "mistold.1.x"}, "prediction_id"),
        ({"label": None}, "label"),
        ({"label": 1}, "label"),
    ],
)
def test_what_is_no_truth_is_refused(model_server, tmp_path, change, field):
    pointer = add_deployment(model_server.store, "mistold", 1, make_model(tmp_path / "a"))
    model_server.store.point(pointer)
    model_server.wait("mistold", lambda s: s.get("model_version"))
    body = {"prediction_id": f"mistold.1.{1:032x}", "label": True} | change
    response = model_server.http.post("/v1/models/mistold/feedback", content=json.dumps(body))
    assert (response.status_code, response.json()["field"]) == (400, field)


def test_a_flagged_field_counts_as_missing_and_is_told(model_server, tmp_path):
    flagging = CONTRACT.replace("range = [-20, 150]", 'range = [-20, 150]\ninvalid = "missing"')
    folder = make_model(tmp_path / "a", contract_text=flagging)
    model_server.store.point(add_deployment(model_server.store, "flagging", 1, folder))
    model_server.wait("flagging", lambda s: s.get("model_version"))
    readings = make_readings(1)
    for index, temperature in ((2, 151), (4, "hot"), (5, ...)):
        payload = json.loads(readings[index]["payload"])
        payload["env"] = {} if temperature is ... else {"temperature": temperature}
        readings[index]["payload"] = json.dumps(payload)
    answer = model_server.predict("flagging", device="pump-1", readings=readings)
    assert answer.status_code == 200
    told = [(f["reading"], f["field"], f["reason"]) for f in answer.json()["flags"]]
    assert told == [
        (2, "temperature", "out_of_range"),
        (4, "temperature", "wrong_type"),
        (5, "temperature", "missing"),
    ]
    readings[3]["payload"] = "{}"  # the mode has no such leniency
    flags = model_server.predict("flagging", device="pump-1", readings=readings).json()["flags"]
    assert {"reading": 3, "field": "mode", "action": "left_out"}.items() <= flags[1].items()
    readings[6]["payload"] = "{}"  # nor has the reading that is scored
    assert model_server.predict("flagging", device="pump-1", readings=readings).status_code == 422
    text = model_server.http.get("/metrics").text
    labels = 'action="missing",field="temperature",model="flagging",rule="out_of_range"'
    assert f"breezeway_contract_violations_total{{{labels}}} 2.0" in text
