"""Write all that a home holds into one file, also while the platform runs.

In it are Airflow's and MLflow's database, the raw readings, the dataset versions with their files,
runs and models, the deployments, the contract, and the keys: keep the file as you keep passwords.
Logs and work in progress are left out. Stores that you named yourself, such as a database server or
a bucket, are not in it; the result names them.

Example:
  breezeway backup /backups/breezeway-monday.tar.gz
"""

import argparse
from pathlib import Path
from typing import Any

from breezeway.core.settings import Settings
from breezeway.pipeline.backups import back_up


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="does not exist yet")


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    return back_up(settings, arguments.file)
