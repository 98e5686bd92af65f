"""Windows by time: over irregular and dirty readings, in history and in a request."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.features import History, latest_features
from breezeway.contract.rolling import SORTED_VALUES, rolling_statistics
from breezeway.contract.spans import FREQUENT, PIECE, readings_within
from breezeway.contract.statistics import RollingFeature
from breezeway.core.errors import DataError
from tests.fixtures.plain_statistics import NAN, plain_statistic

WINDOW = 12
"""Readings: what a window by time has at most."""
TEXTS = ["mean:50s", "std:1min", "min:30s", "max:2min", "slope:90s", "rms:20s", "kurtosis:2min"]
TEXTS += ["median:40s", "median:2min", "lag:10s", "lag:110s", "from_median:1min", "zscore:1min"]
TEXTS += ["from_median:2min:20s", "zscore:2min:30s", "zscore:60s:50s", "mean:1h", "lag:1h"]
MIXED = ["mean", "slope:5", "median:7", "zscore:9:2", "lag:3"]


def contract(texts: list[str], rate_per: str = "reading", window: int = WINDOW) -> Contract:
    return Contract.from_text(
        f"""
name = "any"
interval_seconds = 10
payload = {{ format = "json" }}
fields = {{ x = {{ type = "float", invalid = "missing" }} }}
label = {{ column = "label" }}
split = {{ by = "time" }}
[features]
window = {window}
rate_per = "{rate_per}"
reading = {{ x = "x" }}
rolling = {{ x = {texts} }}
""",
        "any",
    )


SHORT = [text for text in TEXTS if not text.endswith(":1h")]
"""Those that a window has room for; the others are for `rolling_statistics`."""
START = datetime(2026, 1, 1, 0, 0, 0, 123_457, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
ODD = [NAN, NAN, 0.0, -0.0, 1.0, 1.0, 1e6, 5e-324]
SECOND = 1_000_000
STEPS = [
    [10 * SECOND],
    [10 * SECOND, 10 * SECOND, 20 * SECOND, 10 * SECOND - 1],
    [1, 3 * SECOND, 7 * SECOND + 1, 10 * SECOND, 45 * SECOND],
    [1, 10 * SECOND, 3600 * SECOND, 10**14],
]
"""Between readings: regular, late and lost ones, bursts, gaps."""


def made(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Values and times in microseconds of a few runs of up to 30 readings."""
    generator = np.random.default_rng(seed)
    runs = []
    for _ in range(3):
        count = int(generator.integers(1, 31))
        odd = generator.random(count) < generator.choice([0, 0.2, 0.8])
        usual = generator.normal(5, 3, count)
        passed = np.cumsum(generator.choice(STEPS[(seed + len(runs)) % len(STEPS)], count))
        runs.append((np.where(odd, generator.choice(ODD, count), usual), passed))
    return runs


def of_history(c: Contract, runs: list, block: int) -> np.ndarray:
    names = [number for number, (values, _) in enumerate(runs) for _ in values]
    values, times = (np.concatenate(columns) for columns in zip(*runs, strict=True))
    history, found = History(c), []
    for first in range(0, len(names), block):
        here = slice(first, first + block)
        own = names[here]
        starts = [k for k, name in enumerate(own) if k == 0 or own[k - 1] != name]
        column = {"x": values[here]}
        found.append(
            history.features([own[k] for k in starts], np.array(starts), column, times[here])
        )
    return np.concatenate(found)


def of_request(c: Contract, values: np.ndarray, times: np.ndarray, count: int = 1) -> np.ndarray:
    readings = [{"x": value} for value in values.tolist()]
    return latest_features(c, readings, [START + t * MICROSECOND for t in times.tolist()], count)


@pytest.mark.parametrize("rate_per", ["reading", "second"])
@pytest.mark.parametrize("seed", range(3))
def test_history_equals_requests_to_the_last_bit(seed, rate_per):
    c = contract([*SHORT, *MIXED], rate_per)
    assert c.window == WINDOW
    runs = made(seed)
    found = of_history(c, runs, block=(7, 20, 200)[seed])
    begin = 0
    for values, times in runs:
        for end in range(1, len(values) + 1):
            row = of_request(c, values[:end], times[:end])
            assert found[begin + end - 1].tobytes() == row.tobytes()
        count = min(5, len(values))
        rows = of_request(c, values, times, count)
        begin += len(values)
        assert found[begin - count : begin].tobytes() == rows.tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_they_are_what_plain_python_makes_of_the_devices_own_readings(seed):
    c, runs = contract(SHORT), made(seed)
    found = iter(of_history(c, runs, block=25))
    for values, times in runs:
        for end in range(1, len(values) + 1):
            row = dict(zip(c.feature_names, next(found).tolist(), strict=True))
            assert row.pop("x") == pytest.approx(values[end - 1], nan_ok=True)
            for text in SHORT:
                expected = plain(text, values[:end].tolist(), times[:end].tolist())
                got = row.pop(f"x_{text.replace(':', '_')}")
                assert got == pytest.approx(expected, rel=1e-6, abs=1e-7, nan_ok=True), text
            assert not row


def plain(text: str, values: list[float], times: list[int]) -> float:
    """A feature of the last one of a device's readings."""
    name, *lengths = text.split(":")
    long, recent = [*map(microseconds, lengths), 0][:2]
    values, times = values[-WINDOW:], times[-WINDOW:]
    if name == "lag":
        old = [v for t, v in zip(times, values, strict=True) if t <= times[-1] - long]
        return old[-1] if old else NAN
    past = [
        v
        for t, v in zip(times, values, strict=True)
        if times[-1] - long < t and (not recent or t <= times[-1] - recent)
    ]
    return plain_statistic(name, past, values[-1])


def microseconds(length: str) -> int:
    number = length.rstrip("minsh")
    return int(number) * {"s": 1, "min": 60, "h": 3600}[length[len(number) :]] * SECOND


@pytest.mark.parametrize("rate_per", ["reading", "second"])
def test_where_readings_are_regular_they_have_the_bits_of_windows_of_readings(rate_per):
    generator = np.random.default_rng(1)
    values = generator.normal(1e5, 3, 300)
    values[generator.random(300) < 0.1] = NAN
    runs = [(values, np.arange(300) * 10 * SECOND)]
    pairs = {
        "mean:50s": "mean:5",
        "std:2min": "std:12",
        "slope:110s": "slope:11",
        "rms:7s": "rms:1",
    }
    pairs |= {"kurtosis:90s": "kurtosis:9", "median:1min": "median:6", "lag:30s": "lag:3"}
    pairs |= {"zscore:2min:30s": "zscore:12:3", "from_median:100s:50s": "from_median:10:5"}
    by_time = of_history(contract([*pairs], rate_per), runs, 64)
    by_readings = of_history(contract([*pairs.values()], rate_per), runs, 64)
    old = slice(WINDOW, None)  # before, what is left out of windows of readings is not yet there
    assert by_time[old].tobytes() == by_readings[old].tobytes()


@pytest.mark.parametrize("per_second", [False, True])
@pytest.mark.parametrize("kind", ["jitter", "bursts", "any"])
def test_each_of_many_windows_has_the_bits_that_it_has_alone(kind, per_second):
    """Of one length, of some that are frequent, and of many that are not."""
    generator, count, most = np.random.default_rng(2), 3000, 64
    steps = {
        "jitter": 10 * SECOND + generator.integers(-2 * SECOND, 2 * SECOND, count),
        "bursts": np.where(np.arange(count) % 1000 < 900, 10 * SECOND, SECOND),
        "any": 1 + generator.exponential(10 * SECOND, count).astype(np.int64),
    }
    expected = {"jitter": (2, False), "bursts": (1, True), "any": (0, True)}
    times, values = np.cumsum(steps[kind]), generator.normal(40, 3, (2, count))
    values[1, ::7] = NAN
    texts = [*TEXTS, "zscore:5min:7s", "mean:6min"]
    every = [RollingFeature.of(text, most) for text in texts]
    seconds = {each for feature in every for each in feature.span if each}
    within = readings_within(times, np.arange(count), seconds, most)
    for row_values in (values[:1], values):  # without and with missing ones
        found = rolling_statistics(
            row_values,
            most,
            every,
            times=times if per_second else None,
            within={each: counts[most - 1 :] for each, counts in within.items()},
        )
        for last in generator.integers(most - 1, count, 12).tolist():
            here = slice(last - most + 1, last + 1)
            alone = rolling_statistics(
                row_values[:, here],
                most,
                every,
                times=times[here] if per_second else None,
                within={each: counts[last : last + 1] for each, counts in within.items()},
            )
            for text, feature in zip(texts, every, strict=True):
                row = found[feature][:, last - most + 1]
                assert row.tobytes() == alone[feature][:, 0].tobytes(), text
    lengths = np.bincount(within[300][most - 1 :])
    is_frequent = lengths * FREQUENT >= lengths.sum()
    assert (is_frequent.sum(), (lengths > 0).sum() > 10) == expected[kind]


def test_medians_are_of_the_window_wherever_a_piece_ends():
    count, most = 600, 2000
    generator = np.random.default_rng(0)
    times = np.cumsum(generator.integers(1, 2 * SECOND, most + count))
    values = generator.normal(size=len(times))
    within = readings_within(times, np.arange(len(times)), [900], most)[900][most - 1 :]
    assert within.sum() > 2 * SORTED_VALUES and len(set(within.tolist())) > 10
    median = RollingFeature.of("median:900s", most)
    found = rolling_statistics(values, most, [median], within={900: within})[median]
    for row in range(0, len(found), 20):
        last = most - 1 + row
        assert found[row] == np.median(values[last - within[row] + 1 : last + 1])


def test_readings_within_a_time_are_counted_within_the_stretch_and_not_beyond_the_most():
    generator, count = np.random.default_rng(0), PIECE + 500
    times = np.cumsum(generator.choice([1, 5 * SECOND, 10**13], count, p=[0.5, 0.49, 0.01]))
    begins = np.unique([0, PIECE - 3, *generator.integers(0, count, 400)])
    ages = np.arange(count) - np.repeat(begins, np.diff(begins, append=count))
    times -= 10**9 * np.repeat(np.arange(len(begins)), np.diff(begins, append=count))  # any order
    most = 9
    found = readings_within(times, ages, [5, 20, 366 * 86_400], most)
    rows = [*range(50), *range(PIECE - 30, PIECE + 30), *generator.integers(0, count, 300).tolist()]
    for seconds, counts in found.items():
        for row in rows:
            own = times[row - min(ages[row], most - 1) : row + 1]
            assert counts[row] == (own > times[row] - seconds * SECOND).sum()


def test_the_reading_that_came_a_whole_window_before_does_not_count():
    values, times = np.array([1.0, 2.0, 6.0]), np.array([0, 1, 20 * SECOND])
    c = contract(["mean:20s", "lag:20s", "lag:19s"])
    assert of_request(c, values, times)[0].tolist() == [6.0, 4.0, 1.0, 2.0]


def test_a_lag_is_missing_where_the_device_or_the_window_does_not_reach_so_far():
    c = contract(["lag:1min"], window=7)
    times = np.arange(30) * 10 * SECOND
    found = of_history(c, [(np.arange(30.0), times), (np.arange(30.0), times)], 60)[:, 1]
    assert np.isnan(found[[*range(6), *range(30, 36)]]).all()
    assert found[6:30].tolist() == found[36:].tolist() == [*map(float, range(24))]
    dense = of_history(c, [(np.arange(30.0), times // 2)], 60)[:, 1]
    assert np.isnan(dense).all()  # 12 readings ago, and a window has 7


def test_a_past_without_readings_is_missing():
    """As where the device was silent until its latest readings."""
    values = np.arange(6.0)
    times = np.array([0, 1, 2, 1000, 1001, 1002]) * SECOND
    c = contract(["from_median:2min:10s", "zscore:2min:10s", "from_median:2min:2s"])
    found = of_request(c, values, times)[0]
    assert np.isnan(found[1:3]).all() and found[3] == 2.0


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["mean:2h"], r"features.rolling.x: 'mean:2h' needs 720 readings at interval_seconds = 10, "
         r"and features.window holds 12: set window = 720 or more, or name a shorter time"),
        (["lag:2min"], r"'lag:2min' needs 13 readings .*set window = 13"),
        (["mean:2d"], r"'mean:2d' needs 17280 readings .*and 10000 are allowed: name a shorter"),
        (["mean:367d"], r"'mean:367d': at most 366d are allowed"),
        (["mean:5m"], r"'mean:5m': expected 'mean', .*'mean:10' or 'mean:10min' \(readings, or s"),
        (["mean:0s"], "'mean:0s': expected"),
        (["mean:1.5h"], "'mean:1.5h': expected"),
        (["mean:60s:10s"], "'mean:60s:10s': expected"),
        (["diff:10s"], "'diff:10s': expected 'diff' alone, which needs no window"),
        (["last:10s"], "'last:10s': expected 'last' alone"),
        (["zscore:60s:5"], "'zscore:60s:5': both are readings, or both are times: 'zscore:2h"),
        (["zscore:1min:60s"], "'zscore:1min:60s': leaves no reading of the 1min in the past"),
        (["mean:1min", "mean_1min"], "'mean_1min': did you mean"),
    ],
)  # fmt: skip
def test_what_a_window_has_no_room_for_and_what_is_no_time_is_refused(texts, message):
    with pytest.raises(DataError, match=message):
        contract(texts)


@pytest.mark.parametrize(
    ("interval", "text", "needed"),
    [("0.1", "mean:7s", 70), ("0.7", "mean:21s", 30), ("7", "mean:1min", 9), ("60", "lag:1h", 61)],
)
def test_a_window_holds_what_the_interval_says(interval, text, needed):
    changed = contract(["mean"]).text.replace("= 10\n", f"= {interval}\n")
    changed = changed.replace("['mean']", f"['{text}']")
    with pytest.raises(DataError, match=f"set window = {needed} or more"):
        Contract.from_text(changed.replace("= 12\n", f"= {needed - 1}\n"), "any")
    assert Contract.from_text(changed.replace("= 12\n", f"= {needed}\n"), "any").window == needed


def test_an_interval_of_hardly_anything_leaves_no_room():
    hardly = contract(["mean:1s"]).text.replace(
        "interval_seconds = 10", "interval_seconds = 1e-320"
    )
    with pytest.raises(DataError, match=r"'mean:1s' needs 10+ readings .* 10000 are allowed"):
        Contract.from_text(hardly, "any")


def test_features_are_named_by_their_time():
    names = contract(["mean:50s", "zscore:2min:30s", "lag:1min"]).feature_names
    assert names == ["x", "x_mean_50s", "x_zscore_2min_30s", "x_lag_1min"]
