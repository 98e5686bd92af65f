"""Train a model on a dataset version and register it in MLflow.

`breezeway.steps.train` is the command, and says how.
"""

import logging
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from breezeway.contract.contract import Contract
from breezeway.core.errors import InternalError
from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.datasets.versions import DatasetVersion, OpenedVersion
from breezeway.detector.alarm_rate import NOT_JUDGED
from breezeway.detector.clock import clock_scores
from breezeway.detector.families.registry import BOOSTED_TREES, families_of, family_of
from breezeway.detector.fitting import (
    FittedDetector,
    Served,
    fit_again,
    fit_detector,
    judge_unseen,
)
from breezeway.detector.folds import split
from breezeway.detector.presumed import fit_presumed
from breezeway.detector.table import Table, held_out_rows, read_table
from breezeway.pipeline.learned import learned_contract, learned_examples
from breezeway.pipeline.trained import Trained
from breezeway.pipeline.training_record import Training, record
from breezeway.pipeline.training_unlabelled import UnlabelledTraining
from breezeway.tracking import mlflow_client, runs

log = logging.getLogger("breezeway")

REUSED = (
    "a run %r has trained this very model on this dataset before: it is used again (%s), with its "
    "version, and nothing is recorded anew. For a run of its own, choose another run name."
)


def train(
    settings: Settings, tag: str, run_name: str, model_name: str | None = None
) -> dict[str, Any]:
    """Train a model and register it.

    Args:
        tag: the dataset version, or its parameters' tag.
        run_name: the name of the run in MLflow.
        model_name: the registered model that gets a new version; None for the contract's name.

    Returns:
        The result of the step.

    Raises:
        UsageError: there is no such tag.
        DataError: a model cannot learn from the dataset.
        ServiceUnavailable: MLflow or the dataset's remote does not answer.
        TryAgain: another process is training this model.
    """
    started = time.time()
    version = versions.open_dataset(settings, tag)
    contract = learned_contract(version)
    examples = learned_examples(version.folder, contract)
    name = model_name or contract.name
    with exclusive(settings, f"train-{name}"):
        training = _train(settings, run_name, name, version, contract)
        run_id = _finished_run(training, settings)
        if run_id:
            log.info(REUSED, run_name, run_id)
        else:
            run_id = record(training, examples, settings, started)
        number = _register(training, run_id, settings)
        _tag_reports(settings, run_id, training, f"{name}/{number}")
    log.info("model %s version %s, from run %s", name, number, run_id)
    return {"run_id": run_id, "model_name": name, "model_version": number, **_result_of(training)}


def try_out(settings: Settings, tag: str, chosen: "Parameters | None" = None) -> Trained:
    """Train and evaluate as `train` does, but record nothing.

    Args:
        tag: the dataset version, or its parameters' tag.
        chosen: in place of the parameters of the version.

    Raises:
        as for `train`, but nothing of MLflow.
    """
    version = versions.open_dataset(settings, tag)
    contract = learned_contract(version)
    return _train(settings, tag, contract.name, version, contract, chosen)


def _train(
    settings: Settings,
    run_name: str,
    model_name: str,
    version: OpenedVersion,
    contract: Contract,
    chosen: "Parameters | None" = None,
) -> Trained:
    table = read_table(version.folder, contract)
    chosen = chosen or parameters(version, contract, len(table.features))
    log.info(
        "%d rows of %d features to train on; %s, %s parameters, %d rounds",
        *table.features.shape,
        chosen.family,
        version.params_tag or "default",
        chosen.rounds,
    )
    fit = _fit if contract.has_labels else _fit_without_labels
    return fit(settings, run_name, model_name, version, contract, table, chosen)


def _fit(
    settings: Settings,
    run_name: str,
    model_name: str,
    version: OpenedVersion,
    contract: Contract,
    table: Table,
    chosen: "Parameters",
) -> Trained:
    family, params, rounds = chosen
    fitted = fit_detector(table, contract, params, rounds, settings.threads, family)
    clock = clock_scores(table, split(table.rows, contract), settings.threads)
    training = Training(
        run_name=run_name,
        model_name=model_name,
        table=table,
        contract=contract,
        version=version,
        fitted=fitted,
        served=_served(version, table, contract, fitted, settings),
        judgement=judge_unseen(table, contract, fitted.scores, clock),
        lineage=lineage_of(version, settings),
    )
    if beside := training.beside_clock:
        log.warning(beside)
    return training


def _fit_without_labels(
    settings: Settings,
    run_name: str,
    model_name: str,
    version: OpenedVersion,
    contract: Contract,
    table: Table,
    chosen: "Parameters",
) -> Trained:
    family, threads = chosen.family, settings.threads
    fitted = fit_presumed(table.features, table.rows, contract, family, threads=threads)
    training = UnlabelledTraining(
        run_name=run_name,
        model_name=model_name,
        table=table,
        contract=contract,
        version=version,
        fitted=fitted,
        served=_served(version, table, contract, fitted, settings),
        held_out=held_out_rows(version.folder, contract, table.scope),
        lineage=lineage_of(version, settings),
    )
    log.info("%s %s", training.sentence, NOT_JUDGED)
    return training


def _result_of(training: Trained) -> dict[str, Any]:
    return {
        "tag": training.version.tag,
        "params_tag": training.version.params_tag,
        "threshold": training.fitted.threshold,
        "trained_on": training.served.scope.until_text,
        "judged_on": training.table.scope.until_text,
        **training.told(),
    }


def _served(
    version: OpenedVersion,
    table: Table,
    contract: Contract,
    fitted: FittedDetector,
    settings: Settings,
) -> Served:
    if not contract.train.refit:
        return Served(fitted.model, table.scope, again=False)
    whole = read_table(version.folder, contract, whole=True)
    log.info("fitted again on all %d rows: that fit serves", len(whole.features))
    return fit_again(whole, contract, fitted, settings.threads)


class Parameters(NamedTuple):
    """What a model is fitted by.

    Args:
        family: the name of the family of detectors.
        params: of the family.
        rounds: of the training.
    """

    family: str
    params: dict[str, Any]
    rounds: int


def parameters(version: DatasetVersion, contract: Contract, rows: int) -> Parameters:
    """The parameters tuned for the dataset version, or the defaults of the contract's first family.

    Args:
        version: of the dataset.
        contract: of the dataset.
        rows: that the defaults are for.

    Raises:
        DataError: the contract asks for a family that is not known here, or that does not fit it.
    """
    if version.params:
        # Before there were families, all were boosted trees.
        family = version.params.get("family", BOOSTED_TREES)
        return Parameters(family, version.params["params"], version.params["rounds"])
    family = families_of(contract)[0]
    kind = family_of(family)
    return Parameters(family, kind.defaults(rows), kind.default_rounds)


def lineage_of(version: DatasetVersion, settings: Settings) -> dict[str, str]:
    keys = {
        "data_tag": version.tag,
        "data_hash": version.hash,
        "data_commit": version.commit,
        "params_tag": version.params_tag,
        "airflow_run": settings.run_id,
        "code": settings.code or code_version(),
    }
    return {key: value for key, value in keys.items() if value}


def code_version() -> str:
    """The commit of this code, marked if it has changes; outside a git checkout, the release."""
    # A wheel may be installed inside another repository.
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


def _finished_run(training: Trained, settings: Settings) -> str | None:
    client = mlflow_client.client(settings)
    with mlflow_client.errors(settings):
        experiment = client.get_experiment_by_name(training.contract.name)
        if experiment is None:
            return None
        found = client.search_runs(
            [experiment.experiment_id],
            f"attributes.status = 'FINISHED' and tags.`breezeway.identity` = '{training.identity}'",
            order_by=["attributes.start_time ASC"],
        )
    return str(found[0].info.run_id) if found else None


def _register(training: Trained, run_id: str, settings: Settings) -> str:
    """The number of a run's version of a registered model; it is created if it does not exist."""
    client, name = mlflow_client.client(settings), training.model_name
    import mlflow

    with mlflow_client.errors(settings):
        existing = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        if existing:
            return str(min(int(version.version) for version in existing))
        outputs = client.get_run(run_id).outputs
        if outputs is None:
            raise InternalError(f"The finished run {run_id} has no model.")
        threshold = repr(training.fitted.threshold)
        keys = {**training.lineage, **training.scopes, "run_id": run_id, "threshold": threshold}
        tags = {f"breezeway.{key}": value for key, value in keys.items()}
        model = f"models:/{outputs.model_outputs[0].model_id}"
        return str(mlflow.register_model(model, name, tags=tags).version)


def _tag_reports(settings: Settings, run_id: str, training: Trained, about: str) -> None:
    """Turn the run's files into reports of the Airflow run that made them first."""
    client = mlflow_client.client(settings)
    with mlflow_client.errors(settings):
        tags = client.get_run(run_id).data.tags
    if "breezeway.reports" not in tags:
        runs.tag_reports(settings, run_id, training.titles, step="train", about=about)
