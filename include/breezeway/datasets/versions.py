"""Dataset versions: a git tag for each, with its files in DVC; a tag never moves.

Each commit on the one branch of the dataset repository is a version: `data.dvc` (the hash of the
dataset folder) and a copy of that folder's `manifest.json`, so git alone shows where the rows came
from. Tuned parameters are a commit on top of their data version, not on the branch, with the tag
`<data tag>-params-<n>`.

A published version is always complete: work happens in a temporary folder, the files reach the
remote before the commit is pushed, and one atomic push updates the branch and adds the tag.
"""

import difflib
import json
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from breezeway.core.errors import DataError, ServiceUnavailable, TryAgain, UsageError
from breezeway.core.locks import exclusive
from breezeway.core.names import DATASET_TAG
from breezeway.core.settings import Settings, redacted
from breezeway.datasets.commits import Commit, read_commits
from breezeway.datasets.dvc_objects import (
    FOLDER_HASH,
    drop_damaged,
    file_hashes,
    file_names,
    folder_hash,
    is_whole,
    link,
    listing,
    pointer,
)
from breezeway.datasets.workspace import BRANCH, Workspace, open_workspace

PARAMS_TAG = re.compile(r"(?P<data>.+)-params-(?P<number>[1-9][0-9]{0,8})")
DAY_TAG = re.compile(r".+-day-\d{8}-[1-9]\d*")
"""Of a day of the history: people look at these by day, not in a list of tags."""
VERSION_FILES = ("data.dvc", "manifest.json")
PARAMS_FILES = ("params.json", "tuning.json", "tuning.png")
PUSH_ATTEMPTS = 5
"""Publishers on other hosts may not share our lock, only the branch, so a push may fail."""
NAMED = 5
"""The most things that a message names."""


@dataclass(frozen=True)
class DatasetVersion:
    """A published version of the data, with the parameters tuned for it, if there are any.

    Args:
        tag: the data tag.
        commit: its git commit.
        hash: DVC's hash of the dataset folder, `<md5>.dir`.
        published_at: ISO 8601, UTC.
        message: the commit's message.
        manifest: content of the folder's `manifest.json`; empty if there is none.
        params_tag: tag of the parameters; None if none are tuned yet.
        params_commit: its git commit.
        params: content of `params.json`.
    """

    tag: str
    commit: str
    hash: str
    published_at: str
    message: str
    manifest: dict[str, Any]
    params_tag: str | None = None
    params_commit: str | None = None
    params: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class OpenedVersion(DatasetVersion):
    """A version whose files are on this machine.

    Args:
        folder: the verified files, read only; all who open this version share them.
    """

    folder: Path


@dataclass(frozen=True)
class PublishedTag:
    """A data tag, its commit, and the tags of parameters tuned for it, oldest first."""

    tag: str
    commit: str
    params_tags: tuple[str, ...] = ()


def publish(settings: Settings, folder: Path, tag: str, message: str = "") -> DatasetVersion:
    """Publish a dataset folder under a new tag.

    It may be repeated, and killed at any point: if the tag exists with the same content, files that
    are missing in the remote are added, and nothing else is left to do. Of two publishers at the
    same time, one waits.

    Raises:
        UsageError: the tag is not allowed, has the form of a tag of parameters, or exists with
            other content; or the folder has no file.
        DataError: the folder changed while it was read.
        TryAgain: another process was publishing for longer than `lock_wait_seconds`, or others
            were faster `PUSH_ATTEMPTS` times.
        ServiceUnavailable: the repository or the remote does not answer, or a disk is full.
    """
    _check_data_tag(tag)
    if not file_names(folder):
        raise UsageError(f"There is no dataset to publish in {folder}: it holds no file.")
    with exclusive(settings, "datasets"), open_workspace(settings) as space:
        space.create_repository()
        if version := _published(space, tag):
            _with_content(version, folder_hash(file_hashes(folder)))
            space.add_data(folder)  # they may have been removed, or be damaged
            return version
        files = space.add_data(folder)
        content = folder_hash({name: file.hash for name, file in files.items()})
        link(settings.dvc_cache, files, space.tree / "data")
        version = _push_version(
            space, tag, content, pointer(files, "data"), message or f"Dataset {tag}"
        )
        _keep(space.tree / "data", _home(settings, content))
        return version


def _push_version(
    space: Workspace, tag: str, content: str, data_dvc: str, message: str
) -> DatasetVersion:
    manifest = space.tree / "data" / "manifest.json"
    for _ in range(PUSH_ATTEMPTS):
        space.check_out_branch()
        space.configure_dvc()
        (space.tree / "data.dvc").write_text(data_dvc, encoding="utf-8")
        (space.tree / "manifest.json").unlink(missing_ok=True)
        if manifest.is_file():
            shutil.copyfile(manifest, space.tree / "manifest.json")
        space.commit(message)
        pushed = space.push(f"refs/heads/{BRANCH}", f"refs/tags/{tag}")
        if version := _published(space, tag):
            return _with_content(version, content)
        if pushed:
            raise ServiceUnavailable(f"Tag {tag!r} was pushed, but is not in the repository.")
    raise TryAgain(f"Others were publishing all the time; {tag!r} is not published.")


def _published(space: Workspace, tag: str) -> DatasetVersion | None:
    entry = _entries(space.tags()).get(tag)
    if entry is None:
        return None
    space.fetch(tag)
    return _read(space, entry)


def _with_content(version: DatasetVersion, content: str) -> DatasetVersion:
    """Raises: UsageError: the version has other content."""
    if version.hash == content:
        return version
    rows = version.manifest.get("rows")
    raise UsageError(
        f"Dataset tag {version.tag!r} stands for other data already"
        f" ({f'{rows} rows, ' if rows is not None else ''}published {version.published_at})"
        " and never moves. Choose another tag."
    )


def publish_params(settings: Settings, folder: Path, data_tag: str) -> DatasetVersion:
    """Publish tuned parameters on top of a data version, as `<data tag>-params-<n>`.

    If the same `params.json` is published for this data already, its version is returned and
    nothing is written.

    Args:
        folder: has `params.json` and, optionally, `tuning.json` and `tuning.png`.

    Raises:
        UsageError: there is no such data tag or no `params.json`.
        DataError: `params.json` is not a JSON object.
        TryAgain, ServiceUnavailable: as for `publish`.
    """
    path = folder / "params.json"
    if not path.is_file():
        raise UsageError(f"There are no parameters to publish: {path} is missing.")
    text = path.read_text(encoding="utf-8")
    _json_object(text, str(path))
    with exclusive(settings, "datasets"), open_workspace(settings) as space:
        for _ in range(PUSH_ATTEMPTS):
            entry = _entry(space.tags(), data_tag)
            space.fetch(entry.tag, *entry.params_tags)
            there = read_commits(space, entry.params_tags, "params.json")
            same = (found.tag for found in there if found and found.text("params.json") == text)
            if tag := next(same, None):
                return _read(space, entry, tag)
            tag = f"{data_tag}-params-{_last_number(entry.params_tags) + 1}"
            _commit_params(space, folder, data_tag, f"Parameters {tag}")
            space.push(f"refs/tags/{tag}")  # the next iteration finds them, ours or another's
    raise TryAgain(f"Others were publishing parameters of {data_tag!r} all the time.")


def _commit_params(space: Workspace, folder: Path, data_tag: str, message: str) -> None:
    space.check_out(f"refs/tags/{data_tag}")
    for name in PARAMS_FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, space.tree / name)
    space.commit(message)


def _last_number(params_tags: Sequence[str]) -> int:
    """The highest number in tags of parameters; 0 if there are none."""
    matches = (PARAMS_TAG.fullmatch(tag) for tag in params_tags)
    return max((int(match["number"]) for match in matches if match), default=0)


def find_version(settings: Settings, tag: str) -> DatasetVersion:
    """What git knows about a version; its files are not fetched.

    Args:
        tag: a data tag, its latest parameters included, or a tag of parameters.

    Raises:
        UsageError: there is no such tag; the message names the nearest.
        DataError: the tag is not that of a dataset version.
        ServiceUnavailable: the repository does not answer.
    """
    with open_workspace(settings) as space:
        return _find(space, tag)


def find_versions(settings: Settings, tags: Sequence[str]) -> list[DatasetVersion]:
    """Like `find_version` for many data tags, without parameters, at the cost of one call.

    Raises:
        UsageError, DataError, ServiceUnavailable: as for `find_version`.
    """
    if not tags:
        return []
    with open_workspace(settings) as space:
        there = space.tags()
        entries = [_entry(there, tag) for tag in tags]
        space.fetch(*tags)
        commits = read_commits(space, tags, *VERSION_FILES)
        return [_version(*each) for each in zip(entries, commits, strict=True)]


def open_datasets(settings: Settings, tags: Sequence[str]) -> list[OpenedVersion]:
    """Like `open_dataset` for many data tags; those with local files cost little.

    Raises:
        UsageError, DataError, TryAgain, ServiceUnavailable: as for `open_dataset`.
    """
    opened = []
    for version in find_versions(settings, tags):
        home = _home(settings, version.hash)
        if _is_whole(home, version.hash):
            opened.append(OpenedVersion(**vars(version), folder=home))
        else:
            opened.append(open_dataset(settings, version.tag))
    return opened


def open_dataset(settings: Settings, tag: str) -> OpenedVersion:
    """A version with a local folder of its files, all verified against their hashes.

    Any number of processes may open and read a version at the same time. Damaged local files are
    fetched again.

    Args:
        tag: a data tag, its latest parameters included, or a tag of parameters.

    Raises:
        UsageError: there is no such tag; the message names the nearest.
        DataError: files are damaged or missing in the remote; the message names them.
        TryAgain: another process was fetching this version for longer than `lock_wait_seconds`.
        ServiceUnavailable: the repository or the remote does not answer, or the disk is full.
    """
    with open_workspace(settings) as space:
        version = _find(space, tag)
        home = _home(settings, version.hash)
        if not _is_whole(home, version.hash):
            with exclusive(settings, f"dataset-{version.hash}"):
                _restore(space, version, home)
        return OpenedVersion(**vars(version), folder=home)


def _restore(space: Workspace, version: DatasetVersion, home: Path) -> None:
    """Put the version's files into `home`. Only one process at a time does this."""
    if _is_whole(home, version.hash):
        return  # another process did it
    cache = space.settings.dvc_cache
    drop_damaged(cache, [version.hash])
    if not is_whole(cache, version.hash):
        space.pull_listing(version.hash)
    files = listing(cache, version.hash)  # checked before DVC writes a file of it
    drop_damaged(cache, files.values())
    failure = space.pull_data(version.hash) if files else None
    broken = [name for name, hash in files.items() if not is_whole(cache, hash)]
    if broken or not files:
        what = ", ".join(broken[:NAMED]) or "the list of its files"
        more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
        raise DataError(
            f"Dataset {version.tag!r} can't be read: {what}{more} is damaged or missing "
            f"in the remote {redacted(space.settings.remote_address)}. Housekeeping removes files "
            "of old versions that nothing needs. Publish the same data again under this tag to "
            "bring them back."
        )
    if failure:
        raise ServiceUnavailable(f"Dataset {version.tag!r} can't be fetched: {failure}")
    _keep(space.tree / "data", home)
    _repair(space.tree / "data", home, files)


def _is_whole(home: Path, hash: str) -> bool:
    """Whether the local folder holds the version; marks it as in use, for `thinning`."""
    with suppress(FileNotFoundError):
        os.utime(home)
    return folder_hash(file_hashes(home)) == hash


def _keep(source: Path, home: Path) -> None:
    """Move a folder of files to its home, unless the home exists."""
    home.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(home)
    except OSError:
        if not home.exists():
            raise


def _repair(source: Path, home: Path, files: dict[str, str]) -> None:
    """Replace the files that differ in `home`; a reader sees either an old file or a new one."""
    there = file_hashes(home)
    for name in there.keys() - files.keys():
        (home / name).unlink()
    for name in files:
        if there.get(name) != files[name]:
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).replace(home / name)


def tag_exists(settings: Settings, tag: str) -> bool:
    """Whether a tag, of data or of parameters, is published: one request to the repository.

    Raises:
        ServiceUnavailable: the repository does not answer.
    """
    with open_workspace(settings) as space:
        return tag in space.tags()


def list_versions(settings: Settings) -> list[PublishedTag]:
    """All published versions by name: one request to the repository.

    Raises:
        ServiceUnavailable: the repository does not answer.
    """
    with open_workspace(settings) as space:
        return list(_entries(space.tags()).values())


def _home(settings: Settings, hash: str) -> Path:
    return settings.root / "datasets" / hash.removesuffix(".dir")


def _entries(tags: dict[str, str]) -> dict[str, PublishedTag]:
    """Data tags by name, each with its parameters' tags in the order of their numbers."""
    params: dict[str, list[tuple[int, str]]] = {}
    for tag in tags:
        if match := PARAMS_TAG.fullmatch(tag):
            params.setdefault(match["data"], []).append((int(match["number"]), tag))
    return {
        tag: PublishedTag(tag, commit, tuple(name for _, name in sorted(params.get(tag, []))))
        for tag, commit in sorted(tags.items())
        if DATASET_TAG.allows(tag) and not PARAMS_TAG.fullmatch(tag)
    }


def _entry(tags: dict[str, str], tag: str) -> PublishedTag:
    """Raises: UsageError: there is no such data tag."""
    entries = _entries(tags)
    if tag in entries:
        return entries[tag]
    if not entries:
        raise UsageError(f"There is no dataset tag {tag!r}: nothing has been published yet.")
    near = difflib.get_close_matches(tag, tags, NAMED) or list(entries)[-NAMED:]
    raise UsageError(f"There is no dataset tag {tag!r}; there are, for example: {', '.join(near)}.")


def _find(space: Workspace, tag: str) -> DatasetVersion:
    tags = space.tags()
    match = PARAMS_TAG.fullmatch(tag)
    params_tag: str | None = tag
    if match and tag in tags:
        entry = _entry(tags, match["data"])
    else:
        entry = _entry(tags, tag)
        params_tag = entry.params_tags[-1] if entry.params_tags else None
    space.fetch(entry.tag, *([params_tag] if params_tag else []))
    return _read(space, entry, params_tag)


def _read(space: Workspace, entry: PublishedTag, params_tag: str | None = None) -> DatasetVersion:
    """Read a version from its fetched tags."""
    version = _version(entry, *read_commits(space, [entry.tag], *VERSION_FILES))
    if params_tag is None:
        return version
    commit = _is_commit(params_tag, *read_commits(space, [params_tag], "params.json"))
    return replace(
        version,
        params_tag=params_tag,
        params_commit=commit.hash,
        params=_json_object(commit.text("params.json") or "", f"params.json of {params_tag!r}"),
    )


def _is_commit(tag: str, commit: Commit | None) -> Commit:
    """Raises: DataError: it is none."""
    if commit is None:
        raise DataError(f"Tag {tag!r} is not that of a dataset version: it is no commit.")
    return commit


def _version(entry: PublishedTag, found: Commit | None) -> DatasetVersion:
    commit = _is_commit(entry.tag, found)
    data_dvc = commit.text("data.dvc")
    hash = hash_of(data_dvc) if data_dvc else None
    if hash is None:
        raise DataError(f"Tag {entry.tag!r} is not that of a dataset version: no hash in data.dvc.")
    manifest = commit.text("manifest.json")
    return DatasetVersion(
        tag=entry.tag,
        commit=entry.commit,
        hash=hash,
        published_at=commit.committed_at,
        message=commit.message.strip(),
        manifest=_json_object(manifest, f"manifest.json of {entry.tag!r}") if manifest else {},
    )


def hash_of(data_dvc: str) -> str | None:
    """The hash of a folder in the text of a `.dvc` file; None if there is none.

    The rest of the text is not used, because it may name other places to write to.
    """
    try:
        hash = str(yaml.safe_load(data_dvc)["outs"][0]["md5"])
    except (yaml.YAMLError, LookupError, TypeError, ValueError, RecursionError):
        return None
    return hash if FOLDER_HASH.fullmatch(hash) else None


def _json_object(text: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{what} is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise DataError(f"{what} is not a JSON object.")
    return value


def _check_data_tag(tag: str) -> None:
    if mistake := DATASET_TAG.mistake(tag):
        raise UsageError(f"{mistake}.")
    if PARAMS_TAG.fullmatch(tag):
        raise UsageError(f"{tag!r} is not a dataset tag: names like that are for tuned parameters.")
