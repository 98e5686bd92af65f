"""Records a training in MLflow: metrics, reports, and the model with all that serving needs.

All files are written to a folder first, so that a run is logged at once.
"""

import hashlib
import json
import logging
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from breezeway.contract.contract import Contract
from breezeway.core.files import write_json
from breezeway.core.settings import Settings
from breezeway.datasets.versions import OpenedVersion
from breezeway.detector import plots, scorecard
from breezeway.detector.families.registry import BOOSTED_TREES, family_of
from breezeway.detector.fitting import Fitted, Judgement
from breezeway.detector.model import GROWTH_ROUNDS
from breezeway.detector.onnx_scorer import SESSION
from breezeway.detector.scorecard import Scorecard
from breezeway.detector.scoring import JUDGED_FILE, JUDGED_NAME, NATIVE_NAME, score_example
from breezeway.detector.usual import USUAL_FILE
from breezeway.pipeline import training_quality
from breezeway.pipeline.learned import copy_baselines
from breezeway.pipeline.trained import Trained, shown
from breezeway.pipeline.training_quality import Quality, quality_of
from breezeway.tracking import mlflow_client, runs

if TYPE_CHECKING:
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.models import ModelSignature

log = logging.getLogger("breezeway")

OF_BASELINES = (
    "events",
    "events_hit",
    "median_delay_seconds",
    "p90_delay_seconds",
    "false_episodes_per_normal_hour",
    "false_alarm_rate",
    "f1",
    "average_precision",
)
"""What a result, whose length is limited, says of detectors that look at no sensor."""

ARTIFACT = "model"
"""The name of the model in its run."""

REPORTS = {
    "reports/scorecard.png": "Scorecard",
    "reports/training_curves.png": "Training curves",
    "reports/score_over_time.png": "Score over time",
    "reports/precision_recall.png": "Precision and recall",
    "reports/threshold.png": "Threshold",
    "reports/confusion_matrix.png": "Confusion matrix",
    "reports/feature_importance.png": "Feature importance",
    **training_quality.REPORTS,
    "reports/scorecard.json": "Scorecard (JSON)",
}

TABLE_COLUMNS = (
    "detector",
    "events hit",
    "median\ndelay, s",
    "90 %\ndelay, s",
    "false episodes\nper normal hour",
    "normal time\nin alarm",
    "precision",
    "recall",
    "F1",
    "average\nprecision",
)


@dataclass(frozen=True, kw_only=True)
class Training(Trained):
    """A training with labels.

    Args:
        fitted: what is evaluated.
        judgement: its evaluation.
    """

    fitted: Fitted
    judgement: Judgement

    @cached_property
    def quality(self) -> Quality:
        return quality_of(self.table, self.contract, self.fitted, self.judgement, self.usual)

    @property
    def beside_clock(self) -> str:
        """A sentence, where a clock that sees no sensor is not clearly worse; else empty."""
        return self.judgement.clock.sentence if self.judgement.clock else ""

    @property
    def titles(self) -> Mapping[str, str]:
        return REPORTS

    def metrics(self) -> dict[str, float | None]:
        metrics: dict[str, float | None] = self.quality.metrics()
        if clock := self.judgement.clock:
            metrics |= {
                "beside_clock/difference": clock.difference.estimate,
                "beside_clock/low": clock.difference.low,
                "beside_clock/high": clock.difference.high,
            }
        for name, card in self.judgement.cards.items():
            prefix = "" if name == "model" else f"{name}/"
            metrics |= {f"{prefix}{figure}": value for figure, value in card.figures().items()}
        return metrics

    def write_reports(self, folder: Path) -> None:
        folder.mkdir()
        cards = self.judgement.cards
        write_json(
            folder / "scorecard.json", {name: card.figures() for name, card in cards.items()}
        )
        lines = table_lines(cards)
        markdown = [
            "| " + " | ".join(cell.replace("\n", " ") for cell in TABLE_COLUMNS) + " |",
            "|---" + "|---:" * (len(TABLE_COLUMNS) - 1) + "|",
            *("| " + " | ".join(line) + " |" for line in lines),
        ]
        if self.beside_clock:
            markdown += ["", self.beside_clock]
        (folder / "scorecard.md").write_text("\n".join(markdown) + "\n", "utf-8")
        plots.draw_table(
            "Rows that the scoring model did not see, beside detectors that look at no sensor",
            TABLE_COLUMNS,
            lines,
            folder / "scorecard.png",
            self.beside_clock,
        )
        _draw_scores(self, folder)
        _draw_alarms(self, folder)
        training_quality.write_quality(self.quality, folder)
        plots.draw_importance(self.fitted.model.importance(), folder / "feature_importance.png")

    def told(self) -> dict[str, Any]:
        cards = self.judgement.cards
        return {
            "metrics": shown(cards["model"].figures()),
            "baselines": {
                name: shown({figure: card.figures()[figure] for figure in OF_BASELINES})
                for name, card in cards.items()
                if name != "model"
            },
            "beside_clock": self.beside_clock,
        }


def record(
    training: Trained, examples: list[dict[str, Any]], settings: Settings, started: float
) -> str:
    """Log a run and return its id. Unfinished runs of dead processes are marked as killed.

    Args:
        examples: recorded readings with their features, which the model will score.
        started: when the training started, in seconds since 1970.

    Raises:
        UsageError, ServiceUnavailable: as `mlflow_client.errors`.
    """
    own = {"identity": training.identity, "model_sha256": training.sha256}
    if training.served.again:
        judged = training.fitted.model.to_onnx()
        own["judged_sha256"] = hashlib.sha256(judged).hexdigest()
    tags = {**training.lineage, **training.scopes, **own}
    with tempfile.TemporaryDirectory(prefix="breezeway-train-") as made:
        folder = Path(made)
        write_model_files(training, examples, folder / "extra")
        training.write_reports(folder / "reports")
        end_dead_runs(training, settings)
        name, experiment = training.run_name, training.contract.name
        with runs.recorded(settings, experiment, name, started=started, tags=tags) as run_id:
            _log(training, tags, settings, folder)
    return run_id


def write_model_files(training: Trained, examples: list[dict[str, Any]], folder: Path) -> None:
    """Write the files beside the graph: the model that it was made of, examples with their
    scores, threshold, contract, what is usual; and the fit that was evaluated, if another one
    serves."""
    folder.mkdir()
    score = partial(score_example, training.scorer, training.contract)
    scored = [{**example, "score": score(example)} for example in examples]
    write_json(folder / "examples.json", scored)
    decided = {
        "threshold": training.fitted.threshold,
        "trained_on": json.loads(training.served.scope.to_json()),
        "judged_on": json.loads(training.table.scope.to_json()),
        **training.lineage,
        "model_name": training.model_name,
    }
    family = training.served.model.family
    if family != BOOSTED_TREES:
        decided["family"] = family
    write_json(folder / "threshold.json", decided)
    suffix = family_of(family).suffix
    (folder / f"{NATIVE_NAME}.{suffix}").write_bytes(training.served.model.to_bytes())
    write_json(folder / USUAL_FILE, training.usual.model_dump())
    if training.served.again:
        judged = training.fitted.model
        (folder / JUDGED_FILE).write_bytes(judged.to_onnx())
        (folder / f"{JUDGED_NAME}.{suffix}").write_bytes(judged.to_bytes())
    (folder / "contract.toml").write_text(training.contract.text, encoding="utf-8")
    if training.contract.features.baseline:
        copy_baselines(training.version.folder, training.contract, folder)


def _draw_scores(training: Training, folder: Path) -> None:
    """Plot the scores of the folds, without the threshold of each row."""
    fitted = training.fitted
    scored = fitted.scores.fold >= 0
    label, score = training.table.rows.label[scored], fitted.scores.score[scored]
    plots.draw_training(
        fitted.scores.growth, fitted.rounds, GROWTH_ROUNDS, folder / "training_curves.png"
    )
    average = scorecard.average_precision(label, score) or 0.0
    path = folder / "precision_recall.png"
    plots.draw_precision_recall(label, score, fitted.threshold, average, path)
    plots.draw_threshold(fitted.curve, fitted.choice, folder / "threshold.png")


def _draw_alarms(training: Training, folder: Path) -> None:
    """Plot the evaluated rows, by the threshold of each."""
    judged = training.judgement.judged
    rows, score = training.table.rows.where(judged), training.fitted.scores.score[judged]
    thresholds = training.judgement.thresholds[judged]
    plots.draw_score_over_time(rows, score, thresholds, folder / "score_over_time.png")
    plots.draw_confusion(rows.label, score >= thresholds, folder / "confusion_matrix.png")


def end_dead_runs(training: Trained, settings: Settings) -> None:
    """Mark unfinished runs of this name and dataset: we hold the lock, so they are dead."""
    client = mlflow_client.client(settings)
    with mlflow_client.errors(settings):
        experiment = client.get_experiment_by_name(training.contract.name)
        if experiment is None:
            return
        dead = (
            f"attributes.run_name = '{training.run_name}' and attributes.status = 'RUNNING' "
            f"and tags.`breezeway.data_tag` = '{training.version.tag}'"
        )
        for run in client.search_runs([experiment.experiment_id], dead):
            log.info("run %s was left by a process that died: marked as killed", run.info.run_id)
            client.set_terminated(run.info.run_id, "KILLED")


def _log(training: Trained, tags: Mapping[str, str], settings: Settings, folder: Path) -> None:
    import mlflow
    import onnx

    fitted, contract = training.fitted, training.contract
    mlflow.log_params(
        {
            **fitted.params,
            "family": fitted.model.family,
            "rounds": fitted.rounds,
            "split": contract.split.by,
            "folds": int(fitted.scores.fold.max()) + 1,
            "window": contract.window,
            "threads": settings.threads,
            "refit": training.served.again,
        }
    )
    mlflow.log_input(
        _input(contract, training.version),
        context="training",
        tags={f"breezeway.{key}": value for key, value in tags.items()},
    )
    mlflow.log_artifacts(str(folder / "reports"), "reports")
    model = mlflow.onnx.log_model(
        onnx.load_from_string(training.graph),
        name=ARTIFACT,
        signature=_signature(contract),
        pip_requirements=[f"{name}=={version(name)}" for name in ("numpy", "onnx", "onnxruntime")],
        onnx_execution_providers=["CPUExecutionProvider"],
        onnx_session_options=SESSION,
        save_as_external_data=False,
        extra_files=[str(path) for path in sorted((folder / "extra").iterdir())],
    )
    metrics: dict[str, float | None] = {
        "threshold": fitted.threshold,
        "threshold_low": fitted.choice.low,
        "threshold_high": fitted.choice.high,
        **training.metrics(),
    }
    # Behind the model: of metrics that are there before, it asks for each one's history.
    mlflow.log_metrics(
        {name: value for name, value in metrics.items() if value is not None},
        model_id=model.model_id,
    )


def _input(contract: Contract, version: OpenedVersion) -> "MetaDataset":
    """The dataset of a run for MLflow, which would read each value of a table."""
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.types.schema import ColSpec, Schema

    with warnings.catch_warnings():
        # MLflow knows two kinds of local folders, both of the same name.
        warnings.filterwarnings("ignore", message="The specified dataset source can be")
        source = resolve_dataset_source(str(version.folder))
    columns = [ColSpec("double", name) for name in contract.feature_names]
    schema = Schema([*columns, ColSpec("integer", "label")])
    return MetaDataset(  # type: ignore[abstract]  # MLflow's own class lacks what its base asks for
        source, name=version.tag, digest=version.hash, schema=schema
    )


def _signature(contract: Contract) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    inputs = Schema([ColSpec("double", name, required=False) for name in contract.feature_names])
    return ModelSignature(inputs=inputs, outputs=Schema([ColSpec("double")]))


def table_lines(cards: Mapping[str, Scorecard]) -> list[list[str]]:
    """A line for each detector, in the order of `TABLE_COLUMNS`."""
    return [
        [
            name.replace("_", " "),
            f"{card.events_hit} of {card.events}",
            _shown(card.median_delay_seconds, ".0f"),
            _shown(card.p90_delay_seconds, ".0f"),
            _shown(card.false_episodes_per_normal_hour),
            _shown(card.false_alarm_rate, ".1%"),
            *map(_shown, (card.precision, card.recall, card.f1, card.average_precision)),
        ]
        for name, card in cards.items()
    ]


def _shown(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)
