"""What the scores of earlier readings do to a score: mean, on-delay and hysteresis.

All three are such that a reading is in alarm if its filtered score is at least the threshold. So
the threshold is chosen, judged and applied as without them. They look at a bounded number of
readings, so a request gives the same as history, to the bit. The terms are those of ANSI/ISA-18.2.
"""

import numpy as np

from breezeway.contract.alarm import Alarm
from breezeway.contract.contract import Contract


def filtered(scores: np.ndarray, ages: np.ndarray, alarm: Alarm) -> np.ndarray:
    """Filter the scores of readings as a contract's `alarm` says.

    - The mean is that of the last `mean_readings`, or of as many as there are.
    - The on-delay takes the lowest of the means of the last `on_delay_readings` and the present
      one; 0 where there are fewer.
    - The hysteresis takes the highest score of the last `hold_readings` and the present one from
      which on the means have stayed above `release` times it.

    Args:
        scores: float64 (rows,), of devices one after the other, by time.
        ages: int (rows,): how many readings before this one belong to its run, see `ages_of`.

    Returns:
        float64 (rows,).

    >>> filtered(np.array([0.0, 1.0, 0.5]), np.arange(3), Alarm(mean_readings=2))
    array([0.  , 0.5 , 0.75])
    """
    if not alarm.lookback:
        return scores
    mean = scores
    if alarm.mean_readings > 1:
        # Summed in the same order for each row, so that the bits depend on nothing else.
        total = scores.copy()
        for shift in range(1, alarm.mean_readings):
            total += _earlier(scores, ages, shift)
        mean = total / np.minimum(ages + 1, alarm.mean_readings)
    settled = mean
    for shift in range(1, alarm.on_delay_readings + 1):
        settled = np.minimum(settled, _earlier(mean, ages, shift))
    if alarm.release is None or alarm.hold_readings is None:
        return settled
    held, lowest = settled, mean / alarm.release
    for shift in range(1, alarm.hold_readings + 1):
        held = np.maximum(held, np.minimum(_earlier(settled, ages, shift), lowest))
        lowest = np.minimum(lowest, _earlier(mean, ages, shift) / alarm.release)
    return held


def ages_of(device: np.ndarray, time: np.ndarray, contract: Contract) -> np.ndarray:
    """Count the readings before each one that belong to its run: of its device, up to a gap.

    Args:
        device: (rows,), equal for rows of one device, one device after the other.
        time: int64 (rows,): microseconds, growing within a device.

    Returns:
        int (rows,).
    """
    begins = np.ones(len(device), dtype=bool)
    begins[1:] = device[1:] != device[:-1]
    if contract.features.max_gap_seconds:
        begins[1:] |= np.diff(time) > contract.features.max_gap_seconds * 1_000_000
    places = np.arange(len(device))
    ages: np.ndarray = places - np.maximum.accumulate(np.where(begins, places, 0))
    return ages


def _earlier(values: np.ndarray, ages: np.ndarray, shift: int) -> np.ndarray:
    """The value `shift` readings before in the same run; 0 where there is none."""
    found = np.zeros(len(values))
    found[shift:] = values[:-shift] if shift < len(values) else values[:0]
    return np.where(ages >= shift, found, 0.0)
