"""What `tune` does for `[features] auto`: price candidates, choose among them, and report it."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from breezeway.contract.candidates import CandidateGroup, explicit
from breezeway.contract.contract import Contract
from breezeway.contract.features import latest_features
from breezeway.core.errors import DataError
from breezeway.core.files import write_json
from breezeway.core.settings import Settings
from breezeway.datasets.versions import OpenedVersion
from breezeway.detector.feature_choice import PRICE, FeatureChoice, choose_features
from breezeway.detector.table import Table
from breezeway.serving.refusal import Refusal
from breezeway.serving.window import window_of

log = logging.getLogger("breezeway")

REPORTS = {"features.png": "Features chosen", "features.json": "Features chosen (JSON)"}
COSTS_FILE = "request_costs.json"
"""Measured once for a dataset, as times differ: so a search that is repeated chooses the same."""
REPEATS = 30
"""The least time of so many counts: others are of a busy machine."""
MOST_TOLD = 8
"""Groups in the result of a step."""
CALLS = 3
"""Requests between two looks at the clock."""


def search_features(
    settings: Settings,
    version: OpenedVersion,
    contract: Contract,
    table: Table,
    examples: Sequence[Mapping[str, Any]],
) -> FeatureChoice:
    """Choose among the candidates of a dataset version, and write what is told of it into the work
    folder of the tag.

    Args:
        contract: of the version, with `[features] auto` and labels.
        table: read by the contract.
        examples: recorded readings.

    Raises:
        DataError: no fold has both classes, or an example is refused.
    """
    from breezeway.detector.feature_plots import draw_choice

    work = settings.work / version.tag
    work.mkdir(parents=True, exist_ok=True)
    costs = RequestCosts(contract, examples, work / COSTS_FILE, version.hash)
    choice = choose_features(table, contract, costs, settings.threads)
    log.info(
        "features: %d groups tried in %d variants; kept: %s",
        len(choice.groups),
        choice.variants,
        ", ".join(choice.kept) or "none, the contract's own features stay",
    )
    write_json(work / "features.json", told(choice))
    draw_choice(choice, work / "features.png")
    return choice


def told(choice: FeatureChoice) -> dict[str, Any]:
    """All that is known of a choice, for programs."""
    return {
        "variants": choice.variants,
        "kept": choice.kept,
        "average_precision": {"before": choice.before, "after": choice.after},
        "price_per_microsecond": PRICE,
        "why_none": choice.why_none,
        "groups": [tried._asdict() for tried in choice.groups],
    }


def summary(choice: FeatureChoice) -> dict[str, Any]:
    """The same for the result of a step, whose length is limited."""
    kept = [tried for tried in choice.groups if tried.name in choice.kept]
    return {
        "tried": len(choice.groups),
        "variants": choice.variants,
        "kept_count": len(kept),
        "kept": [
            {
                "name": tried.name,
                "gain": round(tried.gain, 4),
                "features": len(tried.features),
                "microseconds": tried.microseconds,
            }
            for tried in kept[:MOST_TOLD]
        ],
        "why_none": choice.why_none,
    }


class RequestCosts:
    """What a request takes with some groups of candidates, in microseconds of processor time.

    It is the server's own code, from the payloads to the features, on a recorded window.

    Args:
        contract: with `[features] auto`.
        examples: with `device` and `readings`; that with the most readings is taken.
        path: of the file that keeps what was measured.
        data: the dataset that it was measured for.

    Raises:
        DataError: there is no example.
    """

    def __init__(
        self, contract: Contract, examples: Sequence[Mapping[str, Any]], path: Path, data: str
    ):
        if not examples:
            raise DataError("examples.json: expected recorded readings, found an empty list.")
        self._contract, self._path, self._data = contract, path, data
        self._own = explicit(contract)
        self._example = max(examples, key=lambda each: len(each["readings"]))
        self._known = _known(path, data)

    def __call__(self, groups: Sequence[CandidateGroup]) -> int:
        """The time of a request with these groups; what was measured before is not measured again.

        Raises:
            DataError: the contract refuses the example.
        """
        contract = explicit(self._contract, groups)
        key = hashlib.sha256(contract.text.encode()).hexdigest()
        if key not in self._known:
            self._known[key] = self._measured(contract)
            write_json(self._path, {"data": self._data, "microseconds": self._known})
        return self._known[key]

    def _measured(self, contract: Contract) -> int:
        """By turns with the contract's own features, as a busy machine is slower for both."""
        least = [float("inf"), float("inf")]
        for _ in range(REPEATS):
            for place, each in enumerate((self._own, contract)):
                began = time.thread_time()
                for _ in range(CALLS):
                    _request(each, self._example)
                least[place] = min(least[place], (time.thread_time() - began) / CALLS)
        is_own = contract.text == self._own.text
        return round((least[0] * 1e6 if is_own else self([])) * least[1] / least[0])


def _known(path: Path, data: str) -> dict[str, int]:
    """What a file keeps for a dataset; nothing if it is of another one, or damaged."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["data"] == data:
            return {key: int(cost) for key, cost in document["microseconds"].items()}
    except (OSError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError):
        log.debug("%s: nothing is known of what requests cost", path)
    return {}


def _request(contract: Contract, example: Mapping[str, Any]) -> None:
    try:
        values, times = window_of(contract, example["device"], example["readings"], [])
    except Refusal as refusal:
        raise DataError(f"examples.json: the contract refuses it: {refusal}") from None
    latest_features(contract, values, times, min(len(values), 1 + contract.alarm.lookback))
