"""One request to one model: from the bytes of a body to the answer, or to a refusal."""

import hashlib
import hmac
import os
import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from breezeway.contract.features import latest_features
from breezeway.contract.statistics import LONGEST
from breezeway.contract.values import Violation
from breezeway.core.names import DEVICE
from breezeway.deployment.store import Served
from breezeway.detector.score_filter import filtered
from breezeway.serving.refusal import Refusal
from breezeway.serving.window import Flags, Known, Readings, window_of

if TYPE_CHECKING:
    from breezeway.detector.scoring import ScoringModel

LARGEST_BATCH = 1000
"""Requests in one batch."""

PREDICTION_NUMBER = re.compile("[0-9a-f]{32}")
"""16 digits of a prediction's own, and 16 of its signature."""
SIGNATURE_LENGTH = 16


MOST_FLAGS = 100
"""In one answer; `more_flags` then says how many more there are."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class LiveModel:
    """A loaded model that answers requests; it must be called by one thread at a time.

    Args:
        model: the model with its contract and threshold.
        deployment: named in each answer.
        loaded_at: when it was loaded, UTC.
    """

    def __init__(self, model: "ScoringModel", deployment: Served, loaded_at: datetime):
        # ONNX Runtime and XGBoost: for a worker alone
        from breezeway.detector.explanation import Explainer
        from breezeway.serving.row_scorer import RowScorer

        self.model = model
        self.deployment = deployment
        self.loaded_at = loaded_at
        self.score_row = RowScorer(model)
        self.explainer = Explainer(model.fitted_model, model.contract, model.usual)
        self._told = {
            "threshold": model.threshold,
            "model": deployment.model_name,
            "model_version": deployment.model_version,
            "data_tag": deployment.data_tag,
        }

    def features(
        self, device: str, readings: Readings, flags: Flags, known: Known | None = None
    ) -> np.ndarray:
        """The features of the last of a device's readings, and of those before it that have a say
        in its score, if the contract's alarm says so: float64 (rows, features), oldest first.

        Args:
            device: its name.
            readings: see `window_of`.
            flags: see `window_of`.
            known: see `window_of`.

        Raises:
            Refusal: the device or the last reading breaks the contract.
        """
        contract = self.model.contract
        try:
            contract.check_device(device)
        except Violation as violation:
            raise Refusal.of(violation) from None
        values, times = window_of(contract, device, readings, flags, known)
        count = min(len(values), 1 + contract.alarm.lookback)
        baseline = self.model.baselines.get(device)
        if contract.features.baseline and baseline is None:
            error = f"device: {device!r} has no baseline in this deployment."
            flags.append({"field": "device", "reason": "no_baseline", "error": error})
        return latest_features(contract, values, times, count, baseline)

    def score(self, device: str, readings: Readings) -> float:
        """Score the last of a device's readings; see `features`."""
        return self.score_rows(self.features(device, readings, []))

    def score_rows(self, rows: np.ndarray) -> float:
        """Score the last of the rows that `features` gives."""
        return self.settle([self.score_row(row) for row in rows])

    def settle(self, scores: Sequence[float]) -> float:
        """The score of a reading from its own, the last one, and those of the readings before it,
        which have a say if the contract's alarm says so."""
        alarm = self.model.contract.alarm
        return float(filtered(np.array(scores), np.arange(len(scores)), alarm)[-1])

    def answer(self, score: float, flags: Flags) -> dict[str, Any]:
        """The answer to a client that goes with a score."""
        alarm = score >= self.model.threshold
        answer = {
            "score": score,
            "alarm": alarm,
            **self._told,
            "prediction_id": prediction_id(self.deployment, alarm),
        }
        if flags:
            answer["flags"] = flags[:MOST_FLAGS]
        if len(flags) > MOST_FLAGS:
            answer["more_flags"] = len(flags) - MOST_FLAGS
        return answer


def prediction_id(deployment: Served, alarm: bool) -> str:
    """A new id of a prediction: model, version, and 64 random bits, the last of which says
    whether it was an alarm; `Signer` adds its signature. So feedback can be counted without a
    record of the prediction."""
    number = int.from_bytes(os.urandom(8)) & ~1 | alarm
    return f"{deployment.model_name}.{deployment.model_version}.{number:016x}"


class Signer:
    """Signs the ids of predictions: nobody else can invent one that counts.

    Args:
        key: known to all servers whose predictions are to count at each of them; None: a new one.
    """

    def __init__(self, key: bytes | None):
        self._key = hashlib.blake2b(key or os.urandom(32)).digest()

    def sign(self, answer: dict[str, Any]) -> None:
        """Extend the prediction id of an answer by its signature."""
        answer["prediction_id"] += self._signature(answer["prediction_id"])

    def signed(self, prediction_id: str) -> bool:
        """Whether an id was signed with this key."""
        number, given = prediction_id[:-SIGNATURE_LENGTH], prediction_id[-SIGNATURE_LENGTH:]
        return hmac.compare_digest(self._signature(number), given)

    def _signature(self, number: str) -> str:
        # Keyed BLAKE2b is a MAC by itself; OpenSSL's HMAC takes several times as long.
        mac = hashlib.blake2b(number.encode(), key=self._key, digest_size=SIGNATURE_LENGTH // 2)
        return mac.hexdigest()


class Feedback(NamedTuple):
    """The label that came back for a prediction."""

    prediction_id: str
    model_version: str
    alarm: bool
    label: bool


def read_feedback(body: bytes, model_name: str) -> Feedback:
    """Read `{"prediction_id": …, "label": true}`.

    Raises:
        Refusal: 400, naming the key.
    """
    document = _object(body)
    given, label = document.get("prediction_id"), document.get("label")
    name = given if isinstance(given, str) else ""
    parts = name.rsplit(".", 2)
    if len(parts) != 3 or parts[0] != model_name or not PREDICTION_NUMBER.fullmatch(parts[2]):
        raise Refusal(
            400,
            f"prediction_id: expected that of a prediction of {model_name}.",
            field="prediction_id",
        )
    if not isinstance(label, bool):
        raise Refusal(400, "label: expected true (there was an event) or false.", field="label")
    number = int(parts[2][:-SIGNATURE_LENGTH], 16)
    return Feedback(name, parts[1], bool(number & 1), label)


def read_batch(body: bytes) -> list[Any]:
    """The requests of a batch, each still to be read by `check_request`.

    Raises:
        Refusal: 400, or 413 where there are too many.
    """
    requests = _object(body).get("requests")
    if not isinstance(requests, list) or not requests:
        raise Refusal(400, "requests: expected a list of at least one.", field="requests")
    if len(requests) > LARGEST_BATCH:
        raise Refusal(
            413,
            f"requests: {len(requests)} of them, at most {LARGEST_BATCH} are taken.",
            field="requests",
        )
    return requests


def read_request(body: bytes) -> tuple[str, list[dict[str, str]]]:
    """The device and the readings of a body, of the right types.

    Raises:
        Refusal: 400, naming the key.
    """
    return check_request(_object(body))


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise Refusal(400, "The body is not a JSON object.")
    return document


def check_request(document: Any) -> tuple[str, list[dict[str, str]]]:
    """The device and the readings of one request, of the right types.

    Raises:
        Refusal: 400, naming the key.
    """
    if not isinstance(document, dict):
        raise Refusal(400, "Expected an object with device and readings.")
    device, readings = document.get("device"), document.get("readings")
    if not isinstance(device, str):
        raise Refusal(400, "device: expected a string.", field="device")
    # Before the contract's own pattern sees the name, which may take long over a long one.
    if mistake := DEVICE.mistake(device):
        raise Refusal(400, f"device: {mistake}.", field="device")
    if not isinstance(readings, list) or not readings:
        raise Refusal(400, "readings: expected a list of at least one.", field="readings")
    if len(readings) > LONGEST:
        raise Refusal(
            413,
            f"readings: {len(readings)} of them, at most {LONGEST} are taken.",
            field="readings",
        )
    for index, reading in enumerate(readings):
        _check_shape(index, reading)
    return device, readings


def _check_shape(index: int, reading: Any) -> None:
    if not isinstance(reading, dict):
        raise Refusal(400, f"readings[{index}]: expected an object.", reading=index)
    for key in ("time", "payload"):
        if not isinstance(reading.get(key), str):
            raise Refusal(
                400, f"readings[{index}].{key}: expected a string.", field=key, reading=index
            )
