"""The description of a dataset folder, in its file `manifest.json`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from breezeway.contract.baselines import Baselines
from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.core.files import write_json


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class RawSummary(_Document):
    """The raw readings that a dataset was made from.

    Attributes:
        rows: how many.
        payloads: how many payloads they came in, if these may hold several.
        first_time: of the good ones, ISO 8601, UTC; None if none is good.
        last_time: of the good ones.
        sha256: of their content, independent of the order in which they were read.
    """

    rows: int
    payloads: Annotated[int | None, Field(exclude_if=lambda count: count is None)] = None
    first_time: str | None
    last_time: str | None
    sha256: str

    @property
    def arrived(self) -> int:
        """The rows of the query."""
        return self.rows if self.payloads is None else self.payloads


class Rejected(_Document):
    """Readings that were rejected for one reason.

    Attributes:
        field: of the contract, or `payload`, `device`, `time`, `label`.
        reason: a stable word.
        rows: how many.
        example: what is said of the first of them, with its value.
    """

    field: str
    reason: str
    rows: int
    example: str

    def __str__(self) -> str:
        return f"{self.rows} {self.reason} ({self.example})"


MOST_REJECTED = 20


def baseline_counts(contract: Contract, baselines: Baselines) -> dict[str, int]:
    """What a manifest counts of baselines; nothing for a contract without any."""
    if contract.features.baseline is None:
        return {}
    having = sum(own is not None for own in baselines.values())
    return {
        "devices_with_baseline": having,
        "devices_without_baseline": len(baselines) - having,
    }


def by_reason(several: Iterable[Rejected]) -> list[Rejected]:
    """The same with one entry for each field and reason, the one with the most rows first."""
    found: dict[tuple[str, str], Rejected] = {}
    for each in several:
        key = (each.field, each.reason)
        rows = each.rows + (found[key].rows if key in found else 0)
        found[key] = found.get(key, each).model_copy(update={"rows": rows})
    return sorted(found.values(), key=lambda r: (-r.rows, r.field, r.reason))


class Spacing(_Document):
    """How far good readings of a device are apart.

    Attributes:
        intervals: how many there are.
        median_seconds: of them.
        far_share: of those that are less than half or more than twice of `interval_seconds`.
    """

    intervals: int
    median_seconds: float
    far_share: float


class Manifest(_Document):
    """What a dataset was made from, and the result.

    Attributes:
        contract: name of the sensor contract.
        query: the SELECT of the readings.
        raw: the readings.
        rows: number of good readings; each is a row of the dataset.
        copies: number of readings that repeat another to the letter; they are left out.
        quarantined: number of readings that broke the contract.
        reasons: the same number by reason.
        rejected: the same by field and reason, with an example; at most
            `MOST_REJECTED`.
        missing: values of good readings that broke a rule of their field and count as missing, by
            field and reason, such as `temperature.out_of_range`. Nulls are not among them.
        carried: missing values of good readings in whose place the last known one stands, by
            field; `missing` has none of them.
        spacing: None if there is no interval, or in a manifest of an older release.
        devices_with_baseline, devices_without_baseline: how many, if the contract asks for it.
        features: names of the feature columns, in order.
    """

    contract: str
    query: str
    raw: RawSummary
    rows: int
    copies: int = 0
    quarantined: int
    reasons: dict[str, int]
    rejected: list[Rejected] = []
    missing: dict[str, int] = {}
    carried: Annotated[dict[str, int], Field(exclude_if=lambda counts: not counts)] = {}
    spacing: Spacing | None = None
    devices_with_baseline: Annotated[int | None, Field(exclude_if=lambda n: n is None)] = None
    devices_without_baseline: Annotated[int | None, Field(exclude_if=lambda n: n is None)] = None
    features: list[str]

    @classmethod
    def of(cls, document: Mapping[str, Any], source: str) -> Self:
        """Check the content of a manifest.

        Args:
            source: where it is from, for messages.

        Raises:
            DataError: source, field and reason of the first mistake.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise DataError(f"{source}: manifest.json: {field}: {first['msg']}.") from None

    def write(self, folder: Path) -> None:
        write_json(folder / "manifest.json", self.model_dump())


class DayManifest(Manifest):
    """The manifest of the partition of a day.

    Attributes:
        day: ISO 8601.
        fingerprint: of its sources; `preprocessing.days.stale_days` compares it.
    """

    day: str
    fingerprint: str


class RangeManifest(Manifest):
    """The manifest of a range of days.

    Attributes:
        days: the hash of each day's content, by the day in ISO 8601.
    """

    days: dict[str, str]
