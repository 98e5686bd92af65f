"""The baseline of each device: what its first good readings were like, frozen.

Both engines take the statistics from here, so history and a request give the same bits.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from breezeway.contract.clock import clock_columns
from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.core.files import write_json

BASELINES_FILE = "baselines.json"
FILE_BYTES = 256 << 20
"""A file of so many bytes or more is not read: 100 000 devices with ten features need a third."""
_LONGEST_NAME = 255


class Figures(BaseModel):
    """Of the values of a feature in a baseline.

    Attributes:
        mean: of those that are not missing.
        std: their population's standard deviation.
        count: how many there are.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
    mean: float
    std: Annotated[float, Field(ge=0)]
    count: Annotated[int, Field(ge=1)]


class DeviceBaseline(BaseModel):
    """The baseline of a device.

    Attributes:
        first, last: the times of its first and last reading, microseconds, UTC.
        features: the figures by feature of one reading; one without any value has none.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    first: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    last: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    features: dict[str, Figures]

    @model_validator(mode="after")
    def _in_order(self) -> "DeviceBaseline":
        if self.first > self.last:
            raise ValueError("first: later than last")
        return self

    @classmethod
    def of(cls, times: np.ndarray, columns: Mapping[str, np.ndarray]) -> "DeviceBaseline":
        """The baseline that readings make.

        Args:
            times: int64 (readings,): microseconds, growing.
            columns: from `columns_of`, whole.
        """
        found = {}
        for name, column in columns.items():
            values = column[~np.isnan(column)]
            if not len(values):
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                mean, std = float(values.mean()), float(values.std())
            if values.min() == values.max():  # rounding would make a deviation of nothing
                mean, std = float(values[0]), 0.0
            if math.isfinite(mean) and math.isfinite(std):
                found[name] = Figures(mean=mean, std=std, count=len(values))
        return cls(first=int(times[0]), last=int(times[-1]), features=found)


Baselines = Mapping[str, DeviceBaseline | None]
"""By device; None for one with too few good readings."""
_FILE = TypeAdapter(dict[Annotated[str, Field(max_length=_LONGEST_NAME)], DeviceBaseline | None])


def columns_of(
    contract: Contract, values: Mapping[str, Any], times: np.ndarray
) -> dict[str, np.ndarray]:
    """The features of single readings that baselines are made of.

    Args:
        values: for each field float64 of shape (rows,), or `Vectors`.
        times: int64 (rows,): microseconds.

    Returns:
        By name, float64 (rows,).
    """
    if contract.takes_time:
        values = {**values, **clock_columns(contract.zone, times)}
    names = dict.fromkeys(column.name for column in contract.baseline_columns)
    return {
        name: np.array(np.broadcast_to(contract.expressions[name](values), len(times)), np.float64)
        for name in names
    }


def beside(
    contract: Contract, features: np.ndarray, times: np.ndarray, baseline: DeviceBaseline | None
) -> None:
    """Put the features of a device beside its baseline.

    Readings up to the last one of the baseline get NaN: they must neither know themselves nor the
    age of the device.

    Args:
        features: float64 (rows, features): the values, or means, that are to be compared;
            overwritten.
        times: int64 (rows,): microseconds.
        baseline: None if the device has none, and then all is NaN.
    """
    columns = contract.baseline_columns
    if not columns:
        return
    # All columns at once: a request has one row, and each call of NumPy costs a microsecond.
    places = [column.place for column in columns]
    mean, std = np.full(len(columns), np.nan), np.ones(len(columns))
    for number, (_, name, statistic) in enumerate(columns):
        figures = baseline.features.get(name) if baseline else None
        if figures is not None:
            mean[number] = figures.mean
            if statistic == "baseline_zscore":
                std[number] = figures.std or np.nan
    with np.errstate(over="ignore"):
        compared = (features[:, places] - mean) / std
    compared[np.isinf(compared)] = np.nan
    if baseline is not None:
        compared[times <= baseline.last] = np.nan
    features[:, places] = compared


def write_baselines(baselines: Baselines, folder: Path) -> None:
    """Write `baselines.json`; equal baselines give equal bytes."""
    document = {device: own and own.model_dump() for device, own in baselines.items()}
    write_json(folder / BASELINES_FILE, document)


def read_baselines(contract: Contract, folder: Path) -> dict[str, DeviceBaseline | None]:
    """The baselines of a folder; none for a contract without any.

    Raises:
        DataError: there is no such file, it is too large, or it is not what the contract asks for.
    """
    if contract.features.baseline is None:
        return {}
    path = folder / BASELINES_FILE
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES)
        if len(content) == FILE_BYTES:
            raise DataError(f"{path}: {FILE_BYTES} bytes or more; fewer are expected.")
        found = _FILE.validate_json(content)
    except OSError as error:
        raise DataError(f"{path}: the baselines of devices cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part)[:80] for part in first["loc"])
        raise DataError(f"{path}: {key or 'the file'}: {first['msg']}.") from None
    for mistake in _mistakes(contract, found):
        raise DataError(f"{path}: {mistake}.")
    return found


def _mistakes(contract: Contract, found: Baselines) -> Iterator[str]:
    most = contract.features.baseline.readings if contract.features.baseline else 0
    names = {column.name for column in contract.baseline_columns}
    for device, own in found.items():
        if own is None:
            continue
        if unknown := sorted(set(own.features) - names):
            yield f"{device}.features.{unknown[0][:80]}: the contract compares no such feature"
        for name, figures in own.features.items():
            if figures.count > most:
                place = f"{device}.features.{name}.count"
                yield f"{place}: {figures.count}, at most {most} are expected"
