"""The sensor contract: valid readings, their features, and the cost of alarms.

One object, read from one TOML file, checks rows in preprocessing and requests at the server.
"""

import difflib
import tomllib
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self
from zoneinfo import ZoneInfo

import re2
from pydantic import AfterValidator, Field, ValidationError, model_validator

from breezeway.contract.alarm import Alarm
from breezeway.contract.candidates import with_candidates
from breezeway.contract.detector import Detector
from breezeway.contract.expressions import Expression
from breezeway.contract.feature_sections import Features
from breezeway.contract.files import Files
from breezeway.contract.mistakes import mistakes_of
from breezeway.contract.parser import ReadingParser
from breezeway.contract.schema import (
    NO_LABEL,
    Canary,
    Drift,
    Gate,
    Label,
    Payload,
    Quarantine,
    Section,
    SensorField,
    Split,
    Train,
)
from breezeway.contract.source import Source
from breezeway.contract.splitting import PayloadSplitter
from breezeway.contract.statistics import LONGEST, OF_BASELINE, RollingFeature, Statistic
from breezeway.contract.time_formats import ZoneName
from breezeway.contract.values import ValueReader, Violation
from breezeway.core.errors import DataError
from breezeway.core.names import CONTRACT_NAME, DEVICE, FEATURE


def _contract_name(text: str) -> str:
    if mistake := CONTRACT_NAME.mistake(text):
        raise ValueError(mistake)
    return text


TEXT_CHARACTERS = 1 << 20
"""A contract is far shorter."""


@lru_cache(maxsize=100)
def _compiled(pattern: str) -> Any:
    """A pattern that a user wrote, for RE2: its time grows with the length of the text alone. With
    Python's engine one request could stop a server, and one row a step."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


@lru_cache(maxsize=10_000)
def _matches(pattern: str, name: str) -> bool:
    """Whether a pattern allows a name. The same devices come again and again, and a look into this
    cache takes a tenth of the time of RE2's Python layer."""
    try:
        return _compiled(pattern).fullmatch(name) is not None
    except UnicodeEncodeError:  # half of a character, which no pattern allows
        return False


OF_LABELS = {
    "alarm": ("missed_event_cost", "false_episode_cost", "delay_cost", "maximize"),
    "gate": ("max_loss",),
}
"""Keys that say nothing without labels, by section."""

DagLabel = Annotated[str, Field(pattern=r"^\S(.{0,98}\S)?$")]


class BaselineColumn(NamedTuple):
    """A feature that is compared with the baseline: its place among all features, the feature of
    one reading that it is of, and the statistic."""

    place: int
    name: str
    statistic: Statistic


class Contract(Section):
    """A sensor contract; `load_contract` and `Contract.from_text` make one."""

    name: Annotated[str, AfterValidator(_contract_name)]
    """Of the sensor: of its model, its datasets and its DAG runs."""
    description: str = ""
    """For people."""
    owner: DagLabel = "breezeway"
    """Of the DAGs in Airflow; each notice names it."""
    tags: Annotated[tuple[DagLabel, ...], Field(max_length=20)] = ()
    """Of the DAGs in Airflow, beside `breezeway`."""
    time_zone: ZoneName = "UTC"
    """Of days, nights, hours of the week and schedules: a name of the IANA database."""
    interval_seconds: Annotated[float, Field(gt=0)]
    """Between two readings of a device; `preprocess` warns if it is not true of them. Budgets of
    false alarms, episodes and folds follow from it."""
    device_pattern: Annotated[str, Field(max_length=1000)] = ".+"
    """The regular expression (RE2) that the whole name of a device fits."""
    payload: Payload
    fields: Annotated[dict[str, SensorField], Field(min_length=1)]
    files: Files = Files()
    source: Source | None = None
    features: Features
    label: Label = NO_LABEL
    alarm: Alarm = Alarm()
    split: Split
    detector: Detector = Detector()
    train: Train = Train()
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
            DataError: file, key, line and reason of each mistake.
        """
        if len(text) > TEXT_CHARACTERS:
            raise DataError(f"{source}: {len(text)} characters; {TEXT_CHARACTERS} are allowed")
        try:
            table = tomllib.loads(text)
        except ValueError as error:  # also of a number with thousands of digits
            raise DataError(f"{source}: not TOML: {error}") from None
        except RecursionError:
            raise DataError(f"{source}: not TOML that can be read: nested too deeply") from None
        try:
            contract = cls.model_validate({**table, "text": text})
            if contract.features.auto:
                contract = cls.model_validate({**with_candidates(contract, table), "text": text})
        except ValidationError as error:
            raise DataError(f"{source}: {mistakes_of(error, cls, text)}") from None
        return contract

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        checks: list[Callable[[], object]] = [
            self._check_pattern,
            *(partial(self._check_field, *item) for item in self.fields.items()),
            *(partial(self._check_reading_feature, name) for name in self.features.reading),
            self._check_features,
            *(partial(self._check_room, name) for name in self.features.rolling),
            self._check_baseline,
            self._check_residual,
            self._check_files,
            self._check_source,
            self._check_training,
            self._check_without_labels,
            *(partial(self._check_monotone, name) for name in self.train.monotone),
        ]
        mistakes = []
        for check in checks:
            try:
                check()
            except ValueError as error:
                mistakes.append(str(error))
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def _check_pattern(self) -> None:
        try:
            _compiled(self.device_pattern)
        except re2.error as error:
            reason = error.args[0].decode(errors="replace")
            raise ValueError(f"device_pattern: no regular expression of RE2: {reason}") from None

    def _check_files(self) -> None:
        if unknown := sorted(set(self.files.columns) - set(self.fields)):
            raise ValueError(f"files.columns.{unknown[0]}: there is no such field")

    def _check_source(self) -> None:
        source = self.source
        if source is None:
            return
        if source.label_column and not self.label.column:
            raise ValueError("source.label_column: needs label.column")
        if source.device is not None:
            self._check_device_of_source(source.device)
        if source.columns is None:
            return
        if unknown := sorted(set(source.columns) - set(self.fields)):
            raise ValueError(f"source.columns.{unknown[0]}: there is no such field")
        if self.payload.format != "json":
            raise ValueError('source.columns: a payload is made of them for format = "json" alone')
        if self.payload.holds_readings:
            raise ValueError(
                "source.columns: each row is a reading, so payload.readings, time_path and "
                "device_path have no place to look at"
            )
        for name, field in self.fields.items():
            if not all(isinstance(key, str) for key in field.segments(name, self.payload)):
                raise ValueError(
                    f"fields.{name}.path: leads into a list, and none can be made of source.columns"
                )

    def _check_device_of_source(self, device: str) -> None:
        try:
            self.check_device(device)
        except Violation as error:
            raise ValueError(f"source.{error}") from None

    def _check_training(self) -> None:
        if self.request_readings > LONGEST:
            raise ValueError(
                f"alarm: a score needs {self.request_readings} readings; {LONGEST} are allowed"
            )
        if self.train.every_labels and not self.label.table:
            raise ValueError("train.every_labels: only labels in a table are counted")
        window, holdout = self.train.window, self.split.holdout
        if window and isinstance(holdout, timedelta) and holdout >= window:
            raise ValueError(
                f"split.holdout: {holdout.days} days cannot be kept back from the {window.days} of "
                "train.window"
            )

    def _check_without_labels(self) -> None:
        if self.has_labels:
            return
        mistakes = [
            f"{section}.{key}: needs [label]: without labels nothing is known to be found or "
            "missed. Leave it out, or name labels"
            for section, keys in OF_LABELS.items()
            for key in keys
            if key in getattr(self, section).model_fields_set
        ]
        if not {"false_episodes_per_day", "max_alarm_share"} & self.alarm.model_fields_set:
            mistakes.append(
                "alarm: without [label] the threshold keeps to a promised rate of false alarms: "
                "expected false_episodes_per_day, such as 0.2, or max_alarm_share"
            )
        if self.detector.families == "auto":
            mistakes.append(
                'detector.families: "auto" compares families by labels; without [label], expected '
                'one that needs none, such as ["average distance"]'
            )
        if mistakes:
            raise ValueError("\n".join(mistakes))

    def _check_monotone(self, name: str) -> None:
        self._check_feature_name(f"train.monotone.{name}", name)

    def _check_residual(self) -> None:
        residual = self.features.residual
        if residual is None:
            return
        for key, names in (("of", residual.of), ("given", residual.given)):
            for place, name in enumerate(names):
                self._check_feature_name(f"features.residual.{key}.{place}", name)
                if name in names[:place]:
                    raise ValueError(
                        f"features.residual.{key}.{place}: {name!r} stands there twice"
                    )
        if both := [name for name in residual.of if name in residual.given]:
            raise ValueError(f"features.residual.of: {both[0]!r} is among given, which explains it")

    def _check_feature_name(self, place: str, name: str) -> None:
        if name not in self.feature_names:
            nearest = difflib.get_close_matches(name, self.feature_names, 1)
            meant = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ValueError(f"{place}: there is no such feature as {name[:60]!r}{meant}")

    def _check_field(self, name: str, field: SensorField) -> None:
        if not name.isidentifier():
            raise ValueError(f"fields.{name}: a name of letters, digits and '_' is expected")
        if self.payload.format == "delimited":
            if field.type == "vector" or field.path is not None:
                raise ValueError(f"fields.{name}: a delimited payload has no vectors or paths")
            separated = any(self.payload.separator in category for category in field.categories)
            if separated and not self.payload.quote:
                raise ValueError(f"fields.{name}.categories: the separator stands in one")
        field.segments(name, self.payload)
        self._check_quality(name, field)
        if taken := ValueReader(name, field, self.payload).words_for_null:
            raise ValueError(f"fields.{name}: {taken[0]!r} is one of null_values too")
        for other in self.fields:
            if other != name:
                self._check_pair(name, other)

    def _check_quality(self, name: str, field: SensorField) -> None:
        field.quality_segments(name, self.payload)
        if field.quality is None:
            return
        place = f"fields.{name}.quality"
        if self.payload.format == "delimited" and field.quality.path not in self.fields:
            raise ValueError(
                f"{place}.path: {field.quality.path!r}: expected the name of the field that holds "
                "the quality, as the payload is delimited"
            )
        if self.source and self.source.columns is not None:
            raise ValueError(
                f"{place}: source.columns hold values alone; expected a source.query that gives "
                "NULL for a value that is not good"
            )

    def _check_pair(self, name: str, other: str) -> None:
        if name.lower() == other.lower():
            raise ValueError(f"fields.{other}: differs from {name} by upper and lower case alone")
        if self.payload.format == "delimited":
            return
        path, another = (self.fields[key].segments(key, self.payload) for key in (name, other))
        for a, b in zip(path, another, strict=False):
            if a != b and str(a).lower() == str(b).lower():
                raise ValueError(f"fields.{other}.path: {b} and {a} differ by case alone")
            if a != b:
                return
        raise ValueError(f"fields.{other}.path: lies at, above or below that of {name}")

    def _check_reading_feature(self, name: str) -> None:
        if mistake := FEATURE.mistake(name):
            raise ValueError(f"features.reading: {mistake}")
        self._expression(name)

    def _check_features(self) -> None:
        if not self.features.reading and not self.features.rolling:
            raise ValueError("features.reading: at least one feature is expected")
        for name in self.features.rolling:
            if name not in self.features.reading:
                raise ValueError(f"features.rolling.{name}: no such name in features.reading")
        names = self.detector_features
        twice = {name for name in names if names.count(name) > 1}
        if twice or {"device", "time", "label"} & set(names):
            raise ValueError(f"features: the name {(twice or set(names)).pop()} is taken")

    def _check_room(self, name: str) -> None:
        for text, feature in zip(self.features.rolling[name], self.rolling[name], strict=True):
            try:
                feature.check_room(text, self.interval_seconds)
            except ValueError as error:
                raise ValueError(f"features.rolling.{name}: {error}") from None

    def _check_baseline(self) -> None:
        baseline = self.features.baseline
        if baseline is None:
            if columns := self.baseline_columns:
                raise ValueError(
                    f"features.rolling.{columns[0].name}: {columns[0].statistic} needs "
                    "[features.baseline], such as readings = 120"
                )
            return
        if not self.baseline_columns:
            raise ValueError(
                f"features.baseline: no statistic of features.rolling is of it; expected one of "
                f"{', '.join(OF_BASELINE)}"
            )
        if self.payload.holds_readings:
            raise ValueError(
                "features.baseline: needs payloads that are one reading each, so without "
                "payload.readings, time_path and device_path"
            )

    def _expression(self, name: str) -> Expression:
        vectors = {key for key, field in self.fields.items() if field.type == "vector"}
        try:
            return Expression(self.features.reading[name], set(self.fields) - vectors, vectors)
        except ValueError as error:
            raise ValueError(f"features.reading.{name}: {error}") from None

    @property
    def has_labels(self) -> bool:
        """Whether it names labels; without them a detector learns what is normal."""
        return self.label.column is not None or self.label.table is not None

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @cached_property
    def rolling(self) -> dict[str, list[RollingFeature]]:
        """The features of windows, by the feature of one reading that they are of."""
        shared = self.features.window
        return {
            name: [RollingFeature.of(text, shared) for text in texts]
            for name, texts in self.features.rolling.items()
        }

    @cached_property
    def baseline_columns(self) -> list[BaselineColumn]:
        """The features that are compared with the baseline of the device."""
        found, place = [], len(self.features.reading)
        for name, wanted in self.rolling.items():
            for feature in wanted:
                if feature.statistic in OF_BASELINE:
                    found.append(BaselineColumn(place, name, feature.statistic))
                place += 1
        return found

    @cached_property
    def window(self) -> int:
        """The readings that the longest window has: those that a request must have."""
        wanted = [feature.window for features in self.rolling.values() for feature in features]
        return max([self.features.window, *wanted])

    @property
    def request_readings(self) -> int:
        """How many readings a request needs: a window for each score that has a say."""
        return self.window + self.alarm.lookback

    @cached_property
    def expressions(self) -> dict[str, Expression]:
        return {name: self._expression(name) for name in self.features.reading}

    @cached_property
    def takes_time(self) -> bool:
        """Whether features need the hour or the weekday."""
        return any(expression.takes_time for expression in self.expressions.values())

    @cached_property
    def windows_take_time(self) -> bool:
        """Whether they need those of all readings of a window, not of the present one alone."""
        return any(
            expression.takes_time and (expression.takes_vectors or name in self.rolling)
            for name, expression in self.expressions.items()
        )

    @property
    def feature_names(self) -> list[str]:
        rolling = self.features.rolling.items()
        return [
            *self.features.reading,
            *(f"{name}_{text.replace(':', '_')}" for name, texts in rolling for text in texts),
        ]

    @property
    def detector_features(self) -> list[str]:
        """The features that a detector learns from: those of a row, and the residuals that it
        makes of them."""
        residual = self.features.residual
        return [
            *self.feature_names,
            *(f"{name}_residual" for name in (residual.of if residual else ())),
        ]

    @cached_property
    def parser(self) -> ReadingParser:
        return ReadingParser(self.payload, self.fields)

    @cached_property
    def carried(self) -> dict[str, timedelta]:
        """The fields whose last known value stands for a missing one, and for how long."""
        return {
            name: timedelta(seconds=field.carry_forward_seconds)
            for name, field in self.fields.items()
            if field.carry_forward_seconds
        }

    @property
    def longest_carried(self) -> timedelta | None:
        """How old the oldest value is that may be carried; None if none is."""
        return max(self.carried.values(), default=None)

    @cached_property
    def splitter(self) -> PayloadSplitter | None:
        """What takes the readings out of payloads; None where each is a reading as it is."""
        return PayloadSplitter(self.payload) if self.payload.holds_readings else None

    def check_device(self, device: str) -> None:
        """Raises `Violation` for a device whose name the contract does not allow."""
        if mistake := DEVICE.mistake(device):
            raise Violation("device", "unknown_device", f"device: {mistake}")
        if not _matches(self.device_pattern, device):
            raise Violation(
                "device",
                "unknown_device",
                f"device: {device[:80]!r} does not match {self.device_pattern!r}",
            )


def load_contract(path: Path) -> Contract:
    """Read a contract from its file.

    Raises:
        DataError: the file cannot be read, or has a mistake; the message gives key and reason.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the sensor contract cannot be read: {error}") from None
    return Contract.from_text(text, path.name)
