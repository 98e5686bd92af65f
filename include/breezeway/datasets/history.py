"""History day by day: a dataset version for each day, and one for a range of them.

The tag `<contract>-day-YYYYMMDD-<n>` is the n-th revision of a day. A tag never moves: a day
that is made again with other content gets the next number, and with the same content nothing.
"""

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson

from breezeway.contract.baselines import (
    Baselines,
    DeviceBaseline,
    read_baselines,
    write_baselines,
)
from breezeway.contract.contract import Contract, load_contract
from breezeway.core.errors import DataError, TryAgain, UsageError
from breezeway.core.files import write_json
from breezeway.core.locks import exclusive
from breezeway.core.scratch import scratch
from breezeway.core.settings import Settings
from breezeway.datasets import versions, work
from breezeway.datasets.dvc_objects import file_hashes, folder_hash
from breezeway.preprocessing import spacing
from breezeway.preprocessing.manifest import (
    MOST_REJECTED,
    Manifest,
    RangeManifest,
    RawSummary,
    baseline_counts,
    by_reason,
)
from breezeway.readings.source import times_of_day
from breezeway.readings.stretches import Calendar

LOOK_BACK_DAYS = 28
"""How far back a late reading, or a label, makes a day stale by itself."""
RATE_DAYS = 7
"""An estimate is made from so many days that were published last."""

_WHERE = " WHERE "
"""In the query of a day."""
_DONE = re.compile(r"(\d+) rows in ([\d.]+) s")


def day_range(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def day_name(contract: Contract, day: date) -> str:
    """What a day's partition is called: its work folder, and its tags without their numbers."""
    return f"{contract.name}-day-{day:%Y%m%d}"


def published_days(settings: Settings, name: str) -> dict[date, str]:
    """The newest tag of each published day, in order of days.

    Args:
        name: the contract's.

    Raises:
        ServiceUnavailable: the repository does not answer.
    """
    form = re.compile(rf"{re.escape(name)}-day-(\d{{8}})-([1-9]\d*)")
    newest: dict[date, tuple[int, str]] = {}
    for version in versions.list_versions(settings):
        if match := form.fullmatch(version.tag):
            try:
                day, number = date.fromisoformat(match[1]), int(match[2])
            except ValueError:
                continue  # somebody chose such a tag by hand
            newest[day] = max(newest.get(day, (0, "")), (number, version.tag))
    return {day: tag for day, (_, tag) in sorted(newest.items())}


def fingerprints(settings: Settings, name: str, days: Iterable[date]) -> dict[date, str]:
    """What the published ones among some days were made of, as `days.stale_days` takes it."""
    published = published_days(settings, name)
    wanted = [day for day in days if day in published]
    found = versions.find_versions(settings, [published[day] for day in wanted])
    return fingerprints_of(dict(zip(wanted, found, strict=True)))


def fingerprints_of(days: Mapping[date, versions.DatasetVersion]) -> dict[date, str]:
    """The same of days that were found."""
    return {
        day: version.manifest["fingerprint"]
        for day, version in days.items()
        if "fingerprint" in version.manifest  # else somebody chose such a tag by hand
    }


def publish_day(
    settings: Settings, folder: Path, day: date, seconds: float, message: str
) -> versions.DatasetVersion:
    """Publish a day's partition, unless its newest revision has the same content; then remove it.

    It may be repeated, and killed at any point: if the folder is gone and the day has a revision,
    an earlier attempt has published it.

    Args:
        folder: what `days.make_day` wrote.
        seconds: how long that took; kept in the commit, for estimates.
        message: of the commit, for people.

    Raises:
        UsageError: the folder is empty, or there is neither the folder nor a revision.
        TryAgain: the day is just being made anew, or another was publishing for too long.
        ServiceUnavailable: the repository or the remote does not answer, or is full.
    """
    stem = day_name(load_contract(settings.sensors), day)
    with exclusive(settings, f"preprocess-{stem}"):
        newest = _newest_revision(settings, stem)
        if not folder.exists() and newest:
            version = versions.find_versions(settings, [f"{stem}-{newest}"])[0]
        else:
            rows = _manifest(folder).raw.rows
            text = f"{message}: {rows} rows in {seconds:g} s"
            version = publish_revision(settings, folder, stem, text)
        work.remove(folder)
        return version


def _newest_revision(settings: Settings, stem: str) -> int:
    """The highest number of a revision; 0 if there is none."""
    form = re.compile(rf"{re.escape(stem)}-([1-9]\d*)")
    tags = [version.tag for version in versions.list_versions(settings)]
    return max((int(match[1]) for tag in tags if (match := form.fullmatch(tag))), default=0)


def publish_revision(
    settings: Settings, folder: Path, stem: str, message: str
) -> versions.DatasetVersion:
    """Publish a folder as the next revision `<stem>-<n>`, unless the newest has the same content.

    Raises:
        as for `versions.publish`.
    """
    content = folder_hash(file_hashes(folder))
    for _ in range(versions.PUSH_ATTEMPTS):
        newest = _newest_revision(settings, stem)
        if newest:
            version = versions.find_version(settings, f"{stem}-{newest}")
            if version.hash == content:
                return versions.publish(settings, folder, version.tag)
        tag = f"{stem}-{newest + 1}"
        try:
            return versions.publish(settings, folder, tag, message)
        except UsageError:
            if not versions.tag_exists(settings, tag):
                raise
            # Another took that number meanwhile; the next one, then.
    raise TryAgain(f"Others were publishing revisions of {stem!r} all the time.")


def open_days(
    settings: Settings, contract: Contract, first: date, last: date
) -> dict[date, versions.OpenedVersion]:
    """The published days of a range, with their files.

    Raises:
        UsageError: a day in the midst is not published though the store has readings of it, or
            none is.
        DataError: a day was made by a contract with other features.
        TryAgain, ServiceUnavailable: as for `versions.open_datasets`.
    """
    there = _counts(settings, contract, first, last)
    opened = open_published(settings, contract.name, first, last)
    if not there and not opened:
        raise UsageError(
            f"The raw store has no reading from {first} to {last}: load readings of these days, or "
            "ask for others."
        )
    return check_days(contract, opened, set(there), first)


def check_days(
    contract: Contract,
    opened: Mapping[date, versions.OpenedVersion],
    there: set[date],
    first: date,
) -> dict[date, versions.OpenedVersion]:
    """Make sure that opened days are all of a range, and fit together.

    Args:
        there: the days of the range that have readings.
        first: the range's.

    Returns:
        The days, without those of another time zone that have no reading in the contract's.

    Raises:
        UsageError, DataError: as for `open_days`.
    """
    opened = {
        day: version
        for day, version in opened.items()
        if day in there or _is_of_zone(contract, day, version)
    }
    missing = sorted(there - set(opened))
    if missing or not opened:
        named = ", ".join(map(str, (missing or [first])[: versions.NAMED]))
        more = f" and {len(missing) - versions.NAMED} more" if len(missing) > versions.NAMED else ""
        raise UsageError(
            f"The days {named}{more} are not made yet: backfill the DAG history with them first."
        )
    for day, version in opened.items():
        if _manifest_of(version).features != contract.feature_names:
            raise DataError(
                f"{version.tag} has other features than the sensor contract names now: make "
                "the day again."
            )
        if not _is_of_zone(contract, day, version):
            raise DataError(
                f"{version.tag} is a day of another time zone than {contract.time_zone}, or was "
                "found by another column than [source] names: the sensor contract has changed, "
                "so make the day again."
            )
    return opened


def _is_of_zone(contract: Contract, day: date, version: versions.DatasetVersion) -> bool:
    """Whether a day was made of the readings that are in it by the contract's zone."""
    return times_of_day(contract, _manifest_of(version).query, day) is not None


def open_published(
    settings: Settings, name: str, first: date, last: date, only: set[date] | None = None
) -> dict[date, versions.OpenedVersion]:
    """The published days of a range, with their files.

    Args:
        name: the contract's.
        only: these days of it; None for all.

    Raises:
        DataError, TryAgain, ServiceUnavailable: as for `versions.open_datasets`.
    """
    published = published_days(settings, name)
    wanted = [
        day for day in day_range(first, last) if day in published and (only is None or day in only)
    ]
    opened = versions.open_datasets(settings, [published[day] for day in wanted])
    return dict(zip(wanted, opened, strict=True))


def compose(settings: Settings, first: date, last: date) -> versions.DatasetVersion:
    """Publish a range of days as one dataset version, `<contract>-days-<first>-<last>-<n>`.

    Its content depends on the days' content alone: not on the order in which they were made,
    nor on how often. Days without readings are no part of it.

    Raises:
        as for `open_days` and `versions.publish`.
    """
    contract = load_contract(settings.sensors)
    days = open_days(settings, contract, first, last)
    with scratch(settings, "compose") as aside:
        folder = aside / "dataset"
        folder.mkdir()
        lay_out(contract, days, folder)
        stem = f"{contract.name}-days-{first:%Y%m%d}-{last:%Y%m%d}"
        return publish_revision(settings, folder, stem, f"{len(days)} days")


def lay_out(
    contract: Contract, days: Mapping[date, versions.OpenedVersion], folder: Path
) -> RangeManifest:
    """Fill an empty folder with what days hold together, as `preprocessing` would lay it out."""
    for kind in ("features", "quarantine"):
        for day, version in days.items():
            for part in sorted((version.folder / kind).glob("part-*.parquet")):
                (folder / kind).mkdir(exist_ok=True)
                name = part.name.replace("part-", f"part-{day:%Y%m%d}-")
                _link(part, folder / kind / name)
    (folder / "contract.toml").write_text(contract.text, encoding="utf-8")
    write_json(folder / "examples.json", _examples(days.values()))
    baselines = _baselines(contract, days.values())
    if contract.features.baseline:
        write_baselines(baselines, folder)
    _write_profile(contract, days.values(), folder)
    manifest = _whole_manifest(contract, days, baselines)
    manifest.write(folder)
    return manifest


def _write_profile(
    contract: Contract, days: Iterable[versions.OpenedVersion], folder: Path
) -> None:
    """Merge the days' profiles, unless a day is older than profiles."""
    from breezeway.preprocessing.profile import Profile, merged

    profiles = [Profile.read(version.folder) for version in days]
    known = [profile for profile in profiles if profile]
    if len(known) == len(profiles):
        merged(known, contract).write(folder)


def _baselines(contract: Contract, days: Iterable[versions.OpenedVersion]) -> Baselines:
    """The baselines of all devices of some days; a device may get its own on one of the later.

    Raises:
        DataError: two days were made with different baselines of a device.
    """
    found: dict[str, DeviceBaseline | None] = {}
    for version in days:
        for device, own in read_baselines(contract, version.folder).items():
            if (known := found.get(device)) and own != known:
                raise DataError(
                    f"{version.tag}: the baseline of {device} is another one than that of the days "
                    "before it: readings have arrived late, so make the stale days again."
                )
            found[device] = own
    return found


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _examples(days: Iterable[versions.OpenedVersion]) -> list[dict[str, Any]]:
    """The newest recorded readings of each device, in an event and outside; of some devices."""
    from breezeway.preprocessing.examples import example_devices

    newest: dict[str, list[dict[str, Any]]] = {}
    for version in days:
        text = (version.folder / "examples.json").read_bytes()
        of_day: dict[str, list[dict[str, Any]]] = {}
        for example in orjson.loads(text):
            of_day.setdefault(example["device"], []).append(example)
        for device, examples in of_day.items():
            if len(examples) >= len(newest.get(device, [])):
                newest[device] = examples
    return [example for name in example_devices(sorted(newest)) for example in newest[name]]


def _whole_manifest(
    contract: Contract, days: Mapping[date, versions.OpenedVersion], baselines: Baselines
) -> RangeManifest:
    manifests = [_manifest_of(version) for version in days.values()]
    reasons: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    carried: Counter[str] = Counter()
    for manifest in manifests:
        reasons.update(manifest.reasons)
        missing.update(manifest.missing)
        carried.update(manifest.carried)
    rejected = [each for manifest in manifests for each in manifest.rejected]
    raw = [manifest.raw for manifest in manifests]
    columns, where, _ = manifests[0].query.rpartition(_WHERE)
    times = times_of_day(contract, manifests[0].query, min(days)) or Calendar()
    return RangeManifest(
        contract=contract.name,
        query=f"{columns}{where}{times.of_days(min(days), max(days), contract.zone)}",
        raw=RawSummary(
            rows=sum(each.rows for each in raw),
            payloads=(
                sum(each.arrived for each in raw)
                if any(each.payloads is not None for each in raw)
                else None
            ),
            first_time=min(each.first_time for each in raw if each.first_time),
            last_time=max(each.last_time for each in raw if each.last_time),
            sha256=hashlib.sha256("".join(each.sha256 for each in raw).encode()).hexdigest(),
        ),
        rows=sum(manifest.rows for manifest in manifests),
        copies=sum(manifest.copies for manifest in manifests),
        quarantined=sum(manifest.quarantined for manifest in manifests),
        reasons=dict(sorted(reasons.items())),
        rejected=by_reason(rejected)[:MOST_REJECTED],
        missing=dict(sorted(missing.items())),
        carried=dict(sorted(carried.items())),
        spacing=spacing.of_all(manifest.spacing for manifest in manifests),
        **baseline_counts(contract, baselines),
        features=contract.feature_names,
        days={day.isoformat(): version.hash for day, version in days.items()},
    )


def _manifest_of(version: versions.DatasetVersion) -> Manifest:
    return Manifest.of(version.manifest, f"Dataset {version.tag!r}")


def _manifest(folder: Path) -> Manifest:
    file = folder / "manifest.json"
    if not file.is_file():
        raise UsageError(f"There is no partition of a day in {folder}.")
    return Manifest.of(json.loads(file.read_text(encoding="utf-8")), str(folder))


def _counts(settings: Settings, contract: Contract, first: date, last: date) -> dict[date, int]:
    from breezeway.readings.store import open_store

    return open_store(settings).count_by_day(first, last, contract.zone)


def plan(settings: Settings, first: date, last: date) -> dict[str, Any]:
    """What a backfill of a range would do; nothing is made."""
    from breezeway.preprocessing.days import stale_days

    contract = load_contract(settings.sensors)
    counts = _counts(settings, contract, first, last)
    tags = published_days(settings, contract.name)
    made = fingerprints(settings, contract.name, day_range(first, last))
    stale = stale_days(settings, contract, made)
    days = [
        {
            "day": day.isoformat(),
            "rows": counts.get(day, 0),
            "published": tags.get(day),
            "stale": stale.get(day),
        }
        for day in day_range(first, last)
        if day in counts or day in tags
    ]
    rate = _rows_a_second(settings, list(tags.values())[-RATE_DAYS:])
    return {
        "days": days,
        "rows": sum(counts.values()),
        **estimate(sum(counts.values()), rate),
    }


def estimate(rows: int, rate: float | None) -> dict[str, Any]:
    """The time that rows take, one after the other."""
    if rate is None:
        return {"seconds": "unknown", "estimated_from": "nothing: none was made before"}
    return {"seconds": round(rows / rate, 1), "estimated_from": f"{rate:.0f} rows a second"}


def _rows_a_second(settings: Settings, tags: list[str]) -> float | None:
    done = [
        (int(match[1]), float(match[2]))
        for version in versions.find_versions(settings, tags)
        if (match := _DONE.search(version.message))
    ]
    seconds = sum(each for _, each in done)
    return sum(rows for rows, _ in done) / seconds if seconds else None
