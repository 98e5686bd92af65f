"""Show what is in service, how good it is, the last nights, the last training, and the datasets.

The page Breezeway in Airflow shows the same. The command asks the platform that runs in
BREEZEWAY_HOME (.breezeway), else the addresses BREEZEWAY_MLFLOW_URL (http://127.0.0.1:5000) and
BREEZEWAY_SERVING_URL (http://127.0.0.1:3000). It changes nothing.

Examples:
  breezeway status
  breezeway status --json | jq -r '.models[] | .name + " " + .in_service.version'

Exit code: 0; 69 if a store gives no answer, after the facts of the others were printed, or if no
platform is up; 64 for a wrong argument or setting.
"""

import argparse
import json

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from breezeway.core.errors import ServiceUnavailable
from breezeway.core.settings import Settings
from breezeway.laptop.platform import running_platform
from breezeway.pipeline import overview
from breezeway.pipeline.overview import Figure, ModelFacts, Overview

SECONDS = 15.0
"""How long all stores together may take: whoever asks in a shell would rather wait than miss."""
SHOWN_TAGS = 10

_OVERVIEW = TypeAdapter(Overview)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        action="store_true",
        help="for programs: all facts as one JSON object (without it, a table)",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> None:
    """Print the facts.

    Raises:
        ServiceUnavailable: no platform is up, or a store gave no answer.
    """
    found = overview.look(settings, SECONDS)
    if {"MLflow", "model server"} <= found.problems.keys():
        raise ServiceUnavailable(
            f"No platform is up: neither MLflow answers at {found.mlflow} nor a model server at "
            f"{found.serving}. Start one with `make up`; if one runs elsewhere, name its folder "
            "in BREEZEWAY_HOME, or its addresses in BREEZEWAY_MLFLOW_URL and BREEZEWAY_SERVING_URL."
        )
    airflow = running_platform(settings.root).get("airflow_url", "")
    if arguments.json:
        facts = {"airflow": airflow, **json.loads(_OVERVIEW.dump_json(found))}
        print(json.dumps(facts, indent=2, ensure_ascii=False), flush=True)
    else:
        _print(found, airflow)
    if found.problems:
        missing = "; ".join(f"{store}: {problem}" for store, problem in found.problems.items())
        raise ServiceUnavailable(f"Facts are missing. {missing}")


def _print(found: Overview, airflow: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    for name, fact in _facts(found, airflow):
        table.add_row(name, Text(fact))
    console.print(table)


def _facts(found: Overview, airflow: str) -> list[tuple[str, str]]:
    rows = []
    for model in found.models:
        rows += [("model", model.name), *_about(model, found), ("", "")]
    if not found.models and "MLflow" not in found.problems:
        rows.append(("model", "none yet. Trigger the DAG training, or run: make demo"))
    rows.append(("datasets", _datasets(found)))
    rows += [(store, problem) for store, problem in found.problems.items()]
    if airflow:
        rows.append(("Airflow", airflow))
    return [*rows, ("MLflow at", found.mlflow), ("model server at", found.serving)]


def _about(model: ModelFacts, found: Overview) -> list[tuple[str, str]]:
    rows = []
    if served := model.in_service:
        since = f" since {served.since:%Y-%m-%d %H:%M %Z}" if served.since else ""
        alarm = f", alarm from score {served.threshold:.4f}" if served.threshold is not None else ""
        text = f"version {served.version}{since}{alarm}, dataset {served.data_tag}"
        rows.append(("  in service", text))
        rows += [
            (name, text)
            for name, text in (("  on trial", served.challenger), ("  problem", served.problem))
            if text
        ]
    elif found.problems.keys() & {"deployment store", "model server"}:
        rows.append(("  in service", "not known"))
    else:
        rows.append(("  in service", "nothing. Trigger the DAG training with the step deploy"))
    if model.figures:
        rows.append(("  at training", ", ".join(map(_figure, model.figures))))
    if "MLflow" in found.problems:
        return [*rows, ("  drift, nights", "not known")]
    rows.append(("  drift", f"announced, since {model.drift}" if model.drift else "none announced"))
    nights = ", ".join(f"{n.night} {n.verdict}" for n in model.nights)
    rows.append(("  nights", nights or "none yet. nightly_drift checks at 02:00"))
    if trained := model.trained:
        at = f" at {trained.at:%Y-%m-%d %H:%M %Z}" if trained.at else ""
        decision = f", {trained.decision}: {trained.reason}" if trained.decision else ""
        rows.append(("  last training", f"version {trained.version}{at}{decision}"))
    return rows


def _figure(figure: Figure) -> str:
    before = "" if figure.before is None else f" ({figure.trend}, before {figure.before:.3g})"
    return f"{figure.name} {figure.value:.3g}{before}"


def _datasets(found: Overview) -> str:
    datasets = found.datasets
    if "dataset repository" in found.problems:
        return "unknown"
    if not datasets.count and not datasets.days:
        return "none yet. Trigger the DAG training with the step preprocess"
    shown = ", ".join(datasets.tags[:SHOWN_TAGS])
    more = datasets.count - min(datasets.count, SHOWN_TAGS)
    text = f"{shown}, and {more} more (breezeway versions)" if more else shown
    return f"{text}{'; ' if text else ''}{datasets.days} of single days"
