"""A fitted model, loaded from its folder, that scores rows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from breezeway.contract.baselines import Baselines, read_baselines
from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError, InternalError
from breezeway.detector.boosting import xgb
from breezeway.detector.holdout import TrainingScope
from breezeway.detector.score_filter import ages_of, filtered
from breezeway.detector.scorecard import arrow_column, microseconds

MODEL_FILE = "model.ubj"
JUDGED_FILE = "judged.ubj"
"""The fit that was evaluated, in `EXTRA_FOLDER`, if it is not the one that serves."""
EXTRA_FOLDER = "extra_files"
"""Where MLflow keeps the files that go with a model."""


@dataclass(frozen=True)
class ScoringModel:
    """A model that can score, and what is saved with it.

    Args:
        booster: scores float64 (rows, features) in the order of `contract.feature_names`.
        threshold: a reading with at least this score is in alarm.
        examples: recorded readings, their features and the score that this model must give.
        trained_on: the readings that it must not be evaluated on.
        lineage: data tag and hash, parameters tag, run: the keys that `train` wrote.
        name, version: of the registered model; the version is empty if the model was loaded
            from a folder without one.
        again: whether the fit that serves is another one than the fit that was evaluated.
        baselines: of the devices, if the contract asks for them.
    """

    booster: xgb.Booster
    contract: Contract
    threshold: float
    examples: list[dict[str, Any]]
    trained_on: TrainingScope
    lineage: dict[str, str] = field(default_factory=dict)
    name: str = ""
    version: str = ""
    again: bool = False
    baselines: Baselines = field(default_factory=dict)

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
        return self.booster.inplace_predict(features).astype(np.float64)

    def score_readings(self, readings: Mapping[str, Any]) -> np.ndarray:
        """Return float64 (rows,): the score of each reading, by which it is in alarm or not.

        Args:
            readings: an Arrow table or batch with `device`, `time` and a float64 column for each
                feature, in any order. What it does not hold has no say in a score.
        """
        return score_readings(self.booster, self.contract, readings)


def score_readings(
    booster: xgb.Booster, contract: Contract, readings: Mapping[str, Any]
) -> np.ndarray:
    """Score readings with a booster; see `ScoringModel.score_readings`."""
    features = [readings[name].to_numpy(zero_copy_only=False) for name in contract.feature_names]
    score = booster.inplace_predict(np.column_stack(features)).astype(np.float64)
    if contract.alarm.lookback:
        device = arrow_column(readings["device"]).dictionary_encode().indices.to_numpy()
        time = microseconds(readings["time"])
        order = np.lexsort((time, device))
        ages = ages_of(device[order], time[order], contract)
        score[order] = filtered(score[order], ages, contract.alarm)
    return score


def load_folder(
    folder: Path, version: str = "", threads: int = 1, *, judged: bool = False
) -> ScoringModel:
    """Load a model from an MLflow model folder, without MLflow.

    The folder holds `model.ubj` and, in `extra_files`, `contract.toml`, `threshold.json`
    (`threshold`, `model_name`, `trained_on` and the lineage keys) and `examples.json` (a list
    of `device`, `readings` with `time` and `payload`, `features`, `score`), and `baselines.json` if
    the contract asks for it (`contract.baselines`). If the model was
    fitted again on all rows, the fit that was evaluated is `judged.ubj`, and `judged_on` says what
    that one was trained on.

    Args:
        judged: load the fit that was evaluated, not the one that serves.
        version: number of the registered version, which is not in the folder.
        threads: that one call of `score` may use.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    extra = folder / EXTRA_FOLDER
    try:
        contract = Contract.from_text((extra / "contract.toml").read_text("utf-8"), "contract.toml")
        decided = json.loads((extra / "threshold.json").read_text("utf-8"))
        examples = json.loads((extra / "examples.json").read_text("utf-8"))
        threshold, name = decided["threshold"], decided["model_name"]
        again = (extra / JUDGED_FILE).is_file()
        which = "judged_on" if again and judged else "trained_on"
        scope = TrainingScope.from_json(json.dumps(decided[which]))
        file = extra / JUDGED_FILE if again and judged else folder / MODEL_FILE
        model_file = bytearray(file.read_bytes())
        booster = xgb.Booster({"nthread": threads}, model_file=model_file)
    except (OSError, ValueError, KeyError, xgb.core.XGBoostError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{folder} holds no model that loads: {reason}") from None
    if booster.feature_names != contract.feature_names:
        raise DataError(f"{folder}: the model's features are not those of its contract.")
    baselines = read_baselines(contract, extra)
    lineage = {key: value for key, value in decided.items() if isinstance(value, str)}
    return ScoringModel(
        booster=booster,
        contract=contract,
        threshold=threshold,
        examples=examples,
        trained_on=scope,
        again=again,
        lineage=lineage,
        baselines=baselines,
        name=name,
        version=version,
    )
