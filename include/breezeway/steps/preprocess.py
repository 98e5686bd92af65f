"""Query raw readings, check them against the sensor contract and make features of them.

Rows that break the contract go to the dataset's quarantine, with the reason. Where too many
do, or the batch as a whole is not what the contract expects, the step fails with exit code 65
and the evidence stays in the work folder `rejected`.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from breezeway.contract import Contract, load_contract
from breezeway.errors import DataError, TryAgain
from breezeway.preprocessing import make_dataset
from breezeway.raw import RawStore
from breezeway.settings import Settings
from breezeway.steps.frame import run_step, tag_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--query",
        required=True,
        help="one SELECT that gives device, time, payload and, if the contract names one, the "
        "label column",
    )
    parser.add_argument(
        "--tag", type=tag_name, required=True, help="the dataset version to be made"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    contract = load_contract(settings.sensors)
    work = settings.work / arguments.tag
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / ".preprocess.lock", timeout=settings.lock_wait_seconds):
            for left in work.glob(".dataset*"):  # by a run that was killed
                shutil.rmtree(left)
            folder, manifest = _make(arguments.query, contract, work, settings)
    except Timeout:
        raise TryAgain(f"Another run is preprocessing the tag {arguments.tag}.") from None
    return {
        "tag": arguments.tag,
        "folder": str(folder),
        "rows_in": manifest["raw"]["rows"],
        "rows": manifest["rows"],
        "quarantined": manifest["quarantined"],
        "reasons": manifest["reasons"],
    }


def _make(
    query: str, contract: Contract, work: Path, settings: Settings
) -> tuple[Path, dict[str, Any]]:
    store = RawStore(settings.raw_address)
    aside = work / ".dataset"
    aside.mkdir()
    try:
        manifest = make_dataset(
            store.stream(query, label=contract.label.column),
            contract,
            store.labels(contract.label.table) if contract.label.table else None,
            query,
            aside,
            settings.threads,
            settings.ray_min_rows,
        )
    except DataError as error:
        if not any(aside.iterdir()):
            raise
        raise DataError(f"{error}; the evidence is in {_keep(aside, 'rejected')}") from None
    finally:
        shutil.rmtree(work / ".dataset.staging", ignore_errors=True)
    return _keep(aside, "dataset"), manifest


def _keep(aside: Path, name: str) -> Path:
    """Give a finished folder its name, in the place of an earlier one."""
    kept = aside.with_name(name)
    if kept.exists():
        earlier = aside.with_name(f"{aside.name}.earlier")
        kept.rename(earlier)
        aside.rename(kept)
        shutil.rmtree(earlier)
    else:
        aside.rename(kept)
    return kept


if __name__ == "__main__":
    run_step("preprocess", __doc__, add_arguments, run)
