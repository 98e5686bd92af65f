"""What the partition of a day depends on."""

import pytest

from breezeway.contract.contract import Contract
from breezeway.preprocessing.days import shape
from tests.fixtures import plant

CONTRACT = plant.CONTRACT.format(by="time")


def changed(old: str, new: str) -> Contract:
    assert old in CONTRACT
    return Contract.from_text(CONTRACT.replace(old, new, 1), "contract.toml")


SAME = changed("window = 10", "window = 10")


def test_a_key_that_keeps_its_default_changes_nothing():
    """So a new key of a later release makes no day again."""
    given = changed("window = 10", 'window = 10\nrate_per = "reading"')
    assert shape(given) == shape(SAME)
    assert "rate_per" not in shape(SAME)["features"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("window = 10", 'window = 10\nrate_per = "second"'),
        ("window = 10", "window = 11"),
        ("interval_seconds = 60", 'interval_seconds = 60\ntime_zone = "Europe/Berlin"'),
        ('type = "float"', 'type = "float"\nscale = 2'),
        ("[features]", "[quarantine]\nmax_share = 0.3\n[features]"),
    ],
)
def test_what_changes_a_partition_changes_its_shape(old, new):
    assert shape(changed(old, new)) != shape(SAME)


def test_what_changes_no_partition_does_not_change_its_shape():
    assert shape(changed("false_episodes_per_day = ", "false_episodes_per_day = 1")) == shape(SAME)
