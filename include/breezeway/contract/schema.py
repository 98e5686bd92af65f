"""The sections of a sensor contract: the allowed keys of its file, and their values."""

import re
from collections.abc import Sequence
from datetime import timedelta
from itertools import takewhile
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    model_validator,
)

from breezeway.contract.paths import (
    Each,
    Segment,
    from_root,
    parse_path,
    parse_readings_path,
    shown,
)
from breezeway.contract.time_formats import ISO, TimeFormat, ZoneName


class Section(BaseModel):
    """A table of the file; an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] <= pair[1]:
        raise ValueError("expected [lowest, highest]")
    return pair


Bound = Annotated[float, Field(allow_inf_nan=True)]
Range = Annotated[tuple[Bound, Bound], AfterValidator(_ordered)]
"""Lowest and highest value; `inf` and `-inf` leave a side open."""
Lengths = Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(_ordered)]


def _share_or_days(value: Any) -> float | timedelta:
    if isinstance(value, str) and re.fullmatch(r"[1-9][0-9]{0,3}d", value):
        return timedelta(days=int(value[:-1]))
    if type(value) in (int, float) and 0 < value < 1:
        return float(value)
    raise ValueError(f'{str(value)[:40]!r}: expected a share between 0 and 1, or days such as "7d"')


Stretch = Annotated[float | timedelta, BeforeValidator(_share_or_days)]
"""A part of a dataset: a share of its rows, or whole days of the contract's zone."""


def _whole_days(value: Any) -> timedelta:
    found = _share_or_days(value) if isinstance(value, str) else value
    if not isinstance(found, timedelta):
        raise ValueError(f'{str(value)[:40]!r}: expected days such as "90d"')
    return found


WholeDays = Annotated[timedelta, BeforeValidator(_whole_days)]


def _as_text(category: Any) -> Any:
    return str(category) if type(category) is int else category


Category = Annotated[str, BeforeValidator(_as_text)]
"""A whole number stands for its text."""
Word = Annotated[str, Field(max_length=255)]
NullValue = float | Word


def _leads_to_readings(path: str | None) -> str | None:
    if path is not None and not {*Each} & {*parse_readings_path(path)}:
        raise ValueError(f'{path!r}: expected [*] for each element of a list, as in "Messages[*]"')
    return path


def _is_a_path(path: str | None) -> str | None:
    if path is not None and (inner := from_root(path)) is not None:
        parse_readings_path(inner)
    elif path is not None:
        parse_path(path)
    return path


def _is_a_path_to_a_value_or_key(path: str | None) -> str | None:
    _is_a_path(path and path.removesuffix("~"))
    return path


OwnPath = Annotated[str | None, AfterValidator(_is_a_path_to_a_value_or_key)]
"""`~` behind it stands for the key there."""

Thousands = Literal[".", ",", "'", " "] | None
"""A blank is also one that keeps a line together."""


class Payload(Section):
    """The form of all payloads."""

    format: Literal["json", "delimited"]
    """`json`, or values between separators in the order of the fields."""
    separator: Annotated[str, Field(pattern=r"^[^0-9eE+\-.\"\\]{1,8}$")] = ";"
    """Of delimited values; up to eight characters."""
    quote: Annotated[str, Field(pattern=r"^[^0-9A-Za-z+\-.\s]$")] | None = None
    """What may stand around a delimited value."""
    decimal: Literal[".", ","] = "."
    """The decimal mark of numbers in text."""
    thousands: Thousands = None
    """The mark between groups of three digits of numbers in text."""
    null_values: tuple[NullValue, ...] = ()
    """What stands for a null, in every field. A number is compared as a number, a text without the
    blanks around it."""
    readings: Annotated[str | None, AfterValidator(_leads_to_readings)] = None
    """Where the readings stand in a payload that has several: `[*]` is each element of a list, `.*`
    each member of an object. The paths of fields then begin at a reading; those that begin with
    `$.` at the payload."""
    records: Annotated[str | None, AfterValidator(_leads_to_readings)] = None
    """In its place, where records stand of which those of one time and device are one reading, such
    as a record for each tag. `time_path` and `device_path` then begin at a record, the paths of
    fields at the payload, which has only the records of one reading."""
    senml: bool = False
    """Whether the records are those of SenML (RFC 8428), whose base values hold for all that
    follow."""
    time_path: OwnPath = None
    """Where a reading's own time stands, which counts in place of that beside the payload. `~`
    behind the path stands for the key there."""
    time_format: TimeFormat = ISO
    """Of `time_path`: a pattern, `iso`, `excel` (days of Excel's 1900 system), or `epoch s`,
    `epoch ms`, `epoch us` or `epoch ns`."""
    time_zone: ZoneName = "UTC"
    """Of times at `time_path` without an offset from UTC."""
    device_path: OwnPath = None
    """Where the name of a reading's own device stands, which counts in place of that beside the
    payload."""

    @model_validator(mode="after")
    def _holds_readings(self) -> Self:
        given = {"readings", "records", "time_path", "device_path"} & self.model_fields_set
        if given and self.format != "json":
            raise ValueError(f'{min(given)} is for format = "json"')
        for key in ("time_format", "time_zone"):
            if key in self.model_fields_set and not self.time_path:
                raise ValueError(f"{key} is for time_path")
        if self.readings and self.records:
            raise ValueError("expected either readings or records")
        if self.records and not (self.time_path or self.device_path):
            raise ValueError(
                "records needs time_path or device_path, to tell which belong together"
            )
        if self.senml and self.records != "[*]":
            raise ValueError('senml is for records = "[*]"')
        for key in ("time_path", "device_path"):
            if path := getattr(self, key):
                self.own_path(path.removesuffix("~"), key)
        return self

    @property
    def holds_readings(self) -> bool:
        """Whether readings have to be taken out of a payload."""
        return bool(self.readings or self.time_path or self.device_path)

    @property
    def to_reading(self) -> tuple[Segment, ...]:
        """The path to each reading."""
        return parse_readings_path(self.readings) if self.readings else ()

    @property
    def _key_of_several(self) -> str:
        return "payload.records" if self.records else "payload.readings"

    @property
    def to_own(self) -> tuple[Segment, ...]:
        """The path to each reading or record, at which `time_path` and `device_path` begin."""
        return parse_readings_path(self.records) if self.records else self.to_reading

    def path_of(self, path: str | Sequence[Segment], name: str) -> tuple[Segment, ...]:
        """The path to a field's value in a payload that has one reading.

        Args:
            path: as in the contract.
            name: of the key, for messages.

        Raises:
            ValueError: there is no such path.
        """
        if not isinstance(path, str):
            return (*self.to_reading, *path)
        if self.records and (inner := from_root(path)) is not None:
            return parse_readings_path(inner)  # of what has several, there is one here
        return self._from(self.to_reading, path, name)

    def own_path(self, path: str, name: str) -> tuple[Segment, ...]:
        """The same of a reading's own time or device."""
        return self._from(self.to_own, path, name)

    def _from(self, readings: tuple[Segment, ...], path: str, name: str) -> tuple[Segment, ...]:
        if (inner := from_root(path)) is None:
            return (*readings, *parse_path(path))
        segments, key = parse_readings_path(inner), self._key_of_several
        pairs = takewhile(lambda pair: pair[0] == pair[1], zip(segments, readings, strict=False))
        shared = len(list(pairs))
        if any(isinstance(segment, Each) for segment in segments[shared:]):
            raise ValueError(f"{name}: {path!r}: [*] or .* stands elsewhere in {key}")
        if shared < len(segments) and isinstance((*readings, None)[shared], Each):
            raise ValueError(
                f"{name}: {path!r}: expected {shown(readings[shared : shared + 1])} there, "
                f"as in {key}"
            )
        return segments

    @model_validator(mode="after")
    def _can_be_divided(self) -> Self:
        if self.quote and self.format == "json":
            raise ValueError('quote is for format = "delimited"')
        if self.quote and (len(self.separator) > 1 or self.quote == self.separator):
            raise ValueError("quote: needs a separator of one other character")
        if self.format == "delimited" and self.decimal in self.separator:
            raise ValueError(f"decimal: {self.decimal!r} stands in the separator")
        if self.thousands == self.decimal:
            raise ValueError("thousands and decimal: the same mark")
        if self.format == "delimited" and self.thousands and self.thousands in self.separator:
            raise ValueError(f"thousands: {self.thousands!r} stands in the separator")
        return self


def _leads_to_a_value(path: str | list[str | int] | None) -> str | list[str | int] | None:
    if isinstance(path, str):
        _is_a_path(path)
    elif path is not None and (not path or "" in path):
        raise ValueError("expected keys joined by dots, or a list of keys")
    return path


class BatchExpectation(Section):
    """What is expected of the values of a whole dataset."""

    null_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """The largest share of missing values in a batch; with more, preprocessing fails."""
    mean: Range | None = None
    """Lowest and highest mean of a batch."""


class Quality(Section):
    """Where a payload says whether a value is good. Without a good value there, the field's value
    counts as `invalid` says."""

    path: Annotated[str, AfterValidator(_is_a_path)]
    """Where the quality stands, by the rules of the field's path; in a delimited payload, the name
    of another field. Where payloads are made of a file's columns, it is the name of a column."""
    good_values: Annotated[tuple[bool | float | Word, ...], Field(min_length=1)]
    """What stands there for a good value: words in upper or lower case, numbers, true or false. In
    text they are the same."""
    required: bool = True
    """Whether a value without its quality counts as bad. OPC UA sends no status that is good:
    false."""


class SensorField(Section):
    """One value of a payload.

    In a delimited payload the fields are in the order of the file. What `invalid` says holds in
    history and in a request alike; of a vector the elements count as missing. A number is read as
    it was sent, compared with `null_values`, taken as two's complement of so many bits, multiplied
    by `scale`, and `offset` is added. `range` is of the result.
    """

    type: Literal["float", "int", "bool", "category", "vector"]
    """What the value is. A number, a word or a list of numbers; a bool is 1 or 0."""
    unit: str = ""
    """Of the number, for people; it may also follow a number in text."""
    path: Annotated[str | list[str | int] | None, AfterValidator(_leads_to_a_value)] = None
    """Where the value stands in a JSON payload, if not at the key of the field's name: keys joined
    by dots, places in a list, the element with one equal member; or a list of keys and places."""
    range: Range | None = None
    """Lowest and highest good value, of each element of a vector; `inf` and `-inf` leave a side
    open."""
    invalid: Literal["reject", "missing"] = "reject"
    """What happens to a value that is missing, null, unreadable or out of range: the reading is
    rejected, or the value counts as missing."""
    null_values: tuple[NullValue, ...] = ()
    """Besides those of `payload`."""
    carry_forward_seconds: Annotated[float, Field(gt=0, le=31_536_000)] | None = None
    """The device's last known value stands for one that is missing, if it is not older: for devices
    that send only what has changed."""
    true_values: tuple[Word, ...] = ()
    """Besides true, on and 1, in upper or lower case."""
    false_values: tuple[Word, ...] = ()
    """Besides false, off and 0."""
    twos_complement: Literal[8, 16, 24, 32, 48] | None = None
    """The bits of a register whose upper half stands for negative numbers."""
    scale: float = 1.0
    """The number that was sent is multiplied by it."""
    offset: float = 0.0
    """It is added to the result."""
    categories: tuple[Category, ...] = ()
    """The words of a category; a whole number stands for its text."""
    length: Lengths = (1, 4096)
    """The fewest and the most elements of a vector."""
    batch: BatchExpectation = BatchExpectation()
    """What is expected of the values of a whole dataset."""
    quality: Quality | None = None
    """Where a payload says whether the value is good."""

    @model_validator(mode="before")
    @classmethod
    def _of_older_models(cls, table: Any) -> Any:
        """A contract that was saved with a model may have the two keys that `invalid` replaced."""
        if not isinstance(table, dict):
            return table
        table, invalid = dict(table), []
        for key, tolerant in (("nulls", "allow"), ("serving", "flag")):
            if key in table and table[key] in ("reject", tolerant):
                invalid.append("missing" if table.pop(key) == tolerant else "reject")
        if invalid:
            table.setdefault("invalid", min(invalid))
        return table

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        if (self.type == "category") != bool(self.categories):
            raise ValueError("categories: expected for a category, and only there")
        if len({category.strip() for category in self.categories}) != len(self.categories):
            raise ValueError("categories: the same one twice")
        if self.type in ("category", "bool") and (self.range or self.batch.mean):
            raise ValueError("range and batch.mean are for numbers")
        if self.carry_forward_seconds and (self.type == "vector" or self.invalid == "reject"):
            raise ValueError(
                'carry_forward_seconds is for invalid = "missing", and not for a vector'
            )
        if self.type != "vector" and "length" in self.model_fields_set:
            raise ValueError("length is for a vector")
        if self.type != "bool" and (self.true_values or self.false_values):
            raise ValueError("true_values and false_values are for a bool")
        if self.type in ("category", "bool") and self.is_converted:
            raise ValueError("twos_complement, scale and offset are for numbers")
        if not self.scale:
            raise ValueError("scale: 0 would make all values the same")
        return self

    @property
    def is_converted(self) -> bool:
        """Whether the number is another one than that which was sent."""
        return bool(self.twos_complement or self.scale != 1 or self.offset)

    def segments(self, name: str, payload: Payload) -> tuple[Segment, ...]:
        """The path to the value in a JSON payload that has one reading.

        Args:
            name: of the field.
            payload: the form of the payload.
        """
        return payload.path_of((name,) if self.path is None else self.path, f"fields.{name}.path")

    def quality_segments(self, name: str, payload: Payload) -> tuple[Segment, ...]:
        """The same to its quality; empty if the contract has none."""
        if self.quality is None:
            return ()
        return payload.path_of(self.quality.path, f"fields.{name}.quality.path")


class Label(Section):
    """The source of the labels: a column of the query, or a table of intervals. Without the section
    there are none: a detector learns what is normal, and its threshold keeps to a promised rate of
    false alarms."""

    column: str | None = None
    """The column of the query that holds 0, 1 or null."""
    table: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """The table of faults, as intervals."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.column is None) == (self.table is None):
            raise ValueError("expected either column or table")
        return self


NO_LABEL = Label.model_construct()
"""Of a contract without the section `[label]`."""


class Split(Section):
    """How rows are divided for training and evaluation: by time, earlier and later rows, or by
    device. `holdout` (the newest rows, or whole devices) is kept back from the fit that is
    evaluated; the rest is divided into folds."""

    by: Literal["time", "device"]
    """Earlier and later rows, or whole devices."""
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    """Of what is not held out: to tune, and to choose the threshold."""
    holdout: Stretch = 0.2
    """What is kept back to evaluate the model: the newest rows or days, or devices."""

    @model_validator(mode="after")
    def _days_are_of_time(self) -> Self:
        if self.by == "device" and isinstance(self.holdout, timedelta):
            raise ValueError('holdout: days are for by = "time"; by device, expected a share')
        return self


class Train(Section):
    """What a model learns from."""

    window: WholeDays | None = None
    """So many of the newest whole days, made by the DAG `history` or by the training itself;
    without, all readings of a query."""
    schedule: (
        Annotated[str, Field(pattern=r"^[0-9A-Za-z*/,#?-]+( [0-9A-Za-z*/,#?-]+){4}$")] | None
    ) = None
    """When the DAG `training` runs: five fields of cron, in the contract's zone."""
    every_days: Annotated[int, Field(ge=1, le=9999)] | None = None
    """It also runs when so many days have come that the champion does not know."""
    every_labels: PositiveInt | None = None
    """It also runs when so many faults have been recorded since a night last started it."""
    refit: bool = False
    """Whether the model that serves is fitted again, with the parameters and the threshold of the
    one that is evaluated, on all rows: on the held out ones too."""
    monotone: dict[str, Literal["increasing", "decreasing"]] = {}
    """For a feature, what the score may do when it rises and all others stay: only rise, or only
    fall. For what physics says, such as of wear."""


class Quarantine(Section):
    """Rejected readings."""

    max_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The largest share of rejected rows; with more, preprocessing fails."""


class Gate(Section):
    """When a challenger may be promoted: without labels, if it keeps its promise of false
    alarms."""

    max_loss: Annotated[float, Field(ge=0, le=1)] = 0.02
    """The average precision that a challenger may lose; only with labels."""
    approval: bool = False
    """Whether a person must approve each promotion of the DAG `training`."""


class Canary(Section):
    """When a challenger on trial is rolled back; `breezeway.deployment.canary_rule` holds the rule.

    Each limit is by how much a challenger may be worse than the champion. It is rolled back if it
    is significantly worse than that.
    """

    error_level: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Of challengers that are as good as the champion, the share that is rolled back."""
    min_predictions: PositiveInt = 500
    """For each of the two; with fewer predictions at the end nothing is promoted."""
    max_error_increase: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """The share of requests that got no score."""
    max_latency_ratio: Annotated[float, Field(ge=1)] = 2.0
    """Ratio of the 95th percentiles of the prediction times."""
    max_score_shift: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Kolmogorov distance between the scores of the two."""
    max_precision_loss: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """The share of alarms that labels confirm, of the alarms with a label."""
    max_disagreements: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """In shadow mode, the share of readings for which only one of the two raises an alarm."""


class Drift(Section):
    """The allowed false alarms of the nightly check; `breezeway.drift.decision` holds the rule.

    A change raises an alarm if it is found tonight and was found in at least `confirmations` of
    the `nights` before.
    """

    false_alarms_per_month: Annotated[float, Field(gt=0, le=30)] = 0.5
    """Allowed nights a month with an alarm though nothing has changed."""
    nights: Annotated[int, Field(ge=0, le=30)] = 3
    """How many nights before are looked at."""
    confirmations: Annotated[int, Field(ge=0, le=30)] = 1
    """In how many of them a change must have been found."""
    retrain: bool = False
    """Whether drift starts the DAG `training`."""
    learn_days: Annotated[int, Field(ge=1, le=365)] = 3
    """The drifted days that a retraining must learn from. Those that are held out to evaluate it
    are needed besides."""

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> Self:
        if self.confirmations > self.nights:
            raise ValueError("confirmations: expected at most as many as nights")
        return self
