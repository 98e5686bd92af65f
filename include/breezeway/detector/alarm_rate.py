"""How often a detector is in alarm in normal time: all that can be measured without labels."""

from typing import Any, NamedTuple

import numpy as np

from breezeway.contract.contract import Contract
from breezeway.detector import scorecard
from breezeway.detector.boosting import SEED
from breezeway.detector.scorecard import Rows

RESAMPLES = 200
DAY_SECONDS = 86_400

NOT_JUDGED = "No labels: precision, recall and F1 cannot be judged."


class Estimate(NamedTuple):
    """A figure, with its 95 % interval."""

    value: float
    low: float
    high: float


class AlarmRate(NamedTuple):
    """The alarms of some rows, outside of the events that labels name.

    Args:
        rows: that are presumed normal.
        episodes: alarm episodes; without labels some may be of true faults.
        device_days: time of the rows.
        per_day: episodes in a day of one device. The interval takes episodes as independent.
        share: of a device's time that is in alarm: the median of the devices, so that one with a
            fault of weeks does not hide the others. The interval is from resampled blocks of time.
    """

    rows: int
    episodes: int
    device_days: float
    per_day: Estimate
    share: Estimate

    def figures(self) -> dict[str, float]:
        """By the names that are logged."""
        return {
            "rows": self.rows,
            "alarm_episodes": self.episodes,
            "device_days": self.device_days,
            "alarm_episodes_per_day": self.per_day.value,
            "alarm_episodes_per_day_low": self.per_day.low,
            "alarm_episodes_per_day_high": self.per_day.high,
            "alarm_share": self.share.value,
            "alarm_share_low": self.share.low,
            "alarm_share_high": self.share.high,
        }


def rows_and_alarms(frame: Any, threshold: float) -> tuple[Rows, np.ndarray]:
    """Return the rows of a frame, those without a label presumed normal, and which are in alarm.

    Args:
        frame: device, time, label and score, as an Arrow table.
    """
    label = np.nan_to_num(scorecard.numbers(frame["label"]))
    columns = {"device": frame["device"], "time": frame["time"], "label": label}
    rows = scorecard.rows_of(columns)
    return rows, (scorecard.numbers(frame["score"]) >= threshold)[rows.order]


def alarm_rate(rows: Rows, alarm: np.ndarray, contract: Contract) -> AlarmRate | None:
    """Measure how often normal rows are in alarm; None if there is none.

    Works badly on less than some device days: then the interval is wide, and says so.

    Args:
        alarm: bool, of the rows.
    """
    from scipy.special import gammaincinv

    normal = ~rows.label
    if not normal.any():
        return None
    horizon = scorecard.horizon_seconds(contract.interval_seconds)
    episodes = len(scorecard.false_episode_starts(rows, alarm, horizon))
    days = int(normal.sum()) * contract.interval_seconds / DAY_SECONDS
    low = float(gammaincinv(episodes, 0.025)) if episodes else 0.0
    high = float(gammaincinv(episodes + 1, 0.975))
    return AlarmRate(
        int(normal.sum()),
        episodes,
        days,
        Estimate(episodes / days, low / days, high / days),
        _median_share(rows.where(normal), alarm[normal], scorecard.block_seconds(contract)),
    )


def _median_share(rows: Rows, alarm: np.ndarray, block_seconds: float) -> Estimate:
    blocks = scorecard.time_blocks(rows.device, rows.time.astype("datetime64[us]"), block_seconds)
    _, first, block = np.unique(blocks, return_index=True, return_inverse=True)
    device = rows.device[first]  # of each block
    count = int(device.max()) + 1
    size, on = np.bincount(block), np.bincount(block, weights=alarm)

    def median(weight: np.ndarray) -> float:
        whole = np.bincount(device, weights=weight * size, minlength=count)
        raised = np.bincount(device, weights=weight * on, minlength=count)
        return float(np.median(raised[whole > 0] / whole[whole > 0]))

    generator, evenly = np.random.default_rng(SEED), np.full(len(first), 1 / len(first))
    drawn = [median(generator.multinomial(len(first), evenly)) for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Estimate(median(np.ones(len(first))), float(low), float(high))
