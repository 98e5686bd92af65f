"""Which column of a file holds labels, and which of its words are faults: a guess."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from breezeway.contract.files import NULL_WORDS
from breezeway.readings.file_mistakes import toml
from breezeway.readings.file_payloads import NUMBER
from breezeway.readings.file_rows import NORMAL

MAX_WORDS = 20
NAMED = r"label|anomal|fault|failure|attack|defect|st(ö|oe)rung|alarm|fehler|ausfall|d[ée]faut"
FAULT = (
    r"anomal|abnormal|fault|fail|attack|d[eé]fe[ck]t|d[eé]faut|st(ö|oe)rung|alarm|error|fehler|broken|kaputt"
    r"|^nok$|^n\.? ?i\.? ?o\.?$|^ng$|^bad$|schlecht|ausfall|panne|critical|kritisch"
)
_ZERO_OR_ONE = {"0", "1", "0.0", "1.0"}


@dataclass
class Labels:
    """What labels are.

    Attributes:
        column: empty if there is none.
        files: keys of `[files]` as TOML.
        unsure: sentences for a person.
    """

    column: str = ""
    files: dict[str, str] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)


def guess_labels(values: Mapping[str, Sequence[str | None]]) -> Labels:
    """Look for a column that is called a label, or else holds words for faults."""
    known = {name: _words(cells) for name, cells in values.items()}
    few = [name for name, words in known.items() if 1 <= len(words) <= MAX_WORDS]
    called = [
        name
        for name in few
        if re.search(NAMED, name.lower())
        and not (_measures(known[name]) and "0" not in known[name])
    ]
    told = [name for name in few if any(map(_is_fault, known[name])) and not _measures(known[name])]
    for name in [*(name for name in called if name in told), *called, *told]:
        return _labels(name, values[name], known[name])
    said = "No column of labels was found: the contract has no [label]."
    return Labels(unsure=[said])


def _words(cells: Sequence[str | None]) -> Counter[str]:
    """The words of a column, without those for no value."""
    return Counter(c.strip() for c in cells if c and c.strip().lower() not in NULL_WORDS)


def _is_fault(word: str) -> bool:
    return not _is_normal(word) and re.search(FAULT, word.lower()) is not None


def _measures(words: Iterable[str]) -> bool:
    """Whether a column holds numbers that are no labels."""
    numbers = {word for word in words if re.fullmatch(NUMBER, word.replace(",", "."))}
    return not numbers <= _ZERO_OR_ONE


def _is_normal(word: str) -> bool:
    return word.lower() in (*NORMAL, "0", "0.0")


def _labels(name: str, cells: Sequence[str | None], known: Counter[str]) -> Labels:
    found = Labels(name, {"label_column": toml(name.strip())})
    nothing = sorted({(cell or "").strip().lower() for cell in cells} & NULL_WORDS)
    if known.keys() <= _ZERO_OR_ONE and (known.keys() & {"0", "0.0"} or not nothing):
        return found
    normal = [word for word in known if _is_normal(word)]
    if not normal and not nothing:
        others = [word for word in known if not _is_fault(word)]
        normal = others if 0 < len(others) < len(known) else [max(known, key=lambda w: known[w])]
    elif not normal and any(map(_is_fault, known)):
        normal = [word for word in known if not _is_fault(word)]
    faults = sorted(known.keys() - set(normal))
    if not faults:
        return found
    found.files["faults"] = _listed(faults)
    found.unsure.append(f"Are {', '.join(faults)} the labels of faults, and no others?")
    if nothing and not any(map(_is_normal, known)):
        found.files["normal"] = _listed(sorted({*normal, *nothing}))
        found.unsure.append("A row without a label is taken for one without a fault.")
    elif nothing:
        found.unsure.append(
            'Rows without a label are unknown; if they have no fault, name "" in normal.'
        )
    return found


def _listed(words: Sequence[str]) -> str:
    return f"[{', '.join(map(toml, words))}]"
