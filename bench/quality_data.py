"""The labelled readings that the bench of quality judges detectors on, as features.

Public data are read from files of the user's as `load-readings` reads them, the plant is the
simulator's; features are those of `preprocess`, by the shipped contracts.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breezeway.contract.contract import Contract, load_contract
from breezeway.core.settings import Settings
from breezeway.detector.scorecard import Rows
from breezeway.detector.table import Table, read_table
from breezeway.preprocessing.dataset import make_dataset
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings import file_loads, simulate
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import open_store

QUERY = "SELECT device, time, payload FROM readings"
QUERY_WITH_LABEL = "SELECT device, time, payload, label FROM readings"
MOST_CUT = 400
"""Rows that are cut off the start of a file of SKAB, at the most."""
BASELINE = 120
"""The rows after the cut: the device's own baseline, neither learned from nor scored."""
PLANT_DEVICES, PLANT_DAYS = 8, 8
PLANT_END = date(2026, 1, 13)


class Problem(NamedTuple):
    """A table of labelled rows to judge a detector on."""

    table: Table
    contract: Contract
    """Split by groups: a fold is some of them."""
    groups: np.ndarray
    """int (rows,): the device of a row, or its day."""
    names: np.ndarray
    """str: of the groups."""

    def grouped(self, seed: int) -> Rows:
        """The rows as a split by device sees them: another seed deals the groups otherwise."""
        names = np.array([f"{seed} {name}" for name in self.names.tolist()])
        return self.table.rows._replace(device=self.groups, names=names)


def data_folder(name: str) -> Path | None:
    """The folder of a public data set; None where it is not."""
    named = os.environ.get("BREEZEWAY_TEST_DATA")
    folder = Path(named, name) if named else None
    return folder if folder and folder.is_dir() else None


class Loaded(NamedTuple):
    """A raw store that readings were loaded into."""

    settings: Settings
    contract: Contract

    def problem(self, raw: pa.Table | None = None, by: str = "device", folds: int = 5) -> Problem:
        """Make features, and hold nothing out.

        Args:
            raw: readings, in place of all.
            by: `device` or `day`: what is left out together.
        """
        labels = LabelStore(self.settings.raw_address).labels_of(self.contract)
        query = QUERY if labels is not None else QUERY_WITH_LABEL
        chunks = [raw] if raw is not None else self.stream()
        with tempfile.TemporaryDirectory(prefix="breezeway-bench-") as folder:
            dataset = Path(folder) / "dataset"
            dataset.mkdir()
            make_dataset(chunks, DatasetSpec(self.contract, query, labels), dataset, self.settings)
            table = read_table(dataset, self.contract, whole=True)
        split = self.contract.split.model_copy(update={"by": "device", "folds": folds})
        contract = self.contract.model_copy(update={"split": split})
        rows = table.rows
        if by == "device":
            return Problem(table, contract, rows.device, rows.names)
        days = rows.time.astype("datetime64[us]").astype("datetime64[D]")
        names, groups = np.unique(days, return_inverse=True)
        return Problem(table, contract, groups, names.astype(str))

    def stream(self) -> Iterator[pa.Table]:
        label = self.contract.label.column
        query = QUERY_WITH_LABEL if label else QUERY
        return open_store(self.settings).stream(query, label=label)

    def cut(self, seed: int) -> pa.Table:
        """The readings of labelled files, with a random start, and without the labels of the
        device's own baseline."""
        raw = pa.concat_tables(self.stream())
        raw = raw.filter(pc.invert(pc.starts_with(raw["device"], "anomaly-free/")))
        raw = raw.sort_by([("device", "ascending"), ("time", "ascending")])
        device = raw["device"].combine_chunks().dictionary_encode().indices.to_numpy()
        first = np.flatnonzero(np.append(True, device[1:] != device[:-1]))
        number = np.arange(len(device)) - first[device]
        cuts = np.random.default_rng(seed).integers(0, MOST_CUT + 1, len(first))[device]
        own = pa.array(number < cuts + BASELINE)
        label = pc.if_else(own, pa.scalar(None, raw.schema.field("label").type), raw["label"])
        kept = raw.set_column(raw.column_names.index("label"), raw.schema.field("label"), label)
        return kept.filter(pa.array(number >= cuts))


@contextmanager
def loaded(name: str, data: Path | None, threads: int, plant: int = 0) -> Iterator[Loaded]:
    """The readings of a shipped contract in a raw store.

    Args:
        data: files of readings; None for the simulated plant.
        plant: the seed of the simulated one.
    """
    with tempfile.TemporaryDirectory(prefix="breezeway-bench-") as folder:
        settings = Settings(home=Path(folder), threads=threads).with_sensors(name)
        contract = load_contract(settings.sensors)
        if data:
            file_loads.load(settings, [data], contract)
        else:
            simulate.fill(
                settings, devices=PLANT_DEVICES, days=PLANT_DAYS, end=PLANT_END, seed=plant
            )
        yield Loaded(settings, contract)
