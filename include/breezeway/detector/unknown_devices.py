"""What a model learns for devices that it has no baseline of.

Only the first readings of a device, which are its baseline, lack what compares with one; and
devices begin normal. So a model would learn that what lacks it is normal, and a new device at the
server would have no alarm: on SKAB, learned from whole files, not one fault of 34 was found.
"""

import numpy as np

from breezeway.contract.contract import Contract

EVERY = 4
"""Of so many rows one is learned from a second time."""


def beside_unknown_devices(
    features: np.ndarray, label: np.ndarray, contract: Contract
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows to learn from, and behind them every fourth one as if it had no baseline.

    Args:
        features: float32 (rows, features).
        label: bool (rows,).

    Returns:
        Features and labels; as they are if the contract compares with no baseline.
    """
    places = [column.place for column in contract.baseline_columns]
    if not places:
        return features, label
    unknown = features[::EVERY].copy()
    unknown[:, places] = np.nan
    return np.concatenate([features, unknown]), np.concatenate([label, label[::EVERY]])
