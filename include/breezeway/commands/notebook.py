"""Start JupyterLab beside the platform, with a notebook that leads from a dataset to a challenger.

It opens a dataset, looks at readings, features and quarantine, tries a parameter, and registers the
result beside the versions of the pipeline. Your copy lies in the folder `notebooks` of the home and
is never overwritten. JupyterLab listens at 127.0.0.1 only, and its address holds a token.

Examples:
  breezeway notebook
  breezeway notebook --port 8890
"""

import argparse
import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from breezeway.core.errors import UsageError
from breezeway.core.files import write_text
from breezeway.core.settings import Settings, quiet_environment

log = logging.getLogger("breezeway")

FOLDER = Path(__file__).with_name("jupyter")
"""The notebook, and the part of JupyterLab's configuration that it takes from files only: the one
that asks whether it may fetch news is switched off."""
NAME = "dataset-to-challenger.ipynb"
OPTIONS = (
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.open_browser=False",
    # It would ask a site of the project's for news, and PyPI for newer releases and extensions.
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=int, default=8888, help="the port to use, or the next free one (%(default)s)"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> NoReturn:
    """Become JupyterLab.

    Raises:
        UsageError: JupyterLab is not installed.
    """
    python = interpreter()
    folder = settings.root / "notebooks"
    notebook = folder / NAME
    if not notebook.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_text(notebook, (FOLDER / NAME).read_text(encoding="utf-8"))
    log.info("Your notebooks are in %s; the addresses below open them.", folder)
    words = [
        *(str(python), "-m", "jupyterlab", *OPTIONS),
        f"--ServerApp.port={arguments.port}",
        f"--ServerApp.root_dir={folder}",
        f"--LabApp.default_url=/lab/tree/{NAME}",
        # JupyterLab refuses to run as root unless it is told; containers often do.
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]
    os.execve(python, words, environment(settings))


def environment(settings: Settings) -> dict[str, str]:
    """What JupyterLab and its notebooks get: the stores, wherever a notebook is."""
    return {
        **os.environ,
        **quiet_environment(),
        "BREEZEWAY_HOME": str(settings.root),
        "JUPYTER_CONFIG_PATH": os.pathsep.join(
            filter(None, (str(FOLDER), os.environ.get("JUPYTER_CONFIG_PATH")))
        ),
        "BREEZEWAY_SENSORS": str(settings.sensors.resolve()),
        "BREEZEWAY_MLFLOW_URL": settings.mlflow_url,
        "MLFLOW_TRACKING_URI": settings.mlflow_url,
    }


def interpreter() -> Path:
    """The Python that has JupyterLab: that of the environment beside ours, or ours.

    Raises:
        UsageError: neither has it.
    """
    beside = Path(sys.prefix) / "notebook" / "bin" / "python"
    if beside.is_file():
        return beside
    if find_spec("jupyterlab"):
        return Path(sys.executable)
    raise UsageError(
        "JupyterLab is not installed here. In a checkout `make notebook` installs it, beside the "
        "packages of the platform, and starts it; elsewhere: pip install 'breezeway[jupyter]'."
    )
