"""A model of normal operation: how far a row is from what it was fitted on, by some distances.

The log odds of a score are the mean of the logarithms of the distances, each over its own limit;
Platt scaling multiplies them and adds to them. A score of 0.5 is thus where a tenth of normal rows
lies, until it is scaled.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from breezeway.core.errors import DataError
from breezeway.detector.families.family import FittedModel
from breezeway.detector.families.nearest_neighbours import Neighbours
from breezeway.detector.families.quadratic import QuadraticForm
from breezeway.detector.families.robust_scaling import RobustScaling

if TYPE_CHECKING:
    from breezeway.detector.platt_scaling import PlattScaling

NEAREST_ZERO = 1e-12
"""The squared distance of a row that is just where normal rows are: its logarithm is finite."""
LARGEST_BYTES = 64 << 20
"""Of a saved model: far more than that of a thousand features takes."""


class Member(NamedTuple):
    """A distance, and what is normal of it.

    Args:
        usual, limit: logarithms of the distance: of half of the normal rows, and of nine tenths.
    """

    distance: QuadraticForm | Neighbours
    usual: float
    limit: float


class _SavedMember(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)

    usual: float
    limit: float
    center: list[float] = []
    root: list[list[float]] = []
    references: list[list[float]] = []
    nearest: int = 0

    @classmethod
    def of(cls, member: Member) -> Self:
        arrays = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in member.distance._asdict().items()
        }
        return cls(usual=member.usual, limit=member.limit, **arrays)

    def member(self, features: int) -> Member:
        """Raises ValueError: it is none of so many features."""
        distance: QuadraticForm | Neighbours
        if self.references:
            references = np.array(self.references)
            if references.shape[1:] != (features,) or not 1 <= self.nearest <= len(references):
                raise ValueError("the rows to compare with are not of its features")
            distance = Neighbours(references, self.nearest)
        else:
            distance = QuadraticForm(np.array(self.center), np.array(self.root))
            if distance.center.shape != (features,) or distance.root.shape != (features, features):
                raise ValueError("the distance is not of its features")
        return Member(distance, self.usual, self.limit)


class _Saved(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)

    names: list[str]
    middle: list[float]
    weight: list[float]
    shares: list[float]
    slope: float
    intercept: float
    members: list[_SavedMember]


class NormalModel(FittedModel):
    """What is normal, and how far from it is far.

    Args:
        family: the name of its family.
        names: of the features.
        shares: float64 (features,): the mean part of each in the distances of normal rows.
        slope, intercept: of the scaling of the log odds.
    """

    def __init__(
        self,
        family: str,
        names: Sequence[str],
        scaling: RobustScaling,
        members: Sequence[Member],
        shares: np.ndarray,
        slope: float = 1.0,
        intercept: float = 0.0,
    ):
        self.family, self.names = family, list(names)
        self.scaling, self.members = scaling, list(members)
        self.shares, self.slope, self.intercept = shares, slope, intercept

    def to_onnx(self) -> bytes:
        # onnx, which a server does without.
        from breezeway.detector.families.onnx_distances import to_onnx

        return to_onnx(self)

    def to_bytes(self) -> bytes:
        saved = _Saved(
            names=self.names,
            middle=self.scaling.middle.tolist(),
            weight=self.scaling.weight.tolist(),
            shares=self.shares.tolist(),
            slope=self.slope,
            intercept=self.intercept,
            members=[_SavedMember.of(member) for member in self.members],
        )
        return saved.model_dump_json().encode()

    @classmethod
    def load(cls, family: str, native: bytes) -> Self:
        """Load what `to_bytes` gave; see `Family.load`."""
        if len(native) > LARGEST_BYTES:
            raise DataError(f"{len(native)} bytes; {LARGEST_BYTES} are allowed. Train again.")
        try:
            saved = _Saved.model_validate_json(native)
            sizes = {len(each) for each in (saved.names, saved.middle, saved.weight, saved.shares)}
            if len(sizes) != 1 or not saved.members or not saved.names:
                raise ValueError("it has not one entry for each feature")
            members = [member.member(len(saved.names)) for member in saved.members]
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise DataError(f"a model of normal operation: {place}: {first['msg']}") from None
        except ValueError as error:
            raise DataError(f"a model of normal operation: {error}") from None
        return cls(
            family,
            saved.names,
            RobustScaling(np.array(saved.middle), np.array(saved.weight)),
            members,
            np.array(saved.shares),
            saved.slope,
            saved.intercept,
        )

    def parts(self, rows: np.ndarray) -> np.ndarray:
        """The part of each feature in the distances, of what the row is further out than half of
        the normal rows; see `FittedModel.parts`."""
        values = self.scaling.apply(rows)
        found = np.zeros((len(rows), len(self.names) + 1))
        for member in self.members:
            parts = member.distance.parts(values)
            beyond = log_distance(parts) - member.usual
            found[:, :-1] += shares_of(parts) * beyond[:, None]
            found[:, -1] += member.usual - member.limit
        found *= self.slope / len(self.members)
        found[:, -1] += self.intercept
        return found

    def finished(self, scaling: "PlattScaling", features: np.ndarray, threads: int) -> Self:
        return type(self)(
            self.family, self.names, self.scaling, self.members, self.shares, *scaling
        )

    def importance(self) -> dict[str, float]:
        """The mean share of each feature in the distances of the rows that it was fitted on."""
        return dict(zip(self.names, self.shares.tolist(), strict=True))


def log_distance(parts: np.ndarray) -> np.ndarray:
    """Return float64 (rows,): the logarithm of the distance.

    Args:
        parts: float64 (rows, features): of the squared distance.
    """
    found: np.ndarray = np.log(np.maximum(parts.sum(axis=1), NEAREST_ZERO)) / 2
    return found


def shares_of(parts: np.ndarray) -> np.ndarray:
    """Return float64 (rows, features): of each feature in the distance; a row sums to 1."""
    total = parts.sum(axis=1, keepdims=True)
    equal = np.full_like(parts, 1 / parts.shape[1])
    found: np.ndarray = np.divide(parts, total, out=equal, where=total > 0)
    return found
