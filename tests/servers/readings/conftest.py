"""Each test runs on every kind of database that holds readings."""

import pytest

from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import RawStore


@pytest.fixture(params=["sqlite", "mariadb", "postgres"])
def address(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'a folder' / 'raw store?.db'}"
    if request.param == "postgres":
        return request.getfixturevalue("postgres").database("raw")
    return request.getfixturevalue("mariadb").database("raw").url


@pytest.fixture
def store(address):
    store = RawStore(address)
    store.create()
    return store


@pytest.fixture
def labels(store, address):
    labels = LabelStore(address)
    labels.create()
    return labels
