"""Which names are allowed: one rule for each kind, the same in forms, commands and stores."""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class NameRule:
    """The rule for one kind of name.

    Args:
        kind: of name, for messages.
        pattern: a regular expression that the whole name must match, without anchors.
        expected: the pattern in words.

    Example:
        >>> DATASET_TAG.allows("plant-2026.11"), DATASET_TAG.allows("a..b")
        (True, False)
        >>> MODEL_NAME.mistake("plant.v2")[:31]
        "'plant.v2' is not a model name:"
    """

    kind: str
    pattern: str
    expected: str

    def allows(self, text: str) -> bool:
        return re.fullmatch(self.pattern, text) is not None

    def mistake(self, text: str) -> str | None:
        """What is wrong with a name, as a sentence without full stop; None if it is allowed."""
        if self.allows(text):
            return None
        shown = text if len(text) <= 200 else f"{text[:200]}…"
        return f"{shown!r} is not a {self.kind}: expected {self.expected}"

    @property
    def form_pattern(self) -> str:
        """For a required field of a form."""
        return f"^(?:{self.pattern})$"

    @property
    def optional_form_pattern(self) -> str:
        """For a field of a form that may be empty."""
        return f"^(?:{self.pattern})?$"


DATASET_TAG = NameRule(
    "dataset tag",
    r"(?!.*\.\.)(?!.*\.$)(?!.*\.lock$)(?![Mm][Aa][Ii][Nn]$)(?!(?:.*_)?[Hh][Ee][Aa][Dd]$)"
    r"(?![0-9A-Fa-f]{40}$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}",
    "up to 100 letters, digits, '.', '_' or '-', beginning with a letter or a digit, without '..', "
    "not ending in '.' or '.lock', and no name that git reads otherwise ('main', 'HEAD', a hash)",
)
"""What git accepts as the name of a tag, without slashes, and takes for a tag alone."""

RUN_NAME = NameRule(
    "run name",
    r"\w[\w .:/+-]{0,119}",
    "up to 120 letters, digits, blanks or any of _.:/+-, beginning with a letter, a digit or '_'",
)
"""The name of a run in MLflow. A quote would end a string in MLflow's filter language."""

MODEL_NAME = NameRule(
    "model name",
    r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?",
    "up to 63 letters, digits, '_' or '-', with a letter or a digit at both ends",
)
"""The name of a registered model. It becomes a folder, a part of an address and a Bento's tag; in
the id of a prediction it ends at a dot."""

MODEL_VERSION = NameRule(
    "version",
    r"[1-9][0-9]{0,17}|[A-Za-z][A-Za-z0-9_-]{0,99}",
    "the number of a version, or an alias such as champion",
)

CONTRACT_NAME = NameRule(
    "contract name",
    r"[a-z](?:[a-z0-9-]{0,39}[a-z0-9])?",
    "up to 41 small letters, digits or '-', beginning with a letter and not ending in '-'",
)
"""The name of a sensor contract. Its model has the same name unless another is given."""

FEATURE = NameRule(
    "name of a feature",
    r"[^\x00-\x1f\x7f\[\]<]{1,100}",
    "1 to 100 characters, none of them '[', ']', '<' or a control character",
)
"""The name of a feature. XGBoost takes no brackets."""

DEVICE = NameRule(
    "device name",
    r"[^\x00-\x1f\x7f]{1,255}",
    "1 to 255 characters, none of them a control character",
)
"""The name of a device; the pattern of its contract may allow less."""

MAX_PATHS = 100_000
"""Paths in one folder of a store."""
MAX_PATH_BYTES = 1024

PATH = NameRule(
    "path of a file",
    r"(?:(?!\.{1,2}(?:/|$))[^/\\\x00-\x1f\x7f\ud800-\udfff]{1,255}(?:/|$))+(?<!/)",
    "a relative path with '/', without '.', '..', '\\' or a control character",
)
"""The path of a file in a folder that comes from a store: no path leads out of the folder."""


def paths_mistake(paths: Collection[str]) -> str | None:
    """What is wrong with the paths of all files of a folder, as a sentence without full stop.

    A folder with these files can be written on any disk, and nothing is written outside of it.

    Returns:
        None if nothing is wrong.

    Example:
        >>> paths_mistake(["features/a", "features/A"])
        "'features/A' and 'features/a' are one file on some disks"
        >>> paths_mistake(["a/b", "a"])
        "'a' is both a file and a folder"
    """
    if len(paths) > MAX_PATHS:
        return f"there are {len(paths)} files: expected up to {MAX_PATHS}"
    files: set[str] = set()
    spelled: dict[str, str] = {}
    for path in paths:
        if mistake := PATH.mistake(path) or _too_long(path):
            return mistake
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            part = "/".join(parts[:end])
            known = spelled.setdefault(_folded(part), part)
            if known != part:
                return f"{part!r} and {known!r} are one file on some disks"
        if path in files:
            return f"{path!r} is there twice"
        files.add(path)
    folders = {path[:end] for path in files for end in range(len(path)) if path[end] == "/"}
    if both := sorted(files & folders):
        return f"{both[0]!r} is both a file and a folder"
    return None


def _too_long(path: str) -> str | None:
    longest = max(len(part.encode()) for part in path.split("/"))
    if longest > 255 or len(path.encode()) > MAX_PATH_BYTES:
        return (
            f"{path[:200]!r}… is too long: expected up to {MAX_PATH_BYTES} bytes, 255 in each part"
        )
    return None


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
