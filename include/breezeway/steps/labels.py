r"""Import labels into the raw store, with who gave them and when.

They are a JSON list of objects with `device`, `start` and `end` (ISO 8601, UTC without a zone) and
`label`: `fault` or `normal`. If the same person gave the same label to the same period before,
nothing changes.

Example:
  python -m breezeway.steps.labels --by ann --labels \
    '[{"device": "m-1", "start": "2026-11-20", "end": "2026-11-21", "label": "fault"}]'
"""

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from breezeway.core.settings import Settings
from breezeway.steps.runner import run_step


def _json_list(text: str) -> list[dict[str, Any]]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a JSON list of objects: {error}") from None
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise argparse.ArgumentTypeError("expected a JSON list of objects")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--labels", type=_json_list, required=True, help="a JSON list of objects")
    parser.add_argument("--by", required=True, help="who gave them")


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from breezeway.readings import labels

    return labels.keep(settings, labels.table(arguments.labels, arguments.by, datetime.now(UTC)))


if __name__ == "__main__":
    run_step("labels", __doc__, add_arguments, run)
