"""Run a command of Airflow or MLflow with the environment of the platform that runs in this home.

Without it they would know nothing of the platform, and make a new database in the user's home.

Examples:
  breezeway airflow dags list-runs training
  breezeway airflow backfill create --dag-id score --from-date DAY --to-date DAY
  breezeway mlflow experiments search

Exit code: that of the command; 64 if no platform runs in BREEZEWAY_HOME (.breezeway).
"""

import argparse
import os
import sys
from typing import NoReturn

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.laptop.platform import running_platform
from breezeway.laptop.programs import Addresses, Keys, environment, own_variables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="the command's words; none: its own help",
    )


def airflow(arguments: argparse.Namespace, settings: Settings) -> NoReturn:
    """Become Airflow's command.

    Raises:
        UsageError: no platform runs in this home.
    """
    _become("airflow", arguments.words, settings)


def mlflow(arguments: argparse.Namespace, settings: Settings) -> NoReturn:
    """Become MLflow's command, as a client of the platform's server.

    Raises:
        UsageError: no platform runs in this home.
    """
    _become("mlflow", arguments.words, settings)


def _become(part: str, words: list[str], settings: Settings) -> NoReturn:
    home = settings.root
    running = running_platform(home)
    if not running:
        raise UsageError(
            f"No platform runs in {home}: start one with `breezeway up`; if one runs elsewhere, "
            "name its folder in BREEZEWAY_HOME."
        )
    addresses = Addresses(running["host"], running["ports"])
    own = own_variables(settings, addresses, Keys.of(home / "run" / "keys.json"))
    variables = {
        **environment(settings, addresses, home / "run" / "airflow-passwords.json"),
        **own[part],
        # What runs a task here, such as `airflow dags test`, reads the raw store.
        **(own["tasks"] if part == "airflow" else {}),
        "MLFLOW_TRACKING_URI": addresses.url("mlflow"),
    }
    os.execve(sys.executable, [sys.executable, "-m", part, *words], variables)
