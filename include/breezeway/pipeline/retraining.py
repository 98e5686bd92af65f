"""When a retraining is due: after a drift, after so many new days, after so many new labels.

A drift has to be long enough to learn and to judge from: a retraining at its first sign would
learn nothing of it, because the newest days are held out from training, to evaluate the model on
them. It is repeated while the champion still does not know the drift.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from breezeway.contract.contract import Contract
from breezeway.core.days import day_of
from breezeway.core.settings import Settings
from breezeway.core.times import from_iso
from breezeway.datasets import versions
from breezeway.detector.holdout import TrainingScope
from breezeway.preprocessing.manifest import Manifest
from breezeway.tracking import champions, registry

MOST = 5
"""Retrainings for one drift. A person has to look at a drift that does not end with these."""


@dataclass(frozen=True)
class Due:
    """Whether a retraining is due, and why (one sentence for a person)."""

    now: bool
    reason: str


def after_drift(
    settings: Settings,
    contract: Contract,
    model_name: str,
    drifted: tuple[date, date],
    asked: list[date],
) -> Due:
    """Decide whether a drift starts a retraining.

    Args:
        drifted: the first night of the drift, and its last so far.
        asked: the nights of this drift that have started one.

    Raises:
        DataError: the manifest of the champion's dataset cannot be read.
        ServiceUnavailable: MLflow, or the store of dataset versions, does not answer.
    """
    first, last = drifted
    learn = contract.drift.learn_days
    version = champions.champion(settings, model_name)
    tags = registry.find_version(settings, model_name, version).tags if version else {}
    unknown = (last - max(first, knows_until(tags, contract.zone) or first)).days + 1
    so_far = (
        f"Version {version} does not know {unknown} of the {(last - first).days + 1} days since "
        f"{first}"
    )
    held = held_out_days(settings, contract, tags.get("data_tag"), last)
    if unknown < learn + held:
        return Due(
            False,
            f"{so_far}; a retraining needs {learn + held}: {learn} to learn from, and {held} that "
            "are held out to judge it.",
        )
    if len(asked) >= MOST:
        return Due(
            False,
            f"{so_far}, after {MOST} retrainings. Look at the runs of the DAG training: were they "
            "refused, or did they fail?",
        )
    wait = learn - (last - max(asked)).days if asked else 0
    if wait > 0:
        return Due(False, f"{so_far}; the next retraining can learn more in {wait} days.")
    return Due(True, f"{so_far}; {unknown - held} can be learned from, and {held} are held out.")


def after_days(
    settings: Settings, contract: Contract, model_name: str, night: date, asked: list[date]
) -> Due:
    """Decide whether new days start a retraining: `[train] every_days`.

    Args:
        night: the newest day.
        asked: the nights that have started one, for whatever reason.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    wanted = contract.train.every_days or 0
    version = champions.champion(settings, model_name)
    tags = registry.find_version(settings, model_name, version).tags if version else {}
    until = knows_until(tags, contract.zone)
    # A refused retraining is not repeated the next night: it would learn the same.
    since = max([until or date.min, *(day + timedelta(days=1) for day in asked)])
    if since == date.min:
        return Due(True, f"Nobody knows which days version {version} has learned from.")
    new = max(0, (night - since).days + 1)
    return Due(new >= wanted, f"{new} days are new, of {wanted} that start a retraining.")


def after_labels(contract: Contract, labels: int, then: int) -> Due:
    """Decide whether new labels start a retraining: `[train] every_labels`.

    Args:
        labels, then: how many faults are recorded now, and were when one was last started.
    """
    wanted, new = contract.train.every_labels or 0, max(0, labels - then)
    return Due(new >= wanted, f"{new} labels are new, of {wanted} that start a retraining.")


def knows_until(tags: Mapping[str, str], zone: ZoneInfo) -> date | None:
    """The first day of a zone that a version was not trained on.

    Args:
        tags: of the version; one that was registered before there was `trained_on` lacks it.
    """
    if "trained_on" not in tags:
        return None
    until = TrainingScope.from_json(tags["trained_on"]).until / 1_000_000
    # The last reading of a day is often some minutes before midnight.
    return day_of(datetime.fromtimestamp(until, UTC) + timedelta(hours=12), zone)


def held_out_days(settings: Settings, contract: Contract, data_tag: str | None, last: date) -> int:
    """How many of the newest days a retraining holds out.

    Args:
        data_tag: the champion's dataset. A share is one of the days since this dataset begins.
        last: the newest day.
    """
    split = contract.split
    if isinstance(split.holdout, timedelta):
        return split.holdout.days
    if split.by == "device" or not data_tag:
        return 0
    version = versions.find_version(settings, data_tag)
    begins = Manifest.of(version.manifest, f"Dataset {data_tag!r}").raw.first_time
    if begins is None:
        return 0
    days = (last - day_of(from_iso(begins), contract.zone)).days + 1
    return math.ceil(split.holdout * days)
