"""Search for the model parameters that find the most events in a dataset version.

`breezeway.steps.tune` is the command.
"""

import logging
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from breezeway.contract.contract import Contract, load_contract
from breezeway.core.files import write_json
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.detector import search
from breezeway.detector.boosting import SEED
from breezeway.detector.families.registry import BOOSTED_TREES, families_of, family_of
from breezeway.detector.feature_choice import NEEDS_LABELS, FeatureChoice, of_contract
from breezeway.detector.plots import draw_families, draw_search
from breezeway.detector.search import FamilyResult, SearchTrial
from breezeway.detector.table import read_table
from breezeway.pipeline.feature_search import REPORTS as OF_FEATURES
from breezeway.pipeline.feature_search import search_features, summary
from breezeway.pipeline.learned import examples_of
from breezeway.tracking import runs

log = logging.getLogger("breezeway")

REPORTS = {
    "tuning.png": "Tuning history",
    "tuning.json": "Trials (JSON)",
    "params.json": "Parameters (JSON)",
}
OF_FAMILIES = {"families.png": "Families", "families.json": "Families (JSON)"}
"""Of a search over several families. They tell costs, which are others each time: so they are no
part of what is published with the parameters."""


def tune(settings: Settings, tag: str, count: int, output: Path | None = None) -> dict[str, Any]:
    """Search, and save the result in the work folder of the tag and in MLflow.

    Args:
        tag: the dataset version.
        count: sets of parameters to try.
        output: a file that gets the parameters too.

    Returns:
        The result of the step.

    Raises:
        UsageError: there is no such tag.
        DataError: no fold has both classes.
        ServiceUnavailable: MLflow, Ray or the dataset's remote does not answer.
    """
    started = time.time()
    version = versions.open_dataset(settings, tag)
    contract = load_contract(version.folder / "contract.toml")
    table = read_table(version.folder, contract)
    if not contract.has_labels:
        return _defaults(settings, version.tag, contract, len(table.features), output)
    choice = None
    if contract.features.auto:
        choice = search_features(settings, version, contract, table, examples_of(version.folder))
        table, contract = of_contract(table, contract, choice.contract), choice.contract
    trials = search.search(table, contract, count, settings)
    best = search.best(trials)
    params = {
        "family": best.family,
        "params": best.params,
        "rounds": best.rounds,
        "average_precision": best.average_precision,
        "trials": len(trials),
        "seed": SEED,
        **(_published(choice) if choice else {}),
    }
    work = settings.work / version.tag
    work.mkdir(parents=True, exist_ok=True)
    _write(work, trials, best)
    for path in (work / "params.json", output):
        if path:
            write_json(path, params)  # last: if this file exists, the others do too
    families = search.by_family(trials)
    run_id = _record(settings, contract.name, version.tag, params, work, started, families)
    return {
        "tag": version.tag,
        "params_file": str(work / "params.json"),
        "family": best.family,
        "params": best.params,
        "rounds": best.rounds,
        "average_precision": best.average_precision,
        "trials": len(trials),
        "run_id": run_id,
        **({"families": [_shown(family) for family in families]} if len(families) > 1 else {}),
        **({"features": summary(choice)} if choice else {}),
    }


def _published(choice: FeatureChoice) -> dict[str, Any]:
    """What is published of a choice of features: the contract that a model is trained by."""
    return {
        "contract": choice.contract.text,
        "features": {"variants": choice.variants, "kept": choice.kept},
    }


def _write(work: Path, trials: list[SearchTrial], best: SearchTrial) -> None:
    """Write the history of a search, and its picture."""
    history = {"best": best.number, "trials": [_told(trial) for trial in trials]}
    write_json(work / "tuning.json", history)
    aside = work / f".tuning.png.{os.getpid()}"
    one_family = {trial.family for trial in trials} == {BOOSTED_TREES}
    rounds_a_step, unit = (
        (family_of(BOOSTED_TREES).rounds_a_step, "boosting rounds") if one_family else (1, "steps")
    )
    draw_search(trials, best.number, rounds_a_step, aside, unit)
    aside.replace(work / "tuning.png")


def _defaults(
    settings: Settings, tag: str, contract: Contract, rows: int, output: Path | None
) -> dict[str, Any]:
    """Save the defaults of the contract's first family: without labels there is nothing to search
    by, and nothing for MLflow.

    Raises:
        DataError: the family needs labels.
    """
    family = families_of(contract)[0]
    kind = family_of(family)
    params = {"family": family, "params": kind.defaults(rows), "rounds": kind.default_rounds}
    work = settings.work / tag
    work.mkdir(parents=True, exist_ok=True)
    for path in (work / "params.json", output):
        if path:
            write_json(path, params)
    log.warning("No labels: no parameters are searched for; %s keeps its defaults.", family)
    told = {"tag": tag, "params_file": str(work / "params.json"), **params, "trials": 0}
    if contract.features.auto:
        log.warning("[features] auto: %s: the contract's own features stay", NEEDS_LABELS)
        nothing = FeatureChoice(contract, [], 0, None, None, NEEDS_LABELS)
        told["features"] = summary(nothing)
    return told


def _told(trial: SearchTrial) -> dict[str, Any]:
    """For the history: the same search writes the same bytes, so no cost."""
    told = asdict(trial)
    del told["cpu_seconds"]
    return told


def _shown(family: FamilyResult) -> dict[str, Any]:
    return {
        **family._asdict(),
        "average_precision": round(family.average_precision, 5),
        "cpu_seconds": round(family.cpu_seconds, 2),
    }


def _record(
    settings: Settings,
    model: str,
    tag: str,
    params: dict[str, Any],
    folder: Path,
    started: float,
    families: list[FamilyResult],
) -> str:
    """Log the result to an MLflow run; return its id."""
    tags, reports = {"data_tag": tag}, dict(REPORTS)
    with runs.recorded(settings, model, f"tune {tag}", started=started, tags=tags) as run_id:
        import mlflow

        chosen = {"family": params["family"], "rounds": params["rounds"]}
        mlflow.log_params({**params["params"], **chosen})
        mlflow.log_metrics({name: params[name] for name in ("average_precision", "trials")})
        if chose := params.get("features"):
            reports |= OF_FEATURES
            mlflow.log_metric("feature_variants", chose["variants"])
            mlflow.log_param("features_kept", ", ".join(chose["kept"]) or "none")
        for path in reports:
            mlflow.log_artifact(str(folder / path))
        if len(families) > 1:
            reports |= OF_FAMILIES
            with tempfile.TemporaryDirectory(prefix="breezeway-tune-") as made:
                draw_families(families, Path(made) / "families.png")
                shown = [_shown(family) for family in families]
                write_json(Path(made) / "families.json", shown)
                mlflow.log_artifacts(made)
        runs.tag_reports(settings, run_id, reports, step="tune", about=model)
    return run_id
