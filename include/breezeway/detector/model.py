"""Fit a detector, judge it on rows that it did not see, choose its alarm threshold, load it.

The detector is XGBoost's, kept in its own format (UBJSON): nothing here reads or writes pickle.
"""

import ctypes
import hashlib
import json
import math
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError, InternalError
from breezeway.core.settings import Settings
from breezeway.detector import scorecard
from breezeway.detector.boosting import booster_params, matrix, xgb
from breezeway.detector.holdout import TrainingScope, training_scope
from breezeway.detector.scorecard import Rows

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_PARAMS: dict[str, float] = {
    "max_depth": 5,
    "learning_rate": 0.1,
    "min_child_weight": 5,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "reg_lambda": 1.0,
    "gamma": 0.0,
}
"""XGBoost parameters where none were tuned."""
DEFAULT_ROUNDS = 100

GROWTH_ROUNDS = 10
"""How many boosting rounds lie between two points of a training curve."""

CANDIDATES = 300
"""Thresholds that are tried: at ranks that grow geometrically from the highest score down."""

DAY_SECONDS = 86_400

_LIB, _check_call = xgb.core._LIB, xgb.core._check_call

MODEL_FILE = "model.ubj"
EXTRA_FOLDER = "extra_files"
"""Where MLflow keeps the files that go with a model."""


class Table(NamedTuple):
    """The labelled rows that a model may learn from, in the order (device, time)."""

    rows: Rows
    features: np.ndarray
    """float32 (rows, features); NaN is missing."""
    scope: TrainingScope
    """Which rows of the dataset these are; the others are kept back to judge the model."""

    def frame(self, score: np.ndarray, kept: np.ndarray | slice = slice(None)) -> dict[str, Any]:
        """Return the columns that `breezeway.detector.scorecard` reads, of the rows in `kept`."""
        rows = self.rows
        import pyarrow as pa

        return {
            "device": pa.DictionaryArray.from_arrays(rows.device[kept], rows.names),
            "time": rows.time[kept].astype("datetime64[us]"),
            "label": rows.label[kept].astype(np.int8),
            "score": score[kept],
        }


class Fold(NamedTuple):
    """Rows that a model is fitted on and rows that it is scored on, as row numbers."""

    fit: np.ndarray
    scored: np.ndarray


def read_table(folder: Path, contract: Contract) -> Table:
    """Read the labelled rows of a dataset folder that a model may learn from.

    Raises:
        DataError: a column is missing, no row has a label, or the labels hold one class only.
    """
    import pyarrow as pa  # the model server, which reads no dataset, has none
    import pyarrow.parquet as pq

    names = contract.feature_names
    parts = sorted((folder / "features").glob("part-*.parquet"))
    if not parts:
        raise DataError(f"{folder}: expected features/part-*.parquet, found none.")
    tables = []
    for part in parts:
        missing = {"device", "time", "label", *names} - set(pq.read_schema(part).names)
        if missing:
            raise DataError(f"{part.name}: the column {min(missing)} is missing.")
        table = pq.read_table(part, columns=["device", "time", "label", *names])
        tables.append(table.filter(table["label"].is_valid()))
    return labelled_table(pa.concat_tables(tables), contract)


def labelled_table(table: "pa.Table", contract: Contract) -> Table:
    """Order labelled readings with their features; keep back what the contract keeps back.

    Args:
        table: device, time, label (none is null) and the features.

    Raises:
        DataError: no row has a label, or the labels hold one class only.
    """
    names = contract.feature_names
    if not len(table):
        raise DataError("label: no row has one, and a model learns from labelled rows only.")
    rows = scorecard.rows_of(table)
    _check_classes(rows.label, "rows")
    scope = training_scope(rows, contract)
    rows = rows.where(scope.covers(rows.names[rows.device], rows.time))
    _check_classes(rows.label, "rows to train on, without those kept back,")
    features = np.empty((len(rows.label), len(names)), dtype=np.float32)
    for number, name in enumerate(names):
        features[:, number] = table[name].to_numpy()[rows.order]
    return Table(rows, features, scope)


def _check_classes(label: np.ndarray, which: str) -> None:
    positive = int(label.sum())
    if positive in (0, len(label)):
        raise DataError(
            f"The labels hold one class only: {positive} of {len(label)} {which} are positive."
        )


def split(rows: Rows, contract: Contract) -> list[Fold]:
    """Cut rows into folds so that no row is scored by a model that saw it or its neighbours.

    `by = "device"`: every device is scored once, by a model fitted on other devices. Devices
    are dealt to the folds so that each gets its share of positive rows and of rows.

    `by = "time"`: time is cut into folds + 1 stretches of about equally many rows. Stretch k is
    scored by a model fitted on what came before it; the first is never scored. Left out of the
    fit are the readings within one feature window before the cut, which share readings with the
    rows after it, and events still going on at the cut.

    Returns:
        Folds whose fitted rows hold both classes. Scored rows may hold one class only.

    Raises:
        DataError: no fold has both classes to be fitted on.
    """
    cut = _split_by_device if contract.split.by == "device" else _split_by_time
    folds = [
        fold
        for fold in cut(rows, contract)
        if len(fold.scored) and 0 < rows.label[fold.fit].sum() < len(fold.fit)
    ]
    if not folds:
        raise DataError(
            f'split: by = "{contract.split.by}" with {contract.split.folds} folds leaves no fold '
            "whose rows to fit on hold both classes; more data or fewer folds are needed."
        )
    return folds


def _split_by_device(rows: Rows, contract: Contract) -> list[Fold]:
    folds = contract.split.folds
    size = np.bincount(rows.device, minlength=len(rows.names))
    positive = np.bincount(rows.device, weights=rows.label, minlength=len(rows.names))
    digest = [hashlib.sha256(name.encode()).digest() for name in rows.names.tolist()]
    dealt = sorted(
        np.flatnonzero(size), key=lambda device: (-positive[device], -size[device], digest[device])
    )
    fold_of = np.zeros(len(rows.names), dtype=int)
    fold_size, fold_positive = np.zeros(folds), np.zeros(folds)
    for device in dealt:
        # lexsort: the last key counts first. Devices without an event only even out the sizes.
        even_out = fold_positive if positive[device] else np.zeros(folds)
        fold = np.lexsort((fold_size, even_out))[0]
        fold_of[device] = fold
        fold_size[fold] += size[device]
        fold_positive[fold] += positive[device]
    fold = fold_of[rows.device]
    return [Fold(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(folds)]


def _split_by_time(rows: Rows, contract: Contract) -> list[Fold]:
    stretches = contract.split.folds + 1
    places = np.arange(1, stretches) * len(rows.time) // stretches
    cuts = np.sort(rows.time)[places]
    stretch = np.searchsorted(cuts, rows.time, side="right")
    purge = int(contract.window * contract.interval_seconds * 1_000_000)
    begins = scorecard.event_starts(rows)
    event = np.cumsum(begins) - 1
    last_positive = np.full(int(begins.sum()), np.iinfo(np.int64).min)
    np.maximum.at(last_positive, event[rows.label], rows.time[rows.label])
    event_end = np.where(rows.label, last_positive[event], rows.time)
    folds = []
    for k, cut in enumerate(cuts, start=1):
        fit = (rows.time < cut - purge) & (event_end < cut)
        folds.append(Fold(np.flatnonzero(fit), np.flatnonzero(stretch == k)))
    return folds


def fit(
    table: Table,
    rows: np.ndarray | slice,
    names: list[str],
    params: dict[str, Any],
    *,
    rounds: int,
    threads: int,
) -> xgb.Booster:
    """Fit a booster; the same arguments give the same `model_bytes`.

    Raises:
        DataError: XGBoost refuses a parameter.
    """
    label = table.rows.label[rows]
    data = matrix(table.features[rows], label, names, threads)
    try:
        return xgb.train(booster_params(params, label, threads), data, num_boost_round=rounds)
    except xgb.core.XGBoostError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DataError(f"XGBoost refuses the parameters {json.dumps(params)}: {reason}") from None


def model_bytes(booster: xgb.Booster) -> bytes:
    """Return the model in XGBoost's own format (UBJSON)."""
    return bytes(booster.save_raw("ubj"))


class OutOfFold(NamedTuple):
    """What models that did not see a row say of it."""

    score: np.ndarray
    """float64 (rows,): probability; NaN where no fold scored the row."""
    fold: np.ndarray
    """int (rows,): which fold scored it; -1 for none."""
    growth: np.ndarray
    """float64 (folds, 2, steps): average precision after each `GROWTH_ROUNDS` boosting rounds,
    of the rows that the fold's model was fitted on and of those that it scores."""


def out_of_fold(
    table: Table, contract: Contract, params: dict[str, Any], rounds: int, threads: int
) -> OutOfFold:
    """Score every row that a fold scores, by a model fitted without it."""
    score = np.full(len(table.features), np.nan)
    fold_of = np.full(len(table.features), -1)
    growth = []
    for number, fold in enumerate(split(table.rows, contract)):
        booster = fit(
            table, fold.fit, contract.feature_names, params, rounds=rounds, threads=threads
        )
        score[fold.scored] = booster.inplace_predict(table.features[fold.scored])
        fold_of[fold.scored] = number
        growth.append([_growth(booster, table, rows) for rows in (fold.fit, fold.scored)])
    return OutOfFold(score, fold_of, np.array(growth))


def _growth(booster: xgb.Booster, table: Table, rows: np.ndarray) -> list[float]:
    """Average precision on some rows as the trees become more."""
    features, label = table.features[rows], table.rows.label[rows]
    rounds = booster.num_boosted_rounds()
    margin = np.zeros(len(label))
    values = []
    for start in range(0, rounds, GROWTH_ROUNDS):
        # The base score is added each time, which changes no order.
        trees = (start, min(start + GROWTH_ROUNDS, rounds))
        margin += booster.inplace_predict(features, iteration_range=trees, predict_type="margin")
        values.append(scorecard.average_precision(label, margin) or 0.0)
    return values


class ThresholdCurve(NamedTuple):
    """What each candidate for the threshold would do, from the highest down; one array each."""

    threshold: np.ndarray
    """The first is above every score: no alarm."""
    false_episodes: np.ndarray
    """The most false episodes of this or any higher threshold."""
    missed: np.ndarray
    """Events without an alarm."""
    events: int
    device_days: float


def threshold_curve(rows: Rows, score: np.ndarray, contract: Contract) -> ThresholdCurve:
    """Try thresholds on labelled rows.

    False episodes rise as the threshold falls, until they run together into one endless alarm.
    That fall is no merit, so a threshold answers for the most false episodes of any threshold
    above it; and none is tried that keeps half of the normal time in alarm.

    Args:
        rows: labelled rows.
        score: (rows,), of models that did not see them.
    """
    horizon = scorecard.horizon_seconds(contract.interval_seconds)
    descending = np.sort(score)[::-1]
    ranks = np.unique(np.geomspace(1, len(score), CANDIDATES).astype(int)) - 1
    thresholds = np.unique(descending[ranks])[::-1]
    if not rows.label.all():
        thresholds = thresholds[thresholds > np.median(score[~rows.label])]
    thresholds = np.insert(thresholds, 0, np.nextafter(descending[0], np.inf))
    begins = scorecard.event_starts(rows)
    event = (np.cumsum(begins) - 1)[rows.label]
    peak = np.zeros(int(begins.sum()))
    np.maximum.at(peak, event, score[rows.label])
    return ThresholdCurve(
        thresholds,
        np.maximum.accumulate(
            [scorecard.false_episodes(rows, score >= t, horizon) for t in thresholds]
        ),
        np.array([(peak < t).sum() for t in thresholds]),
        len(peak),
        len(score) * contract.interval_seconds / DAY_SECONDS,
    )


def choose_threshold(curve: ThresholdCurve, contract: Contract) -> float:
    """Choose from which score on a reading is in alarm, as the contract's `alarm` says.

    With a budget: the lowest threshold that keeps it, in false episodes for a day of one
    device. With costs: the threshold of least cost (the lower one of two equals) in missed
    events and false episodes.

    Works badly on short histories: a budget of 0.2 a day allows none at all in less than
    five days of one device.

    Returns:
        The threshold; a number above every score where no alarm is best.
    """
    alarm = contract.alarm
    if alarm.false_episodes_per_day is None:
        cost = (
            alarm.missed_event_cost * curve.missed + alarm.false_episode_cost * curve.false_episodes
        )
        return float(curve.threshold[cost == cost.min()][-1])
    kept = curve.false_episodes <= alarm.false_episodes_per_day * curve.device_days
    return float(curve.threshold[kept][-1])


def honest_thresholds(rows: Rows, scores: OutOfFold, contract: Contract) -> np.ndarray:
    """Return for each row a threshold that was chosen without it.

    The rows of a fold get the threshold of the other folds' scores; split by time, of the
    earlier folds' only.

    Returns:
        float64 (rows,); NaN for rows that have none: those without a score and, split by time,
        those of the first fold.
    """
    thresholds = np.full(len(scores.score), np.nan)
    for number in range(scores.fold.max() + 1):
        others = (scores.fold >= 0) & (scores.fold != number)
        if contract.split.by == "time":
            others &= scores.fold < number
        if others.any():
            curve = threshold_curve(rows.where(others), scores.score[others], contract)
            thresholds[scores.fold == number] = choose_threshold(curve, contract)
    return thresholds


@dataclass(frozen=True)
class ScoringModel:
    """A model that can score, and all that goes with it.

    Args:
        booster: scores float64 (rows, features) in the order of `contract.feature_names`.
        threshold: a reading is in alarm from this score on.
        examples: recorded readings, their features and the score that this model must give.
        trained_on: the readings that must not judge it.
        lineage: data tag and hash, parameters tag, run: the keys that `train` wrote.
        name, version: of the registered model; the version is None when loaded from a folder
            that nobody named a version for.
    """

    booster: xgb.Booster
    contract: Contract
    threshold: float
    examples: list[dict[str, Any]]
    trained_on: TrainingScope
    lineage: dict[str, str] = field(default_factory=dict)
    name: str = ""
    version: str | None = None

    @property
    def feature_names(self) -> list[str]:
        return self.contract.feature_names

    @property
    def data_tag(self) -> str:
        return self.lineage.get("data_tag", "")

    def score(self, features: np.ndarray) -> np.ndarray:
        """Return float64 (rows,): each row's probability of being positive.

        Args:
            features: float64 or float32 (rows, features); NaN is missing.

        Raises:
            InternalError: another number of features.
        """
        if features.ndim != 2 or features.shape[1] != len(self.feature_names):
            raise InternalError(
                f"features: shape {features.shape}, expected (rows, {len(self.feature_names)})."
            )
        return self.booster.inplace_predict(features).astype(np.float64)


class RowScorer:
    """Scores one row at a time: `ScoringModel.score` to the last bit, at a fraction of its cost.

    It makes the call that is behind `Booster.inplace_predict`, XGBoosterPredictFromDense of
    XGBoost's C API, with its arguments made once; what Python does around that call takes
    longer than 300 trees. The row lies in one buffer, so one thread at a time may call it.

    Args:
        model: what scores; its booster stays as it is.
    """

    def __init__(self, model: ScoringModel):
        self._booster = model.booster
        self._row = np.zeros((1, len(model.feature_names)))
        array = {
            "data": (self._row.ctypes.data, True),
            "shape": self._row.shape,
            "typestr": "<f8",
            "version": 3,
        }
        config = {
            "type": 0,
            "training": False,
            "iteration_begin": 0,
            "iteration_end": 0,
            "missing": math.nan,
            "strict_shape": False,
            "cache_id": 0,
        }
        proxy = ctypes.c_void_p()
        _check_call(_LIB.XGProxyDMatrixCreate(ctypes.byref(proxy)))
        weakref.finalize(self, _LIB.XGDMatrixFree, proxy)
        self._shape = ctypes.POINTER(ctypes.c_uint64)()
        self._dimensions = ctypes.c_uint64()
        self._scores = ctypes.POINTER(ctypes.c_float)()
        self._arguments = (
            self._booster.handle,
            json.dumps(array).encode(),
            json.dumps(config).encode(),
            proxy,
            ctypes.byref(self._shape),
            ctypes.byref(self._dimensions),
            ctypes.byref(self._scores),
        )

    def __call__(self, row: np.ndarray) -> float:
        """Score a row, float64 (features,); NaN is missing."""
        self._row[0] = row
        _check_call(_LIB.XGBoosterPredictFromDense(*self._arguments))
        return self._scores[0]


def load_folder(folder: Path, version: str | None = None, threads: int = 1) -> ScoringModel:
    """Load the model that lies in an MLflow model folder; needs no MLflow.

    The folder holds `model.ubj` and, in `extra_files`, `contract.toml`, `threshold.json`
    (`threshold`, `model_name`, `trained_on` and the lineage keys) and `examples.json` (a list
    of `device`, `readings` with `time` and `payload`, `features`, `score`).

    Args:
        version: number of the registered version, which the folder itself doesn't know.
        threads: that one call of `score` may use.

    Raises:
        DataError: a file is missing or doesn't read.
    """
    extra = folder / EXTRA_FOLDER
    try:
        contract = Contract.from_text((extra / "contract.toml").read_text("utf-8"), "contract.toml")
        decided = json.loads((extra / "threshold.json").read_text("utf-8"))
        examples = json.loads((extra / "examples.json").read_text("utf-8"))
        threshold, name = decided["threshold"], decided["model_name"]
        scope = TrainingScope.from_json(json.dumps(decided["trained_on"]))
        model_file = bytearray((folder / MODEL_FILE).read_bytes())
        booster = xgb.Booster({"nthread": threads}, model_file=model_file)
    except (OSError, ValueError, KeyError, xgb.core.XGBoostError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{folder} holds no model that loads: {reason}") from None
    if booster.feature_names != contract.feature_names:
        raise DataError(f"{folder}: the model's features are not those of its contract.")
    lineage = {key: value for key, value in decided.items() if isinstance(value, str)}
    return ScoringModel(
        booster=booster,
        contract=contract,
        threshold=threshold,
        examples=examples,
        trained_on=scope,
        lineage=lineage,
        name=name,
        version=version,
    )


def load(settings: Settings, name: str, version: str) -> ScoringModel:
    """Load a registered model version from MLflow.

    Args:
        version: its number, or an alias such as `champion`.

    Raises:
        UsageError: there is no such model, version or alias.
        DataError: its files do not load.
        ServiceUnavailable: MLflow does not answer.
    """
    from breezeway.tracking import champions, mlflow_client

    number = champions.resolve_version(settings, name, version)
    mlflow_client.configure(settings)
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        with mlflow_client.errors(settings):
            path = mlflow.artifacts.download_artifacts(f"models:/{name}/{number}", dst_path=folder)
        return load_folder(Path(path), number, settings.threads)
