"""The profile of readings: gaps, intervals, late readings and devices, the same in any pieces."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.expressions import Vectors
from breezeway.core.settings import Settings
from breezeway.preprocessing import profile as profile_module
from breezeway.preprocessing.profile import (
    DeviceBlock,
    DeviceProfile,
    DeviceTotals,
    FieldTotals,
    Gap,
    LateReadings,
    Profile,
    merged,
)
from breezeway.preprocessing.spacing import IntervalTally

SECOND = 1_000_000


@pytest.fixture
def contract() -> Contract:
    text = (Settings.shipped_sensors / "plant.toml").read_text("utf-8")
    return Contract.from_text(text, "plant.toml")


def counted(*blocks: dict[str, Any]) -> Profile:
    """Blocks of device → seconds of its good readings; `bad` maps devices to how many are bad,
    `before` are readings that only come before."""
    totals = DeviceTotals(10 * SECOND, IntervalTally(10))
    for block in blocks:
        bad, before = block.pop("bad", {}), block.pop("before", {})
        names = sorted({*block, *bad, *before})
        codes, times, is_counted = [], [], []
        for code, name in enumerate(names):
            for seconds, counts in ((before.get(name, []), False), (block.get(name, []), True)):
                codes += [code] * len(seconds)
                times += [second * SECOND for second in seconds]
                is_counted += [counts] * len(seconds)
        quarantined = [names.index(name) for name, count in bad.items() for _ in range(count)]
        totals.add(
            DeviceBlock(
                names,
                np.array(codes, np.int32),
                np.array(times, np.int64),
                np.array(is_counted, bool),
                np.array(quarantined, np.int64),
            )
        )
    return totals.profile({}, [0, 0, 0], 0)


def test_a_gap_is_told_with_what_is_absent_in_it():
    found = counted({"a": [0, 10, 100, 110], "b": [0, 50]})
    assert (found.gaps, found.absent) == (1, 8)
    assert found.longest == [Gap(device="a", start=10 * SECOND, end=100 * SECOND)]
    assert found.worst[0] == DeviceProfile(
        device="a", rows=4, gaps=1, absent=8, longest=90 * SECOND, last=110 * SECOND
    )


def test_blocks_change_nothing():
    whole = counted({"a": [0, 10, 100, 300], "b": [5, 15], "bad": {"a": 1, "b": 2, "c": 1}})
    pieces = counted(
        {"a": [0, 10], "bad": {"a": 1}},
        {"a": [100]},
        {"a": [300], "b": [5], "bad": {"b": 2}},
        {"b": [15], "bad": {"c": 1}},
    )
    assert whole == pieces
    assert (whole.devices, whole.gaps) == (3, 2)


def test_devices_follow_each_other_without_a_gap():
    assert counted({"a": [0]}, {"b": [1000]}).gaps == 0


def test_readings_before_a_day_are_no_rows_but_show_the_gap_at_midnight():
    found = counted({"a": [120, 130], "before": {"a": [0, 55]}})
    assert (found.gaps, sum(found.intervals.values()), found.worst[0].rows) == (1, 2, 2)


def test_intervals_are_counted_by_their_ratio_to_that_of_the_contract():
    assert counted({"a": [0, 10, 20, 40, 45]}).intervals == {-4: 1, 0: 2, 4: 1}


@pytest.mark.parametrize("interval", [1.0, 1e300])
def test_any_interval_of_a_contract_can_be_counted(interval):
    totals = DeviceTotals(interval, IntervalTally(interval / SECOND))
    times, all_rows = np.array([0, 10**15]), np.ones(2, bool)
    totals.add(DeviceBlock(["a"], np.zeros(2, np.int32), times, all_rows, np.zeros(0, np.int64)))
    found = totals.profile({}, [0, 0, 0], 0)
    assert (found.gaps, sum(found.intervals.values())) == (int(interval == 1), 1)


def test_the_longest_gaps_and_the_worst_devices_are_kept_and_no_others(monkeypatch):
    monkeypatch.setattr(profile_module, "MOST_GAPS", 2)
    monkeypatch.setattr(profile_module, "MOST_DEVICES", 3)
    found = counted(*({f"d{k:03}": [0, 100 + k]} for k in range(50)))
    assert [gap.device for gap in found.longest] == ["d049", "d048"]
    assert [each.device for each in found.worst] == ["d046", "d047", "d048"]  # ties by name
    assert (found.devices, found.gaps) == (50, 50)


def test_parts_and_days_are_merged(contract):
    first, second = counted({"a": [0, 10], "b": [0]}), counted({"a": [500], "bad": {"c": 2}})
    both = merged([first, second], contract)
    assert both.devices == 3
    assert [(each.device, each.rows, each.quarantined) for each in both.worst] == [
        ("c", 0, 2),
        ("a", 3, 0),
        ("b", 1, 0),
    ]
    assert both.worst[1].last == 500 * SECOND
    assert both.times.highest == 500 * SECOND
    assert both == merged([second, first], contract)
    assert merged([], contract).fields.keys() == contract.fields.keys()


def late(*blocks: dict[str, list[int | None]]) -> int:
    counter = LateReadings()
    for block in blocks:
        codes = [code for code, ids in enumerate(block.values()) for _ in ids]
        ids = [number for ids in block.values() for number in ids]
        counter.add(list(block), np.array(codes, np.int32), pa.array(ids, pa.int64()))
    return counter.count


def test_a_reading_that_came_after_a_newer_one_is_late():
    assert late({"a": [1, 5, 2, 3, 6], "b": [4, 7]}) == 1
    assert late({"a": [9, 8, 7]}) == 2
    assert late({"a": [5, 6], "b": [1, 2]}) == 0
    assert late({"a": [3, None, 1]}) == 1


def test_a_late_reading_is_found_in_the_block_before():
    assert late({"a": [1, 5]}, {"a": [2, 3]}, {"a": [6]}) == 1
    assert late({"a": [1, 5]}, {"b": [2, 3]}) == 0


def test_a_category_is_counted_by_word_and_missing_values_apart(contract):
    totals = FieldTotals.of(contract, contract.fields["mode"])
    totals.add(np.array([0, 1, 1, np.nan]), np.arange(4))
    found = totals.profile()
    assert (found.values, found.missing, found.histogram) == (4, 1, None)
    assert found.words is not None and found.words[:2] == [1, 2]
    assert len(found.words) == len(contract.fields["mode"].categories)


def test_of_a_vector_one_element_of_each_reading_is_counted(contract):
    rules, generator = contract.fields["vibration"], np.random.default_rng(1)
    numbers, times = generator.normal(size=(4000, 4)), np.arange(4000) * 60 * SECOND
    numbers[:, 0] += 100
    numbers[0, 3] = np.nan
    whole, pieces = FieldTotals.of(contract, rules), FieldTotals.of(contract, rules)
    whole.add(Vectors(numbers.ravel(), np.arange(4000) * 4), times)
    for part in np.array_split(np.arange(4000), 7):
        vectors = Vectors(numbers[part].ravel(), np.arange(len(part)) * 4)
        pieces.add(vectors, times[part])
    found = whole.profile()
    assert found == pieces.profile()
    assert (found.values, found.missing) == (16000, 1)
    assert found.histogram is not None and found.histogram.highest == numbers[:, 0].max()
    assert sum(found.histogram.counts) in (3999, 4000)
    places = np.array(found.histogram.places) * 2.0**found.histogram.exponent
    first = np.array(found.histogram.counts)[places > 50].sum()
    assert 900 < first < 1100  # a fourth: the places come equally often


def test_a_file_that_is_no_profile_is_none(tmp_path):
    assert Profile.read(tmp_path) is None
    (tmp_path / "profile.json").write_text("[]", encoding="utf-8")
    assert Profile.read(tmp_path) is None
    whole = counted({"a": [0, 10]})
    whole.write(tmp_path)
    assert Profile.read(tmp_path) == whole
