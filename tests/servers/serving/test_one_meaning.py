"""The same readings mean the same in history, in a request and in a batch."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings

from breezeway.contract.contract import Contract
from breezeway.contract.values import Violation
from breezeway.serving.loading import load
from breezeway.serving.metrics import Metrics, Tally
from breezeway.serving.predict import LiveModel
from breezeway.serving.refusal import Refusal
from breezeway.serving.trial import Contender, Serving
from tests.fixtures.meaning import NO_TIME, of_history
from tests.fixtures.pointers import pointer_to
from tests.fixtures.serving import CONTRACT, make_model

START = datetime(2026, 1, 1, 0, 0, 0, 123_457, UTC)
TOLERANT = (
    CONTRACT.replace("range = [-20, 150]", 'range = [-20, 150]\ninvalid = "missing"')
    .replace('unit = "g"', 'unit = "g"\ninvalid = "missing"\nnull_values = [-9999]')
    .replace("window = 5", "window = 5\nmax_gap_seconds = 120")
    .replace('mode = "mode"', 'mode = "mode"\nload = "log(temperature) if mode else -hour()"')
    .replace("interval_seconds", 'time_zone = "Asia/Kathmandu"\ninterval_seconds')
    .replace(
        '["mean", "slope"]',
        '["mean", "slope", "std", "diff", "last", "lag:3", "slope:2", "mean:150s"]',
    )
    .replace(
        '["max"]',
        '["max", "median", "median:2", "from_median:4:1", "zscore:3", "zscore:5min:1min"]',
    )
)

FILTER = "mean_readings = 2\non_delay_readings = 1\nrelease = 0.9\nhold_readings = 2\n"
"""Of scores: with it five readings before the last have a say, too."""

Arrived = list[tuple[int | None, str]]
"""Minutes after `START` (None: a text that is no time) and payload, as they arrived."""


@pytest.fixture(scope="module", params=[("reading", ""), ("second", ""), ("second", FILTER)])
def serving(request, tmp_path_factory) -> Serving:
    rate_per, score_filter = request.param
    text = TOLERANT.replace("window = 5", f'window = 5\nrate_per = "{rate_per}"')
    folder = make_model(tmp_path_factory.mktemp("model") / "m", contract_text=text)
    live = load(folder, pointer_to(1))
    filtering = Contract.from_text(text.replace("[alarm]", f"[alarm]\n{score_filter}"), "here")
    model = replace(live.model, contract=filtering)
    return Serving(Contender(LiveModel(model, pointer_to(1), START), (Tally(),), Metrics()))


def payload(temperature: str, mode: str, vibration: str) -> str:
    return f'{{"env":{{"temperature":{temperature}}},"mode":{mode},"vibration":{vibration}}}'


GOOD = payload("60.25", '"busy"', "[1,-2,0.5]")
temperatures = st.one_of(
    st.floats(-20, 150).map(repr),
    st.sampled_from(['"61.5"', '" 62 °C"', "151", '"hot"', "null", "NaN", "-127", "true", "1e999"]),
)
modes = st.sampled_from(['"idle"', '"busy"', '"busy"', '" busy"', '"mad"', "null", "7"])
vibrations = st.one_of(
    st.lists(st.floats(-5, 5), min_size=2, max_size=8).map(json.dumps),
    st.sampled_from(["[1]", "[1,null]", "[null,-9999]", '["1.5",2]', "null", "[1,true,3]"]),
)
payloads = st.one_of(
    st.builds(payload, temperatures, modes, vibrations),
    st.sampled_from([GOOD, GOOD, "", "{", "{}", GOOD.replace('"mode"', '"Mode"'), "\ufeff" + GOOD]),
)
arrivals = st.lists(
    st.tuples(st.one_of(st.integers(0, 15), st.integers(0, 9), st.none()), payloads),
    min_size=1,
    max_size=14,
)


def as_request(arrived: Arrived) -> list[dict[str, str]]:
    return [
        {
            "time": NO_TIME if m is None else (START + timedelta(minutes=m)).isoformat(),
            "payload": text,
        }
        for m, text in arrived
    ]


@settings(max_examples=40, deadline=None)
@given(arrivals)
@example([(0, GOOD), (1, payload("-127", '"busy"', "[1,2]")), (2, GOOD)])
@example([(0, GOOD), (1, payload("1", '"mad"', "[1,2]")), (2, GOOD)])
@example([(n, GOOD) for n in (3, 1, 2, 7, 0, 4)])
@example([(1, GOOD), (2, GOOD), (2, payload("1", '"mad"', "[1,2]")), (3, GOOD)])
@example([(1, GOOD), (2, GOOD), (2, payload("1", '"idle"', "[1,2]")), (3, GOOD)])
@example([(n, GOOD) for n in (0, 1, 3, 6, 7)])
@example([(0, GOOD), (1, payload("1", '"mad"', "[1,2]")), (3, GOOD)])
@example([(None, GOOD), (1, GOOD), (None, GOOD), (2, GOOD)])
def test_history_a_request_and_a_batch_agree_to_the_bit(serving, arrived):
    live = serving.champion.live
    readings = as_request(arrived)
    try:
        live.model.contract.parser.parse(arrived[-1][1])
        is_good = arrived[-1][0] is not None
    except Violation:
        is_good = False
    if not is_good:
        with pytest.raises(Refusal) as refused:
            serving.predict("pump-1", readings)
        assert refused.value.body["reading"] == len(readings) - 1
        [item] = serving.predict_some([{"device": "pump-1", "readings": readings}], {})
        assert isinstance(item, Refusal) and item.body == refused.value.body
        return
    times = [None if m is None else START + timedelta(minutes=m) for m, _ in arrived]
    rows = [("pump-1", time, text) for time, (_, text) in zip(times, arrived, strict=True)]
    history = of_history(live.model.contract, rows)[0]
    expected = [(time, row) for (_, time), row in sorted(history.items()) if time <= times[-1]]
    found = live.features("pump-1", readings, [])
    known = np.array([row for _, row in expected])
    assert found.tobytes() == known[-len(found) :].tobytes()
    assert len(found) == min(len(known_run(expected)), 1 + live.model.contract.alarm.lookback)
    columns = dict(zip(live.model.feature_names, map(pa.array, known.T), strict=True))
    devices, moments = ["pump-1"] * len(known), [time for time, _ in expected]
    score = live.model.score_readings(pa.table({"device": devices, "time": moments, **columns}))[-1]
    one = serving.predict("pump-1", readings)
    # The batch's second item finds the first one's payloads parsed already.
    request = {"device": "pump-1", "readings": readings}
    several = serving.predict_some([request, request], {})
    assert [answer["score"] for answer in (one, *several)] == [score] * 3
    assert all(item.get("flags") == one.get("flags") for item in several)


def known_run(rows: list[tuple[datetime, list[float]]]) -> list[datetime]:
    """The times of the readings since the last gap."""
    times = [time for time, _ in rows]
    gaps = [n for n in range(1, len(times)) if times[n] - times[n - 1] > timedelta(seconds=120)]
    return times[gaps[-1] :] if gaps else times


def test_what_is_left_out_and_missing_is_told(serving):
    bad, hot = payload("1", '"mad"', "[1,2]"), payload('"hot"', '"busy"', "[1,2]")
    arrived = [(4, GOOD), (0, GOOD), (1, bad), (None, GOOD), (2, hot), (2, bad), (3, GOOD)]
    answer = serving.predict("pump-1", as_request(arrived))
    told = [(f.get("reading"), f["field"], f["reason"], f.get("action")) for f in answer["flags"]]
    assert told == [
        (0, "time", "later", "left_out"),
        (2, "mode", "unknown_category", "left_out"),
        (3, "time", "wrong_type", "left_out"),
        (4, "temperature", "wrong_type", "missing"),
        (5, "mode", "unknown_category", "left_out"),
        (None, "readings", "short_window", None),
    ]
    needed = serving.champion.live.model.contract.request_readings
    assert f"3 good ones, a score needs {needed}" in answer["flags"][-1]["error"]


def test_older_readings_take_the_place_of_those_left_out(serving):
    bad = payload("1", '"mad"', "[1,2]")
    whole = [(n, payload(str(50 + n), '"busy"', "[1,2]")) for n in range(12)]
    spoilt = [(n, bad if n in (7, 9) else text) for n, text in whole]
    fewer = [item for item in whole if item[0] not in (7, 9)]
    of_spoilt, of_fewer = (serving.predict("pump-1", as_request(a)) for a in (spoilt, fewer))
    assert of_spoilt["score"] == of_fewer["score"]
    assert [flag["reading"] for flag in of_spoilt["flags"]] == [7, 9]
    assert "flags" not in of_fewer


def test_the_flags_of_an_answer_are_bounded(serving):
    needed = serving.champion.live.model.contract.request_readings
    arrived = [(None, GOOD)] * 300 + [(n, GOOD) for n in range(needed)]
    answer = serving.predict("pump-1", as_request(arrived))
    assert (len(answer["flags"]), answer["more_flags"]) == (100, 200)
