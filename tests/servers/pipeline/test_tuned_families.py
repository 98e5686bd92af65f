"""From a search over families to a registered version that scores and explains."""

import json
from pathlib import Path

import numpy as np
import pytest

from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.detector.explanation import Explainer
from breezeway.detector.table import read_table
from breezeway.pipeline.training import train
from breezeway.pipeline.tuning import tune
from breezeway.tracking import reports
from breezeway.tracking.load import load
from tests.fixtures.plant import make_plant

FAMILIES = ["neural network", "logistic regression"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_plant(tmp_path_factory.mktemp("plant") / "data", devices=3, readings=600)
    text = (folder / "contract.toml").read_text("utf-8").replace('"mill"', '"families"')
    more = f"[detector]\nfamilies = {json.dumps(FAMILIES)}\n[train]\nrefit = true\n"
    (folder / "contract.toml").write_text(text + more, "utf-8")
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory, data, mlflow_server) -> Settings:
    settings = Settings(home=tmp_path_factory.mktemp("home"), mlflow_url=mlflow_server, threads=2)
    versions.publish(settings, data, "v1", "for tests")
    return settings


@pytest.fixture(scope="module")
def tuned(settings):
    return tune(settings, "v1", 3)


@pytest.fixture(scope="module")
def trained(settings, tuned):
    tag = versions.publish_params(settings, settings.work / "v1", "v1").params_tag
    return train(settings, tag, "tuned")


def test_the_result_compares_the_families(tuned):
    assert {each["family"] for each in tuned["families"]} == set(FAMILIES)
    assert tuned["families"][0]["family"] == tuned["family"]
    assert sum(each["trials"] for each in tuned["families"]) == 3
    assert all(each["cpu_seconds"] > 0 for each in tuned["families"])


def test_so_does_a_report(tuned, settings):
    run = reports.get(settings, tuned["run_id"])
    assert {"Families", "Families (JSON)"} <= {report.title for report in run.reports}
    with reports.open_report(settings, run, "families.json") as content:
        assert json.loads(content.read()) == tuned["families"]
    with reports.open_report(settings, run, "families.png") as content:
        assert content.read().startswith(b"\x89PNG")


def test_train_fits_the_family_that_was_tuned(tuned, trained, settings, data):
    params = json.loads((settings.work / "v1" / "params.json").read_text("utf-8"))
    assert (params["family"], params["params"]) == (tuned["family"], tuned["params"])
    for judged in (False, True):
        model = load(settings, "families", trained["model_version"], judged=judged)
        assert model.family == model.fitted_model.family == tuned["family"]
        rows = read_table(data, model.contract).features[:50]
        odds = model.fitted_model.contributions(rows).sum(axis=1)
        np.testing.assert_allclose(1 / (1 + np.exp(-odds)), model.score(rows), rtol=0, atol=1e-5)
    assert model.again
    alarm = rows[np.argmax(model.score(rows))]
    assert Explainer(model.fitted_model, model.contract, model.usual).reasons(alarm)
