"""One table of readings for all tests of a detector."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from breezeway.detector.model import OutOfFold
    from breezeway.detector.table import Table


@pytest.fixture(scope="session")
def table(plant_dataset: Path) -> "Table":
    from breezeway.contract.contract import load_contract
    from breezeway.detector.table import read_table

    return read_table(plant_dataset, load_contract(plant_dataset / "contract.toml"))


@pytest.fixture(scope="session")
def scores(table: "Table") -> "OutOfFold":
    from breezeway.detector.model import DEFAULT_PARAMS, out_of_fold
    from tests.fixtures.plant import plant_contract

    return out_of_fold(table, plant_contract(), DEFAULT_PARAMS, 20, 2)
