"""The one prediction of a demo, by a real model server."""

from pathlib import Path

import pyarrow as pa
import pytest

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway.laptop import demo
from breezeway.readings.store import RawStore
from tests.fixtures.serving import (
    CONTRACT,
    ModelServer,
    add_deployment,
    examples_of,
    make_model,
    make_readings,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A raw store of one pump, whose newest reading is broken."""
    settings = Settings(home=tmp_path / "home")
    store = RawStore(settings.raw_address)
    store.create()
    good = make_readings(0)
    bad = {"time": "2026-01-01T00:06:30+00:00", "payload": "{"}
    rows = [{"device": "pump-0", **reading} for reading in [*good, bad]]
    table = pa.Table.from_pylist(rows)
    store.append(table.set_column(1, "time", table["time"].cast(pa.timestamp("us", "UTC"))))
    return settings


@pytest.fixture
def served(model_server: ModelServer, tmp_path: Path) -> list[dict]:
    """The examples of the model `shown`, which is live."""
    folder = make_model(tmp_path / "model", seed=0, model_name="shown")
    examples = examples_of(folder)
    pointer = add_deployment(model_server.store, "shown", 1, folder)
    model_server.store.point(pointer)
    model_server.wait("shown", lambda status: status.get("deployment") == pointer.deployment)
    return examples


def test_the_newest_good_readings_are_scored(model_server, settings, served) -> None:
    contract = Contract.from_text(CONTRACT, "contract.toml")
    answer = demo.predict(model_server.url, "shown", contract, settings)
    assert answer["score"] == served[0]["score"]
    assert (answer["device"], answer["readings"]) == ("pump-0", contract.window)
    assert answer["time"].startswith("2026-01-01T00:06:00")
    assert answer["milliseconds"] > 0


def test_what_the_server_refuses_is_said(model_server, settings, served) -> None:
    contract = Contract.from_text(CONTRACT, "contract.toml")
    with pytest.raises(DataError, match="The model server refuses the newest readings"):
        demo.predict(model_server.url, "nobody", contract, settings)
