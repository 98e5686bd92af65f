"""The section `[files]` of a contract: what it takes, and what it says of a mistake."""

import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.files import Files
from breezeway.core.errors import DataError
from tests.fixtures.readings import contract_text


def files(text: str) -> Files:
    return Contract.from_text(contract_text(text), "x.toml").files


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('seperator = ";"', "files.seperator: no such key; did you mean 'separator'"),
        ('separator = ""', "files.separator: "),
        ('separator = "\\n"', "files.separator: "),
        (
            'encoding = "rot13"',
            "files.encoding: 'rot13' is no encoding: expected one such as utf-8",
        ),
        ('encoding = "unicode_escape"', "files.encoding: 'unicode_escape' is no encoding of files"),
        ('time_zone = "Europe/Berln"', "files.time_zone: 'Europe/Berln': .*'Europe/Berlin'"),
        ('time_format = "%H:%M"', "'%H:%M' has no full date; expected 'iso', 'epoch s'"),
        ('time_format = "%d.%m.%Y %Q"', "%Q is not known; expected"),
        ('time_format = "%d.%m.%Y %Z"', "%Z is not known; write a zone's name as it stands"),
        ('comment = "//"', "files.comment: "),
        ('quote = "#"\ncomment = "#"', "two are the same"),
        ('device = "{name}"', "device: only {file} and {folder} may stand in braces"),
        ('device = "m"\ndevice_column = "d"', "expected either device or device_column"),
        (
            'first_time = 2026-01-01T00:00:00\ntime_column = "t"',
            "first_time, time_column: expected",
        ),
        ('payload_column = "p"\ntag_column = "t"', "payload_column: no columns or tag_column"),
        ('value_column = "v"', "value_column needs tag_column"),
        ('faults = ["x"]', "faults and label_required need label_column"),
        ('label_column = "l"\nnormal = ["x"]', "normal needs faults"),
        ('label_column = "l"\nnormal = ["x"]\nfaults = ["x"]', "faults, normal: 'x' is in both"),
        ('columns = { b = "x" }', r"files.columns.b: there is no such field"),
        ("skip_rows = -1", "files.skip_rows: "),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(DataError, match=f"x.toml: .*{said}"):
        files(text)


def test_numbers_among_words_are_what_a_file_writes() -> None:
    found = files('label_column = "l"\nfaults = [1, -1.5, "a"]')
    assert found.faults == ("1", "-1.5", "a")


def test_encodings_and_formats_have_one_name() -> None:
    found = files('encoding = "Latin1"\ntime_format = "epoch µs"')
    assert (found.encoding, found.time_format) == ("iso8859-1", "epoch us")
    assert (
        files("first_time = 2026-01-01T01:00:00+01:00").first_time
        == files("first_time = 2026-01-01T00:00:00").first_time
    )
