"""A fitted model, loaded from its folder, that scores rows.

What scores is its ONNX graph. The model that the graph was made of is beside it, for all that is no
score: for explanations, and to be fitted further.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from breezeway.contract.baselines import Baselines, read_baselines
from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError, InternalError
from breezeway.core.times import from_iso
from breezeway.detector.families.family import FittedModel
from breezeway.detector.families.registry import BOOSTED_TREES, family_of
from breezeway.detector.holdout import TrainingScope
from breezeway.detector.onnx_scorer import OnnxScorer
from breezeway.detector.score_filter import ages_of, filtered
from breezeway.detector.scorecard import arrow_column, microseconds
from breezeway.detector.usual import USUAL_FILE, Usual

GRAPH_FILE = "model.onnx"
EXTRA_FOLDER = "extra_files"
"""Where MLflow keeps the files that go with a model."""
NATIVE_NAME = "model"
"""Of what the graph was made of, in `EXTRA_FOLDER`; the suffix is the family's."""
JUDGED_NAME = "judged"
"""Of the fit that was evaluated, and of its graph, if it is not the one that serves."""
JUDGED_FILE = f"{JUDGED_NAME}.onnx"


@dataclass(frozen=True)
class ScoringModel:
    """A model that can score, and what is saved with it.

    Args:
        scorer: scores rows in the order of `contract.feature_names`.
        threshold: a reading with at least this score is in alarm.
        examples: recorded readings, their features and the score that this model must give.
        trained_on: the readings that it must not be evaluated on.
        lineage: data tag and hash, parameters tag, run: the keys that `train` wrote.
        name, version: of the registered model; the version is empty if the model was loaded
            from a folder without one.
        again: whether the fit that serves is another one than the fit that was evaluated.
        baselines: of the devices, if the contract asks for them.
        family: the name of the family of detectors that it is of.
        native: the model that the graph was made of, in the family's own format.
        usual: what is usual of each feature, for explanations.
    """

    scorer: OnnxScorer
    contract: Contract
    threshold: float
    examples: list[dict[str, Any]]
    trained_on: TrainingScope
    lineage: dict[str, str] = field(default_factory=dict)
    name: str = ""
    version: str = ""
    again: bool = False
    baselines: Baselines = field(default_factory=dict)
    native: bytes = b""
    family: str = BOOSTED_TREES
    usual: Usual = field(default_factory=Usual)

    @cached_property
    def fitted_model(self) -> FittedModel:
        """The model that the graph was made of, for all that is no score.

        It is read when it is asked for: a score needs nothing of it, and XGBoost half a second.

        Raises:
            DataError: it cannot be read.
        """
        family = family_of(self.family)
        try:
            return family.load(self.native)
        except DataError as error:
            raise DataError(f"{NATIVE_NAME}.{family.suffix}: {error}") from None

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
            InternalError: the number of features is wrong.
        """
        if features.ndim != 2 or features.shape[1] != len(self.feature_names):
            raise InternalError(
                f"features: shape {features.shape}, expected (rows, {len(self.feature_names)})."
            )
        return self.scorer.score(features)

    def score_readings(self, readings: Mapping[str, Any]) -> np.ndarray:
        """Return float64 (rows,): the score of each reading, by which it is in alarm or not.

        Args:
            readings: an Arrow table or batch with `device`, `time` and a float64 column for each
                feature, in any order. What it does not hold has no say in a score.
        """
        return score_readings(self.scorer, self.contract, readings)


def score_readings(
    scorer: OnnxScorer, contract: Contract, readings: Mapping[str, Any]
) -> np.ndarray:
    """Score readings; see `ScoringModel.score_readings`."""
    features = [readings[name].to_numpy(zero_copy_only=False) for name in contract.feature_names]
    score = scorer.score(np.column_stack(features))
    if contract.alarm.lookback:
        device = arrow_column(readings["device"]).dictionary_encode().indices.to_numpy()
        time = microseconds(readings["time"])
        order = np.lexsort((time, device))
        ages = ages_of(device[order], time[order], contract)
        score[order] = filtered(score[order], ages, contract.alarm)
    return score


def score_example(scorer: OnnxScorer, contract: Contract, example: dict[str, Any]) -> float:
    """Score a recorded reading, in which those before it may have a say."""
    import pyarrow as pa  # not installed in the model server

    rows = [*example.get("before", ()), example["features"]]
    scores = scorer.score(np.array(rows, dtype=np.float64))
    times = [from_iso(reading["time"]) for reading in example["readings"][-len(rows) :]]
    ages = ages_of(np.zeros(len(rows)), microseconds(pa.array(times)), contract)
    return float(filtered(scores, ages, contract.alarm)[-1])


def load_folder(folder: Path, version: str = "", *, judged: bool = False) -> ScoringModel:
    """Load a model from an MLflow model folder, without MLflow.

    The folder holds `model.onnx` and, in `extra_files`, `model.ubj` or with the suffix of another
    family, `contract.toml`, `threshold.json` (`threshold`, `model_name`, `trained_on`, the lineage
    keys, and `family` unless the model is of boosted trees), `usual.json`,
    `examples.json` (a list of `device`, `readings` with `time` and `payload`, `features`, `score`)
    and, if the contract asks for it, `baselines.json`. If the model was fitted again on all rows,
    the fit that was evaluated is `judged.onnx` and `judged.ubj`, and `judged_on` says what that one
    was trained on.

    Args:
        judged: load the fit that was evaluated, not the one that serves.
        version: number of the registered version, which is not in the folder.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    extra = folder / EXTRA_FOLDER
    if not (folder / GRAPH_FILE).is_file():
        raise DataError(
            f"{folder} holds no {GRAPH_FILE}, the graph that scores. A model from before graphs "
            "has to be trained again; if it is the champion, take that alias from it first."
        )
    try:
        contract = Contract.from_text((extra / "contract.toml").read_text("utf-8"), "contract.toml")
        decided = json.loads((extra / "threshold.json").read_text("utf-8"))
        examples = json.loads((extra / "examples.json").read_text("utf-8"))
        threshold, name = decided["threshold"], decided["model_name"]
        again = (extra / JUDGED_FILE).is_file()
        which = "judged_on" if again and judged else "trained_on"
        scope = TrainingScope.from_json(json.dumps(decided[which]))
        graph, name_of_native = folder / GRAPH_FILE, NATIVE_NAME
        if again and judged:
            graph, name_of_native = extra / JUDGED_FILE, JUDGED_NAME
        scorer, native = OnnxScorer(graph.read_bytes()), _native(extra, name_of_native)
    except (OSError, ValueError, KeyError, DataError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{folder} holds no model that loads: {reason}") from None
    if scorer.feature_names != contract.feature_names:
        raise DataError(f"{folder}: the model's features are not those of its contract.")
    baselines = read_baselines(contract, extra)
    lineage = {
        key: value for key, value in decided.items() if isinstance(value, str) and key != "family"
    }
    return ScoringModel(
        scorer=scorer,
        native=native,
        family=str(decided.get("family", BOOSTED_TREES)),
        contract=contract,
        threshold=threshold,
        examples=examples,
        trained_on=scope,
        again=again,
        usual=Usual.read(extra / USUAL_FILE, contract),
        lineage=lineage,
        baselines=baselines,
        name=name,
        version=version,
    )


def _native(extra: Path, name: str) -> bytes:
    """The one file of a name, beside a graph of the same name."""
    found = [path for path in extra.glob(f"{name}.*") if path.suffix != ".onnx"]
    if len(found) != 1:
        raise DataError(f"expected one file {name}.*, found {len(found)}.")
    return found[0].read_bytes()
