"""Fields of the forms: their help and their defaults."""

import pytest

from breezeway.core.settings import Settings
from breezeway_airflow import fields


def test_the_help_of_a_field_is_its_item_in_the_docstring() -> None:
    docstring = """What it does.

- **tag**: The version,
  over two lines.
- **count**: How many.

The end."""
    assert fields.help_texts(docstring) == {
        "tag": "The version, over two lines.",
        "count": "How many.",
    }


@pytest.mark.parametrize(
    ("label", "columns"),
    [('[label]\ntable = "labels"', ""), ('[label]\ncolumn = "label"', ", label"), ("", "")],
)
def test_the_default_query_asks_for_what_the_contract_needs(tmp_path, label, columns) -> None:
    contract = tmp_path / "sensors.toml"
    contract.write_text(f'name = "pump"\n{label}\n')
    assert fields.contract_defaults(Settings(sensors=contract)) == (
        "pump",
        f"SELECT device, time, payload{columns} FROM readings",
    )


def test_the_default_query_of_a_users_own_table_is_all_of_it(tmp_path) -> None:
    contract = tmp_path / "sensors.toml"
    contract.write_text('name = "pump"\n[label]\ntable = "labels"\n[source]\ntable = "t"\n')
    assert fields.contract_defaults(Settings(sensors=contract))[1] == "SELECT * FROM source"


def test_the_contract_is_parsed_once_until_it_changes(tmp_path) -> None:
    settings = Settings(sensors=tmp_path / "sensors.toml")
    settings.sensors.write_text('name = "pump"\n')
    first = fields.read_contract(settings)
    assert fields.read_contract(settings) is first
    settings.sensors.write_text('name = "mill"\n')
    assert fields.read_contract(settings) == {"name": "mill"}
