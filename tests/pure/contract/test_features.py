"""History and request give the same bits; the statistics are what their names say."""

import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.expressions import VECTOR_FUNCTIONS, Expression, Vectors
from breezeway.contract.features import History, latest_features
from breezeway.contract.rolling import rolling_statistics
from breezeway.contract.statistics import OF_BASELINE, STATISTICS, RollingFeature

NAMES = [name for name in STATISTICS if name not in ("lag", *OF_BASELINE)]


def contract(window: int, rate_per: str = "reading") -> Contract:
    statistics = ", ".join(f'"{name}"' for name in NAMES)
    return Contract.from_text(
        f"""
name = "any"
interval_seconds = 1
time_zone = "Australia/Lord_Howe"
[payload]
format = "json"
[fields.x]
type = "float"
invalid = "missing"
[fields.y]
type = "float"
[fields.v]
type = "vector"
length = [1, 40]
[label]
column = "label"
[alarm]
false_episodes_per_day = 1
[split]
by = "time"
[features]
window = {window}
rate_per = "{rate_per}"
[features.reading]
x = "x"
product = "x * y / (y - 1)"
larger = "max(log(abs(x)), y) if hour() < 12 else sqrt(rms(v) * hour())"
weekday = "weekday()"
{chr(10).join(f'v_{name} = "{name}(v)"' for name in VECTOR_FUNCTIONS)}
[features.rolling]
x = [{statistics}]
product = [{statistics}]
larger = ["mean", "diff"]
weekday = ["max"]
v_rms = ["mean", "slope"]
""",
        "any",
    )


ODD = [math.nan, 0.0, -0.0, 1.0, 1e6, -1e6, 5e-324]
"""Values that a formula may treat in another way than most."""


def made_readings(generator: np.random.Generator) -> list[dict]:
    """Up to 40 readings: none, some or most of their values odd, and then often equal."""
    count = int(generator.integers(1, 41))
    odd = generator.choice([0, 0.1, 0.7])

    def numbers(size: int, allowed: list[float]) -> np.ndarray:
        drawn = generator.uniform(-1, 1, size) * 10.0 ** generator.integers(-3, 7)
        return np.where(generator.random(size) < odd, generator.choice(allowed, size), drawn)

    x, y = numbers(count, ODD), numbers(count, ODD[1:])
    lengths = generator.integers(1, 41, count)
    return [
        {"x": float(x[k]), "y": float(y[k]), "v": numbers(lengths[k], ODD[1:])}
        for k in range(count)
    ]


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = 1_767_225_600_123_457
"""Microseconds, in 2026."""


def made_times(generator: np.random.Generator, count: int) -> np.ndarray:
    """Microseconds, growing: regular ones, bursts a microsecond apart, or gaps of years."""
    steps = [[10**7], [1, 10**7], [1, 3, 10**6, 7 * 10**7 + 1, 10**14]][generator.integers(3)]
    return START + np.cumsum(generator.choice(steps, count))


def columns(readings):
    lengths = [len(r["v"]) for r in readings]
    starts = np.cumsum([0, *lengths[:-1]]) if readings else np.empty(0, int)
    flat = np.concatenate([r["v"] for r in readings]) if readings else np.empty(0)
    return {
        "x": np.array([r["x"] for r in readings]),
        "y": np.array([r["y"] for r in readings]),
        "v": Vectors(flat, starts),
    }


@pytest.mark.parametrize("rate_per", ["reading", "second"])
@pytest.mark.parametrize("window", [1, 2, 7, 30])
@pytest.mark.parametrize("seed", range(4))
def test_history_equals_requests_to_the_last_bit(window, seed, rate_per):
    generator = np.random.default_rng(seed)
    c = contract(window, rate_per)
    devices = [made_readings(generator) for _ in range(generator.integers(1, 4))]
    times = [made_times(generator, len(readings)) for readings in devices]
    block = int(generator.integers(1, 51))
    rows = [(f"d{d}", r) for d, readings in enumerate(devices) for r in readings]
    of_rows = np.concatenate(times)
    history = History(c)
    made = []
    for start in range(0, len(rows), block):
        piece = rows[start : start + block]
        names = [name for name, _ in piece]
        starts = [i for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
        made.append(
            history.features(
                [names[i] for i in starts],
                np.array(starts),
                columns([r for _, r in piece]),
                of_rows[start : start + block],
            )
        )
    made = np.concatenate(made)
    row = 0
    for readings, micros in zip(devices, times, strict=True):
        moments = [EPOCH + timedelta(microseconds=time) for time in micros.tolist()]
        for end in range(1, len(readings) + 1):
            expected = latest_features(c, readings[:end], moments[:end])[0]
            assert made[row].tobytes() == expected.tobytes()
            row += 1


def kurtosis(values: np.ndarray) -> float:
    """Of Fisher: 0 for what is normally distributed."""
    return np.mean(((values - np.mean(values)) / np.std(values)) ** 4) - 3


def statistics(values, width, texts, **arguments):
    """What `rolling_statistics` finds, by the texts of a contract."""
    features = {text: RollingFeature.of(text, width) for text in texts}
    found = rolling_statistics(values, width, features.values(), **arguments)
    return {text: found[feature] for text, feature in features.items()}


@pytest.mark.parametrize("name", [*NAMES, "lag:3"])
def test_statistics_against_numpy(name):
    matrix = np.random.default_rng(5).normal(3, 2, (50, 12))
    plain = {
        "last": lambda w: w[-1],
        "mean": np.mean,
        "std": np.std,
        "min": np.min,
        "max": np.max,
        "slope": lambda w: np.polyfit(np.arange(len(w)), w, 1)[0],
        "rms": lambda w: np.sqrt(np.mean(np.square(w))),
        "kurtosis": kurtosis,
        "diff": lambda w: w[-1] - w[-2],
        "median": np.median,
        "lag:3": lambda w: w[-4],
        "from_median": lambda w: w[-1] - np.median(w),
        "zscore": lambda w: (w[-1] - np.mean(w)) / np.std(w),
    }[name]
    got = statistics(matrix, 12, [name])[name]
    np.testing.assert_allclose(got[:, 0], [plain(window) for window in matrix], rtol=1e-9)


def test_missing_values_are_left_out():
    matrix = np.array([[np.nan, 1.0, np.nan, 3.0], [np.nan] * 4])
    found = statistics(matrix, 4, ["mean", "std", "slope", "min"])
    assert {name: figure[0, 0] for name, figure in found.items()} == {
        "mean": 2.0,
        "std": 1.0,
        "slope": 1.0,
        "min": 1.0,
    }
    assert all(np.isnan(figure[1, 0]) for figure in found.values())


EXTREME = [math.nan, 0.0, -0.0, 1e9, 1e9 + 1e-6, -1e150, 1e150, 5e-324, 1e-200]


@pytest.mark.parametrize("width", [1, 2, 3, 6, 9])
@pytest.mark.parametrize("seed", range(8))
def test_statistics_against_exact_arithmetic(width, seed):
    """`min`, `max`, `last` and `diff` are exact. The others differ from what fractions give by a
    few roundings of the largest value: `mean` and `slope` by 1e-14 of it, `std` and `rms` by
    1e-13; near the smallest numbers that there are, by those."""
    generator = np.random.default_rng(seed)
    extreme = generator.random(16) < generator.choice([0.1, 0.5, 1])
    usual = generator.uniform(-1e3, 1e3, 16)
    values = np.where(extreme, generator.choice(EXTREME, 16), usual).tolist()
    names = ["mean", "std", "min", "max", "slope", "rms", "last", "diff"]
    found = statistics(np.array(values), width, names)
    for start in range(len(values) - width + 1):
        window = values[start : start + width]
        got = {name: figure[start] for name, figure in found.items()}
        there = [(k, Fraction(x)) for k, x in enumerate(window) if not math.isnan(x)]
        assert np.array_equal(got["last"], window[-1], equal_nan=True)
        before = window[-2] if width > 1 else window[-1]
        assert np.array_equal(got["diff"], window[-1] - before, equal_nan=True)
        if not there:
            assert all(math.isnan(got[name]) for name in names)
            continue
        largest = float(max(abs(x) for _, x in there))
        count = len(there)
        mean = sum(x for _, x in there) / count
        middle = Fraction(sum(k for k, _ in there), count)
        variance = sum((x - mean) ** 2 for _, x in there) / count
        spread = sum((k - middle) ** 2 for k, _ in there)
        assert got["min"] == min(x for _, x in there)
        assert got["max"] == max(x for _, x in there)
        assert abs(got["mean"] - float(mean)) <= 1e-14 * largest + 1e-320
        assert abs(got["std"] - root(variance)) <= 1e-13 * largest + 1e-161
        rms = root(sum(x * x for _, x in there) / count)
        assert abs(got["rms"] - rms) <= 1e-13 * largest + 1e-161
        if spread:
            slope = sum((k - middle) * (x - mean) for k, x in there) / spread
            assert abs(got["slope"] - float(slope)) <= 1e-14 * largest + 1e-320
        else:
            assert math.isnan(got["slope"])


@pytest.mark.parametrize("width", [1, 2, 3, 6, 9])
@pytest.mark.parametrize("seed", range(8))
def test_rates_against_exact_arithmetic(width, seed):
    """By the times themselves. `slope` differs from what fractions give by roundings of the
    largest value over the spread of the times, `diff` by those of its two operations."""
    generator = np.random.default_rng(seed)
    extreme = generator.random(16) < generator.choice([0, 0.1, 0.5])
    usual = generator.uniform(-1e3, 1e3, 16)
    values = np.where(extreme, generator.choice(EXTREME, 16), usual)
    times = made_times(generator, 16)
    found = statistics(values, width, ["slope", "diff"], times=times)
    for start in range(len(values) - width + 1):
        window = values[start : start + width].tolist()
        seconds = [Fraction(t, 10**6) for t in times[start : start + width].tolist()]
        slope, diff = found["slope"][start], found["diff"][start]
        if width == 1 or math.isnan(window[-1] + window[-2]):
            assert math.isnan(diff)
        else:
            exact = (window[-1] - window[-2]) / (seconds[-1] - seconds[-2])
            assert diff == pytest.approx(float(exact), rel=1e-15, abs=1e-320)
        there = [(t, Fraction(x)) for t, x in zip(seconds, window, strict=True) if x == x]
        if len(there) < 2:
            assert math.isnan(slope)
            continue
        mean = sum(x for _, x in there) / len(there)
        middle = sum(t for t, _ in there) / len(there)
        spread = sum((t - middle) ** 2 for t, _ in there)
        exact = sum((t - middle) * (x - mean) for t, x in there) / spread
        largest = float(max(abs(x) for _, x in there))
        assert abs(slope - float(exact)) <= 1e-14 * largest / root(spread) + 1e-320


def test_rates_do_not_depend_on_how_far_readings_are_apart():
    """A ramp of 3 per second, whose readings come as they like, with a value that is missing."""
    seconds = np.array([0, 1, 2, 30, 31, 3600, 3601.5, 86_400])
    ramp = np.where(seconds == 31, np.nan, 3 * seconds + 7)
    times = START + (seconds * 1e6).astype(np.int64)
    found = statistics(ramp, 4, ["slope", "diff"], times=times)
    np.testing.assert_allclose(found["slope"], 3, rtol=1e-12)
    np.testing.assert_allclose(found["diff"], [3, np.nan, np.nan, 3, 3], rtol=1e-12)


def test_there_is_no_rate_where_time_stands_still():
    found = statistics(
        np.array([1.0, 2.0, 4.0]), 2, ["slope", "diff"], times=np.array([START, START, START + 1])
    )
    assert np.isnan(found["slope"][0]) and np.isnan(found["diff"][0])
    assert found["slope"][1] == found["diff"][1] == 2e6


def root(number: Fraction) -> float:
    """Its square root, where the fraction itself may be too small or too large for a float."""
    scale = 2**1200
    return math.isqrt(int(number * scale * scale)) / scale


@pytest.mark.parametrize("name", VECTOR_FUNCTIONS)
def test_vector_functions_against_numpy(name):
    vectors = [np.random.default_rng(k).normal(1, 3, 4 + k) for k in range(20)]
    starts = np.cumsum([0, *[len(v) for v in vectors[:-1]]])
    plain = {
        "rms": lambda v: np.sqrt(np.mean(np.square(v))),
        "kurtosis": kurtosis,
    }.get(name) or getattr(np, name)
    got = VECTOR_FUNCTIONS[name](Vectors(np.concatenate(vectors), starts))
    np.testing.assert_allclose(got, [plain(v) for v in vectors], rtol=1e-9)


def test_division_by_zero_is_a_missing_value():
    ratio = Expression("a / b", {"a", "b"}, set())
    got = ratio({"a": np.array([1.0, 0.0, 6.0]), "b": np.array([0.0, 0.0, 3.0])})
    assert np.isnan(got[:2]).all() and got[2] == 2.0


@pytest.mark.parametrize(
    "text", ["", "a +", "a if b else c", "a.b", "[a]", "True", "lambda: a", "v"]
)
def test_what_is_no_arithmetic_is_refused(text):
    with pytest.raises(ValueError):
        Expression(text, {"a", "b"}, {"v"})
