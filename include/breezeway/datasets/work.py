"""Publishes datasets from their work folders, and removes them there: DVC has them then.

What a run that failed has left there goes some time later.
"""

import shutil
from datetime import datetime
from pathlib import Path

from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings
from breezeway.datasets import versions


def publish_work(
    settings: Settings, folder: Path, tag: str, message: str = ""
) -> versions.DatasetVersion:
    """Publish what `preprocess` wrote, and remove it.

    It may be repeated, and killed at any point: if the folder is gone and the tag exists, an
    earlier attempt has published it.

    Raises:
        UsageError: there is neither the folder nor the tag; or as for `versions.publish`.
        DataError, TryAgain, ServiceUnavailable: as for `versions.publish`.
    """
    with exclusive(settings, f"preprocess-{folder.parent.name}"):
        if not folder.exists() and versions.tag_exists(settings, tag):
            version = versions.find_versions(settings, [tag])[0]
        else:
            version = versions.publish(settings, folder, tag, message)
        remove(folder)
        return version


def remove(folder: Path) -> None:
    """Remove a published folder; hold the lock of its writer.

    It gets another name first: half of it must not look like a dataset. If we are killed after
    that, the next attempt removes the rest, or `preprocess` does, which removes `.dataset*`.
    """
    aside = folder.with_name(f".{folder.name}.published")
    if aside.exists():
        shutil.rmtree(aside)
    if folder.exists():
        folder.rename(aside)
        shutil.rmtree(aside)


_REMOVED = ".removed-"


def thin(settings: Settings, since: datetime, *, dry_run: bool) -> list[str]:
    """Remove the work folders in which nothing has changed since a time.

    It may be repeated, and killed at any point.

    Args:
        since: long enough ago that no step runs since then.
        dry_run: remove nothing.

    Returns:
        The names of the folders.

    Raises:
        TryAgain: a step holds one of them for longer than `lock_wait_seconds`.
    """
    old = [
        folder
        for folder in sorted(settings.work.glob("*"))
        if folder.is_dir() and not folder.is_symlink() and _changed_before(folder, since)
    ]
    for folder in [] if dry_run else old:
        with exclusive(settings, f"preprocess-{folder.name}"):
            if _changed_before(folder, since):
                _remove_whole(folder)
    return [folder.name for folder in old]


def _changed_before(folder: Path, moment: datetime) -> bool:
    try:
        return all(
            path.lstat().st_mtime < moment.timestamp() for path in (folder, *folder.rglob("*"))
        )
    except FileNotFoundError:  # somebody is at it
        return False


def _remove_whole(folder: Path) -> None:
    """Remove a folder; if we are killed, the next run removes the rest."""
    if not folder.name.startswith(_REMOVED):
        folder = folder.rename(folder.with_name(f"{_REMOVED}{folder.name}"))
    shutil.rmtree(folder)
