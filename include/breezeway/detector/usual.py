"""What is usual of each feature: its range in normal readings, kept with a model.

An alarm names values beside it: "vibration 4.1 g, usually 1.2 to 1.9".
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError

if TYPE_CHECKING:
    # Parquet: never at the import of a server
    from breezeway.detector.residuals import Residuals
    from breezeway.detector.table import Table

USUAL_FILE = "usual.json"
QUANTILES = (0.05, 0.5, 0.95)
WORD_SHARE = 0.05
"""Of the normal readings: a word of a category that is rarer is not usual."""
LARGEST_BYTES = 4 << 20
"""Far more than the features of any contract take."""
SHOWN_CHARACTERS = 300


class Usual(BaseModel):
    """What is usual, by the name of a feature; one without a normal value is left out.

    Args:
        ranges: the 5th, 50th and 95th percentile of the normal readings.
        words: of a feature that is a category: those that at least 5 % of the normal readings have.
        residuals: of a feature that others explain: the same percentiles of what remains.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    ranges: dict[str, tuple[float, float, float]] = {}
    words: dict[str, tuple[str, ...]] = {}
    residuals: dict[str, tuple[float, float, float]] = {}

    @classmethod
    def read(cls, path: Path, contract: Contract) -> Self:
        """Read what was saved with a model; models of older releases have no such file.

        Raises:
            DataError: the file is not what training writes for this contract.
        """
        if not path.is_file():
            return cls()
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise DataError(f"{path.name}: expected at most {LARGEST_BYTES} bytes; train again.")
        try:
            found = cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))[:SHOWN_CHARACTERS]
            raise DataError(f"{path.name}: {place}: {first['msg'][:SHOWN_CHARACTERS]}") from None
        for mistake in found._mistakes(contract):
            raise DataError(f"{path.name}: {mistake[:SHOWN_CHARACTERS]}")
        return found

    def _mistakes(self, contract: Contract) -> Iterator[str]:
        categories = category_features(contract)
        numbers = set(contract.feature_names) - set(categories)
        for part, known in (("ranges", numbers), ("residuals", _explained(contract))):
            for name, (low, middle, high) in getattr(self, part).items():
                if name not in known:
                    yield f"{part}.{name}: the contract has no such feature that is a number"
                if not low <= middle <= high:
                    yield f"{part}.{name}: expected growing numbers, found {low}, {middle}, {high}"
        for name, words in self.words.items():
            if name not in categories:
                yield f"words.{name}: the contract has no such feature that is a category"
            elif unknown := set(words) - set(categories[name]):
                yield f"words.{name}: the category has no word {min(unknown)!r}"


def category_features(contract: Contract) -> dict[str, tuple[str, ...]]:
    """The words of the features that are a category's field as it is."""
    return {
        name: contract.fields[expression.field].categories
        for name, expression in contract.expressions.items()
        if expression.field and contract.fields[expression.field].type == "category"
    }


def _explained(contract: Contract) -> set[str]:
    """The features that have a residual."""
    return set(contract.features.residual.of) if contract.features.residual else set()


def usual_of(table: "Table", contract: Contract, residuals: "Residuals") -> Usual:
    """Find what is usual in the normal rows of a table.

    Args:
        residuals: of the model.
    """
    normal, categories = ~table.rows.label, category_features(contract)
    ranges: dict[str, Any] = {}
    words: dict[str, Any] = {}
    for number, name in enumerate(contract.feature_names):
        column = table.features[normal, number]
        column = column[~np.isnan(column)]
        if not len(column):
            continue
        if name in categories:
            share = np.bincount(column.astype(int), minlength=len(categories[name])) / len(column)
            pairs = zip(categories[name], share.tolist(), strict=True)
            words[name] = tuple(word for word, part in pairs if part >= WORD_SHARE)
        else:
            ranges[name] = _percentiles(column)
    remains = {}
    of_rows = residuals.of_rows(table.features[normal]) if len(residuals.of) else np.empty((0, 0))
    for place, column in zip(residuals.of.tolist(), of_rows.T, strict=True):
        known = column[np.isfinite(column)]
        if len(known):
            remains[contract.feature_names[place]] = _percentiles(known)
    return Usual(ranges=ranges, words=words, residuals=remains)


def _percentiles(column: np.ndarray) -> Any:
    found = np.quantile(column.astype(np.float64), QUANTILES)
    return tuple(float(f"{value:.6g}") for value in found)
