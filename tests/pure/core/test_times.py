"""A time without an offset is UTC, whoever reads it."""

from datetime import UTC, datetime

import pytest

from breezeway.core.times import from_iso

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["2026-01-31T12:00:00Z", "2026-01-31 12:00", "2026-01-31T14:00:00+02:00", "20260131T120000"],
)
def test_it_is_in_utc(text):
    assert from_iso(text) == NOON
    assert from_iso(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["", "soon", "0000-00-00 00:00:00", "0001-01-01T00:00+01:00", "9999-12-31T23:59-01:00"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError):
        from_iso(text)
