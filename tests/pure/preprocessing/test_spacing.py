"""The contract's claim of how far readings are apart is checked."""

import numpy as np
import pyarrow as pa
import pytest

from breezeway.contract.contract import Contract
from breezeway.core.settings import Settings
from breezeway.preprocessing import part
from breezeway.preprocessing.dataset import make_dataset
from breezeway.preprocessing.manifest import Spacing
from breezeway.preprocessing.spacing import IntervalTally, of_all, wrong_claim
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.arrow import READINGS
from tests.fixtures import plant

CONTRACT = Contract.from_text(plant.CONTRACT.format(by="time"), "contract.toml")
"""Of `interval_seconds = 60`."""
GOOD = '{"env":{"temperature":60},"torque":40}'


def spacing_of(seconds: np.ndarray) -> Spacing | None:
    tally = IntervalTally(CONTRACT.interval_seconds)
    tally.add(np.round(seconds * 1e6).astype(np.int64))
    return tally.spacing()


def test_intervals_are_those_between_good_readings_of_a_device(tmp_path, monkeypatch):
    """Of two devices, in blocks of five readings; a bad reading and a copy are none."""
    monkeypatch.setattr(part, "BLOCK_ROWS", 5)
    names = ["mill-1"] * 12 + ["mill-2"] * 9
    seconds = [*(10 * n for n in range(11)), 100, *(1000 + 300 * n for n in range(9))]
    payloads = [GOOD if n != 3 else "{" for n in range(21)]
    times = pa.array([10**6 * second for second in seconds], READINGS.field("time").type)
    table = pa.table([names, times, payloads, pa.nulls(21, pa.int64())], READINGS)
    (tmp_path / "dataset").mkdir()
    spec = DatasetSpec(CONTRACT, "test")
    made = make_dataset([table], spec, tmp_path / "dataset", Settings()).spacing
    # mill-1: 8 of 10 s and one of 20 s, all far from 60; mill-2: 8 of 300 s.
    assert made == Spacing(intervals=17, median_seconds=20, far_share=1)


@pytest.mark.parametrize("interval", [1e-6, 0.1, 10.0, 59.99, 86_400.0, 3e9])
def test_the_median_of_equal_intervals_is_exact(interval):
    assert spacing_of(np.full(1000, interval)).median_seconds == interval


def test_the_median_is_found_within_a_bin():
    seconds = np.random.default_rng(0).lognormal(3, 2, 9999)
    assert spacing_of(seconds).median_seconds == pytest.approx(np.median(seconds), rel=0.016)


def test_parts_add_up():
    generator = np.random.default_rng(1)
    several = [generator.uniform(5, 200, 500) for _ in range(3)]
    merged = IntervalTally(60)
    for seconds in several:
        tally = IntervalTally(60)
        tally.add((seconds * 1e6).astype(np.int64))
        merged.merge(tally)
    assert merged.spacing() == spacing_of(np.concatenate(several))


def test_days_add_up_by_their_intervals():
    short = Spacing(intervals=10, median_seconds=5, far_share=1)
    long = Spacing(intervals=90, median_seconds=60, far_share=0)
    assert of_all([long, None, short]) == Spacing(intervals=100, median_seconds=60, far_share=0.1)
    assert of_all([None]) is None


def test_a_wrong_claim_is_told_with_what_is_true():
    said = wrong_claim(CONTRACT, spacing_of(np.full(100, 10.0)))
    assert said.startswith("interval_seconds = 60, but the median interval is 10 s; ")
    assert said.endswith("set it to 10")


def test_irregular_intervals_are_told_with_their_share():
    seconds = np.array([60.0] * 6 + [10.0] * 2 + [600.0] * 2)
    said = wrong_claim(CONTRACT, spacing_of(np.tile(seconds, 5)))
    assert said.startswith("interval_seconds = 60, but 40% of the intervals are less than half")


@pytest.mark.parametrize(
    "seconds",
    [
        [60.0] * 50,
        [55.0, 65.0] * 50,
        [60.0] * 50 + [7200.0] * 9,
        [10.0] * 9,  # too few to say anything
        [],
    ],
)
def test_a_true_claim_is_not_told(seconds):
    assert wrong_claim(CONTRACT, spacing_of(np.array(seconds))) is None
