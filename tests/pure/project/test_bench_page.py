"""What a run of benches found is published whole, and never beside another machine's figures."""

import json
from pathlib import Path

import pytest

from bench import quality_page
from bench.page import publish, write_page


def put_result(folder: Path, bench: str, processor: str, reached: float = 2.0) -> None:
    folder.mkdir(exist_ok=True)
    machine = {
        "processor": processor,
        "cores": 2,
        "memory_gib": 24.0,
        "system": "Linux 6",
        "python": "3.12.1",
    }
    target = {"what": "speed", "wanted": 1, "reached": reached, "at_least": True, "why": ""}
    targets = [{**target, "met": True}]
    result = {"machine": machine, "measured_at": "2026-11-28T00:00:00+00:00", "targets": targets}
    (folder / f"{bench}.json").write_text(json.dumps(result), encoding="utf-8")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """One in which the model server alone was measured."""
    folder = tmp_path / "run"
    put_result(folder, "serving", "ours", reached=7.0)
    (folder / "serving-bench.png").write_bytes(b"a picture")
    return folder


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    put_result(folder, "drift", "ours")
    put_result(folder, "serving", "ours")
    return folder


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_run_has_a_page_of_its_own(run):
    write_page(run, run)
    page = (run / "performance.md").read_text(encoding="utf-8")
    assert "| speed | ≥ 1 | 7 | met |" in page
    assert "![serving](serving-bench.png)" in page
    assert "## drift" not in page


def test_a_runs_figures_are_published_beside_the_others(run, published, docs):
    before = content(run)
    publish(run, published, docs)
    once = content(docs)
    publish(run, published, docs)
    assert content(docs) == once
    assert content(run) == before
    page = once["performance.md"].decode()
    assert page.index("## serving") < page.index("| speed | ≥ 1 | 7 |") < page.index("## drift")
    assert once["serving-bench.png"] == b"a picture"


def test_figures_of_two_machines_do_not_come_on_one_page(run, published, docs):
    put_result(published, "drift", "another")
    before = content(published)
    with pytest.raises(SystemExit) as refused:
        publish(run, published, docs)
    assert "  drift: processor another, cores 2" in str(refused.value)
    assert "  serving: processor ours, cores 2" in str(refused.value)
    assert content(published) == before
    assert not content(docs)


def test_a_run_of_all_published_benches_takes_them_to_another_machine(run, published, docs):
    put_result(run, "serving", "another")
    put_result(run, "drift", "another")
    publish(run, published, docs)
    assert "(another)" in (docs / "performance.md").read_text(encoding="utf-8")


def test_a_folder_without_results_is_no_run(tmp_path, published, docs):
    with pytest.raises(SystemExit, match="holds no results"):
        publish(tmp_path / "none", published, docs)


def put_quality(folder: Path, processor: str) -> None:
    put_result(folder, "quality", processor)
    result = json.loads((folder / "quality.json").read_text(encoding="utf-8"))
    shown = [figure for figure, _ in filter(None, quality_page.COLUMNS.values())]
    figures = {figure: [0.5, 0.25, 0.75] for figure in shown}
    difference = {"estimate": 0.3, "low": -0.1, "high": 0.5}
    result["problems"] = {
        "ai4i": {
            "seeds": 2,
            "rows": 10_000,
            "cards": {"model": figures, "random": {**figures, "median_delay_seconds": None}},
            "of_scores": {"VUS-PR": [0.9, 0.9, 0.9], "Brier score": [0.1, 0.05, 0.2]},
            "beside_clock": [difference, {**difference, "low": 0.2}],
            "thresholds": [[0.1, 0.25], [0.9, 0.5]],
        }
    }
    result["targets"][0]["what"] = "ai4i: F1"
    (folder / "quality.json").write_text(json.dumps(result), encoding="utf-8")


def test_how_good_alarms_are_has_a_page_of_its_own_from_any_machine(run, published, docs):
    put_quality(run, "another")
    publish(run, published, docs)
    assert "quality" not in (docs / "performance.md").read_text(encoding="utf-8")
    page = (docs / "quality.md").read_text(encoding="utf-8")
    assert "| model | 0.500 (0.250 to 0.750) |" in page
    assert "| F1 | ≥ 1 | 2 | met |" in page
    assert "scores: VUS-PR 0.900; Brier score 0.100 (0.050 to 0.200)." in page
    assert "thresholds lie between 0.100 and 0.900" in page
    assert "clearly better than the learned clock in 1 of 2 runs" in page
    assert "## SKAB" not in page


def test_detectors_without_labels_stand_in_a_section_of_their_own(tmp_path):
    put_quality(tmp_path, "ours")
    result = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    shown = [figure for figure, _ in filter(None, quality_page.COLUMNS.values())]
    card = {**dict.fromkeys(shown, 0.5), "median_delay_seconds": None}
    result["problems"]["skab"] = result["problems"]["ai4i"]
    result["unlabelled"] = {
        "measured_at": "2026-11-30T10:00:00+00:00",
        "rows": 23_801,
        "cards": {"average distance, 2 an hour promised": card},
        "vus_pr": {"average distance": 0.25},
        "fit_milliseconds": {"average distance": 80.4},
    }
    result["targets"].append({**result["targets"][0], "what": "skab without labels: hits"})
    (tmp_path / "quality.json").write_text(json.dumps(result), encoding="utf-8")
    write_page(tmp_path, tmp_path)
    page = (tmp_path / "quality.md").read_text(encoding="utf-8")
    labelled, _, unlabelled = page.partition("## SKAB without labels")
    assert "| average distance, 2 an hour promised | 0.500 | 0.5 | 0.5 | - |" in unlabelled
    assert "| MSET, published | 0.78 |" in unlabelled
    assert "VUS-PR: average distance 0.250. " in unlabelled
    assert "| hits | ≥ 1 | 2 | met |" in unlabelled
    assert "published" not in labelled.partition("## SKAB")[2]


def test_a_run_of_quality_alone_has_no_page_of_costs(tmp_path):
    put_quality(tmp_path, "ours")
    write_page(tmp_path, tmp_path)
    assert (tmp_path / "quality.md").exists()
    assert not (tmp_path / "performance.md").exists()
