"""The statistics of windows that a contract names: `mean`, `slope:10`, `zscore:60:10`."""

import difflib
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

_MOST_NUMBERS: dict[Statistic, int] = {"last": 0, "diff": 0, "from_median": 2, "zscore": 2}
"""Of those that do not have one at the most, their window."""
_NUMBER = r"[1-9][0-9]{0,4}"


class RollingFeature(NamedTuple):
    """A statistic of a trailing window.

    Args:
        statistic: its name.
        window: the latest readings that it needs, with the present one.
        recent: how many of them, the latest ones, the device's own past does not include.
    """

    statistic: Statistic
    window: int
    recent: int = 0

    @classmethod
    def of(cls, text: str, window: int) -> Self:
        """The feature that a contract names.

        Args:
            text: such as `mean`, `mean:5` or `zscore:60:10`.
            window: of those that name none.

        Raises:
            ValueError: there is no such feature; the message says what is expected.

        >>> RollingFeature.of("zscore:60:10", 30)
        RollingFeature(statistic='zscore', window=60, recent=10)
        """
        name, *numbers = text.split(":")
        statistic = next((known for known in STATISTICS if known == name), None)
        if statistic is None:
            nearest = difflib.get_close_matches(name, STATISTICS, 1)
            meant = f"did you mean {nearest[0]!r}? " if nearest else ""
            raise ValueError(f"{text[:40]!r}: {meant}Expected one of {', '.join(STATISTICS)}")
        whole = [int(number) for number in numbers if re.fullmatch(_NUMBER, number)]
        if len(whole) != len(numbers) or len(whole) > _MOST_NUMBERS.get(statistic, 1):
            raise ValueError(f"{text[:40]!r}: expected {_forms(statistic)}")
        if statistic == "lag":
            if not whole:
                raise ValueError(f"{text!r}: how many readings ago? Expected {_forms(statistic)}")
            whole[0] += 1
        if statistic in OF_BASELINE and not whole:
            whole = [1]
        if statistic in ("last", "diff"):
            whole = [1 if statistic == "last" else min(2, window)]
        found = cls(statistic, *(whole or [window]))
        if found.window > LONGEST:
            raise ValueError(f"{text!r}: at most {LONGEST} readings are allowed")
        if found.recent >= found.window:
            raise ValueError(f"{text!r}: leaves no reading of the {found.window} in the past")
        return found


def _forms(statistic: Statistic) -> str:
    """How a statistic may be written, for people."""
    most = _MOST_NUMBERS.get(statistic, 1)
    if statistic == "lag":
        return "'lag:5', the value five readings ago"
    if most == 0:
        return f"'{statistic}' alone, which needs no window"
    own = f"'{statistic}', or with a window of its own '{statistic}:10'"
    if most == 1:
        return own
    return f"{own}, or without the five latest of its readings '{statistic}:60:5'"


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
                {"type": "string", "pattern": f"^[a-z_]+(:{_NUMBER}){{1,2}}$"},
            ]
        }
    ),
]
"""A statistic, with its own numbers behind it."""
