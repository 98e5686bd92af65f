"""Checks of a reading's device, time and label, which are not in the payload."""

import hashlib
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breezeway.contract.contract import Contract
from breezeway.contract.values import Violation
from breezeway.preprocessing.splitting import OTHER_DAY, OTHER_DEVICE, wrong_time
from breezeway.readings.arrow import UNREADABLE


class Devices(NamedTuple):
    """The devices of some readings.

    Attributes:
        names: each once.
        codes: int (readings,): each reading's position in `names`; -1 without a device.
    """

    names: list[str]
    codes: np.ndarray

    @classmethod
    def of(cls, block: pa.Table) -> Self:
        encoded = block["device"].combine_chunks().dictionary_encode()
        return cls(encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy())


class Copies:
    """Finds the readings of a device and time that repeat an earlier one to the letter.

    Brokers and gateways that promise to deliver at least once (MQTT's QoS 1) deliver such.
    """

    def __init__(self) -> None:
        self._last: tuple[str, int] | None = None
        self._seen: set[bytes] = set()

    def of(self, block: pa.Table) -> np.ndarray:
        """Which readings, bool, of the next block repeat an earlier one; those of a device and time
        follow one another."""
        is_copy = np.zeros(len(block), bool)
        names, codes = Devices.of(block)
        column = block["time"].combine_chunks()
        times = column.cast(pa.int64()).fill_null(0).to_numpy()
        known = column.is_valid().to_numpy(zero_copy_only=False) & (codes >= 0)
        same = np.append(False, (codes[1:] == codes[:-1]) & (times[1:] == times[:-1]))
        # The last reading may have copies in the next block, and the first one those before it.
        tied = same | np.append(same[1:], True)
        tied[:1] = True
        for row in np.flatnonzero(tied & known).tolist():
            here = (names[codes[row]], int(times[row]))
            if here != self._last:
                self._last, self._seen = here, set()
            content = repr((block["payload"][row].as_py(), block["label"][row].as_py()))
            key = hashlib.blake2b(content.encode(errors="surrogatepass"), digest_size=16).digest()
            is_copy[row] = key in self._seen
            self._seen.add(key)
        return is_copy


class RowChecks:
    """Checks blocks of readings, sorted by device and time."""

    def __init__(self, contract: Contract):
        self._contract = contract
        self._known: dict[str, Violation | None] = {}
        self._last: tuple[str, int] | None = None

    def violations(self, block: pa.Table, devices: Devices) -> dict[int, Violation]:
        """The first mistake of each row: of the device, then the time, then the label."""
        found: dict[int, Violation] = {}
        label = block["label"].combine_chunks()
        allowed = pc.is_in(label, value_set=pa.array([0, 1, None], pa.int64()))
        for row in np.flatnonzero(~allowed.to_numpy(zero_copy_only=False)).tolist():
            message = f"label: {label[row]}, expected 0, 1 or null"
            found[row] = Violation("label", "wrong_type", message)
        for code, name in enumerate(devices.names):
            if violation := self._of_device(name):
                rows = np.flatnonzero(devices.codes == code).tolist()
                found.update(dict.fromkeys(rows, violation))
        for name in ("time", "device"):
            null = block[name].combine_chunks().is_null().to_numpy(zero_copy_only=False)
            for row in np.flatnonzero(null).tolist():
                found[row] = Violation(name, "null", f"{name}: null")
            if name == "time":
                found.update(self._unreadable(block))
        return found

    def first_of_time(self, devices: Devices, times: np.ndarray) -> np.ndarray:
        """Which readings, bool, are the first good ones of their device and time.

        Args:
            devices: of the next good readings, in order.
            times: int64 microseconds of the same readings.
        """
        names, codes = devices
        first = np.ones(len(codes), bool)
        if len(codes):
            first[1:] = (codes[1:] != codes[:-1]) | (times[1:] != times[:-1])
            first[0] = (names[codes[0]], int(times[0])) != self._last
            self._last = (names[codes[-1]], int(times[-1]))
        return first

    def _unreadable(self, block: pa.Table) -> dict[int, Violation]:
        texts = block[UNREADABLE.name].combine_chunks()
        found = {}
        for row in np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False)).tolist():
            text, reason = texts[row].as_py(), "unreadable_time"
            if self._contract.splitter is None:
                text = wrong_time(text, self._contract)
            elif OTHER_DEVICE in text or OTHER_DAY in text:
                reason = "other_device" if OTHER_DEVICE in text else "other_day"
            found[row] = Violation("time", reason, f"time: {text}")
        return found

    def _of_device(self, name: str) -> Violation | None:
        if name not in self._known:
            try:
                self._contract.check_device(name)
                self._known[name] = None
            except Violation as violation:
                self._known[name] = violation.to_keep()
        return self._known[name]
