"""What the documentation says of a contract is what the models say."""

import json
import runpy
import tomllib
from typing import Annotated

import jsonschema
import pytest
from pydantic import TypeAdapter

from breezeway.contract.contract import Contract
from breezeway.core.settings import Settings
from tests.fixtures import ROOT

PAGE = runpy.run_path(str(ROOT / "docs/write_contract.py"))
KEYS = {key.place: key for key in PAGE["keys"](Contract)}


@pytest.mark.parametrize(("file", "made"), [("PAGE", "page"), ("SCHEMA", "json_schema")])
def test_the_page_and_the_schema_are_those_of_the_models(file, made):
    written = PAGE[file].read_text(encoding="utf-8")
    assert written == PAGE[made](), "run: .venv/bin/python docs/write_contract.py"


def test_each_key_has_an_example_and_is_explained():
    assert set(KEYS) == set(PAGE["EXAMPLES"])
    assert not [place for place, key in KEYS.items() if not key.words]


@pytest.mark.parametrize("place", KEYS)
def test_an_example_is_valid(place):
    field = KEYS[place].field
    example = tomllib.loads(f"example = {PAGE['EXAMPLES'][place]}")["example"]
    TypeAdapter(Annotated[field.annotation, field]).validate_python(example)


@pytest.mark.parametrize("file", ["plant.toml", "skab.toml", "ai4i.toml"])
def test_a_contract_is_valid_by_the_schema_and_a_mistake_is_not(file):
    schema = json.loads(PAGE["json_schema"]())
    text = (Settings.shipped_sensors / file).read_text(encoding="utf-8")
    table = json.loads(json.dumps(tomllib.loads(text), default=str))  # TOML has times
    jsonschema.validate(table, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(table | {"intervall_seconds": 60}, schema)
