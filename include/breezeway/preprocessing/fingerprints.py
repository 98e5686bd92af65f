"""Fingerprints of texts: each byte has a random weight; a text has the sum of its bytes."""

import secrets

import numpy as np
import pyarrow as pa

CHUNK_PAIRS = 1 << 15
"""Pairs of bytes that are looked up at once: they and their weights fit in the cache."""


class Fingerprints:
    """Random weights of bytes, new in each process, so nobody can write a text to match them.

    Args:
        weightless: bytes with weight 0.
    """

    def __init__(self, weightless: bytes):
        self._weights = np.random.default_rng(secrets.randbits(128)).integers(
            1, 2**63, size=256, dtype=np.uint64
        )
        self._weights[list(weightless)] = 0
        # By pairs of bytes, in either order: half as many look-ups and additions.
        self._pair_weights = np.add.outer(self._weights, self._weights).ravel()

    def of_text(self, text: bytes) -> np.uint64:
        return self._weights[list(text)].sum(dtype=np.uint64)

    def of_column(self, texts: pa.StringArray) -> np.ndarray:
        """The fingerprint of each text, uint64; 0 for a null."""
        _, offsets, data = texts.buffers()
        ends = np.frombuffer(offsets, np.int32)[texts.offset :][: len(texts) + 1].astype(np.int64)
        octets = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
        out = self._of_pairs(octets[: len(octets) & ~1].view(np.uint16), ends >> 1)
        # A boundary inside a pair: its first byte was counted for the next row.
        first = np.zeros(len(ends), np.uint64)
        odd = np.flatnonzero(ends & 1)
        first[odd] = self._weights[octets[ends[odd] - 1]]
        return out + first[1:] - first[:-1]

    def _of_pairs(self, pairs: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        """The weight between each two bounds, some thousand pairs at a time."""
        count = len(bounds) - 1
        out = np.zeros(count, np.uint64)
        most = max(CHUNK_PAIRS, int(np.diff(bounds).max(initial=0)))
        places, weights = np.empty(most, np.intp), np.empty(most, np.uint64)
        start = 0
        while start < count:
            # at least one row
            stop = np.searchsorted(bounds, bounds[start] + CHUNK_PAIRS, side="right") - 1
            stop = min(max(stop, start + 1), count)
            here = bounds[start : stop + 1]
            size = here[-1] - here[0]
            # NumPy would do this conversion inside `take`, but slower.
            places[:size] = pairs[here[0] : here[-1]]
            self._pair_weights.take(places[:size], out=weights[:size], mode="clip")
            filled = np.flatnonzero(np.diff(here))  # reduceat does not allow empty pieces
            if len(filled):
                out[start + filled] = np.add.reduceat(weights[:size], here[filled] - here[0])
            start = stop
        return out
