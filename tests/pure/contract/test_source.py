"""The section `[source]` of a contract: what it takes, and what it says of a mistake."""

import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.source import Source
from breezeway.core.errors import DataError
from tests.fixtures.readings import contract_text


def source(lines: str, fields: str = 'a = { type = "float" }') -> Source | None:
    text = f"{contract_text(fields=fields)}[source]\n{lines}"
    return Contract.from_text(text, "x.toml").source


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "source: expected either table or query"),
        ('table = "t"\nquery = "SELECT 1"', "source: expected either table or query"),
        ('tabel = "t"', "source.tabel: no such key; did you mean 'table'"),
        ('table = "a.b.c"', "source.table: 'a.b.c': expected 'table' or 'schema.table'"),
        ('table = ".t"', "source.table: '.t': expected 'table' or 'schema.table'"),
        ('table = "a\\u0000b"', "source.table: "),
        ('query = "SELECT 1\\u0000"', "source.query: "),
        ('table = "t"\ndevice = "m"\ndevice_column = "d"', "either device or device_column"),
        ('table = "t"\npayload_column = "p"\ncolumns = {}', "either payload_column or columns"),
        ('table = "t"\ntime_format = "%d.%m.%Y"', "expected 'iso' or 'epoch s'.*the query has to"),
        ('table = "t"\ntime_format = "epoch"', "source.time_format: 'epoch'"),
        (
            'table = "t"\ntime_format = "epoch s"\ntime_zone = "Europe/Berlin"',
            "time_zone: numbers since 1970 are in UTC",
        ),
        ('table = "t"\ntime_zone = "Europe/Berln"', "'Europe/Berln': .*'Europe/Berlin'"),
        ('table = "t"\ncolumns = { b = "x" }', "source.columns.b: there is no such field"),
    ],
)
def test_a_mistake_is_named(lines, said):
    with pytest.raises(DataError, match=said):
        source(lines)


def test_what_is_not_said_has_the_names_of_breezeways_own_table():
    found = source('table = "t"')
    assert found is not None
    assert (found.device_column, found.time_column, found.time_format) == ("device", "time", "iso")
    assert source('table = "t"\ntime_format = "epoch µs"') == source(
        'table = "t"\ntime_format = "epoch us"'
    )


def test_no_payload_of_columns_is_delimited_or_has_lists():
    of_list = 'a = { type = "float", path = "values[0]" }'
    with pytest.raises(DataError, match=r"fields.a.path: leads into a list"):
        source('table = "t"\ncolumns = {}', of_list)
    text = contract_text().replace('format = "json"', 'format = "delimited"')
    with pytest.raises(DataError, match=r'source\.columns: .*for format = "json" alone'):
        Contract.from_text(f'{text}[source]\ntable = "t"\ncolumns = {{}}', "x.toml")


def test_a_device_has_to_be_one_of_the_contract():
    text = f'device_pattern = "m-[0-9]"\n{contract_text()}[source]\ntable = "t"\ndevice = "press"'
    with pytest.raises(DataError, match=r"source.device: 'press' does not match 'm-\[0-9\]'"):
        Contract.from_text(text, "x.toml")


def test_a_column_of_labels_needs_such_labels():
    text = contract_text().replace('column = "label"', 'table = "labels"')
    with pytest.raises(DataError, match=r"source\.label_column: needs label\.column"):
        Contract.from_text(f'{text}[source]\ntable = "t"\nlabel_column = "l"', "x.toml")
