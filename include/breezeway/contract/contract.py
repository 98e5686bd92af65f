"""The sensor contract: what a normal reading is, what is made of it, what an alarm may cost.

One object, read from one TOML file, checks rows on the way in and requests at the server.
"""

import math
import re
import tomllib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)

from breezeway.contract.expressions import Expression
from breezeway.core.errors import DataError
from breezeway.core.names import CONTRACT_NAME, DEVICE

ROLLING_STATISTICS = (
    "last",
    "mean",
    "std",
    "min",
    "max",
    "slope",
    "rms",
    "kurtosis",
    "diff",
)

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
"""A number in a delimited payload: ASCII, no blanks, no NaN and no infinity."""


class Violation(DataError):
    """A reading that breaks the contract.

    Args:
        field: the contract's field, or `payload`, `device`, `time`, `label`.
        reason: one of a few stable words, by which quarantined rows are counted.
        message: one sentence for a person.
    """

    def __init__(self, field: str, reason: str, message: str):
        super().__init__(message)
        self.field = field
        self.reason = reason

    def to_keep(self) -> Self:
        """This, as if it had not been raised: tracebacks hold all variables of their frames."""
        self.__context__ = None
        return self.with_traceback(None)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _contract_name(text: str) -> str:
    if mistake := CONTRACT_NAME.mistake(text):
        raise ValueError(mistake)
    return text


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] <= pair[1]:
        raise ValueError("expected [lowest, highest]")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Lengths = Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(_ordered)]


class Payload(_Section):
    format: Literal["json", "delimited"]
    separator: Annotated[str, Field(pattern=r"^[^0-9eE+\-.\"\\]$")] = ";"


class BatchExpectation(_Section):
    null_share: Annotated[float, Field(ge=0, le=1)] | None = None
    mean: Range | None = None


class SensorField(_Section):
    """One value of a payload.

    `path` leads to it in a JSON payload: nested keys joined by dots, or a list of keys where
    a key has a dot in it. In a delimited payload fields stand in the order of the file.

    `serving` says what the model server does with a reading that breaks this field's rules:
    refuse it, or take the value as missing and say so in the answer. History always refuses.
    """

    type: Literal["float", "int", "category", "vector"]
    unit: str = ""
    path: str | list[str] | None = None
    range: Range | None = None
    nulls: Literal["reject", "allow"] = "reject"
    serving: Literal["reject", "flag"] = "reject"
    categories: list[str] = []
    length: Lengths = (1, 4096)
    batch: BatchExpectation = BatchExpectation()

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        if (self.type == "category") != bool(self.categories):
            raise ValueError("categories: expected for a category, and only there")
        if len(set(self.categories)) != len(self.categories):
            raise ValueError("categories: the same one twice")
        if self.type == "category" and (self.range or self.batch.mean):
            raise ValueError("range and batch.mean are for numbers")
        if self.type != "vector" and "length" in self.model_fields_set:
            raise ValueError("length is for a vector")
        if self.type == "vector" and self.nulls == "allow":
            raise ValueError('nulls: a vector needs "reject"')
        if self.type == "vector" and self.serving == "flag":
            raise ValueError('serving: a vector needs "reject"')
        return self


class Features(_Section):
    window: Annotated[int, Field(ge=1, le=10_000)]
    reading: dict[str, str]
    rolling: dict[str, list[Literal[ROLLING_STATISTICS]]] = {}


class Label(_Section):
    """Where the truth stands: a column of the query, or a table of intervals."""

    column: str | None = None
    table: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.column is None) == (self.table is None):
            raise ValueError("expected either column or table")
        return self


class Alarm(_Section):
    """What chooses the threshold: a budget of false alarm episodes, or costs."""

    false_episodes_per_day: Annotated[float, Field(gt=0)] | None = None
    missed_event_cost: Annotated[float, Field(gt=0)] | None = None
    false_episode_cost: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        costs = (self.missed_event_cost is not None, self.false_episode_cost is not None)
        if any(costs) != all(costs) or all(costs) == (self.false_episodes_per_day is not None):
            raise ValueError(
                "expected either false_episodes_per_day, or both missed_event_cost and "
                "false_episode_cost"
            )
        return self


class Split(_Section):
    """How rows are kept apart: the past trains and what follows judges, or some devices train
    and others judge. The share `holdout` (the newest stretch, or whole devices) is never
    trained on; the rest is cut in folds."""

    by: Literal["time", "device"]
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2


class Quarantine(_Section):
    max_share: Annotated[float, Field(ge=0, le=1)] = 0.2


class Gate(_Section):
    max_loss: Annotated[float, Field(ge=0, le=1)] = 0.02
    approval: bool = False
    """Whether a person has to approve each promotion of the DAG `training`."""


class Canary(_Section):
    """When a challenger on trial is rolled back; `breezeway.deployment.canary_rule` holds the rule.

    Each limit is what a challenger may be worse by than the champion beside it. It is rolled
    back when chance alone does not explain that it is worse by more.
    """

    error_level: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of the trials of challengers as good as the champion that end with a rollback."""
    min_predictions: PositiveInt = 500
    """Of each of the two; with fewer at the end nothing is promoted."""
    max_error_increase: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Share of requests that got no score."""
    max_latency_ratio: Annotated[float, Field(ge=1)] = 2.0
    """Of the 95th percentile of the prediction's seconds."""
    max_score_shift: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Kolmogorov distance between the scores of the two."""
    max_precision_loss: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the alarms that were right, of those that a label came back for."""
    max_disagreements: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the readings that one of them alone gives an alarm for; in a shadow."""


class Drift(_Section):
    """What the nightly check may cost in false alarms; `breezeway.drift.decision` holds the rule.

    A change wakes somebody when it is found tonight and was found in `confirmations` of the
    `nights` before.
    """

    false_alarms_per_month: Annotated[float, Field(gt=0, le=30)] = 0.5
    """Nights a month on which somebody may be woken though nothing has changed."""
    nights: Annotated[int, Field(ge=0, le=30)] = 3
    confirmations: Annotated[int, Field(ge=0, le=30)] = 1
    retrain: bool = False
    """Whether drift starts the DAG `training`."""

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> Self:
        if self.confirmations > self.nights:
            raise ValueError("confirmations: expected at most as many as nights")
        return self


class Contract(_Section):
    """A sensor contract; `load_contract` and `Contract.from_text` make one."""

    name: Annotated[str, AfterValidator(_contract_name)]
    description: str = ""
    interval_seconds: Annotated[float, Field(gt=0)]
    device_pattern: str = ".+"
    payload: Payload
    fields: Annotated[dict[str, SensorField], Field(min_length=1)]
    features: Features
    label: Label
    alarm: Alarm
    split: Split
    quarantine: Quarantine = Quarantine()
    gate: Gate = Gate()
    canary: Canary = Canary()
    drift: Drift = Drift()
    text: Annotated[str, Field(exclude=True, repr=False)]

    @classmethod
    def from_text(cls, text: str, source: str) -> "Contract":
        """Read a contract.

        Args:
            text: TOML.
            source: the file's name, for messages.

        Raises:
            DataError: file, key and reason of the first mistake.
        """
        try:
            contract = cls.model_validate({**tomllib.loads(text), "text": text})
        except tomllib.TOMLDecodeError as error:
            raise DataError(f"{source}: not TOML: {error}") from None
        except ValidationError as error:
            # An unknown key first: it is the likely cause of one that is missing.
            first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
            reason = first["msg"].removeprefix("Value error, ")
            where = [source, ".".join(str(part) for part in first["loc"]), reason]
            raise DataError(": ".join(part for part in where if part)) from None
        return contract

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        try:
            re.compile(self.device_pattern)
        except re.error as error:
            raise ValueError(f"device_pattern: no regular expression: {error}") from None
        for name, field in self.fields.items():
            self._check_field(name, field)
        self._check_features()
        return self

    def _check_field(self, name: str, field: SensorField) -> None:
        if not name.isidentifier():
            raise ValueError(f"fields.{name}: a name of letters, digits and '_' is expected")
        if self.payload.format == "delimited":
            if field.type == "vector" or field.path is not None:
                raise ValueError(f"fields.{name}: a delimited payload has no vectors or paths")
            if any(self.payload.separator in category for category in field.categories):
                raise ValueError(f"fields.{name}.categories: the separator stands in one")
        elif not self.path(name) or not all(self.path(name)):
            raise ValueError(f"fields.{name}.path: expected keys joined by dots, or a list")
        for other in self.fields:
            if other != name:
                self._check_pair(name, other)

    def _check_pair(self, name: str, other: str) -> None:
        if name.lower() == other.lower():
            raise ValueError(f"fields.{other}: differs from {name} by upper and lower case alone")
        if self.payload.format == "delimited":
            return
        for a, b in zip(self.path(name), self.path(other), strict=False):
            if a != b and a.lower() == b.lower():
                raise ValueError(f"fields.{other}.path: {b} and {a} differ by case alone")
            if a != b:
                return
        raise ValueError(f"fields.{other}.path: lies at, above or below that of {name}")

    def _check_features(self) -> None:
        if not self.features.reading and not self.features.rolling:
            raise ValueError("features.reading: at least one feature is expected")
        for name in self.features.reading:
            self._expression(name)
        for name in self.features.rolling:
            if name not in self.features.reading:
                raise ValueError(f"features.rolling.{name}: no such name in features.reading")
        names = self.feature_names
        twice = {name for name in names if names.count(name) > 1}
        if twice or {"device", "time", "label"} & set(names):
            raise ValueError(f"features: the name {(twice or set(names)).pop()} is taken")

    def _expression(self, name: str) -> Expression:
        vectors = {key for key, field in self.fields.items() if field.type == "vector"}
        try:
            return Expression(self.features.reading[name], set(self.fields) - vectors, vectors)
        except ValueError as error:
            raise ValueError(f"features.reading.{name}: {error}") from None

    def path(self, name: str) -> tuple[str, ...]:
        """The keys that lead to a field in a JSON payload."""
        path = self.fields[name].path
        if path is None:
            return (name,)
        return tuple(path.split(".") if isinstance(path, str) else path)

    @property
    def window(self) -> int:
        return self.features.window

    @cached_property
    def expressions(self) -> dict[str, Expression]:
        return {name: self._expression(name) for name in self.features.reading}

    @property
    def feature_names(self) -> list[str]:
        rolling = self.features.rolling.items()
        return [
            *self.features.reading,
            *(f"{name}_{statistic}" for name, wanted in rolling for statistic in wanted),
        ]

    @cached_property
    def _device(self) -> re.Pattern[str]:
        return re.compile(self.device_pattern)

    def check_device(self, device: str) -> None:
        """Raises `Violation` for a device whose name the contract does not know."""
        if mistake := DEVICE.mistake(device):
            raise Violation("device", "unknown_device", f"device: {mistake}")
        if not self._device.fullmatch(device):
            raise Violation(
                "device",
                "unknown_device",
                f"device: {device[:80]!r} does not match {self.device_pattern!r}",
            )

    @cached_property
    def _fields(self) -> list[tuple[str, SensorField, Callable[..., Any]]]:
        checks = {"category": self._check_category, "vector": self._check_vector}
        return [
            (name, field, checks.get(field.type, self._check_number))
            for name, field in self.fields.items()
        ]

    @cached_property
    def _paths(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(name, self.path(name)) for name in self.fields]

    def parse(self, payload: str | None, flagged: list[Violation] | None = None) -> dict[str, Any]:
        """The values of one reading: the definition that every faster way must equal.

        Args:
            payload: as it was sent.
            flagged: where given, a field whose `serving` is "flag" does not refuse the reading;
                what was wrong with it is appended here and its value is NaN.

        Returns:
            For each field a float, a category's position in `categories` as a float, a
            float64 array of shape (elements,), or NaN for an allowed null.

        Raises:
            Violation: the first field, in the contract's order, that breaks the contract.
        """
        if payload is None:
            raise Violation("payload", "null_payload", "payload: null, expected a string")
        if self.payload.format == "json":
            raw = self._json_values(payload, flagged)
        else:
            raw = self._delimited_values(payload)
        values = dict.fromkeys(self.fields, math.nan)
        for name, field, check in self._fields:
            if name in raw:
                try:
                    value = raw[name]
                    values[name] = (
                        check(name, field, value) if value is not None else _null(name, field)
                    )
                except Violation as violation:
                    _flag(field, violation, flagged)
        return values

    def _json_values(self, payload: str, flagged: list[Violation] | None) -> dict[str, Any]:
        try:
            document = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise Violation("payload", "not_json", f"payload: not JSON: {error}") from None
        if not isinstance(document, dict):
            raise Violation("payload", "not_json", "payload: not a JSON object")
        values = {}
        for name, path in self._paths:
            value: Any = document
            for key in path:
                if not isinstance(value, dict) or key not in value:
                    where = ".".join(path)
                    missing = Violation(name, "missing", f"{name}: no {where!r} in the payload")
                    _flag(self.fields[name], missing, flagged)
                    break
                value = value[key]
            else:
                values[name] = value
        return values

    def _delimited_values(self, payload: str) -> dict[str, Any]:
        parts = payload.split(self.payload.separator)
        if len(parts) != len(self.fields):
            raise Violation(
                "payload",
                "wrong_count",
                f"payload: {len(parts)} values, expected {len(self.fields)} "
                f"separated by {self.payload.separator!r}",
            )
        values: dict[str, Any] = {}
        for (name, field), part in zip(self.fields.items(), parts, strict=True):
            if part == "":
                values[name] = None
            elif field.type == "category":
                values[name] = part
            else:
                values[name] = float(part) if NUMBER.fullmatch(part) else part
        return values

    def _check_category(self, name: str, field: SensorField, value: Any) -> float:
        if not isinstance(value, str):
            raise Violation(name, "wrong_type", f"{name}: {_shown(value)}, expected a string")
        if value not in field.categories:
            known = ", ".join(field.categories)
            raise Violation(
                name, "unknown_category", f"{name}: {_shown(value)}, expected one of {known}"
            )
        return float(field.categories.index(value))

    def _check_number(self, name: str, field: SensorField, value: Any) -> float:
        if type(value) is not float and type(value) is not int:  # a bool is an int to isinstance
            raise Violation(name, "wrong_type", f"{name}: {_shown(value)}, expected a number")
        number = float(value)
        if not math.isfinite(number):
            raise Violation(name, "wrong_type", f"{name}: {_shown(value)} is not finite")
        if field.type == "int" and not number.is_integer():
            raise Violation(name, "wrong_type", f"{name}: {_shown(value)}, expected an integer")
        limits = field.range
        if limits and not limits[0] <= number <= limits[1]:
            raise Violation(
                name,
                "out_of_range",
                f"{name}: {number!r} {field.unit}".rstrip()
                + f" is outside {limits[0]!r} to {limits[1]!r}",
            )
        return number

    def _check_vector(self, name: str, field: SensorField, value: Any) -> np.ndarray:
        if not isinstance(value, list):
            raise Violation(name, "wrong_type", f"{name}: {_shown(value)}, expected a list")
        if not field.length[0] <= len(value) <= field.length[1]:
            raise Violation(
                name,
                "length",
                f"{name}: {len(value)} elements, expected {field.length[0]} to {field.length[1]}",
            )
        lowest, highest = field.range or (-math.inf, math.inf)
        if set(map(type, value)) <= {int, float}:  # no bool, no null, no string
            elements = list(map(float, value))
            if min(elements) >= lowest and max(elements) <= highest:
                return np.array(elements)
        for position, element in enumerate(value):
            try:
                self._check_number(f"{name}[{position}]", field, element)
            except Violation as violation:
                raise Violation(name, violation.reason, str(violation)) from None
        raise AssertionError("a vector out of bounds has an element out of bounds")


def _null(name: str, field: SensorField) -> float:
    if field.nulls == "reject":
        raise Violation(name, "null", f"{name}: null, expected a {field.type}")
    return math.nan


def _flag(field: SensorField, violation: Violation, flagged: list[Violation] | None) -> None:
    if flagged is None or field.serving == "reject":
        raise violation
    flagged.append(violation)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def load_contract(path: Path) -> Contract:
    """Read a contract from its file.

    Raises:
        DataError: the file cannot be read, or holds a mistake: file, key and reason.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the sensor contract cannot be read: {error}") from None
    return Contract.from_text(text, path.name)
