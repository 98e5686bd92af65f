"""Which names are allowed: one rule for each kind, the same in forms, commands and stores."""

import re
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
    r"(?!.*\.\.)(?!.*\.$)(?!.*\.lock$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}",
    "up to 100 letters, digits, '.', '_' or '-', beginning with a letter or a digit, without '..' "
    "and not ending in '.' or '.lock'",
)
"""What git accepts as the name of a tag, without slashes."""

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
