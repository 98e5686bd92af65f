"""What each kind of name may look like: one rule a kind, for forms, commands and stores alike."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class NameRule:
    """What a kind of name may look like.

    Args:
        kind: of name, for messages.
        pattern: a regular expression that the whole name has to match, without anchors.
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
        """One sentence, without its full stop, on what is wrong with a name; None if nothing is."""
        if self.allows(text):
            return None
        shown = text if len(text) <= 200 else f"{text[:200]}…"
        return f"{shown!r} is not a {self.kind}: expected {self.expected}"

    @property
    def form_pattern(self) -> str:
        """For a form's field that has to be filled in."""
        return f"^(?:{self.pattern})$"

    @property
    def optional_form_pattern(self) -> str:
        """For a form's field that may stay empty."""
        return f"^(?:{self.pattern})?$"


DATASET_TAG = NameRule(
    "dataset tag",
    r"(?!.*\.\.)(?!.*\.$)(?!.*\.lock$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}",
    "up to 100 letters, digits, '.', '_' or '-', beginning with a letter or a digit, without '..' "
    "and not ending in '.' or '.lock'",
)
"""What git takes as the name of a tag, without slashes."""

RUN_NAME = NameRule(
    "run name",
    r"\w[\w .:/+-]{0,119}",
    "up to 120 letters, digits, blanks or any of _.:/+-, beginning with a letter, a digit or '_'",
)
"""Of a run in MLflow. A quote would end a string in MLflow's filter language."""

MODEL_NAME = NameRule(
    "model name",
    r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?",
    "up to 63 letters, digits, '_' or '-', with a letter or a digit at both ends",
)
"""Of a registered model. It becomes a folder, a part of an address and a Bento's tag, and a dot
would end it in the id of a prediction."""

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
"""Of a sensor contract. Its model has the same name unless another is given."""

DEVICE = NameRule(
    "device name",
    r"[^\x00-\x1f\x7f]{1,255}",
    "1 to 255 characters, none of them a control character",
)
"""Of a device, whatever else the pattern of its contract asks for."""
