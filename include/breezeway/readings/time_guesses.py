"""Which columns of a file hold the time, and how it is written: a guess by its first rows."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from breezeway.contract.time_formats import EXCEL, ISO, unit_of
from breezeway.core.times import from_iso
from breezeway.readings.file_mistakes import toml
from breezeway.readings.file_payloads import NUMBER
from breezeway.readings.file_times import CLOCKS_ALONE, PATTERNS, ZONES, fits, parsed

Cells = Mapping[str, Sequence[str | None]]
"""Column → the texts of its first rows."""
NAMED = r"time|zeit|date|datum|^ts$|stamp|^tag$|^uhr|horodat|fecha|^hora|^day$|yyyy"
DAYS = ("%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%d%H%M")
"""Times that look like numbers."""
LOOKED_AT = 1000
CLOCK = re.compile(r"[0-9]{1,2}[:.][0-9]{2}([:.][0-9]{2}([.,][0-9]+)?)?( ?[AaPp]\.? ?[Mm]\.?)?")
CLOCK_NAMED = re.compile(r"^(time|uhr|zeit|hour|stunde|hora|heure|hh)|time|zeit", re.IGNORECASE)
DIGITS = re.compile(r"[0-9]{4}|[0-9]{6}|[0-9]{1,2}")
_ENDED = re.compile(r"(.*[0-9])( ?)([A-Za-z]{1,5})")
"""A time with a word behind it."""


@dataclass
class Times:
    """How times are written.

    Attributes:
        columns: of the time, or of the day and the time of day; empty if there is none.
        files: keys of `[files]` as TOML.
        unsure: sentences for a person.
        others: further time formats that the first rows do not rule out.
    """

    columns: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def guess_times(values: Cells, plain: Callable[[str], str]) -> Times:
    """Look for the time.

    Args:
        plain: makes a number as Python reads it of one as the file writes it.
    """
    found = Times()
    named = [name for name in values if re.search(NAMED, name.lower())]
    for name in [*named, *(name for name in values if name not in named)]:
        texts = _some(values[name])
        numbers = list(map(plain, texts))
        formats = formats_of(numbers if all(map(_is_number, numbers)) else texts)
        if not formats or (formats[0] == EXCEL and name not in named):
            continue
        if clock := _clock(name, texts, values):
            pairs = zip(values[name], values[clock], strict=True)
            texts = _some([f"{d.strip()} {t.strip()}" for d, t in pairs if d and t])
            formats = formats_of(texts)
        found.columns = [name, clock] if clock else [name]
        _tell(texts, formats, found)
        return found
    if named:
        found.columns = named[:1]
        found.files["time_column"] = toml(named[0].strip())
        found.unsure.append(f"The times in {named[0]!r} have no form that all share.")
        return found
    found.files["first_time"] = "2020-01-01T00:00:00Z"
    found.unsure.append("No column of times was found: a row is taken for each interval.")
    return found


def _some(cells: Sequence[str | None]) -> list[str]:
    """Some of the texts, of all parts."""
    texts = [cell.strip() for cell in cells if cell and cell.strip()]
    return texts[:: max(1, len(texts) // LOOKED_AT)]


def _tell(texts: list[str], formats: list[str], found: Times) -> None:
    names = [toml(name.strip()) for name in found.columns]
    if len(names) > 1:
        found.files["time_column"] = f"[{', '.join(names)}]"
    elif names[0] != toml("time"):
        found.files["time_column"] = names[0]
    if formats[0] != ISO:
        found.files["time_format"] = toml(formats[0])
    found.others = formats[1:]
    if found.others:
        others = " or ".join(map(repr, found.others))
        found.unsure.append(f"Times may also be {others}: day or month first?")
    zone = ZONES.get(formats[0].split(" ")[-1])
    if zone:
        found.files["time_zone"] = toml(zone)
    elif not re.search(r"Z$|[+-][0-9]{2}:?[0-9]{2}$", texts[0]) and "epoch" not in formats[0]:
        found.unsure.append("Times have no offset: is their zone UTC? Else set time_zone.")


def _clock(name: str, days: list[str], values: Cells) -> str | None:
    """The column of the time of day, if the one of the time holds days alone."""
    if any(":" in day for day in days) or unit_of(days[0]):
        return None
    for other, cells in values.items():
        times = _some(cells)
        if other == name or not times:
            continue
        is_clock = all(CLOCK.fullmatch(time) for time in times) or (
            CLOCK_NAMED.search(other) is not None
            and len({len(time) for time in times if len(time) > 2}) < 2
            and all(DIGITS.fullmatch(time) for time in times)
        )
        if is_clock and formats_of([f"{days[0]} {time}" for time in times]):
            return other
    return None


def formats_of(texts: Sequence[str]) -> list[str]:
    """Those that all the texts are written in, the likeliest first."""
    if not texts:
        return []
    if all(map(_is_number, texts)):
        days = [pattern for pattern in DAYS if all(fits(text, pattern) for text in texts)]
        units = {unit_of(text) for text in texts}
        return days[:1] or [unit for unit in units if unit and len(units) == 1]
    if all(map(_is_iso, texts)):
        return [ISO]
    ended = [_ENDED.fullmatch(text) for text in texts]
    words = {"".join(each.groups()[1:]) for each in ended if each}
    if all(ended) and len(words) == 1 and (word := words.pop()).strip().upper() not in ("AM", "PM"):
        texts = [each[1] for each in ended if each]
    else:
        word = ""
    patterns = (*PATTERNS, *CLOCKS_ALONE)
    found = [pattern for pattern in patterns if all(fits(text, pattern) for text in texts)]
    return [f"{pattern}{word}" for pattern in sorted(found, key=lambda each: _oddness(texts, each))]


def _oddness(texts: Sequence[str], pattern: str) -> tuple[bool, timedelta]:
    """How odd times are in a pattern: whether they are to come, and how far they are apart."""
    times = [parsed(text, pattern).replace(tzinfo=None) for text in texts]
    last = max(times)
    return last > datetime.now(UTC).replace(tzinfo=None) + timedelta(days=2), last - min(times)


def _is_number(text: str) -> bool:
    return re.fullmatch(NUMBER, text) is not None


def _is_iso(text: str) -> bool:
    try:
        from_iso(text)
    except ValueError:
        return False
    return not text.isdigit()
