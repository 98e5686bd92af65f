"""The files of a training."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from breezeway.contract.contract import load_contract
from breezeway.datasets.versions import OpenedVersion
from breezeway.detector.clock import BesideClock, clock_scores
from breezeway.detector.fitting import Served, fit_detector, judge_unseen
from breezeway.detector.folds import split
from breezeway.detector.model import DEFAULT_PARAMS
from breezeway.detector.scorecard import Difference
from breezeway.detector.scoring import load_folder
from breezeway.detector.table import read_table
from breezeway.pipeline.training_record import (
    REPORTS,
    TABLE_COLUMNS,
    Training,
    table_lines,
    write_model_files,
)
from tests.fixtures.plant import make_plant


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    folder = make_plant(tmp_path_factory.mktemp("plant") / "dataset", devices=4, readings=800)
    contract = load_contract(folder / "contract.toml")
    table = read_table(folder, contract)
    fitted = fit_detector(table, contract, DEFAULT_PARAMS, 20, threads=1)
    clock = clock_scores(table, split(table.rows, contract), threads=1)
    return Training(
        run_name="nightly",
        model_name="mill",
        table=table,
        contract=contract,
        version=OpenedVersion("v1", "c", "h", "", "", {}, folder=folder),
        fitted=fitted,
        served=Served(fitted.model, table.scope, again=False),
        judgement=judge_unseen(table, contract, fitted.scores, clock),
        lineage={"data_tag": "v1", "data_hash": "h"},
    )


def test_every_report_has_a_file_and_the_same_training_the_same_bytes(training, tmp_path):
    for name in ("once", "again"):
        training.write_reports(tmp_path / name)
    files = {path.name: path.read_bytes() for path in (tmp_path / "once").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert {Path(path).name for path in REPORTS} | {"scorecard.md"} == files.keys()
    kept = json.loads(files["scorecard.json"])
    assert kept["model"] == training.judgement.cards["model"].figures()


def test_a_clock_that_is_as_good_is_told_below_the_table(training, tmp_path):
    as_good = BesideClock(0.71, 0.7, Difference(0.01, -0.02, 0.04))
    told = replace(training, judgement=replace(training.judgement, clock=as_good))
    for name, each in (("told", told), ("silent", training)):
        each.write_reports(tmp_path / name)
    assert told.beside_clock in (tmp_path / "told" / "scorecard.md").read_text("utf-8")
    assert training.beside_clock == ""
    silent, told_of = ((tmp_path / n / "scorecard.png").read_bytes() for n in ("silent", "told"))
    assert silent != told_of


def test_what_is_logged_of_the_scores_stands_in_their_report(training, tmp_path):
    training.write_reports(tmp_path / "reports")
    kept = json.loads((tmp_path / "reports" / "quality.json").read_text("utf-8"))
    metrics = training.quality.metrics()
    assert {name: kept[name] for name in metrics} == metrics
    assert sum(each["rows"] for each in kept["reliability"]) == training.judgement.judged.sum()
    assert {each["name"] for each in kept["groups"]} <= {f"mill-{number}" for number in range(4)}
    days = training.judgement.judged.sum() * 60 / 86_400
    false = training.judgement.cards["model"].false_episodes
    assert training.quality.chosen_per_day == pytest.approx(false / days)
    assert training.quality.budget_per_day == 2


def test_the_model_loads_with_its_files_and_gives_the_recorded_scores(training, tmp_path):
    examples = json.loads((training.version.folder / "examples.json").read_text())
    write_model_files(training, examples, tmp_path / "extra_files")
    (tmp_path / "model.onnx").write_bytes(training.graph)
    model = load_folder(tmp_path)
    assert (model.name, model.data_tag) == ("mill", "v1")
    assert model.threshold == training.fitted.threshold
    assert len(model.examples) == len(examples)
    features = [example["features"] for example in model.examples]
    expected = [example["score"] for example in model.examples]
    assert model.score(np.array(features)).tolist() == expected
    assert model.fitted_model.to_bytes() == training.served.model.to_bytes()


def test_the_table_has_a_line_a_detector(training):
    lines = table_lines(training.judgement.cards)
    assert [line[0] for line in lines] == [
        "model", "always on", "clock only", "random", "learned clock",
    ]  # fmt: skip
    assert {len(line) for line in lines} == {len(TABLE_COLUMNS)}
    card = training.judgement.cards["model"]
    assert lines[0][1] == f"{card.events_hit} of {card.events}"
    assert lines[1][2] == "0"
    assert lines[1][5] == "100.0%"


def test_another_name_or_model_is_another_identity(training):
    others = [
        replace(training, run_name="other"),
        replace(training, model_name="other"),
        replace(training, lineage={**training.lineage, "data_hash": "i"}),
    ]
    assert len({training.identity, *(other.identity for other in others)}) == 4
    assert replace(training).identity == training.identity
