"""The times of files: as SQL where DuckDB reads them, and what a time may have meant if not."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from breezeway.contract.files import Files
from breezeway.contract.time_formats import (
    EPOCHS,
    EXCEL,
    EXCEL_1970,
    EXCEL_FIRST,
    ISO,
    NUMBERS,
    OUR_DAYS,
    as_unit,
    unit_of,
)
from breezeway.core.quoting import sql_string
from breezeway.core.times import from_end_of_day, from_half_of_day, from_iso, in_utc, moved
from breezeway.readings.arrow import FIRST, LAST
from breezeway.readings.file_mistakes import shown, toml

CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?"
NAIVE = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ]{CLOCK})?"
OFFSET = r"(Z| ?UTC|[+-][0-9]{2}(:?[0-9]{2})?)"
"""How nearly every file writes a time; what else is ISO 8601, Python reads."""
QUARTER = 15 * 60 * 1_000_000
"""Clocks are changed at whole quarters of an hour."""
PATTERN_FIRST = -30_610_224_000_000_000
"""The year 1000, in microseconds since 1970: `%Y` also takes 26 for a year."""
HALF_OF_DAY = "[ \u00a0\u202f]*([AaPp])[.]?[ \u00a0\u202f]?([Mm])[.]?$"
"""As `from_half_of_day` knows it."""
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
DAYS = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%y"),
    *("%d/%m/%y", "%m/%d/%y", "%y/%m/%d", "%m-%d-%Y", "%d-%m-%y", "%m-%d-%y", "%y-%m-%d"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y"),
)
CLOCKS = (
    *("", " %H:%M:%S", " %H:%M", " %H:%M:%S.%f", " %H:%M:%S,%f", " %I:%M:%S %p", " %I:%M %p"),
    *("-%H:%M:%S", "T%H:%M:%S", ", %H:%M:%S", " %H.%M.%S", " %H.%M", " %I:%M:%S.%f %p"),
)
CLOCKS_ALONE = tuple(
    f"{day}{clock}"
    for day in ("%Y-%m-%d", "%Y%m%d", *DAYS)
    for clock in (" %H%M", " %H%M%S", " %H")
)
"""Of a day and a time of day in two columns."""
ISO_PATTERNS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S.%f")
PATTERNS = (
    *(f"{day}{clock}" for day in DAYS for clock in CLOCKS),
    *("%d/%b/%Y:%H:%M:%S", "%d/%b/%Y:%H:%M:%S %z", "%b %d %Y %H:%M:%S"),
    *("%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S %z", "%Y/%m/%d %H:%M:%S %z"),
    *("%Y%m%d%H%M%S", "%Y%m%d %H%M%S", "%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d-%H:%M:%S"),
    *ISO_PATTERNS,
)
ZONES = {
    **{"CET": "Etc/GMT-1", "MEZ": "Etc/GMT-1", "CEST": "Etc/GMT-2", "MESZ": "Etc/GMT-2"},
    **{"EST": "Etc/GMT+5", "EDT": "Etc/GMT+4", "PST": "Etc/GMT+8", "PDT": "Etc/GMT+7"},
}
"""What abbreviations mean in most files; others have several meanings, such as IST."""
SHOWN = "%Y-%m-%dT%H:%M:%S"


def stamp_sql(text: str, kind: str, files: Files) -> tuple[str, str]:
    """The SQL of a time, and of whether it is without an offset from UTC.

    Args:
        text: the SQL of the cell as text, without blanks around it.
        kind: the SQL type of the column.

    Returns:
        Microseconds since 1970, null if it cannot be read; and a boolean.
    """
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        zoned = kind == "TIMESTAMP WITH TIME ZONE"
        cast = f"CAST({text} AS TIMESTAMPTZ)" if zoned else f"CAST({text} AS TIMESTAMP)"
        return f"epoch_us({cast})", "false" if zoned else "true"
    if files.time_format == ISO:
        naive = f"regexp_full_match({text}, {sql_string(NAIVE)})"
        offset = f"regexp_full_match({text}, {sql_string(NAIVE + OFFSET)})"
        return (
            f"CASE WHEN {naive} THEN epoch_us(TRY_CAST({text} AS TIMESTAMP)) "
            f"WHEN {offset} THEN epoch_us(TRY_CAST({text} AS TIMESTAMPTZ)) END"
        ), naive
    if files.time_format in NUMBERS:
        plain = _plain_sql(text, files)
        others = " OR ".join(
            f"TRY_CAST({plain} AS DOUBLE) >= {since} AND TRY_CAST({plain} AS DOUBLE) < {until}"
            for name, (since, until) in OUR_DAYS.items()
            if name != files.time_format
        )
        stamp = _of_number(plain, files.time_format)
        is_local = str(files.time_format == EXCEL).lower()
        return f"CASE WHEN NOT ({others}) THEN {stamp} END", is_local
    if files.time_format.endswith(" %p"):
        text = f"regexp_replace({text}, {sql_string(HALF_OF_DAY)}, ' \\1\\2')"
    parsed = f"epoch_us(try_strptime({text}, {sql_string(files.time_format)}))"
    has_offset = "%z" in files.time_format
    return f"CASE WHEN {parsed} >= {PATTERN_FIRST} THEN {parsed} END", str(not has_offset).lower()


def _plain_sql(text: str, files: Files) -> str:
    """The SQL of a number with a point."""
    if files.decimal == ".":
        return text
    return f"CASE WHEN NOT contains({text}, '.') THEN replace({text}, ',', '.') END"


def _of_number(text: str, time_format: str) -> str:
    """The SQL of microseconds since 1970."""
    if time_format == EXCEL:
        days = (
            f"CASE WHEN regexp_full_match({text}, {sql_string(NUMBER.pattern)}) "
            f"AND TRY_CAST({text} AS DOUBLE) >= {EXCEL_FIRST} THEN TRY_CAST({text} AS DOUBLE) END"
        )
        since = EXCEL_1970 * 86_400_000_000
        return f"TRY(CAST(floor(({days}) * 86400000 + 0.5) AS BIGINT) * 1000 - {since})"
    number = f"TRY_CAST({text} AS DECIMAL(38, 9))"
    if time_format == "epoch ns":
        return f"TRY(CAST(floor({number}) AS BIGINT) // 1000)"
    return f"TRY(CAST(floor({number} * {EPOCHS[time_format]}) AS BIGINT))"


def bounded(stamp: str) -> str:
    """The SQL of a time that Python has."""
    return f"CASE WHEN {stamp} BETWEEN {FIRST} AND {LAST} THEN {stamp} END"


def read_slowly(text: str | None, files: Files) -> tuple[int, bool] | None:
    """A time that only Python reads, as microseconds; and whether it is without an offset."""
    if text is None or files.time_format in NUMBERS or NUMBER.fullmatch(text):
        return None
    begun, further = from_end_of_day(text)
    try:
        if files.time_format == ISO:
            found = datetime.fromisoformat(begun)
        elif further:
            found = datetime.strptime(begun, files.time_format.replace("%-", "%"))
        else:
            return None
        time = in_utc(moved(found, further))
    except ValueError:
        return None
    stamp = (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    is_year = files.time_format == ISO or stamp >= PATTERN_FIRST
    return (stamp, found.tzinfo is None) if is_year else None


def to_utc(stamps: np.ndarray, zone: ZoneInfo) -> tuple[np.ndarray, dict[int, str]]:
    """Local times in UTC.

    Args:
        stamps: int64 of shape (rows,), microseconds since 1970 as a clock there shows them.

    Returns:
        The times in UTC, and what is wrong by place: those that clocks there show twice or never.
    """
    quarters, places = np.unique(stamps // QUARTER, return_inverse=True)
    ahead = np.empty(len(quarters), np.int64)
    wrong: dict[int, str] = {}
    for number, quarter in enumerate(quarters.tolist()):
        local = datetime(1970, 1, 1) + timedelta(microseconds=quarter * QUARTER)
        offset, said = _offset(local, zone)
        ahead[number] = offset // timedelta(microseconds=1)
        if said:
            for place in np.flatnonzero(places == number)[:100].tolist():
                wrong[place] = said
    return stamps - ahead[places], wrong


def _offset(local: datetime, zone: ZoneInfo) -> tuple[timedelta, str]:
    first = local.replace(tzinfo=zone)
    second = first.replace(fold=1)
    offsets = [first.utcoffset() or timedelta(), second.utcoffset() or timedelta()]
    if offsets[0] == offsets[1]:
        return offsets[0], ""
    back = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    return offsets[0], "comes twice" if back == local else "does not exist"


def expected_time(text: str | None, files: Files) -> tuple[str, str]:
    """What is wrong with a time, and the setting that would help."""
    if not text:
        return "expected a time, got nothing", ""
    given = shown(text)
    if files.time_format in NUMBERS:
        said = f"expected a time as a number ({files.time_format}), got {given}"
        text = text.replace(",", ".") if files.decimal == "," else text
        if not NUMBER.fullmatch(text):
            return said, _pattern_setting(text)
        unit = unit_of(text)
        return said + (f", which is {_as_unit(text, unit)} as {unit}" if unit else ""), (
            _unit_setting(text)
        )
    if files.time_format != ISO:
        return f"expected a time as {files.time_format!r}, got {given}", _other_setting(text)
    said = f"expected a time such as 2026-01-31T12:00:00, got {given}"
    if NUMBER.fullmatch(text):
        return _number(text, given)
    named = re.fullmatch(r"(.*[0-9])( ?)([A-Za-z]{1,5})", text)
    if named and named[3].upper() not in ("UTC", "GMT", "AM", "PM", "Z"):
        pattern = [*_patterns(named[1], (*ISO_PATTERNS, *PATTERNS)), "…"][0]
        if not re.fullmatch("[A-Z]{3,5}", named[3]):
            return said, f"time_format = {toml(pattern + named[2] + named[3])}"
        zone = ZONES.get(named[3], "AREA/CITY")
        return (
            f"{said}: {named[3]!r} is no offset from UTC; write one, such as +01:00",
            f"time_format = {toml(pattern + named[2] + named[3])} and time_zone = {toml(zone)}",
        )
    setting = _other_setting(text)
    if not setting and re.search("[0-9]", text) and re.search(r"[^\W\d_]{2}", text):
        said += ": names of days and months are read in English alone"
    return said, setting


def ambiguous_time(text: str, said: str, files: Files) -> str:
    return (
        f"the time {shown(text)} {said} in {files.time_zone}: expected an offset from UTC, such as "
        "+01:00, behind it"
    )


def _number(text: str, given: str) -> tuple[str, str]:
    epoch = _unit_setting(text)
    patterns = _patterns(text, ("%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%d%H%M"))
    if not patterns:
        return f"expected a time such as 2026-01-31T12:00:00, got the number {given}", epoch
    pattern = patterns[0]
    day = datetime.strptime(text, pattern).strftime(SHOWN)
    unit = epoch.split('"')[1] if epoch else "epoch s"
    then = _as_unit(text, unit)
    return (
        f"{given} is {day} or, as {unit}, {then}: expected a format that tells"
    ), f"time_format = {toml(pattern)} or {toml(unit)}"


def _as_unit(text: str, unit: str) -> str:
    try:
        return as_unit(text, unit).strftime(SHOWN)
    except ValueError:
        return "far from now"


def _unit_setting(text: str) -> str:
    unit = unit_of(text)
    return f"time_format = {toml(unit)}" if unit else ""


def _other_setting(text: str) -> str:
    try:
        if not NUMBER.fullmatch(text):
            from_iso(text)
            return f'time_format = "{ISO}"'
    except ValueError:
        pass
    return _unit_setting(text) if NUMBER.fullmatch(text) else _pattern_setting(text)


def _pattern_setting(text: str) -> str:
    found = _patterns(text, PATTERNS)
    return f"time_format = {' or '.join(map(toml, found[:2]))}" if found else ""


def _patterns(text: str, patterns: Iterable[str]) -> list[str]:
    return [pattern for pattern in patterns if fits(text, pattern)]


@lru_cache(maxsize=10_000)
def fits(text: str, pattern: str) -> bool:
    """Whether a text is a time of our days in a pattern."""
    try:
        return 1900 <= parsed(text, pattern).year < 2100
    except ValueError:
        return False


def parsed(text: str, pattern: str) -> datetime:
    """The time that a text is in a pattern, as a clock shows it.

    Raises:
        ValueError: it is none.
    """
    return datetime.strptime(from_half_of_day(from_end_of_day(text)[0]), pattern)
