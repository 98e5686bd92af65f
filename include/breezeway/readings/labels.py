"""What people said of stretches of readings goes into the table of labels.

The help of the command `import-labels` says what its file may be.
"""

import csv
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from breezeway.contract.contract import load_contract
from breezeway.core.errors import DataError, UsageError
from breezeway.core.settings import Settings
from breezeway.core.times import from_iso
from breezeway.readings.arrow import REVIEWS
from breezeway.readings.label_store import IMPORTED, LabelStore
from breezeway.readings.store import open_store

log = logging.getLogger("breezeway")

VERDICTS = {"fault": True, "normal": False}


def keep(settings: Settings, reviews: pa.Table) -> dict[str, int]:
    """Bring reviews into the raw store.

    Args:
        reviews: as `REVIEWS`.

    Returns:
        `read`, and of these `new` and `faults`.

    Raises:
        UsageError: the contract's labels are no table that `import-labels` could fill.
        DataError: a device has no readings, or a stretch ends before it begins.
        ServiceUnavailable, TryAgain: of the raw store.
    """
    contract = load_contract(settings.sensors)
    if not contract.has_labels:
        log.warning(
            "%s has no [label]: no model learns from these labels before it has one, with "
            'table = "%s".',
            settings.sensors.name,
            IMPORTED,
        )
    elif contract.label.table != IMPORTED:
        raise UsageError(
            f'{settings.sensors.name}: label: expected table = "labels", which imported labels '
            f"go into; found {contract.label.table or contract.label.column!r}."
        )
    readings = open_store(settings)
    for device in sorted(set(reviews["device"].to_pylist())):
        if not readings.has_device(device):
            raise DataError(f"The raw store has no readings of a device {device!r}.")
    store = LabelStore(settings.raw_address)
    store.create()
    new = store.append_reviews(reviews)
    faults = sum(reviews["fault"].to_pylist())
    return {"read": len(reviews), "new": new, "faults": faults}


def read(path: Path, by: str) -> pa.Table:
    """Read a file of labels: a table as CSV, or Label Studio's export as JSON.

    Args:
        by: who labelled, where the file does not say.

    Returns:
        As `REVIEWS`.

    Raises:
        UsageError: there is no such file, or it is neither.
        DataError: a value is wrong; row and column are in the message.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}.") from None
    now = datetime.now(UTC)
    if path.suffix == ".csv":
        return table(csv.DictReader(text.splitlines()), by, now, f"{path}: row")
    if path.suffix == ".json":
        try:
            tasks = json.loads(text)
        except ValueError as error:
            raise DataError(f"{path}: {error}.") from None
        return pa.Table.from_pylist(list(_annotations(tasks, by, path)), REVIEWS)
    raise UsageError(f"{path}: expected a file .csv or .json.")


def table(
    rows: Iterable[Mapping[str, Any]], by: str, at: datetime, where: str = "label"
) -> pa.Table:
    """Make `REVIEWS` of rows with `device`, `start`, `end` (ISO 8601; naive is UTC) and
    `label` (`fault`, `normal`, or empty for none).

    Args:
        by, at: who labelled, and when.
        where: what a row is called in messages.

    Raises:
        DataError: a column is missing or a value is wrong.
    """
    reviews = []
    for number, row in enumerate(rows, 1):
        missing = {"device", "start", "end", "label"} - row.keys()
        if missing:
            raise DataError(f"{where} {number}: {min(missing)!r} is missing.")
        label = str(row["label"] or "").strip().lower()
        if not label:
            continue
        if label not in VERDICTS:
            raise DataError(f"{where} {number}: label: {label!r}, expected fault or normal.")
        if not isinstance(row["device"], str):
            raise DataError(f"{where} {number}: device: {row['device']!r}, expected text.")
        bounds = _bounds(row, f"{where} {number}: ")
        reviews.append(_review(row["device"], bounds, VERDICTS[label], by, at))
    return pa.Table.from_pylist(reviews, REVIEWS)


def _annotations(tasks: Any, by: str, path: Path) -> Iterator[dict[str, Any]]:
    """Each finished annotation: the stretch that was looked at, and the faults marked in it."""
    try:
        for task in tasks:
            data = task["data"]
            finished = (a for a in task.get("annotations", []) if not a.get("was_cancelled"))
            for annotation in finished:
                yield from _of_annotation(data, annotation, by)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: expected an export of Label Studio in JSON, of tasks that label-queue made: "
            f"{type(error).__name__} {error}."
        ) from None


def _of_annotation(
    data: Mapping[str, Any], annotation: Mapping[str, Any], by: str
) -> Iterator[dict[str, Any]]:
    who, when = _author(annotation, by), annotation.get("updated_at")
    at = _time(when, "updated_at") if when else datetime.now(UTC)
    yield _review(data["device"], _bounds(data), False, who, at)
    for region in annotation["result"]:
        value = region["value"]
        if "fault" in value.get("timeserieslabels", []):
            yield _review(data["device"], _bounds(value), True, who, at)


def _author(annotation: Mapping[str, Any], by: str) -> str:
    author = annotation.get("completed_by")
    return author.get("email") or by if isinstance(author, dict) else by


def _review(
    device: str, bounds: tuple[datetime, datetime], fault: bool, by: str, at: datetime
) -> dict[str, Any]:
    values = (device, *bounds, by, at, fault)
    return dict(zip(REVIEWS.names, values, strict=True))


def _bounds(stretch: Mapping[str, Any], where: str = "") -> tuple[datetime, datetime]:
    return _time(stretch["start"], f"{where}start"), _time(stretch["end"], f"{where}end")


def _time(value: Any, where: str) -> datetime:
    """ISO 8601, or Unix milliseconds as Label Studio marks them."""
    try:
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value / 1000, UTC)
        return from_iso(value)
    except (ValueError, TypeError, OverflowError, OSError):
        raise DataError(f"{where}: {value!r} is no time such as 2026-01-31T12:00:00Z.") from None
