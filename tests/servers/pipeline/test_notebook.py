"""The notebook from a dataset to a challenger, executed whole against real stores."""

from datetime import date
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from breezeway.commands.notebook import FOLDER, NAME, environment
from breezeway.contract.contract import load_contract
from breezeway.core.files import write_json
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.pipeline import preprocessing
from breezeway.readings import simulate
from breezeway.tracking import registry

QUERY = "SELECT device, time, payload FROM readings"


@pytest.fixture
def notebook(
    settings: Settings, mlflow_server: str, tmp_path, monkeypatch
) -> nbformat.NotebookNode:
    """Executed beside a store of two machines, some of whose readings are wrong, and a dataset with
    parameters."""
    monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", mlflow_server)
    settings = Settings.from_environment()
    simulate.fill(settings, devices=2, days=3, end=date(2026, 5, 2), bad_share=0.01)
    made = preprocessing.make_version(settings, load_contract(settings.sensors), QUERY, "look")
    folder = Path(made["folder"])
    versions.publish(settings, folder, "look")
    params = {"params": {"max_depth": 3, "learning_rate": 0.3}, "rounds": 8}
    write_json(tmp_path / "params.json", params)
    versions.publish_params(settings, tmp_path, "look")
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    document = nbformat.read(FOLDER / NAME, as_version=4)
    NotebookClient(document, timeout=240, kernel_name="python3").execute()
    return document


def said(document: nbformat.NotebookNode, source: str) -> str:
    """What the cell that has this text printed and showed."""
    (cell,) = [each for each in document.cells if source in each.source]
    parts = [
        each.get("text") or each.get("data", {}).get("text/plain", "") for each in cell.outputs
    ]
    return "\n".join(parts)


def test_it_leads_from_a_dataset_to_a_registered_version(notebook) -> None:
    settings = Settings.from_environment()
    assert "'look': ('look-params-1',)" in said(notebook, "published = {")
    assert "not_json" in said(notebook, "quarantine.groupby")
    assert "average_precision" in said(notebook, "difference=")
    (published,) = versions.list_versions(settings)
    assert published.params_tags == ("look-params-1", "look-params-2")
    version = registry.newest_version(settings, "plant")
    found = registry.find_version(settings, "plant", version)
    assert found.tags["params_tag"] == "look-params-2"
    assert "notebook-look-params-2" in said(notebook, "client.search_runs")
    assert f'"model_version": "{version}"' in said(notebook, '"steps"')
