"""Make a home of a backup, on this machine or another one.

The home must be empty or absent. `breezeway up --no-run` then starts the platform as it was. A
backup of an older release is brought up to date at that start.

Example:
  BREEZEWAY_HOME=/new/place breezeway restore /backups/breezeway-monday.tar.gz
"""

import argparse
from pathlib import Path
from typing import Any

from breezeway.core.settings import Settings
from breezeway.pipeline.backups import restore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="what `breezeway backup` wrote")


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    return restore(settings, arguments.file)
