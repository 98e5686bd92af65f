"""What a person does in a shell: `breezeway <command>`."""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import metadata, version
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from breezeway.core.arguments import ArgumentParser
from breezeway.core.errors import BreezewayError, UsageError
from breezeway.core.files import no_space
from breezeway.core.settings import Settings, silence_telemetry

COMMANDS = {
    "demo": ("breezeway.laptop.demo:run", "run the whole pipeline once, then stop everything"),
    "up": ("breezeway.laptop.demo:run_and_stay", "the same, but run on until Ctrl-C"),
    "status": (
        "breezeway.commands.status:run",
        "show what is in service, how good it is, and what happened lately",
    ),
    "doctor": (
        "breezeway.laptop.doctor:run",
        "look for what keeps a platform from working here, and say what to do",
    ),
    "simulate": ("breezeway.commands.simulate:run", "fill the raw store with a simulated plant"),
    "load-readings": ("breezeway.commands.load_readings:run", "fill the raw store from files"),
    "new-sensor": (
        "breezeway.commands.new_sensor:run",
        "write a contract from a file's first rows",
    ),
    "preview": (
        "breezeway.commands.preview:run",
        "show what a query of readings gives, and what breaks the contract",
    ),
    "notebook": (
        "breezeway.commands.notebook:run",
        "start JupyterLab, with a notebook from a dataset to a challenger",
    ),
    "loads": ("breezeway.commands.loads:run", "list what was loaded, or take a load back"),
    "history": (
        "breezeway.commands.history:run",
        "show what it takes to make a range of days",
    ),
    "nights": (
        "breezeway.commands.nights:run",
        "show what it takes to check a range of nights",
    ),
    "label-queue": ("breezeway.commands.label_queue:run", "select what is most worth labelling"),
    "import-labels": (
        "breezeway.commands.import_labels:run",
        "import labels, with who gave them",
    ),
    "backtest": (
        "breezeway.commands.backtest:run",
        "evaluate models trained as of past dates",
    ),
    "score": (
        "breezeway.steps.score:run",
        "score a day, some days or a query by a version, into a dataset",
    ),
    "versions": ("breezeway.commands.versions:run", "list the dataset versions"),
    "housekeeping": (
        "breezeway.commands.housekeeping:run",
        "remove old runs, model versions and files that nothing needs",
    ),
    "backup": ("breezeway.commands.backup:run", "write all that a home holds into one file"),
    "restore": ("breezeway.commands.restore:run", "make a home of a backup"),
    "uninstall": (
        "breezeway.commands.uninstall:run",
        "remove all that a home holds, after asking",
    ),
    "airflow": (
        "breezeway.laptop.consoles:airflow",
        "run a command of Airflow for the platform that runs here",
    ),
    "mlflow": (
        "breezeway.laptop.consoles:mlflow",
        "run a command of MLflow for the platform that runs here",
    ),
    "lineage": ("breezeway.commands.lineage:run", "from a prediction back to its rows, or forward"),
}
"""Command → `module:function` that runs it, and one line of help. The module is imported only for
that command, because the import may take seconds. Its `add_arguments` defines the options."""


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code.

    An error of the tree is printed as one sentence on standard error. The result, if there is
    one, is printed as JSON on standard output; log lines go to standard error.
    """
    silence_telemetry()
    output = logging.StreamHandler(sys.stderr)
    output.addFilter(_is_for_a_person)
    logging.basicConfig(handlers=[output], level=logging.INFO, format="%(message)s")
    try:
        result = _run(sys.argv[1:] if words is None else words)
    except BreezewayError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        extras = ",".join(metadata("breezeway").get_all("Provides-Extra") or [])
        print(
            f"The module {error.name} is not installed here. Each part of Breezeway has an extra "
            f"with what it needs: pip install 'breezeway[EXTRA]', of {extras}.",
            file=sys.stderr,
        )
        sys.exit(UsageError.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _end_without_reader()
    except OSError as error:
        full = no_space(error)
        if full is None:
            raise
        print(full, file=sys.stderr)
        sys.exit(full.exit_code)
    if result is not None:
        try:
            print(json.dumps(result, indent=2, ensure_ascii=False), flush=True)
        except BrokenPipeError:
            _end_without_reader()
    sys.exit(0)


def _is_for_a_person(record: logging.LogRecord) -> bool:
    """Not what a library tells of itself below a warning, such as NumExpr its threads."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] == "breezeway"


def _end_without_reader() -> NoReturn:
    """The reader of our output, such as `head`, has ended: so do we, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


def _run(words: Sequence[str]) -> Any:
    parser = _parser()
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (_, summary) in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    command, rest = parser.parse_known_args(words)
    arguments = parser_of(command.command).parse_args(rest)
    settings = _beside_a_running_platform(Settings.from_environment())
    _, _, function = COMMANDS[command.command][0].partition(":")
    return getattr(_module(command.command), function)(arguments, settings)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="breezeway",
        description=import_module("breezeway").__doc__,
        epilog="`breezeway COMMAND --help` shows what a command takes, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"breezeway {version('breezeway')}")
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=["bash", "zsh", "fish"],
        help="print a script by which this shell completes commands, options and files",
    )
    return parser


def parser_of(command: str) -> ArgumentParser:
    """The parser of the words behind a command."""
    module = _module(command)
    parser = ArgumentParser(
        prog=f"breezeway {command}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_arguments(module, parser)
    return parser


def _module(command: str) -> ModuleType:
    return import_module(COMMANDS[command][0].partition(":")[0])


def _add_arguments(module: ModuleType, parser: argparse.ArgumentParser) -> None:
    if hasattr(module, "add_arguments"):
        module.add_arguments(parser)


class _PrintCompletion(argparse.Action):
    """Prints a script for a shell. It knows all options, so no Python starts at the key Tab."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> NoReturn:
        import shtab

        class WithFiles(ArgumentParser):
            """Where a path is expected, the shell offers files."""

            def add_argument(self, *names: str, **terms: Any) -> argparse.Action:
                action = super().add_argument(*names, **terms)
                if action.type is Path:
                    action.complete = shtab.FILE  # type: ignore[attr-defined]
                return action

        whole = _parser()
        commands = whole.add_subparsers(parser_class=WithFiles)
        for name, (_, summary) in COMMANDS.items():
            _add_arguments(_module(name), commands.add_parser(name, help=summary))
        print(shtab.complete(whole, values))
        parser.exit()


def _beside_a_running_platform(settings: Settings) -> Settings:
    """Use the contract and the stores of the platform that runs in this home, unless others are
    set."""
    file = settings.root / "run" / "platform.json"
    if not file.is_file():
        return settings
    running = json.loads(file.read_text(encoding="utf-8"))
    for name in ("mlflow_url", "serving_url", "sensors", "dags", "raw_url"):
        if name in running:
            os.environ.setdefault(f"BREEZEWAY_{name.upper()}", running[name])
    return Settings.from_environment()
