"""Train a model on a dataset version and register it in MLflow.

`breezeway.steps.train` is the command.

The parameters are those tuned for the dataset version, or sensible defaults. Figures and the
alarm threshold come from rows that the scoring model did not see; the registered model is then
fitted on all rows that the contract doesn't keep back. The same dataset version and parameters
give the same model, byte for byte; training it again under the same run name returns the
version that is registered already.
"""

import hashlib
import json
import logging
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from breezeway.contract.contract import Contract, load_contract
from breezeway.core.errors import DataError
from breezeway.core.files import write_json
from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.datasets.versions import DatasetVersion
from breezeway.detector import boosting, model, scorecard
from breezeway.detector.model import OutOfFold
from breezeway.detector.table import Table, read_table
from breezeway.detector.thresholds import choose_threshold, honest_thresholds, threshold_curve
from breezeway.tracking import mlflow_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger("breezeway")

ARTIFACT = "model"
"""The model's name within its run."""

REPORTS = {
    "reports/scorecard.png": "Scorecard",
    "reports/training_curves.png": "Training curves",
    "reports/score_over_time.png": "Score over time",
    "reports/precision_recall.png": "Precision and recall",
    "reports/threshold.png": "Threshold",
    "reports/confusion_matrix.png": "Confusion matrix",
    "reports/feature_importance.png": "Feature importance",
    "reports/scorecard.json": "Scorecard (JSON)",
}

TABLE_FIGURES = {
    "events_hit": "events hit",
    "prompt": "promptly hit",
    "false_episodes_per_normal_hour": "false episodes\nper normal hour",
    "false_alarm_rate": "normal time\nin alarm",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "average_precision": "average\nprecision",
}


@dataclass(frozen=True)
class Trained:
    """A model and how it was judged.

    Args:
        judged: bool, of the table's rows: those with a score and a threshold chosen without
            them, which the figures are about.
        thresholds: of the table's rows; NaN where `judged` is false.
        threshold: the model's own, chosen on all out-of-fold scores.
        figures: by detector: `model` and the baselines.
    """

    booster: Any
    content: bytes
    params: dict[str, Any]
    rounds: int
    scores: OutOfFold
    judged: np.ndarray
    thresholds: np.ndarray
    threshold: float
    figures: dict[str, dict[str, Any]]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def train(
    settings: Settings, tag: str, run_name: str, model_name: str | None = None
) -> dict[str, Any]:
    """Train, and register what came of it.

    Args:
        tag: the dataset version, or its parameters' tag.
        run_name: what the run is called in MLflow.
        model_name: the registered model that gets a new version; the contract's name if not given.

    Returns:
        The result of the step.

    Raises:
        UsageError: there is no such tag.
        DataError: nothing can be learned from the dataset.
        ServiceUnavailable: MLflow or the dataset's remote does not answer.
        TryAgain: another process is training this model.
    """
    started = time.time()
    version = versions.open_dataset(settings, tag)
    contract = load_contract(version.folder / "contract.toml")
    examples = _examples(version.folder)
    name = model_name or contract.name
    with exclusive(settings, f"train-{name}"):
        table = read_table(version.folder, contract)
        trained = _train(table, contract, version, settings)
        keys = _lineage(version, settings)
        registry = mlflow_client.client(settings)
        with mlflow_client.errors(settings):
            identity = _identity(run_name, name, keys, trained)
            run_id = _finished_run(registry, contract, identity)
            if not run_id:
                with tempfile.TemporaryDirectory(prefix="breezeway-train-") as folder:
                    record = _Record(table, contract, version, trained, Path(folder))
                    record.write(examples, {**keys, "model_name": name})
                    tags = {**keys, "identity": identity, "model_sha256": trained.sha256}
                    run_id = record.log(run_name, tags, settings, started)
            number = _register(registry, name, run_id, keys, trained.threshold)
            _tag_reports(registry, settings, run_id, f"{name}/{number}")
    log.info("model %s version %s, from run %s", name, number, run_id)
    shown = {k: v for k, v in trained.figures["model"].items() if k != "rows"}
    return {
        "run_id": run_id,
        "model_name": name,
        "model_version": number,
        "tag": version.tag,
        "params_tag": version.params_tag,
        "threshold": trained.threshold,
        "metrics": _rounded(shown),
        "baselines": {
            name: _rounded({key: figures[key] for key in shown})
            for name, figures in trained.figures.items()
            if name != "model"
        },
    }


def _examples(folder: Path) -> list[dict[str, Any]]:
    path = folder / "examples.json"
    if not path.is_file():
        raise DataError(f"{folder}: expected examples.json, the recorded readings; found none.")
    examples = json.loads(path.read_text(encoding="utf-8"))
    if not examples:
        raise DataError(f"{path}: expected recorded readings, found an empty list.")
    return examples


def _train(
    table: Table, contract: Contract, version: DatasetVersion, settings: Settings
) -> Trained:
    tuned = version.params or {"params": model.DEFAULT_PARAMS, "rounds": model.DEFAULT_ROUNDS}
    params, rounds = tuned["params"], tuned["rounds"]
    log.info(
        "%d rows of %d features to train on; %s parameters, %d rounds",
        *table.features.shape,
        version.params_tag or "default",
        rounds,
    )
    scores = model.out_of_fold(table, contract, params, rounds, settings.threads)
    scored = scores.fold >= 0
    curve = threshold_curve(table.rows.where(scored), scores.score[scored], contract)
    threshold = choose_threshold(curve, contract)
    thresholds = honest_thresholds(table.rows, scores, contract)
    if np.isnan(thresholds).all():
        log.warning("one fold only: the figures' threshold was chosen on the rows that it judges")
        thresholds[scored] = threshold
    judged = ~np.isnan(thresholds)
    frame = table.frame(scores.score, judged)
    interval = contract.interval_seconds
    booster = model.fit(
        table, slice(None), contract.feature_names, params, rounds=rounds, threads=settings.threads
    )
    return Trained(
        booster=booster,
        content=model.model_bytes(booster),
        params=params,
        rounds=rounds,
        scores=scores,
        judged=judged,
        thresholds=thresholds,
        threshold=threshold,
        figures={
            "model": scorecard.scorecard(frame, thresholds[judged], interval),
            **scorecard.baselines(frame, thresholds[judged], interval, boosting.SEED),
        },
    )


def _lineage(version: DatasetVersion, settings: Settings) -> dict[str, str]:
    keys = {
        "data_tag": version.tag,
        "data_hash": version.hash,
        "data_commit": version.commit,
        "params_tag": version.params_tag,
        "airflow_run": settings.run_id,
        "code": settings.code or _code_version(),
    }
    return {key: value for key, value in keys.items() if value}


def _code_version() -> str:
    """The commit of this code, marked where it has changes; outside a git checkout its release."""
    # A wheel may be installed below a repository that is not its own.
    own = ("git", "ls-files", "--error-unmatch", __file__)
    commit = ("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        said = [
            subprocess.run(
                words,
                cwd=Path(__file__).parent,
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout
            for words in (own, commit)
        ]
    except (OSError, subprocess.SubprocessError):
        return f"breezeway {metadata.version('breezeway')}"
    return said[-1].strip()


class _Record:
    """What goes to MLflow, made in a folder first so that a run is logged in one go."""

    def __init__(
        self,
        table: Table,
        contract: Contract,
        version: DatasetVersion,
        trained: Trained,
        folder: Path,
    ):
        self._table, self._contract, self._version = table, contract, version
        self._trained, self._folder = trained, folder

    def write(self, examples: list[dict[str, Any]], lineage: dict[str, str]) -> None:
        """Write all files of the run: reports, and the extra files of the model."""
        features = np.array([example["features"] for example in examples], dtype=np.float64)
        scores = self._trained.booster.inplace_predict(features).tolist()
        self._write(
            "extra/examples.json",
            [{**example, "score": score} for example, score in zip(examples, scores, strict=True)],
        )
        self._write(
            "extra/threshold.json",
            {
                "threshold": self._trained.threshold,
                "trained_on": json.loads(self._table.scope.to_json()),
                **lineage,
            },
        )
        shutil.copyfile(
            self._version.folder / "contract.toml", self._folder / "extra/contract.toml"
        )
        self._write("reports/scorecard.json", self._trained.figures)
        header, lines = _scorecard_table(self._trained.figures)
        markdown = ["| " + " | ".join(cell.replace("\n", " ") for cell in header) + " |"]
        markdown.append("|---" + "|---:" * (len(header) - 1) + "|")
        markdown += ["| " + " | ".join(line) + " |" for line in lines]
        (self._folder / "reports/scorecard.md").write_text("\n".join(markdown) + "\n", "utf-8")
        self._draw(header, lines)

    def _write(self, name: str, value: Any) -> None:
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        write_json(path, value)

    def _draw(self, header: list[str], lines: list[list[str]]) -> None:
        from breezeway.detector import plots  # Matplotlib: half a second

        reports, trained = self._folder / "reports", self._trained
        scored = trained.scores.fold >= 0
        rows, score = self._table.rows.where(scored), trained.scores.score[scored]
        average = scorecard.average_precision(rows.label, score) or 0.0
        plots.draw_training(
            trained.scores.growth,
            trained.rounds,
            model.GROWTH_ROUNDS,
            reports / "training_curves.png",
        )
        plots.draw_precision_recall(
            rows.label, score, trained.threshold, average, reports / "precision_recall.png"
        )
        curve = threshold_curve(rows, score, self._contract)
        plots.draw_threshold(curve, trained.threshold, reports / "threshold.png")
        judged = trained.judged
        rows, score = self._table.rows.where(judged), trained.scores.score[judged]
        thresholds = trained.thresholds[judged]
        plots.draw_score_over_time(rows, score, thresholds, reports / "score_over_time.png")
        plots.draw_confusion(rows.label, score >= thresholds, reports / "confusion_matrix.png")
        plots.draw_importance(
            trained.booster.get_score(importance_type="total_gain"),
            reports / "feature_importance.png",
        )
        plots.draw_table(
            "Rows that the scoring model did not see, beside detectors that look at no sensor",
            header,
            lines,
            reports / "scorecard.png",
        )

    def log(self, run_name: str, keys: dict[str, str], settings: Settings, started: float) -> str:
        """Log the run, with `keys` as tags, and return its id.

        A run that a killed process left behind as running is marked as killed first.
        """
        import mlflow

        client = mlflow_client.client(settings)
        experiment = mlflow.set_experiment(self._contract.name).experiment_id
        dead = (
            f"attributes.run_name = '{run_name}' and attributes.status = 'RUNNING' "
            f"and tags.`breezeway.data_tag` = '{self._version.tag}'"
        )
        for run in client.search_runs([experiment], dead):
            log.info("run %s was left by a process that died: marked as killed", run.info.run_id)
            client.set_terminated(run.info.run_id, "KILLED")
        tags = {f"breezeway.{key}": value for key, value in keys.items()}
        created = client.create_run(experiment, int(started * 1000), tags, run_name)
        with mlflow.start_run(run_id=created.info.run_id):
            self._log_content(settings, keys)
        return created.info.run_id

    def _log_content(self, settings: Settings, keys: dict[str, str]) -> None:
        import mlflow
        import xgboost as xgb

        trained, contract = self._trained, self._contract
        mlflow.log_params(
            {
                **trained.params,
                "rounds": trained.rounds,
                "split": contract.split.by,
                "folds": int(trained.scores.fold.max()) + 1,
                "window": contract.window,
                "threads": settings.threads,
            }
        )
        metrics = {"threshold": trained.threshold, **trained.figures["model"]}
        for baseline, figures in trained.figures.items():
            if baseline != "model":
                metrics |= {f"{baseline}/{figure}": value for figure, value in figures.items()}
        mlflow.log_metrics({name: value for name, value in metrics.items() if value is not None})
        mlflow.log_input(
            _input(contract, self._version),
            context="training",
            tags={f"breezeway.{k}": v for k, v in keys.items()},
        )
        mlflow.log_artifacts(str(self._folder / "reports"), "reports")
        mlflow.xgboost.log_model(
            trained.booster,
            name=ARTIFACT,
            model_format="ubj",
            signature=_signature(contract),
            pip_requirements=[f"xgboost-cpu=={xgb.__version__}", f"numpy=={np.__version__}"],
            extra_files=[str(path) for path in sorted((self._folder / "extra").iterdir())],
        )


def _input(contract: Contract, version: DatasetVersion) -> Any:
    """What a run was trained on, as MLflow shows it; from a table it would look at each value."""
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.types.schema import ColSpec, Schema

    with warnings.catch_warnings():
        # MLflow knows two kinds of local folders, both of the same name.
        warnings.filterwarnings("ignore", message="The specified dataset source can be")
        source = resolve_dataset_source(str(version.folder))
    columns = [ColSpec("double", name) for name in contract.feature_names]
    schema = Schema([*columns, ColSpec("integer", "label")])
    return MetaDataset(source, name=version.tag, digest=version.hash, schema=schema)


def _signature(contract: Contract) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    inputs = Schema([ColSpec("double", name, required=False) for name in contract.feature_names])
    return ModelSignature(inputs=inputs, outputs=Schema([ColSpec("double")]))


def _identity(run_name: str, name: str, keys: Mapping[str, str], trained: Trained) -> str:
    """Return what two runs have in common if the second has nothing to add to the first."""
    data = [keys.get(key) for key in ("data_tag", "data_hash", "params_tag")]
    return hashlib.sha256(json.dumps([run_name, name, *data, trained.sha256]).encode()).hexdigest()


def _finished_run(client: "MlflowClient", contract: Contract, identity: str) -> str | None:
    experiment = client.get_experiment_by_name(contract.name)
    if experiment is None:
        return None
    found = client.search_runs(
        [experiment.experiment_id],
        f"attributes.status = 'FINISHED' and tags.`breezeway.identity` = '{identity}'",
        order_by=["attributes.start_time ASC"],
    )
    return found[0].info.run_id if found else None


def _register(
    client: "MlflowClient", name: str, run_id: str, keys: Mapping[str, str], threshold: float
) -> str:
    """Return the number of the version that a run has under a name; make it where it has none."""
    import mlflow

    existing = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    if existing:
        return str(min(int(version.version) for version in existing))
    run = client.get_run(run_id)
    model_id = run.outputs.model_outputs[0].model_id
    tags = {f"breezeway.{key}": value for key, value in keys.items()}
    tags |= {"breezeway.run_id": run_id, "breezeway.threshold": repr(threshold)}
    return str(mlflow.register_model(f"models:/{model_id}", name, tags=tags).version)


def _tag_reports(client: "MlflowClient", settings: Settings, run_id: str, model: str) -> None:
    """Make the run's files reports of the Airflow run that made them first."""
    from mlflow.entities import RunTag

    if "breezeway.reports" not in client.get_run(run_id).data.tags:
        tags = mlflow_client.report_tags(settings, "train", model, REPORTS)
        client.log_batch(run_id, tags=[RunTag(*tag) for tag in tags.items()])


def _scorecard_table(figures: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    prompt = next(key for key in figures["model"] if key.startswith("events_hit_within"))
    header = ["detector", *TABLE_FIGURES.values()]
    lines = []
    for detector, found in figures.items():
        line = [detector.replace("_", " ")]
        for key in TABLE_FIGURES:
            value = found[prompt if key == "prompt" else key]
            if key in ("events_hit", "prompt"):
                line.append(f"{value} of {found['events']}")
            elif value is None:
                line.append("-")
            elif key == "false_alarm_rate":
                line.append(f"{value:.1%}")
            else:
                line.append(f"{value:.3f}")
        lines.append(line)
    return header, lines


def _rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in figures.items()}
