"""A content hash of readings, computed block by block.

Each block has a fixed number of sorted rows, so the hash does not depend on the order of arrival.
"""

import hashlib
import json
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from breezeway.readings.arrow import READINGS, UNREADABLE


class ContentHash:
    """Hashes blocks of readings, in order; each column has its own hash."""

    def __init__(self) -> None:
        self._columns = {name: hashlib.sha256() for name in READINGS.names}

    def update(self, block: pa.Table) -> None:
        if not len(block):
            return
        for name, digest in self._columns.items():
            column = block[name].combine_chunks()
            null = column.is_null().to_numpy(zero_copy_only=False)
            digest.update(np.packbits(null, bitorder="little").tobytes())
            if pa.types.is_string(column.type):
                text = column.fill_null("") if column.null_count else column
                _, offsets, data = text.buffers()
                bounds = np.frombuffer(offsets, np.int32)[text.offset :][: len(text) + 1]
                digest.update(np.diff(bounds))
                digest.update(memoryview(data or b"")[bounds[0] : bounds[-1]])
            else:
                numbers = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
                digest.update(numbers.tobytes())
        unreadable = block[UNREADABLE.name]
        if unreadable.null_count < len(unreadable):
            self._columns["time"].update(json.dumps(unreadable.to_pylist()).encode())

    def hexdigest(self) -> str:
        return combined(column.hexdigest() for column in self._columns.values())


def combined(digests: Iterable[str]) -> str:
    """One hash of several hashes, in their order."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()
