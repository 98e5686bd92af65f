"""Windows of their own, lags, medians and a device's own past: over dirty readings, in history and
in a request."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.features import History, latest_features
from breezeway.contract.rolling import SORTED_VALUES, rolling_statistics
from breezeway.contract.statistics import RollingFeature
from tests.fixtures.plain_statistics import NAN, plain_statistic

WINDOW = 6
TEXTS = ["mean", "median", "from_median", "zscore", "diff", "last", "mean:1", "mean:4", "mean:13"]
TEXTS += ["min:3", "max:16", "std:5", "rms:7", "slope:10", "kurtosis:9", "median:4", "median:11"]
TEXTS += ["lag:1", "lag:9", "from_median:9:2", "from_median:3:1", "zscore:16:7", "zscore:5:1"]
LONGEST = 16


def contract(rate_per: str = "reading", texts: list[str] = TEXTS) -> Contract:
    return Contract.from_text(
        f"""
name = "any"
interval_seconds = 1
payload = {{ format = "json" }}
fields = {{ x = {{ type = "float", invalid = "missing" }} }}
label = {{ column = "label" }}
alarm = {{ false_episodes_per_day = 1 }}
split = {{ by = "time" }}
[features]
window = {WINDOW}
rate_per = "{rate_per}"
reading = {{ x = "x" }}
rolling = {{ x = {texts} }}
""",
        "any",
    )


START = datetime(2026, 1, 1, 0, 0, 0, 123_457, tzinfo=UTC)
ODD = [NAN, NAN, 0.0, -0.0, 1.0, 1.0, 1e6, 5e-324]


def made(seed: int) -> list[tuple[np.ndarray, list[datetime]]]:
    """Values and times of a few runs of up to 30 readings, with none, some or mostly odd values."""
    generator = np.random.default_rng(seed)
    runs = []
    for _ in range(3):
        count = int(generator.integers(1, 31))
        odd = generator.random(count) < generator.choice([0, 0.2, 0.8])
        usual = generator.normal(5, 3, count)
        passed = np.cumsum(generator.choice([1, 10**7, 10**12], count)).tolist()
        times = [START + timedelta(microseconds=microseconds) for microseconds in passed]
        runs.append((np.where(odd, generator.choice(ODD, count), usual), times))
    return runs


def of_history(c: Contract, runs: list, block: int) -> np.ndarray:
    names = [number for number, (values, _) in enumerate(runs) for _ in values]
    values = np.concatenate([values for values, _ in runs])
    times = np.array([(t - START) // timedelta(microseconds=1) for _, ts in runs for t in ts])
    history, found = History(c), []
    for first in range(0, len(names), block):
        here = names[first : first + block]
        starts = [k for k, name in enumerate(here) if k == 0 or here[k - 1] != name]
        column = {"x": values[first : first + block]}
        moments = times[first : first + block]
        found.append(history.features([here[k] for k in starts], np.array(starts), column, moments))
    return np.concatenate(found)


@pytest.mark.parametrize("rate_per", ["reading", "second"])
@pytest.mark.parametrize("seed", range(3))
def test_history_equals_requests_to_the_last_bit(seed, rate_per):
    c = contract(rate_per)
    assert c.window == LONGEST
    runs = made(seed)
    found = iter(of_history(c, runs, block=(7, 20, 200)[seed]))
    for values, times in runs:
        readings = [{"x": value} for value in values.tolist()]
        for end in range(1, len(readings) + 1):
            expected = latest_features(c, readings[:end], times[:end])[0]
            assert next(found).tobytes() == expected.tobytes()


@pytest.mark.parametrize("seed", range(4))
def test_they_are_what_plain_python_makes_of_the_devices_own_readings(seed):
    c, runs = contract(), made(seed)
    found = iter(of_history(c, runs, block=25))
    for values, _ in runs:
        for end in range(1, len(values) + 1):
            row = dict(zip(c.feature_names, next(found).tolist(), strict=True))
            assert row.pop("x") == pytest.approx(values[end - 1], nan_ok=True)
            for text in TEXTS:
                expected = plain(text, values[:end].tolist())
                got = row.pop(f"x_{text.replace(':', '_')}")
                assert got == pytest.approx(expected, rel=1e-6, abs=1e-7, nan_ok=True), text
            assert not row


def plain(text: str, values: list[float]) -> float:
    """A feature of the last one of a device's readings."""
    name, *numbers = text.split(":")
    window, recent = [*map(int, numbers), *[WINDOW, 0][len(numbers) :]]
    if name in ("last", "diff", "lag"):
        ago = {"last": 0, "diff": 1, "lag": window}[name]
        before = values[-1 - ago] if ago < len(values) else NAN
        return values[-1] - before if name == "diff" else before
    past = values[-window:]
    past = past[: len(past) - recent] if len(values) > recent else []
    return plain_statistic(name, past, values[-1])


def test_a_step_stands_out_from_the_past_until_it_is_the_past():
    values = np.array([5.0, 7.0] * 10 + [16.0, 18.0] * 10)
    c = contract(texts=["from_median:12:4", "zscore:12:4"])
    found = of_history(c, [(values, [START + timedelta(seconds=k) for k in range(40)])], 40)
    apart, scores = found[:, 1], found[:, 2]
    assert np.isnan(apart[:4]).all()  # nothing is that old
    assert apart[20:24].tolist() == [10.0, 12.0, 10.0, 12.0]
    assert scores[20:24].tolist() == [10.0, 12.0, 10.0, 12.0]
    assert abs(scores[-1]) == 1.0


@pytest.mark.parametrize("width", [3, 30, 1000])
def test_medians_are_of_the_window_wherever_a_chunk_ends(width):
    count = 3 * SORTED_VALUES // width // 2 + width
    values = np.random.default_rng(width).normal(size=count)
    median = RollingFeature("median", width)
    found = rolling_statistics(values, width, [median])[median]
    for row in np.linspace(0, len(found) - 1, 50).astype(int).tolist():
        assert found[row] == np.median(values[row : row + width])


def test_a_median_of_zeros_has_no_sign():
    """Which of 0 and -0 a sort puts first depends on the processor."""
    values = np.array([0.0, -0.0, -0.0, -0.0, 0.0, -0.0])
    for width in (1, 2, 3):
        median = RollingFeature("median", width)
        assert not np.signbit(rolling_statistics(values, width, [median])[median]).any()


def test_a_window_of_its_own_has_the_bits_that_it_has_alone():
    values = np.random.default_rng(0).normal(40, 3, 300)
    values[::7] = np.nan
    several = [RollingFeature.of(text, WINDOW) for text in TEXTS]
    together = rolling_statistics(values, LONGEST, several)
    for feature in several:
        alone = rolling_statistics(values, feature.window, [feature])[feature]
        assert alone[LONGEST - feature.window :].tobytes() == together[feature].tobytes()
