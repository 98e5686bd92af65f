"""What a request costs is measured once for a dataset, whatever the file of it has become."""

import json
from pathlib import Path
from typing import Any

import pytest

from breezeway.contract.candidates import candidate_groups, explicit
from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway.pipeline import feature_search, tuning
from breezeway.pipeline.feature_search import RequestCosts
from tests.fixtures.candidates import auto_contract, auto_text

CONTRACT = auto_contract()
GROUP = candidate_groups(explicit(CONTRACT))[0]


def examples(payload: str = '{"env": {"temperature": 60.5}, "torque": 40}') -> list[dict[str, Any]]:
    readings = [{"time": f"2026-01-01T00:{m:02}:00Z", "payload": payload} for m in range(50)]
    return [
        {"device": "mill-0", "readings": readings[:3]},
        {"device": "mill-1", "readings": readings},
    ]


@pytest.fixture(autouse=True)
def few_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_search, "REPEATS", 2)


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    path = tmp_path / "request_costs.json"
    costs = RequestCosts(CONTRACT, examples(), path, "a.dir")
    assert costs([GROUP]) > 0 < costs([])
    return path


def test_what_was_measured_is_not_measured_again(measured: Path):
    document = json.loads(measured.read_text("utf-8"))
    assert document["data"] == "a.dir"
    assert len(document["microseconds"]) == 2
    document["microseconds"] = {key: n for n, key in enumerate(document["microseconds"])}
    measured.write_text(json.dumps(document), "utf-8")
    again = RequestCosts(CONTRACT, examples(), measured, "a.dir")
    assert {again([]), again([GROUP])} == {0, 1}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"data": "a.dir"}', '{"data": "a.dir", "microseconds": {"x": Infinity}}',
     '{"data": "a.dir", "microseconds": [1]}', '{"data": "a.dir", "microseconds": {"x": []}}'],
)  # fmt: skip
def test_a_damaged_file_is_measured_anew(measured: Path, text: str):
    measured.write_text(text, "utf-8")
    assert RequestCosts(CONTRACT, examples(), measured, "a.dir")([]) > 0
    assert json.loads(measured.read_text("utf-8"))["data"] == "a.dir"


def test_so_is_another_dataset(measured: Path):
    assert RequestCosts(CONTRACT, examples(), measured, "b.dir")([]) > 0
    assert len(json.loads(measured.read_text("utf-8"))["microseconds"]) == 1


def test_examples_that_are_refused_or_missing_are_told(tmp_path: Path):
    costs = RequestCosts(CONTRACT, examples('{"torque": "much"}'), tmp_path / "costs.json", "a.dir")
    with pytest.raises(DataError, match=r"examples\.json: the contract refuses it: .*torque"):
        costs([])
    with pytest.raises(DataError, match="found an empty list"):
        RequestCosts(CONTRACT, [], tmp_path / "costs.json", "a.dir")


def test_without_labels_nothing_is_tried_and_that_is_told(tmp_path: Path, caplog: Any):
    text = auto_text().replace('[label]\ncolumn = "label"\n', "")
    contract = Contract.from_text(
        f'{text}\n[detector]\nfamilies = ["average distance"]\n', "unlabelled"
    )
    told = tuning._defaults(Settings(home=tmp_path), "v1", contract, 100, None)
    assert told["features"] == {
        "tried": 0,
        "variants": 0,
        "kept_count": 0,
        "kept": [],
        "why_none": "without labels no gain can be measured",
    }
    assert "without labels no gain can be measured: the contract's own features stay" in caplog.text
    assert "contract" not in json.loads(Path(told["params_file"]).read_text("utf-8"))
