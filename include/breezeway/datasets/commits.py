"""Reads the fetched commits of tags, any number of them with a few processes of git."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from breezeway.core.errors import DataError
from breezeway.datasets.workspace import Workspace

MAX_TEXT_BYTES = 16 << 20
"""Size of a file that is read from a commit; a range of 20 years has a manifest of 1 MB."""


class _Object(NamedTuple):
    hash: str
    kind: str
    bytes: int


@dataclass(frozen=True)
class Commit:
    """The commit that a tag stands for, with some of its files.

    Args:
        committed_at: ISO 8601, UTC.
        files: the text of each file that was asked for and is there; or its size in bytes, if it is
            too large.
    """

    tag: str
    hash: str
    committed_at: str
    message: str
    files: dict[str, str | int]

    def text(self, name: str) -> str | None:
        """The text of a file; None if there is no such file.

        Raises:
            DataError: it is too large.
        """
        found = self.files.get(name)
        if isinstance(found, int):
            raise DataError(
                f"Tag {self.tag!r}: {name} has {found} bytes: expected up to {MAX_TEXT_BYTES}."
            )
        return found


def read_commits(space: Workspace, tags: Sequence[str], *names: str) -> Iterator[Commit | None]:
    """The fetched commits of tags, in their order; None for a tag that is not that of a commit.

    Args:
        names: of the files to read. Those of as many commits are in memory at once as have
            `MAX_TEXT_BYTES` together.
    """
    described = _describe(space, tags, names)
    first = 0
    while first < len(tags):
        end, size = first, 0
        while end < len(tags) and (end == first or size <= MAX_TEXT_BYTES):
            size += sum(each.bytes for each in described[end] if each and _fits(each))
            end += 1
        contents = _read(space, [e for found in described[first:end] for e in found if e])
        for tag, found in zip(tags[first:end], described[first:end], strict=True):
            yield _commit(tag, found, names, contents)
        first = end


def _describe(
    space: Workspace, tags: Sequence[str], names: Sequence[str]
) -> list[list[_Object | None]]:
    """Of each tag its commit and its files, as far as they are there."""
    asked = [f"refs/tags/{tag}^{{commit}}{end}" for tag in tags for end in _ends(names)]
    if not asked:
        return []
    lines = space.git("cat-file", "--batch-check", lines=asked).splitlines()
    found = [
        _Object(fields[0], fields[1], int(fields[2]))
        if len(fields := line.split(" ")) == 3 and fields[1] in ("commit", "blob")
        else None
        for line in lines
    ]
    width = len(names) + 1
    return [found[n : n + width] for n in range(0, len(found), width)]


def _ends(names: Sequence[str]) -> list[str]:
    return ["", *(f":{name}" for name in names)]


def _fits(found: _Object) -> bool:
    return found.bytes <= MAX_TEXT_BYTES


def _read(space: Workspace, objects: Sequence[_Object]) -> dict[str, str]:
    """The text of each object that is not too large, by its hash."""
    wanted = list(dict.fromkeys(each.hash for each in objects if _fits(each)))
    if not wanted:
        return {}
    left = space.git("cat-file", "--batch", lines=wanted).encode("utf-8", "surrogateescape")
    contents, at = {}, 0
    for hash in wanted:
        head = left.index(b"\n", at)
        start, size = head + 1, int(left[at:head].split(b" ")[2])
        contents[hash] = left[start : start + size].decode("utf-8", "replace")
        at = start + size + 1
    return contents


def _commit(
    tag: str, found: Sequence[_Object | None], names: Sequence[str], contents: dict[str, str]
) -> Commit | None:
    commit, *files = found
    if commit is None or commit.kind != "commit" or not _fits(commit):
        return None
    head, _, message = contents[commit.hash].partition("\n\n")
    lines = (line for line in head.splitlines() if line.startswith("committer "))
    committer = next(lines, "")
    try:
        committed_at = datetime.fromtimestamp(int(committer.split(" ")[-2]), UTC)
    except (ValueError, OverflowError, OSError):
        raise DataError(
            f"Tag {tag!r}: its commit has no time that can be: {committer!r}."
        ) from None
    return Commit(
        tag=tag,
        hash=commit.hash,
        committed_at=f"{committed_at:%Y-%m-%dT%H:%M:%SZ}",
        message=message,
        files={
            name: contents[file.hash] if _fits(file) else file.bytes
            for name, file in zip(names, files, strict=True)
            if file and file.kind == "blob"
        },
    )
