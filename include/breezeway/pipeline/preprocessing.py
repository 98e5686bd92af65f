"""Makes features from raw readings, in a work folder with only one writer at a time.

`breezeway.steps.preprocess` is the command.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings
from breezeway.datasets import history
from breezeway.datasets.history import day_name
from breezeway.pipeline import profile_report
from breezeway.preprocessing import days
from breezeway.preprocessing.dataset import make_dataset
from breezeway.preprocessing.manifest import Manifest
from breezeway.preprocessing.spacing import wrong_claim
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import open_store

log = logging.getLogger("breezeway")

NAMED_DAYS = 40
"""The most days that a result names."""


def make_version(settings: Settings, contract: Contract, query: str, tag: str) -> dict[str, Any]:
    """Make the content of a dataset version from the rows of a query.

    Args:
        tag: of the version, and the name of the work folder.

    Returns:
        The result of the step.

    Raises:
        UsageError: the query is not one SELECT.
        DataError: the rows break the contract; the folder `rejected` shows which ones.
        ServiceUnavailable: the raw store or Ray does not answer.
        TryAgain: another run is making the same version.
    """

    def make(aside: Path) -> Manifest:
        store = open_store(settings)
        chunks = store.stream(query, label=contract.label.column, with_ids=True)
        labels = LabelStore(settings.raw_address).labels_of(contract)
        return make_dataset(chunks, DatasetSpec(contract, query, labels), aside, settings)

    made = _make(tag, make, settings, contract)
    return {"tag": tag, **_summary(contract, *made)}


def make_day(
    settings: Settings,
    contract: Contract,
    day: date,
    published: Mapping[date, str],
    *,
    has_page: bool = True,
) -> dict[str, Any]:
    """Make the partition of a day.

    Args:
        published: other days and the fingerprints that they were published with; empty for a
            day that is not published.
        has_page: whether the page of a good day is among the reports; that of a rejected one is.

    Returns:
        The result of the step; `stale` names those of the other days that have to be made.

    Raises:
        as for `make_version`.
    """
    started = time.monotonic()
    folder, manifest, run_id = _make(
        day_name(contract, day),
        lambda aside: days.make_day(settings, contract, day, aside),
        settings,
        contract,
        has_page=has_page,
    )
    known = {
        other: fingerprint
        for other, fingerprint in published.items()
        if fingerprint or not _is_rejected(settings, contract, other)
    }
    stale = days.stale_days(settings, contract, known, made=day)
    return {
        "day": day.isoformat(),
        **_summary(contract, folder, manifest, run_id),
        "seconds": round(time.monotonic() - started, 1),
        "stale": {day.isoformat(): why for day, why in stale.items()},
    }


def _is_rejected(settings: Settings, contract: Contract, day: date) -> bool:
    """Whether a day was made in vain before, of what it would be made of today.

    Who was told so once is not told so every night.
    """
    folder = settings.work / day_name(contract, day) / "rejected"
    try:
        text = (folder / "manifest.json").read_text(encoding="utf-8")
        same = (folder / "contract.toml").read_text(encoding="utf-8") == contract.text
        rows = Manifest.of(json.loads(text), str(folder)).raw.arrived
    except (FileNotFoundError, ValueError, DataError):
        return False  # never, or a killed run left half of it
    counts = open_store(settings).count_by_day(day, day, contract.zone)
    return same and counts.get(day) == rows


def make_range(
    settings: Settings, contract: Contract, first: date, last: date, tag: str
) -> dict[str, Any]:
    """Make the content of a dataset version from the partitions of some days.

    Those that are missing or stale are made, and published, first. So of all other days no reading
    is read again.

    Args:
        tag: of the version, and the name of the work folder.

    Returns:
        The result of the step; `made` names the days that were made.

    Raises:
        UsageError: no day has a reading.
        as for `make_day` and `history.publish_day`.
    """
    counts = open_store(settings).count_by_day(first, last, contract.zone)
    opened = history.open_published(settings, contract.name, first, last)
    due = days.days_to_make(settings, contract, history.fingerprints_of(opened), counts)
    for day, why in due.items():
        log.info("%s is made: %s", day, why)
        # Of ninety days, the pages would hide the runs of models that people compare.
        made = make_day(settings, contract, day, {}, has_page=False)
        if made["rows_in"]:
            history.publish_day(settings, Path(made["folder"]), day, made["seconds"], f"For {tag}")
    if due:
        opened |= history.open_published(settings, contract.name, first, last, set(due))
    opened = history.check_days(contract, dict(sorted(opened.items())), set(counts), first)
    result = _make(tag, lambda aside: history.lay_out(contract, opened, aside), settings, contract)
    return {
        "tag": tag,
        **_summary(contract, *result),
        "days": len(opened),
        "made": [day.isoformat() for day in list(due)[:NAMED_DAYS]],
        "made_count": len(due),
    }


def _summary(
    contract: Contract, folder: Path, manifest: Manifest | None, run_id: str
) -> dict[str, Any]:
    warning = wrong_claim(contract, manifest.spacing if manifest else None)
    if warning:
        log.warning("%s", warning)
    return {
        "folder": str(folder),
        "rows_in": manifest.raw.rows if manifest else 0,
        "payloads": manifest.raw.arrived if manifest else 0,
        "rows": manifest.rows if manifest else 0,
        "copies": manifest.copies if manifest else 0,
        "quarantined": manifest.quarantined if manifest else 0,
        "reasons": manifest.reasons if manifest else {},
        "missing": sum(manifest.missing.values()) if manifest else 0,
        "warnings": [warning] if warning else [],
        **({"run_id": run_id} if run_id else {}),
    }


def _make[M: Manifest | None](
    name: str,
    make: Callable[[Path], M],
    settings: Settings,
    contract: Contract,
    *,
    has_page: bool = True,
) -> tuple[Path, M, str]:
    """Make a dataset in a work folder, as its only writer, and show its page if it has one."""
    started = time.time()
    work = settings.work / name
    work.mkdir(parents=True, exist_ok=True)
    with exclusive(settings, f"preprocess-{name}"):
        for left in work.glob(".dataset*"):  # of a killed run
            shutil.rmtree(left)
        aside = work / ".dataset"
        aside.mkdir()
        try:
            manifest = make(aside)
        except DataError as error:
            if not any(aside.iterdir()):
                raise
            evidence = _keep(aside, "rejected")
            profile_report.show(settings, contract, evidence, started)
            raise DataError(f"{error}; the evidence is in {evidence}") from None
        finally:
            shutil.rmtree(aside.with_name(f"{aside.name}.staging"), ignore_errors=True)
        folder = _keep(aside, "dataset")
        shown = profile_report.show(settings, contract, folder, started) if has_page else ""
        return folder, manifest, shown


def _keep(aside: Path, name: str) -> Path:
    """Give a finished folder its final name; replace an earlier one."""
    kept = aside.with_name(name)
    if kept.exists():
        earlier = aside.with_name(f"{aside.name}.earlier")
        kept.rename(earlier)
        aside.rename(kept)
        shutil.rmtree(earlier)
    else:
        aside.rename(kept)
    return kept
