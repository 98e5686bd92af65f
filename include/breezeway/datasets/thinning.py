"""Removes the files of dataset versions that nothing needs any more.

Their tags stay: git still says where the rows of each version came from, and the same data
published again under the same tag bring the files back.
"""

import logging
import re
import shutil
import time
from collections.abc import Collection, Iterable, Set
from dataclasses import dataclass
from datetime import datetime

import yaml

from breezeway.core.errors import DataError
from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings
from breezeway.datasets import dvc_objects
from breezeway.datasets.commits import Commit, read_commits
from breezeway.datasets.versions import PARAMS_TAG, hash_of
from breezeway.datasets.workspace import Workspace, open_workspace

log = logging.getLogger("breezeway.thinning")

IN_USE_SECONDS = 2 * 86_400
"""No step runs for so long, so nobody reads local files that were opened before."""

_DAY = re.compile(r"(?P<day>.+-day-[0-9]{8})-(?P<number>[1-9][0-9]{0,8})")
_REMOVED = ".removed-"


@dataclass(frozen=True)
class StoredVersion:
    """A published version, and the size of its files.

    Args:
        hash: DVC's hash of the dataset folder, `<md5>.dir`.
        bytes: of its files; other versions may have some of them too.
    """

    tag: str
    hash: str
    bytes: int
    published_at: datetime


def unneeded(
    versions: Iterable[StoredVersion], references: Set[str], keep_from: datetime
) -> list[StoredVersion]:
    """The versions whose files may go.

    These stay: the newest version; each that was published since `keep_from`; each that is referred
    to; of each day of the history the newest revision, and those that were replaced since
    `keep_from`, because figures of that time were made with them.

    Args:
        references: tags of data.
    """
    versions = list(versions)
    last = max((version.published_at for version in versions), default=keep_from)
    replaced_at: dict[str, datetime] = {}
    newest: dict[str, StoredVersion] = {}
    for version in sorted(versions, key=_revision):
        if match := _DAY.fullmatch(version.tag):
            if before := newest.get(match["day"]):
                replaced_at[before.tag] = version.published_at
            newest[match["day"]] = version
    latest_days = {version.tag for version in newest.values()}
    dropped = [
        version
        for version in versions
        if version.tag not in references | latest_days
        and replaced_at.get(version.tag, version.published_at) < min(keep_from, last)
    ]
    names = {version.tag for version in dropped}
    kept = {version.hash for version in versions if version.tag not in names}
    return [version for version in dropped if version.hash not in kept]


def _revision(version: StoredVersion) -> int:
    match = _DAY.fullmatch(version.tag)
    return int(match["number"]) if match else 0


def thin(
    settings: Settings, references: Set[str], keep_from: datetime, *, dry_run: bool
) -> list[StoredVersion]:
    """Remove the files of unneeded versions: `dvc gc` in the remote and in the cache.

    It may be repeated, and killed at any point. Files of needed versions are never touched. No
    version can be published meanwhile: publishers hold the same lock. On several hosts without a
    shared `home`, publishers and this run in one Airflow pool with one slot.

    Args:
        references, keep_from: as for `unneeded`.
        dry_run: remove nothing.

    Returns:
        The versions whose files were there and are removed, or would be. If the remote is not a
        folder, all that are unneeded: asking for each would take seconds.

    Raises:
        DataError: the list of a needed version's files is damaged or missing, so it is unknown
            which files it needs; nothing is removed.
        TryAgain, ServiceUnavailable: as for `versions.publish`.
    """
    with exclusive(settings, "datasets"), open_workspace(settings) as space:
        stored = read_stored(space)
        dropped = unneeded(stored, references, keep_from)
        gone = [version for version in dropped if space.may_hold(version.hash)]
        if dry_run:
            return gone
        kept = {version.hash for version in stored} - {version.hash for version in dropped}
        if gone:
            _pull_listings(space, [version for version in stored if version.hash in kept])
            space.collect_garbage(kept)
    _remove_homes(settings, kept)
    return gone


def read_stored(space: Workspace) -> list[StoredVersion]:
    """All published versions; other tags are left out.

    Raises:
        DataError: a tag does not say which files it has.
        ServiceUnavailable: the repository does not answer.
    """
    tags = [tag for tag in space.tags() if not PARAMS_TAG.fullmatch(tag)]
    if tags:
        space.fetch("*")
    commits = zip(tags, read_commits(space, tags, "data.dvc"), strict=True)
    return [version for tag, commit in commits if (version := _stored(tag, commit))]


def _stored(tag: str, commit: Commit | None) -> StoredVersion | None:
    try:
        text = commit.text("data.dvc") if commit else None
    except DataError:  # larger than any of ours
        text = None
    if commit is None or text is None:
        log.warning("The tag %s is not that of a dataset version.", tag)
        return None
    hash = hash_of(text)
    if hash is None:
        raise DataError(
            f"Tag {tag!r} has no hash in its data.dvc, so it is unknown which files it needs, and "
            "no files of any dataset are removed. Remove the tag if it is none of a dataset."
        )
    size = yaml.safe_load(text)["outs"][0].get("size")
    return StoredVersion(
        tag=tag,
        hash=hash,
        bytes=size if isinstance(size, int) else 0,
        published_at=datetime.fromisoformat(commit.committed_at),
    )


def _pull_listings(space: Workspace, needed: Iterable[StoredVersion]) -> None:
    cache = space.settings.dvc_cache
    for version in needed:
        if not dvc_objects.is_whole(cache, version.hash):
            space.pull_listing(version.hash)
        if not dvc_objects.is_whole(cache, version.hash):
            raise DataError(
                f"The list of the files of dataset {version.tag!r} is damaged or missing in the "
                "remote, so no files of any dataset are removed. Publish the same data again "
                f"under {version.tag!r} to bring it back."
            )


def _remove_homes(settings: Settings, kept: Collection[str]) -> None:
    """Remove local folders of other versions, unless somebody may be reading them."""
    homes = settings.root / "datasets"
    for left in homes.glob(f"{_REMOVED}*"):
        shutil.rmtree(left)
    before = time.time() - IN_USE_SECONDS
    for home in homes.glob("[!.]*"):
        if f"{home.name}.dir" not in kept and home.stat().st_mtime < before:
            aside = home.with_name(f"{_REMOVED}{home.name}")
            home.rename(aside)
            shutil.rmtree(aside)
