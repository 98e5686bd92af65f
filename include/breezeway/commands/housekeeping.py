"""Remove model versions, runs and dataset files that nothing needs any more.

Needed is what is younger than BREEZEWAY_KEEP_DAYS (90); of each model the champion, the former
champions that a rollback may lead to, versions with an alias, the newest one and what is deployed
or on trial, with their runs, tests and datasets; and of each day of the history the newest
revision. The tags of datasets stay, so lineage does too. `mlflow gc` then removes the files of
deleted runs.

Examples:
  breezeway housekeeping --dry-run
  BREEZEWAY_KEEP_DAYS=30 breezeway housekeeping
"""

import argparse
from typing import Any

from breezeway.core.settings import Settings
from breezeway.pipeline import housekeeping


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only print what would be removed")


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    since = housekeeping.kept_since(settings)
    dry_run = arguments.dry_run
    return {
        "kept_since": since.isoformat(timespec="seconds"),
        **housekeeping.thin_models(settings, since, dry_run=dry_run),
        **housekeeping.thin_datasets(settings, since, dry_run=dry_run),
    }
