"""Search for the model parameters that find the most events in a dataset version.

`breezeway.steps.tune` is the command.
"""

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from breezeway.contract.contract import load_contract
from breezeway.core.files import write_json
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.detector import search
from breezeway.detector.boosting import SEED
from breezeway.detector.plots import draw_search
from breezeway.detector.table import read_table
from breezeway.detector.trials import ROUNDS_A_STEP
from breezeway.tracking import runs

REPORTS = {"tuning.png": "Tuning history", "tuning.json": "Trials", "params.json": "Parameters"}


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
    trials = search.search(table, contract, count, settings)
    best = search.best(trials)
    params = {
        "params": best.params,
        "rounds": best.rounds,
        "average_precision": best.average_precision,
        "trials": len(trials),
        "seed": SEED,
    }
    work = settings.work / version.tag
    work.mkdir(parents=True, exist_ok=True)
    history = {"best": best.number, "trials": [asdict(trial) for trial in trials]}
    write_json(work / "tuning.json", history)
    aside = work / f".tuning.png.{os.getpid()}"
    draw_search(trials, best.number, ROUNDS_A_STEP, aside)
    aside.replace(work / "tuning.png")
    for path in (work / "params.json", output):
        if path:
            write_json(path, params)  # last: if this file exists, the others do too
    run_id = _record(settings, contract.name, version.tag, params, work, started)
    return {
        "tag": version.tag,
        "params_file": str(work / "params.json"),
        "params": best.params,
        "rounds": best.rounds,
        "average_precision": best.average_precision,
        "trials": len(trials),
        "run_id": run_id,
    }


def _record(
    settings: Settings,
    model: str,
    tag: str,
    params: dict[str, Any],
    folder: Path,
    started: float,
) -> str:
    """Log the result to an MLflow run; return its id."""
    tags = {"data_tag": tag}
    with runs.recorded(settings, model, f"tune {tag}", started=started, tags=tags) as run_id:
        import mlflow

        mlflow.log_params({**params["params"], "rounds": params["rounds"]})
        mlflow.log_metrics({name: params[name] for name in ("average_precision", "trials")})
        for path in REPORTS:
            mlflow.log_artifact(str(folder / path))
        runs.tag_reports(settings, run_id, REPORTS, step="tune", about=model)
    return run_id
