"""The sections of a sensor contract that say what a model sees."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from breezeway.contract.schema import Section
from breezeway.contract.statistics import LONGEST, RollingText


class Baseline(Section):
    """The readings of a device that its later ones are compared with."""

    readings: Annotated[int, Field(ge=2, le=LONGEST)]
    """The first good readings of a device, that many, are its baseline; with fewer it has none."""
    since: date | None = None
    """The day, in the contract's zone, on which the baselines of all devices begin."""


MOST_NAMES = 64
FeatureNames = Annotated[list[str], Field(min_length=1, max_length=MOST_NAMES)]


class Residual(Section):
    """What features are beyond what others explain: the difference to the value that is usual for
    the present values of the others, as it is learned from normal rows in training."""

    of: FeatureNames
    """Features, each of which gets another one with `_residual` behind its name."""
    given: FeatureNames
    """The features that explain them, such as power, speed and load."""


class Features(Section):
    """What a model sees of a window of readings."""

    auto: StrictBool = False
    """Whether `preprocess` makes candidates beside the features that are named, from which `tune`
    chooses those that pay: windows, own past, residuals, ratios."""
    window: Annotated[int, Field(ge=1, le=LONGEST)]
    """Readings of a device that a window has, with the present one, where a statistic names no
    window of its own. A window by time has at most so many."""
    max_gap_seconds: Annotated[float, Field(gt=0)] | None = None
    """A reading that comes later after the one before begins a new window."""
    rate_per: Literal["reading", "second"] = "reading"
    """What `slope` and `diff` are divided by: readings, or the seconds between their times."""
    reading: dict[str, str]
    """Features of one reading: a field, or arithmetic of fields with functions, comparisons,
    conditions and the clock."""
    rolling: dict[str, list[RollingText]] = Field(default_factory=dict)
    """For a name of `reading`, statistics of the window: last, mean, std, min, max, slope, rms,
    kurtosis, diff, median; with a window of its own, by readings `mean:5` or by time `mean:10min`
    (s, min, h, d); `lag:5`, the value five readings ago, or `lag:10min`; the present value beside
    the device's own past: from_median, zscore, `zscore:60:5`, `zscore:2h:10min`; and beside its
    baseline: from_baseline, baseline_zscore, or the mean of a window, `from_baseline:10`."""
    baseline: Baseline | None = None
    """What `from_baseline` and `baseline_zscore` compare with."""
    residual: Residual | None = None
    """Features beside what others explain."""
