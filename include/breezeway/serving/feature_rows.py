"""Rows of features that a client made itself, as two protocols of others bring them.

The Open Inference Protocol (V2), with its extension for binary tensors:
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol. MLflow's
`/invocations`: https://mlflow.org/docs/latest/ml/deployment. Such rows have no device and no past:
each is scored by itself.
"""

import json
import reprlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import orjson

from breezeway.contract.contract import Contract
from breezeway.serving.http import Encoded
from breezeway.serving.predict import BYTE_ORDER_MARK
from breezeway.serving.refusal import Refusal

INPUT, SCORE, ALARM = "features", "score", "alarm"
DATATYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}
NUMBERS = {int, float, type(None)}
MOST_ROWS = 10_000
"""In one request."""
LONGEST_ID = 200


@dataclass(frozen=True)
class Inference:
    """A request by the Open Inference Protocol.

    Args:
        id: what the client calls it, if it does.
        rows: float64 (rows, features); NaN is missing.
        outputs: which are asked for, and whether as binary tensors.
    """

    id: str | None
    rows: np.ndarray
    outputs: Mapping[str, bool]


def describe(contract: Contract, name: str, versions: Sequence[str]) -> dict[str, Any]:
    """What a client has to know of a model, as the protocol's metadata."""
    names = contract.feature_names
    return {
        "name": name,
        "versions": list(versions),
        "platform": "onnxruntime_onnx",
        "inputs": [
            {
                "name": INPUT,
                "datatype": "FP64",
                "shape": [-1, len(names)],
                "parameters": {"feature_names": names},
            }
        ],
        "outputs": [
            {"name": output, "datatype": datatype, "shape": [-1]}
            for output, datatype in output_types(contract).items()
        ],
    }


def output_types(contract: Contract) -> dict[str, str]:
    """The outputs and their types. Where `[alarm]` looks back, a row alone is no alarm yet."""
    return {SCORE: "FP64"} | ({} if contract.alarm.lookback else {ALARM: "BOOL"})


def read_inference(body: bytes, json_length: bytes | None, contract: Contract) -> Inference:
    """Read the body of `infer`.

    Args:
        json_length: what the header of that name says; None: all of the body is JSON.

    Raises:
        Refusal: 400 or 413, naming the key.
    """
    end = len(body)
    if json_length is not None:
        if not json_length.isdigit() or len(json_length) > 10 or int(json_length) > end:
            shown = json_length[:40].decode("latin-1")
            _refuse(
                "Inference-Header-Content-Length",
                f"expected 0 to {end}, the body's length; found {shown!r}",
            )
        end = int(json_length)
    document = _object(body[:end])
    given = document.get("id")
    if given is not None and not (isinstance(given, str) and len(given) <= LONGEST_ID):
        _refuse("id", f"expected a string of at most {LONGEST_ID} characters")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        _refuse("inputs", f"expected a list of one tensor, {INPUT!r}")
    rows = _tensor(inputs[0], body[end:], len(contract.feature_names))
    _check_values(rows, contract.feature_names)
    return Inference(given, rows, _outputs(document, contract))


def _tensor(tensor: Mapping[str, Any], binary: bytes, width: int) -> np.ndarray:
    where = "inputs[0]"
    if tensor.get("name") != INPUT:
        _refuse(f"{where}.name", f"expected {INPUT!r}, found {_shown(tensor.get('name'))}")
    datatype = tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        _refuse(f"{where}.datatype", f"expected FP32 or FP64, found {_shown(datatype)}")
    shape = tensor.get("shape")
    if (
        not (isinstance(shape, list) and len(shape) == 2 and all(type(n) is int for n in shape))
        or shape[1] != width
        or shape[0] < 1
    ):
        _refuse(f"{where}.shape", f"expected [rows, {width}], found {_shown(shape)}")
    count = _bounded(shape[0], f"{where}.shape")
    size = _parameters(tensor, where).get("binary_data_size")
    if size is None:
        if binary:
            _refuse(f"{where}.parameters.binary_data_size", f"{len(binary)} bytes follow the JSON")
        return _numbers(tensor.get("data"), count, width, f"{where}.data")
    dtype = DATATYPES[datatype]
    expected = count * width * dtype.itemsize
    if size != expected or len(binary) != expected or "data" in tensor:
        _refuse(
            f"{where}.parameters.binary_data_size",
            f"expected {expected} bytes of {datatype} behind the JSON and no `data`; found "
            f"{len(binary)}, and it says {_shown(size)}",
        )
    numbers: np.ndarray = np.frombuffer(binary, dtype)
    return numbers.astype(np.float64).reshape(count, width)


def _outputs(document: Mapping[str, Any], contract: Contract) -> dict[str, bool]:
    known = output_types(contract)
    binary = _flag(_parameters(document, ""), "binary_data_output", default=False)
    outputs = document.get("outputs")
    if outputs is None:
        return dict.fromkeys(known, binary)
    if not isinstance(outputs, list) or not outputs or len(outputs) > len(known):
        _refuse("outputs", f"expected a list of some of {', '.join(known)}")
    wanted: dict[str, bool] = {}
    for index, output in enumerate(outputs):
        where = f"outputs[{index}]"
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in known or name in wanted:
            found = _shown(name)
            _refuse(f"{where}.name", f"expected one of {', '.join(known)}, once; found {found}")
        wanted[name] = _flag(_parameters(output, where), "binary_data", default=binary)
    return wanted


def write_inference(
    inference: Inference, model: str, version: str, scores: np.ndarray, threshold: float
) -> Encoded:
    """The answer to `infer`.

    Args:
        scores: float64 (rows,).
    """
    found = {SCORE: ("FP64", scores.astype("<f8")), ALARM: ("BOOL", scores >= threshold)}
    tensors: list[dict[str, Any]] = []
    pieces: list[bytes] = []
    for name, binary in inference.outputs.items():
        datatype, values = found[name]
        tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": [len(values)]}
        if binary:
            pieces.append(values.tobytes())
            tensor["parameters"] = {"binary_data_size": len(pieces[-1])}
        else:
            tensor["data"] = values.tolist()
        tensors.append(tensor)
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": tensors}
    if inference.id is not None:
        answer["id"] = inference.id
    head = orjson.dumps(answer)
    return Encoded(b"".join([head, *pieces]), len(head) if pieces else None)


def read_invocation(body: bytes, contract: Contract) -> np.ndarray:
    """Read the body of MLflow's `/invocations`: `dataframe_split` or `dataframe_records`.

    Returns:
        float64 (rows, features) in the contract's order, whatever order the columns come in.

    Raises:
        Refusal: 400 or 413, naming the column or the row.
    """
    document = _object(body)
    keys = [key for key in ("dataframe_split", "dataframe_records") if key in document]
    if len(keys) != 1:
        error = "The body: expected `dataframe_split` or `dataframe_records`, with columns by name."
        raise Refusal(400, error)
    key, frame, names = keys[0], document[keys[0]], contract.feature_names
    columns, rows = _records(frame, names) if key == "dataframe_records" else _split(frame, names)
    values = _numbers(rows, len(rows), len(names), key)
    values = values[:, np.array([columns.index(name) for name in names])]
    _check_values(values, names)
    return values


def _records(frame: Any, names: list[str]) -> tuple[list[str], list[Any]]:
    key = "dataframe_records"
    if not isinstance(frame, list) or not all(isinstance(row, dict) for row in frame):
        _refuse(key, "expected a list of objects")
    _bounded(len(frame), key)
    for index, row in enumerate(frame):
        _check_names(row, names, f"{key}[{index}]")
    return names, [[row[name] for name in names] for row in frame]


def _split(frame: Any, names: list[str]) -> tuple[list[str], list[Any]]:
    key = "dataframe_split"
    if not isinstance(frame, dict):
        _refuse(key, "expected an object with `columns` and `data`")
    columns, rows = frame.get("columns"), frame.get("data")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        _refuse(f"{key}.columns", "expected a list of names")
    _check_names(columns, names, f"{key}.columns")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        _refuse(f"{key}.data", "expected a list of rows")
    _bounded(len(rows), f"{key}.data")
    return columns, rows


def write_invocation(scores: np.ndarray, threshold: float, contract: Contract) -> dict[str, Any]:
    """The answer of MLflow's server: a list of predictions, one a row."""
    if ALARM not in output_types(contract):
        return {"predictions": [{SCORE: score} for score in scores.tolist()]}
    rows = zip(scores.tolist(), (scores >= threshold).tolist(), strict=True)
    return {"predictions": [{SCORE: score, ALARM: alarm} for score, alarm in rows]}


def _check_names(given: Collection[str], names: Sequence[str], where: str) -> None:
    known, found = set(names), set(given)
    if unknown := [name for name in given if name not in known]:
        _refuse(where, f"{_shown(unknown[0])} is no feature of the model")
    if missing := [name for name in names if name not in found]:
        error = f"the feature {missing[0]!r} is missing; a value that is not known is null"
        _refuse(where, error)
    if len(given) != len(found):
        _refuse(where, "a column stands there twice")


def _numbers(data: Any, count: int, width: int, where: str) -> np.ndarray:
    """Numbers in JSON, row by row or all in one list; null and NaN are missing."""
    if not isinstance(data, list):
        _refuse(where, "expected a list of numbers")
    if len(data) == count and all(isinstance(row, list) for row in data):
        for index, row in enumerate(data):
            if len(row) != width:
                _refuse(f"{where}[{index}]", f"expected {width} numbers, found {len(row)}")
        data = [value for row in data for value in row]
    if len(data) != count * width:
        _refuse(where, f"expected {count} rows of {width} numbers")
    if not set(map(type, data)) <= NUMBERS:
        index, value = next((i, v) for i, v in enumerate(data) if type(v) not in NUMBERS)
        _refuse(f"{where}[{index // width}]", f"expected numbers or null, found {_shown(value)}")
    try:
        return np.array(data, dtype=np.float64).reshape(count, width)
    except OverflowError:
        _refuse(where, "a number is too large")


def _check_values(rows: np.ndarray, names: Sequence[str]) -> None:
    """No number may be infinite where the model computes, which is in float32."""
    wrong = np.argwhere(np.abs(rows) > np.finfo(np.float32).max)
    if len(wrong):
        row, column = wrong[0].tolist()
        value = float(rows[row, column])
        _refuse(f"row {row}, {names[column]}", f"{value!r} is not finite in 32 bits")


def _bounded(count: int, where: str) -> int:
    if count < 1:
        _refuse(where, "expected at least one row")
    if count > MOST_ROWS:
        raise Refusal(413, f"{where}: {count} rows, at most {MOST_ROWS} are taken.")
    return count


def _parameters(document: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    parameters = document.get("parameters") or {}
    if not isinstance(parameters, dict):
        _refuse(f"{where}.parameters".lstrip("."), "expected an object")
    return parameters


def _flag(parameters: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        _refuse(f"parameters.{key}", f"expected true or false, found {_shown(value)}")
    return value


def _object(body: bytes) -> dict[str, Any]:
    text = body.removeprefix(BYTE_ORDER_MARK)
    try:
        # Clients of both protocols write NaN, which orjson refuses; json takes twice as long.
        slow = b"NaN" in text or b"Infinity" in text
        document = json.loads(text) if slow else orjson.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"The body is not JSON: {str(error)[:200]}.") from None
    if not isinstance(document, dict):
        raise Refusal(400, "The body is not a JSON object.")
    return document


def _shown(value: Any) -> str:
    return reprlib.repr(value)[:80]  # bounded in depth too


def _refuse(where: str, error: str) -> NoReturn:
    raise Refusal(400, f"{where}: {error}.", field=where)
