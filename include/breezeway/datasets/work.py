"""Publishes datasets from their work folders, and removes them there: DVC has them then."""

import shutil
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
