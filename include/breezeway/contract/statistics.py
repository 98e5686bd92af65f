"""The statistics of windows that a contract names: `mean`, `slope:10`, `zscore:2h:10min`."""

import difflib
import math
import re
from typing import Annotated, Literal, NamedTuple, Self, get_args

from pydantic import AfterValidator, WithJsonSchema

Statistic = Literal[
    "last",
    "mean",
    "std",
    "min",
    "max",
    "slope",
    "rms",
    "kurtosis",
    "diff",
    "median",
    "lag",
    "from_median",
    "zscore",
    "from_baseline",
    "baseline_zscore",
]
"""Over the values of a window that are not missing. `std` is the population's, `slope` the
least-squares slope and `diff` the difference to the reading before, both per reading or, with
`rate_per`, per second; `kurtosis` Fisher's excess (0 for a normal distribution, NaN if
nothing varies). `lag` is the value so many readings ago, `from_median` the present value less the
median of the window, `zscore` the present value less its mean, divided by its deviation (NaN if
nothing varies). `from_baseline` is the present value, or the mean of the window, less the mean of
the device's baseline, and `baseline_zscore` the same divided by the baseline's deviation (NaN if
nothing varies there). A window without values gives NaN."""
OF_BASELINE: tuple[Statistic, ...] = ("from_baseline", "baseline_zscore")
"""Those that need the baseline of the device."""
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
LONGEST = 10_000
"""Readings of a window, and of a request."""

_MOST_LENGTHS: dict[Statistic, int] = {"last": 0, "diff": 0, "from_median": 2, "zscore": 2}
"""Behind those that do not have one at the most, their window."""
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
"""In seconds."""
LONGEST_DAYS = 366
"""Of a window by time."""
_NUMBER = r"[1-9][0-9]{0,4}"
_LENGTH = f"{_NUMBER}({'|'.join(_UNITS)})?"


class RollingFeature(NamedTuple):
    """A statistic of a trailing window, by readings or by time.

    Args:
        statistic: its name.
        window: the latest readings that it needs, with the present one; by time, at most.
        recent: how many of them, the latest ones, the device's own past does not include.
        seconds: how long a window by time is: it has the readings that are later than so long
            before the present one. A `lag` is the value of the latest reading before it. 0 for a
            window by readings.
        recent_seconds: how long the part at its end is that the device's own past does not include.
    """

    statistic: Statistic
    window: int
    recent: int = 0
    seconds: int = 0
    recent_seconds: int = 0

    @classmethod
    def of(cls, text: str, window: int) -> Self:
        """The feature that a contract names.

        Args:
            text: such as `mean`, `mean:5`, `mean:10min` or `zscore:60:10`.
            window: of those that name none; by time, the most readings.

        Raises:
            ValueError: there is no such feature; the message says what is expected.

        >>> RollingFeature.of("zscore:60:10", 30)
        RollingFeature(statistic='zscore', window=60, recent=10, seconds=0, recent_seconds=0)
        >>> RollingFeature.of("slope:2h", 150)
        RollingFeature(statistic='slope', window=150, recent=0, seconds=7200, recent_seconds=0)
        """
        name, *lengths = text.split(":")
        statistic = next((known for known in STATISTICS if known == name), None)
        if statistic is None:
            nearest = difflib.get_close_matches(name, STATISTICS, 1)
            meant = f"did you mean {nearest[0]!r}? " if nearest else ""
            raise ValueError(f"{text[:40]!r}: {meant}Expected one of {', '.join(STATISTICS)}")
        fits = all(re.fullmatch(_LENGTH, length) for length in lengths)
        if not fits or len(lengths) > _MOST_LENGTHS.get(statistic, 1):
            raise ValueError(f"{text[:40]!r}: expected {_forms(statistic)}")
        by_time = {not length.isdigit() for length in lengths}
        if len(by_time) > 1:
            raise ValueError(f"{text!r}: both are readings, or both are times: 'zscore:2h:10min'")
        if True in by_time:
            found = cls(statistic, window, 0, *map(_seconds, lengths))
        else:
            found = cls._by_readings(text, statistic, [int(length) for length in lengths], window)
        if found.seconds > LONGEST_DAYS * _UNITS["d"]:
            raise ValueError(f"{text!r}: at most {LONGEST_DAYS}d are allowed")
        if found.recent >= found.window or 0 < found.seconds <= found.recent_seconds:
            raise ValueError(f"{text!r}: leaves no reading of the {lengths[0]} in the past")
        return found

    @classmethod
    def _by_readings(cls, text: str, statistic: Statistic, whole: list[int], window: int) -> Self:
        if statistic == "lag":
            if not whole:
                raise ValueError(f"{text!r}: how long ago? Expected {_forms(statistic)}")
            whole[0] += 1
        if statistic in OF_BASELINE and not whole:
            whole = [1]
        if statistic in ("last", "diff"):
            whole = [1 if statistic == "last" else min(2, window)]
        found = cls(statistic, *(whole or [window]))
        if found.window > LONGEST:
            raise ValueError(f"{text!r}: at most {LONGEST} readings are allowed")
        return found

    @property
    def span(self) -> tuple[int, int]:
        """How long a window by time is, and how long the part at its end that is left out."""
        return self.seconds, self.recent_seconds

    def check_room(self, text: str, interval: float) -> None:
        """Raise `ValueError` if a window by time has no room for its readings.

        Args:
            text: of the feature.
            interval: seconds between two readings of a device.
        """
        # Rounded, as 0.7 / 0.1 is not 7; a lag is the value before the window.
        within = math.ceil(min(round(self.seconds / interval, 6), 1e12))
        needed = within + (self.statistic == "lag")
        if not self.seconds or needed <= self.window:
            return
        told = f"{text!r} needs {needed} readings at interval_seconds = {interval:g}"
        if needed > LONGEST:
            raise ValueError(f"{told}, and {LONGEST} are allowed: name a shorter time")
        raise ValueError(
            f"{told}, and features.window holds {self.window}: set window = {needed} or more, or "
            "name a shorter time"
        )


def _seconds(length: str) -> int:
    number = length.rstrip("".join(_UNITS))
    return int(number) * _UNITS[length.removeprefix(number)]


def _forms(statistic: Statistic) -> str:
    """How a statistic may be written, for people."""
    most = _MOST_LENGTHS.get(statistic, 1)
    if statistic == "lag":
        return "'lag:5', the value five readings ago, or 'lag:10min', ten minutes ago"
    if most == 0:
        return f"'{statistic}' alone, which needs no window"
    own = f"'{statistic}', or with a window of its own '{statistic}:10' or '{statistic}:10min'"
    units = ", ".join(_UNITS)
    if most == 1:
        return f"{own} (readings, or {units})"
    return (
        f"{own}, or without the latest of its readings '{statistic}:60:5' or "
        f"'{statistic}:2h:10min' (readings, or {units})"
    )


def _checked(text: str) -> str:
    RollingFeature.of(text, LONGEST)
    return text


RollingText = Annotated[
    str,
    AfterValidator(_checked),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [name for name in STATISTICS if name != "lag"]},
                {"type": "string", "pattern": f"^[a-z_]+(:{_LENGTH}){{1,2}}$"},
            ]
        }
    ),
]
"""A statistic, with its own window behind it."""
