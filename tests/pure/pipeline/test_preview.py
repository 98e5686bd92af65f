"""What a person is told of a query before a run: counts, reasons, and nothing that bites."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from breezeway import cli
from breezeway.contract.contract import load_contract
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.pipeline import preview
from breezeway.pipeline.preview import Preview, look, sentences
from breezeway.readings.store import RawStore
from tests.fixtures.readings import contract_text

QUERY = "SELECT device, time, payload, label FROM readings"
ROWS = 1_500
WRONG = "x\x1b]0;gotcha\x07\u202e<script>alert(1)</script>"
FIRST = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A store in which each fifth reading is wrong, and the last one is there twice."""
    home = tmp_path_factory.mktemp("preview")
    sensors = home / "x.toml"
    fields = 'a = { type = "float", range = [0, 10000], invalid = "missing" }'
    sensors.write_text(contract_text(fields=fields), encoding="utf-8")
    settings = Settings(home=home, sensors=sensors)
    payloads = [WRONG if row % 5 == 3 else json.dumps({"a": row}) for row in range(ROWS)]
    payloads[0] = '{"a": -1}'
    columns = {
        "device": ["pump"] * (ROWS + 1),
        "time": [FIRST + timedelta(minutes=row) for row in (*range(ROWS), ROWS - 1)],
        "payload": [*payloads, payloads[-1]],
        "label": [0] * (ROWS + 1),
    }
    store = RawStore(settings.raw_address)
    store.create()
    store.append(pa.table(columns))
    return settings


def look_at(settings: Settings, query: str = QUERY) -> Preview:
    return look(settings, load_contract(settings.sensors), query)


def test_all_rows_are_counted_and_each_is_accounted_for(settings: Settings) -> None:
    found = look_at(settings)
    assert found.is_all
    assert found.rows == found.checked == found.readings == ROWS + 1
    assert (found.accepted, found.copies, found.quarantined) == (ROWS * 4 // 5, 1, ROWS // 5)
    assert found.missing == {"a.out_of_range": 1}
    assert found.first_time == "2026-03-02T00:00:00"
    (rejected,) = found.rejected
    assert (rejected.field, rejected.reason, rejected.rows) == ("payload", "not_json", ROWS // 5)


def test_what_the_step_would_refuse_is_said(settings: Settings) -> None:
    (refusal,) = look_at(settings, f"{QUERY} WHERE payload LIKE 'x%'").objections
    assert refusal.startswith(f"quarantine.max_share: {ROWS // 5} of {ROWS // 5} rows were rejec")
    said = list(sentences(look_at(settings, f"{QUERY} WHERE payload NOT LIKE 'x%'")))
    assert said[0] == f"The query gives {ROWS * 4 // 5 + 1:,} rows."
    assert not any("refuse" in sentence for sentence in said)


def test_no_row_is_a_reason_to_refuse(settings: Settings) -> None:
    found = look_at(settings, f"{QUERY} WHERE 1 = 0")
    assert (found.rows, found.first, found.accepted) == (0, [], 0)
    assert list(sentences(found)) == ["The query gives no row: preprocess would refuse it."]


def test_hostile_payloads_are_shown_as_text(settings: Settings) -> None:
    (row,) = look_at(settings, f"{QUERY} WHERE time LIKE '%-02 00:03:%'").bad
    assert row.payload == "x\\x1b]0;gotcha\\x07\\u202e<script>alert(1)</script>"
    assert row.time == "2026-03-02 00:03:00"
    assert row.problem.isprintable() and row.problem.startswith("payload: not JSON")
    assert all(each.example.isprintable() for each in look_at(settings).rejected)


def test_a_long_payload_is_cut(settings: Settings) -> None:
    query = (
        "SELECT device, time, printf('%.*c', 100000, 'y') AS payload, label FROM readings LIMIT 1"
    )
    (row,) = look_at(settings, query).first
    assert row.payload == "y" * preview.SHOWN_LETTERS + " …"


def test_rows_behind_those_that_are_checked_are_counted_for_a_while(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "CHECKED_ROWS", 400)
    monkeypatch.setattr(preview, "COUNTED_ROWS", 800)
    found = look_at(settings)
    assert (found.checked, found.rows, found.is_all) == (400, 800, False)
    assert next(sentences(found)).startswith("The query gives 800 rows or more")
    monkeypatch.setattr(preview, "COUNTED_ROWS", 1_000_000)
    assert look_at(settings).rows == ROWS + 1
    monkeypatch.setattr(preview, "COUNT_SECONDS", -1.0)
    assert look_at(settings).rows == 400


def test_a_query_without_end_is_ended(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "SECONDS", 0.3)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    query = (
        f"SELECT device, time, payload, label FROM readings WHERE (SELECT MAX(i) FROM ({endless}))"
    )
    with pytest.raises(UsageError, match=r"within 0.3 s.*The run itself may take 7200 s"):
        look_at(settings, query)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("DELETE FROM readings", "expected one SELECT, got 'DELETE'"),
        ("SELECT nowhere FROM readings", "no such column: nowhere"),
        (f"{QUERY}; DROP TABLE readings", "--query"),
    ],
)
def test_a_wrong_query_is_named(settings: Settings, query: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        look_at(settings, query)


def test_days_are_those_of_the_contract(settings: Settings) -> None:
    contract = load_contract(settings.sensors)
    query = preview.query_of_days(settings, contract, date(2026, 3, 3), date(2026, 3, 3))
    found = look(settings, contract, query)
    assert found.rows == ROWS + 1 - 24 * 60
    assert {row.time[:10] for row in found.first} == {"2026-03-03"}


@pytest.fixture
def ask(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator:
    """Runs `breezeway preview`: exit code, standard output, standard error."""
    monkeypatch.setenv("BREEZEWAY_HOME", str(settings.home))
    monkeypatch.setenv("BREEZEWAY_SENSORS", str(settings.sensors))

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["preview", *words])
        return (ended.value.code, *capsys.readouterr())

    return run


def test_the_command_prints_tables_for_people_and_json_for_programs(ask) -> None:
    code, said, _ = ask(f"--query={QUERY}")
    assert code == 0
    assert said.startswith(f"The query gives {ROWS + 1:,} rows.\n")
    assert "What breaks the contract" in said and "not_json" in said
    assert said.replace("\n", "").isprintable()
    code, said, _ = ask("--first=2026-03-02", "--json")
    facts = json.loads(said)
    assert (code, facts["rows"], facts["quarantined"]) == (0, 24 * 60, 288)
    assert facts["summary"][0] == "The query gives 1,440 rows."


def test_the_command_refuses_days_that_are_none(ask) -> None:
    assert ask("--first=2026-03-02", "--last=2026-03-01")[0] == 64
    assert ask(f"--query={QUERY}", "--last=2026-03-01")[0] == 64


def test_nothing_is_left_behind(settings: Settings, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    look_at(settings)
    assert list(tmp_path.iterdir()) == []
