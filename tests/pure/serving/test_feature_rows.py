"""Rows of features by two protocols: what is read, and what is refused with which words."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest

from breezeway.contract.contract import Contract
from breezeway.serving import feature_rows
from breezeway.serving.refusal import Refusal
from tests.fixtures.serving import CONTRACT

MODEL = Contract.from_text(CONTRACT, "contract.toml")
NAMES = MODEL.feature_names
WIDTH = len(NAMES)
ROWS = [[0.5 + column for column in range(WIDTH)], [None, *range(1, WIDTH)]]
READ = np.array([[np.nan if v is None else v for v in row] for row in ROWS])
FLAT = [value for row in ROWS for value in row]


def tensor(**changes) -> dict:
    given = {"name": "features", "datatype": "FP64", "shape": [2, WIDTH], "data": ROWS}
    return {key: value for key, value in (given | changes).items() if value is not ...}


def infer(document: dict | bytes, binary: bytes = b"", length: bytes | None = None):
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    if binary and length is None:
        length = str(len(head)).encode()
    return feature_rows.read_inference(head + binary, length, MODEL)


def same(found: np.ndarray) -> bool:
    return np.array_equal(found, READ, equal_nan=True)


@pytest.mark.parametrize(
    "data", [ROWS, FLAT, [[float("nan"), *ROWS[1][1:]][:0] or r for r in ROWS]]
)
def test_numbers_may_come_row_by_row_or_in_one_list(data):
    assert same(infer({"inputs": [tensor(data=data)]}).rows)


def test_nan_in_json_is_missing_as_null_is():
    data = [[float("nan") if value is None else value for value in row] for row in ROWS]
    assert same(infer({"inputs": [tensor(data=data)]}).rows)


@pytest.mark.parametrize(("datatype", "letter"), [("FP32", "f"), ("FP64", "d")])
def test_numbers_may_follow_the_json_as_bytes(datatype, letter):
    values = READ.ravel().tolist()
    binary = struct.pack(f"<{len(values)}{letter}", *values)
    given = tensor(data=..., datatype=datatype, parameters={"binary_data_size": len(binary)})
    assert same(infer({"inputs": [given]}, binary).rows)


def test_outputs_are_those_that_are_wanted_and_as_they_are_wanted():
    inputs = [tensor()]
    assert infer({"inputs": inputs}).outputs == {"score": False, "alarm": False}
    whole = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    assert infer(whole).outputs == {"score": True, "alarm": True}
    one = whole | {"outputs": [{"name": "alarm", "parameters": {"binary_data": False}}]}
    assert infer(one).outputs == {"alarm": False}


def test_an_answer_has_json_first_and_then_bytes():
    scores = np.array([0.25, 0.75])
    asked = infer({"id": "7", "inputs": [tensor()]})
    told = json.loads(feature_rows.write_inference(asked, "pump", "3", scores, 0.75).content)
    assert told == {
        "id": "7",
        "model_name": "pump",
        "model_version": "3",
        "outputs": [
            {"name": "score", "datatype": "FP64", "shape": [2], "data": [0.25, 0.75]},
            {"name": "alarm", "datatype": "BOOL", "shape": [2], "data": [False, True]},
        ],
    }
    asked = replace(asked, outputs={"score": True, "alarm": True})
    answer = feature_rows.write_inference(asked, "pump", "3", scores, 0.75)
    head, tail = answer.content[: answer.json_length], answer.content[answer.json_length :]
    sizes = [t["parameters"]["binary_data_size"] for t in json.loads(head)["outputs"]]
    assert sizes == [16, 2]
    assert struct.unpack("<2d2?", tail) == (0.25, 0.75, False, True)


REFUSED = {
    "no list": ({"inputs": {}}, "inputs: expected a list of one tensor"),
    "two tensors": ({"inputs": [tensor(), tensor()]}, "inputs: expected a list of one tensor"),
    "another name": ({"inputs": [tensor(name="x")]}, "name: expected 'features', found 'x'"),
    "another type": (
        {"inputs": [tensor(datatype="INT64")]},
        "expected FP32 or FP64, found 'INT64'",
    ),
    "no type": ({"inputs": [tensor(datatype=[])]}, "expected FP32 or FP64"),
    "another width": (
        {"inputs": [tensor(shape=[2, 3])]},
        f"expected [rows, {WIDTH}], found [2, 3]",
    ),
    "no rows": ({"inputs": [tensor(shape=[0, WIDTH], data=[])]}, "expected [rows"),
    "a flag as shape": ({"inputs": [tensor(shape=[True, WIDTH])]}, "expected [rows"),
    "fewer rows": ({"inputs": [tensor(data=ROWS[:1])]}, f"expected 2 rows of {WIDTH} numbers"),
    "a short row": (
        {"inputs": [tensor(data=[ROWS[0], [1]])]},
        f"data[1]: expected {WIDTH} numbers",
    ),
    "text": ({"inputs": [tensor(data=["1", *FLAT[1:]])]}, "data[0]: expected numbers or null"),
    "a flag": ({"inputs": [tensor(data=[*FLAT[:-1], True])]}, "data[1]: expected numbers or null"),
    "lists": ({"inputs": [tensor(data=[[]] * 2 * WIDTH)]}, "expected numbers or null, found []"),
    "no data": ({"inputs": [tensor(data=...)]}, "data: expected a list of numbers"),
    "infinite": ({"inputs": [tensor(data=[*FLAT[:-1], float("inf")])]}, "row 1, vibration_rms_max"),
    "wide": ({"inputs": [tensor(data=[*FLAT[:-1], 1e39])]}, "1e+39 is not finite in 32 bits"),
    "huge": (
        {"inputs": [tensor(data=[float("nan"), *FLAT[1:-1], 10**400])]},
        "a number is too large",
    ),
    "huge alone": (
        {"inputs": [tensor(data=[*FLAT[:-1], 10**400])]},
        "not JSON: number is infinity",
    ),
    "endless": (b'{"inputs": ' + b"9" * 5000 + b"}", "not JSON"),
    "an id": ({"id": 7, "inputs": [tensor()]}, "id: expected a string"),
    "a long id": ({"id": "7" * 201, "inputs": [tensor()]}, "id: expected a string"),
    "parameters": ({"parameters": [1], "inputs": [tensor()]}, "parameters: expected an object"),
    "another output": (
        {"inputs": [tensor()], "outputs": [{"name": "why"}]},
        "outputs[0].name: expected one of score, alarm, once; found 'why'",
    ),
    "an output twice": (
        {"inputs": [tensor()], "outputs": [{"name": "score"}] * 2},
        "outputs[1].name: expected one of score, alarm, once",
    ),
    "no output": ({"inputs": [tensor()], "outputs": []}, "outputs: expected a list of some of"),
    "binary text": (
        {"inputs": [tensor()], "parameters": {"binary_data_output": "yes"}},
        "binary_data_output: expected true or false, found 'yes'",
    ),
    "deep": (b"[" * 100_000, "not JSON"),
    "a list": (b"[]", "not a JSON object"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_named(name):
    document, words = REFUSED[name]
    with pytest.raises(Refusal) as refused:
        infer(document)
    assert (refused.value.status, words in refused.value.body["error"]) == (400, True), (
        refused.value.body
    )


@pytest.mark.parametrize(
    ("size", "data", "binary"),
    [
        (8, ..., b"12345678"),
        (16 * WIDTH, ..., b"short"),
        (16 * WIDTH, ROWS, bytes(16 * WIDTH)),
        ("16", ..., bytes(16 * WIDTH)),
        (16 * WIDTH, ..., bytes(16 * WIDTH + 1)),
        (None, ROWS, b"more"),
    ],
)
def test_bytes_that_are_not_the_tensor_are_refused(size, data, binary):
    parameters = {} if size is None else {"binary_data_size": size}
    with pytest.raises(Refusal, match="binary_data_size"):
        infer({"inputs": [tensor(data=data, parameters=parameters)]}, binary)


@pytest.mark.parametrize(
    "length", [b"-1", b"99999", b"1" * 5000, b"1e1", "²".encode("latin-1"), b""]
)
def test_a_length_that_is_not_that_of_the_json_is_refused(length):
    with pytest.raises(Refusal, match="Inference-Header-Content-Length: expected 0 to"):
        infer({"inputs": [tensor()]}, length=length)


def test_too_many_rows_are_refused():
    count = feature_rows.MOST_ROWS + 1
    for ask in (
        lambda: infer({"inputs": [tensor(shape=[count, WIDTH], data=[])]}),
        lambda: invoke({"dataframe_split": {"columns": NAMES, "data": [[0] * WIDTH] * count}}),
        lambda: invoke({"dataframe_records": [dict.fromkeys(NAMES, 0)] * count}),
    ):
        with pytest.raises(Refusal) as refused:
            ask()
        assert refused.value.status == 413


def invoke(document: dict) -> np.ndarray:
    return feature_rows.read_invocation(json.dumps(document).encode(), MODEL)


def test_columns_are_known_by_their_names():
    backwards = [row[::-1] for row in ROWS]
    assert same(invoke({"dataframe_split": {"columns": NAMES[::-1], "data": backwards}}))
    records = [dict(zip(NAMES[::-1], row, strict=True)) for row in backwards]
    assert same(invoke({"dataframe_records": records}))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "expected `dataframe_split` or `dataframe_records`"),
        ({"instances": ROWS}, "expected `dataframe_split` or `dataframe_records`"),
        ({"dataframe_split": [], "dataframe_records": []}, "expected `dataframe_split` or"),
        ({"dataframe_split": []}, "expected an object with `columns` and `data`"),
        ({"dataframe_split": {"columns": [1], "data": []}}, "columns: expected a list of names"),
        ({"dataframe_split": {"columns": NAMES}}, "data: expected a list of rows"),
        ({"dataframe_split": {"columns": NAMES, "data": [1]}}, "data: expected a list of rows"),
        ({"dataframe_split": {"columns": NAMES, "data": []}}, "expected at least one row"),
        (
            {"dataframe_split": {"columns": NAMES, "data": [[1]]}},
            "[0]: expected 6 numbers, found 1",
        ),
        ({"dataframe_split": {"columns": [*NAMES, "x"], "data": ROWS}}, "'x' is no feature"),
        (
            {"dataframe_split": {"columns": NAMES[:-1], "data": ROWS}},
            "'vibration_rms_max' is missing",
        ),
        ({"dataframe_split": {"columns": [*NAMES, NAMES[0]], "data": ROWS}}, "stands there twice"),
        ({"dataframe_records": [1]}, "expected a list of objects"),
        ({"dataframe_records": []}, "expected at least one row"),
        ({"dataframe_records": [{"x": 1}]}, "dataframe_records[0]: 'x' is no feature"),
        ({"dataframe_records": [dict.fromkeys(NAMES, "1")]}, "[0]: expected numbers or null"),
    ],
)
def test_what_is_wrong_with_a_frame_is_named(document, words):
    with pytest.raises(Refusal) as refused:
        invoke(document)
    assert (refused.value.status, words in str(refused.value)) == (400, True), refused.value


def test_where_alarms_look_back_a_row_alone_is_none():
    text = CONTRACT.replace("[alarm]", "[alarm]\nmean_readings = 5")
    looks_back = Contract.from_text(text, "contract.toml")
    assert looks_back.alarm.lookback
    outputs = feature_rows.describe(looks_back, "pump", ["1"])["outputs"]
    assert [output["name"] for output in outputs] == ["score"]
    told = feature_rows.write_invocation(np.array([0.9]), 0.5, looks_back)
    assert told == {"predictions": [{"score": 0.9}]}
    body = json.dumps({"inputs": [tensor()], "outputs": [{"name": "alarm"}]}).encode()
    with pytest.raises(Refusal, match=r"expected one of score, once"):
        feature_rows.read_inference(body, None, looks_back)
