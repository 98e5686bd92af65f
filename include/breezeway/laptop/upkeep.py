"""Cleans a database of the laptop once a day, by its own program: `airflow db clean`, `mlflow gc`.

    python -m breezeway.laptop.upkeep airflow|mlflow

Only a process that knows the address of the database can do this, so tasks cannot.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

from breezeway.core.settings import Settings

log = logging.getLogger("breezeway.upkeep")

DAY_SECONDS = 86_400
START_SECONDS = 600
"""After the start of the platform, which has other work first."""
CLEAN_SECONDS = 3600
UNDELETE = "7d"
"""So long a deleted run can be restored in MLflow."""


def main(part: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    settings = Settings.from_environment()
    cleaned = settings.root / "run" / f"{part}.cleaned"
    while True:
        time.sleep(seconds_until_due(cleaned))
        if clean(part, settings):
            cleaned.touch()


def clean(part: str, settings: Settings) -> bool:
    """Clean in a process of its own, whose memory is free again afterwards.

    Returns:
        Whether it ended well, within `CLEAN_SECONDS`; the log says why it did not.
    """
    process = get_context("spawn").Process(target=CLEAN[part], args=(settings,))
    process.start()
    process.join(CLEAN_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    log.info("%s: the cleaning ended with %s", part, process.exitcode)
    return process.exitcode == 0


def seconds_until_due(cleaned: Path) -> float:
    """How long to wait.

    Args:
        cleaned: a file with the time of the last cleaning; it may be absent.
    """
    if not cleaned.exists():
        return START_SECONDS
    since = time.time() - cleaned.stat().st_mtime
    return max(START_SECONDS, DAY_SECONDS - since)


def clean_airflow(settings: Settings) -> None:
    """Remove rows and task logs that are older than `keep_days`."""
    before = datetime.now(UTC) - timedelta(days=settings.keep_days)
    subprocess.run(
        [
            *(sys.executable, "-m", "airflow", "db", "clean", "--yes", "--skip-archive"),
            *("--error-on-cleanup-failure", "--clean-before-timestamp", before.isoformat()),
        ],
        check=True,
    )
    logs = settings.root / "airflow" / "logs"
    for path in list(logs.rglob("*.log")):
        if not path.is_symlink() and path.stat().st_mtime < before.timestamp():
            path.unlink()
            _remove_empty(path.parent, logs)


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder, and those above it below `root`, as far as they are empty."""
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def clean_mlflow(settings: Settings) -> None:
    """Remove deleted runs and models with their files.

    In this process: the address of the database has a password, and would stand in the arguments
    of another.
    """
    from mlflow.cli import cli

    address = os.environ["MLFLOW_BACKEND_STORE_URI"]
    cli(
        [
            *("gc", "--older-than", UNDELETE, "--backend-store-uri", address),
            *("--tracking-uri", settings.mlflow_url),
        ],
        standalone_mode=False,
    )


CLEAN: dict[str, Callable[[Settings], None]] = {"airflow": clean_airflow, "mlflow": clean_mlflow}

if __name__ == "__main__":
    main(sys.argv[1])
