"""Search for the model parameters that find the most events in a dataset version.

A trial is one set of XGBoost parameters, judged by its average precision on rows that its
models did not see: later ones, or other devices, as the contract's `split` says. Ray Tune runs
trials at once and Optuna suggests them; bad ones are stopped early. The same tag and count give
the same parameters again.

The work folder of the tag gets `params.json`, `tuning.json` with every trial, and
`tuning.png`; the parameters are published onto the dataset version by the next task. A run in
MLflow keeps all three for people.
"""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from breezeway.contract.contract import load_contract
from breezeway.core.arguments import positive_count, tag_name
from breezeway.core.settings import Settings
from breezeway.steps.runner import run_step
from breezeway.tracking import mlflow_client

REPORTS = {"tuning.png": "Tuning history", "tuning.json": "Trials", "params.json": "Parameters"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tag", type=tag_name, required=True, help="the dataset version to tune for"
    )
    parser.add_argument(
        "--count",
        type=positive_count,
        required=True,
        help="sets of parameters to try; the first are the defaults",
    )
    parser.add_argument("--output", type=Path, help="write the parameters to this file too")


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    mlflow_client.check(settings)
    from breezeway.datasets import versions

    version = versions.open_dataset(settings, arguments.tag)
    contract = load_contract(version.folder / "contract.toml")
    from breezeway.detector import tuning
    from breezeway.detector.boosting import SEED
    from breezeway.detector.plots import draw_search
    from breezeway.detector.table import read_table

    table = read_table(version.folder, contract)
    trials = tuning.search(table, contract, arguments.count, settings)
    best = tuning.best(trials)
    params = {
        "params": best.params,
        "rounds": best.rounds,
        "average_precision": best.average_precision,
        "trials": len(trials),
        "seed": SEED,
    }
    work = settings.work / version.tag
    work.mkdir(parents=True, exist_ok=True)
    history = [asdict(trial) for trial in trials]
    _write(work / "tuning.json", {"best": best.number, "trials": history})
    aside = work / f".tuning.png.{os.getpid()}"
    draw_search(history, best.number, tuning.ROUNDS_A_STEP, aside)
    aside.replace(work / "tuning.png")
    for path in (work / "params.json", arguments.output):
        if path:
            _write(path, params)  # last: where it is, the others are
    run_id = _record(settings, contract.name, version.tag, params, work)
    return {
        "tag": version.tag,
        "params_file": str(work / "params.json"),
        "params": best.params,
        "rounds": best.rounds,
        "average_precision": best.average_precision,
        "trials": len(trials),
        "run_id": run_id,
    }


def _record(settings: Settings, model: str, tag: str, params: dict[str, Any], folder: Path) -> str:
    """Keep what was found in an MLflow run; return its id."""
    mlflow_client.configure(settings)
    import mlflow

    with mlflow_client.errors(settings):
        mlflow.set_experiment(model)
        with mlflow.start_run(run_name=f"tune {tag}", tags={"breezeway.data_tag": tag}) as active:
            mlflow.log_params({**params["params"], "rounds": params["rounds"]})
            mlflow.log_metrics({name: params[name] for name in ("average_precision", "trials")})
            for path in REPORTS:
                mlflow.log_artifact(str(folder / path))
            mlflow.set_tags(mlflow_client.report_tags(settings, "tune", model, REPORTS))
    return active.info.run_id


def _write(path: Path, value: Any) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    aside.replace(path)


if __name__ == "__main__":
    run_step("tune", __doc__, add_arguments, run)
