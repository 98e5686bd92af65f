"""A histogram depends on the numbers alone, and shows them beside outliers too."""

import numpy as np
import pytest

from breezeway.preprocessing.histograms import Histogram, HistogramCounter, merged_histogram

BINS = 40


def of(*pieces: np.ndarray) -> Histogram:
    counter = HistogramCounter(BINS)
    for piece in pieces:
        counter.add(piece)
    return counter.histogram()


def some(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    width = 10.0 ** generator.integers(-9, 9)
    numbers = generator.normal(generator.normal() * 10.0 ** generator.integers(-5, 9), width, 5000)
    numbers[: 100 * (seed % 3)] = 0
    if seed % 4 == 0:
        numbers[-1] = 1e12
    return numbers


@pytest.mark.parametrize("seed", range(24))
def test_neither_order_nor_pieces_nor_merging_change_it(seed):
    numbers = some(seed)
    shuffled = np.random.default_rng(seed).permutation(numbers)
    whole = of(numbers)
    assert whole == of(*np.array_split(shuffled, 7))
    pieces = [of(piece) for piece in np.array_split(numbers, 5)]
    assert whole == merged_histogram(pieces, BINS) == merged_histogram(pieces[::-1], BINS)
    assert sum(whole.counts) == len(numbers) and len(whole.counts) <= BINS
    assert (whole.lowest, whole.highest) == (numbers.min(), numbers.max())


@pytest.mark.parametrize("seed", range(6))
def test_each_number_is_counted_in_its_bin(seed):
    numbers = some(seed)
    found = of(numbers)
    places, counts = np.unique(np.floor(numbers / 2.0**found.exponent), return_counts=True)
    assert (found.places, found.counts) == (places.tolist(), counts.tolist())
    narrower = np.unique(np.floor(numbers / 2.0 ** (found.exponent - 1)))
    assert len(narrower) > BINS  # so no narrower bins would do


def test_an_outlier_leaves_the_others_apart():
    numbers = np.append(np.random.default_rng(1).normal(5, 0.3, 5000), [65535.0, -999.0])
    found = of(numbers)
    assert 2.0**found.exponent <= 0.125
    assert found.counts[0] == found.counts[-1] == 1


def test_few_values_are_counted_exactly():
    assert of(np.array([3.0, 1.0, 3.0, 7.0])).counts == [1, 2, 1]


@pytest.mark.parametrize("numbers", [[0.0], [5e-324, -5e-324], [1e308, -1e308, 0.0], [2.5, 2.5]])
def test_numbers_at_the_ends_of_what_there_is_are_counted(numbers):
    found = of(*(np.array([number]) for number in numbers))
    assert sum(found.counts) == len(numbers)


def test_nothing_gives_an_empty_one():
    assert of() == of(np.zeros(0)) == merged_histogram([Histogram()], BINS) == Histogram()
