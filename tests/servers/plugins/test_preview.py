"""The page behind the field "Query", in Airflow's own API server, with the process that it runs."""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from breezeway.core.settings import Settings
from breezeway.readings.store import RawStore
from breezeway_airflow import form, preview
from breezeway_airflow.links import with_preview
from tests.fixtures.api_server import api_server, login
from tests.fixtures.readings import contract_text

PAGE = "/breezeway/preview/"
QUERY = "SELECT device, time, payload, label FROM readings"
HOSTILE = "</textarea><script>alert(1)</script>"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a good reading and a hostile one."""
    home = tmp_path_factory.mktemp("preview")
    sensors = home / "x.toml"
    sensors.write_text(contract_text(), encoding="utf-8")
    first = datetime(2026, 3, 2, tzinfo=UTC)
    columns = {
        "device": ["pump", HOSTILE],
        "time": [first, first + timedelta(minutes=1)],
        "payload": ['{"a": 1}', HOSTILE],
        "label": [0, 0],
    }
    store = RawStore(Settings(home=home, sensors=sensors).raw_address)
    store.create()
    store.append(pa.table(columns))
    return home


@pytest.fixture(scope="module")
def server(airflow_database: None, home: Path) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZEWAY_HOME", str(home))
        patch.setenv("BREEZEWAY_SENSORS", str(home / "x.toml"))
        with api_server() as client:
            yield client


@pytest.fixture(scope="module")
def person(server: TestClient) -> dict[str, str]:
    return FORM | login("USER")


def ask(server: TestClient, person: dict[str, str], **fields: str):
    return server.post(PAGE, content=urlencode(fields), headers=person)


def words(page: str) -> str:
    """What a person reads."""
    return " ".join(
        html.unescape(re.sub(r"<style>.*</style>|<[^>]+>", " ", page, flags=re.S)).split()
    )


def test_only_who_may_trigger_the_dag_gets_the_page(server, person) -> None:
    for method in (server.get, server.post):
        assert method(PAGE).status_code == 401
        assert method(PAGE, headers=login(None)).status_code == 403
        assert method(PAGE, headers=login("VIEWER")).status_code == 403
    assert server.get(f"{PAGE}docs", headers=login("VIEWER")).status_code == 403
    assert server.get(f"{PAGE}openapi.json", headers=person).status_code == 404


def test_the_form_is_filled_in_as_that_of_the_dag(server, person) -> None:
    answer = server.get(PAGE, headers=person)
    assert answer.status_code == 200
    assert f">{QUERY}</textarea>" in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_it_says_what_the_contract_says_and_shows_text_as_text(server, person) -> None:
    answer = ask(server, person, query=f"{QUERY} WHERE device <> {HOSTILE!r} OR 1")
    said = words(answer.text)
    assert answer.status_code == 200, said
    assert "The query gives 2 rows." in said
    assert "1 keep the contract, 1 would go to quarantine" in said
    assert "not_json" in said and "preprocess would refuse them: quarantine.max_share" in said
    assert HOSTILE not in answer.text and answer.text.count(html.escape(HOSTILE)) >= 4
    assert answer.text.count("<script") == 1
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"query": "SELECT nowhere FROM readings"}, "no such column: nowhere"),
        ({"query": "DELETE FROM readings"}, "Correct the field 'query': --query: expected one SEL"),
        ({"query": f"{QUERY} WHERE 1 = \0 + 1"}, "take the NUL character out"),
        ({"query": f"{QUERY} -- \r\n\0"}, "take the NUL character out"),
        ({"query": ""}, "Fill in the field 'query'"),
        ({"query": "x" * (form.QUERY_BYTES + 1)}, "100000 are allowed"),
        ({"query": "", "first_day": "2026-03-32"}, "Correct the field 'first_day'"),
        ({"query": QUERY + " LIMIT 1", "first_day": "2026-03-01"}, "Empty the field 'query'"),
    ],
)
def test_a_mistake_is_named_and_what_was_filled_in_stays(server, person, fields, said) -> None:
    answer = ask(server, person, **fields)
    assert answer.status_code == 400
    assert said in words(answer.text)
    assert f">{html.escape(fields['query'])}</textarea>" in answer.text


def test_no_password_of_the_store_is_shown(server, person, monkeypatch) -> None:
    address = "postgresql+psycopg://ann:s3cret@127.0.0.1:1/plant"
    monkeypatch.setenv("BREEZEWAY_RAW_URL", address)
    answer = ask(server, person, query=QUERY)
    assert answer.status_code == 503
    assert "127.0.0.1" in words(answer.text) and "s3cret" not in answer.text


def test_other_sites_cannot_ask(server, person) -> None:
    answer = ask(server, person | {"Sec-Fetch-Site": "cross-site"}, query=QUERY)
    assert answer.status_code == 403


def test_a_form_is_bounded(server, person) -> None:
    assert ask(server, person, query="x" * preview.BODY_BYTES).status_code == 413
    many = "&".join(f"a{n}=1" for n in range(20))
    assert server.post(PAGE, content=many, headers=person).status_code == 400
    assert server.post(PAGE, content=b"\xff\xfe", headers=person).status_code == 400


def test_previews_wait_for_no_other(server, person, monkeypatch) -> None:
    monkeypatch.setattr(preview, "_free", preview.BoundedSemaphore(1))
    preview._free.acquire()
    answer = ask(server, person, query=QUERY)
    assert answer.status_code == 503
    assert "Try again in some seconds" in words(answer.text)


def test_one_that_takes_too_long_is_ended(server, person, monkeypatch) -> None:
    monkeypatch.setattr(preview, "SECONDS", 0.01)
    answer = ask(server, person, query=QUERY)
    assert answer.status_code == 503
    assert "took longer than 0.01 s and was ended" in words(answer.text)


def test_one_that_dies_is_said_so(server, person, monkeypatch) -> None:
    monkeypatch.setattr(preview.sys, "executable", "/bin/false")
    answer = ask(server, person, query=QUERY)
    assert answer.status_code == 500
    assert "The preview ended with exit code 1" in words(answer.text)


def test_the_help_of_a_query_leads_to_the_page(monkeypatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://host.example/airflow")
    assert with_preview("Readings.") == "Readings. [Preview](/airflow/breezeway/preview/)."
