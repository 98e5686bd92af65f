"""What is said of a time in a database of the user's own that cannot be read."""

import pytest

from breezeway.contract.contract import Contract
from breezeway.preprocessing.splitting import wrong_time
from tests.fixtures.payloads import HEAD

SOURCE = '[payload]\nformat = "json"\n[fields]\na = {{ type = "float" }}\n[source]\ntable = "t"\n{}'


@pytest.mark.parametrize(
    ("time_format", "text", "said"),
    [
        (
            'time_format = "epoch ms"',
            "1767225600",
            "expected a time as 'epoch ms' (as epoch s it is 2026-01-01T00:00:00: "
            'source.time_format = "epoch s"?)',
        ),
        (
            'time_format = "epoch s"',
            "46023.5",
            "(days of Excel? Make a time of them in source.query)",
        ),
        ('time_format = "epoch s"', "soon", "'soon', expected a time as 'epoch s'"),
        ("", "soon", "'soon', expected a time (UTC) or its ISO text"),
    ],
)
def test_the_right_unit_is_told(time_format, text, said):
    assert said in wrong_time(text, Contract.from_text(HEAD + SOURCE.format(time_format), "x"))
