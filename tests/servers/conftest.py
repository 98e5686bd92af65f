"""What all tests beside real servers and stores share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def coarse_bins() -> Iterator[None]:
    """Models learn with coarse bins, which take a tenth of the CPU of fine ones.

    What fine bins find is tested in tests/pure/detector/test_model.py.
    """
    from breezeway.detector import boosting

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boosting, "FINE_ROWS", 0)
        yield
