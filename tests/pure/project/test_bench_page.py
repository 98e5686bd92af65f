"""What a run of benches found is published whole, and never beside another machine's figures."""

import json
from pathlib import Path

import pytest

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
