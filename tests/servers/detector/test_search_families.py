"""A search over several families, and a family of one's own from the search to the explanation."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError, UsageError
from breezeway.core.settings import Settings
from breezeway.detector import search
from breezeway.detector.families.registry import BOOSTED_TREES, FAMILIES, families_of, family_of
from breezeway.detector.search import SearchTrial, Study, Suggestion
from breezeway.detector.table import Table, read_table
from tests.fixtures import ROOT
from tests.fixtures.plant import CONTRACT, make_plant, plant_contract

COUNT = 7
LABELLED = [name for name in FAMILIES if family_of(name).needs_labels]


def contract_of(*families: str, more: str = "") -> Contract:
    text = CONTRACT.format(by="time") + f"[detector]\nfamilies = {json.dumps(families)}\n" + more
    return Contract.from_text(text, "sensors.toml")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Table:
    folder = make_plant(tmp_path_factory.mktemp("plant") / "data", devices=3, readings=600)
    return read_table(folder, plant_contract())


@pytest.fixture(scope="module")
def trials(table) -> list[SearchTrial]:
    return search.search(table, contract_of(*LABELLED), COUNT, Settings(threads=2))


def test_each_family_begins_with_its_defaults(table, trials):
    assert [trial.family for trial in trials[: len(LABELLED)]] == LABELLED
    for trial in trials[: len(LABELLED)]:
        assert trial.params == family_of(trial.family).defaults(len(table.features))
    assert len(trials) == COUNT
    assert all(trial.average_precision > 0.3 for trial in trials[: len(LABELLED)])


def test_the_same_search_finds_the_same_whatever_the_costs(table, trials):
    again = search.search(table, contract_of(*LABELLED), COUNT, Settings(threads=2))
    assert again == trials
    assert [trial.cpu_seconds for trial in again] != [trial.cpu_seconds for trial in trials]


def test_what_each_family_reached_and_cost_is_told(trials):
    results = search.by_family(trials)
    assert {result.family for result in results} == set(LABELLED)
    assert sum(result.trials for result in results) == COUNT
    assert results[0].average_precision == search.best(trials).average_precision
    assert all(result.cpu_seconds > 0 for result in results)


def test_the_family_that_reaches_more_gets_more_trials(table):
    """Whatever the parameters: forests reach 0.9, boosted trees 0.1."""
    study = Study(table, 40, 3, [BOOSTED_TREES, "forest"])
    waiting: list[Suggestion] = []
    while len(study.trials) < 40:
        while suggested := None if study.is_exhausted else study.suggest():
            waiting.append(suggested)
        first = waiting.pop(0)
        study.end(first.ended([0.9 if first.family == "forest" else 0.1], "complete", 1.0))
    counts = Counter(trial.family for trial in study.trials)
    assert counts["forest"] > 2 * counts[BOOSTED_TREES] > 0


def test_a_trial_is_compared_with_those_of_its_own_family(table):
    study = Study(table, 20, 1, [BOOSTED_TREES, "forest"])
    for number in range(12):
        suggested = study.suggest()
        assert suggested.number == number
        curve = [0.9, 0.9] if suggested.family == "forest" else [0.1, 0.2]
        assert not study.is_behind(number, curve)
        study.end(suggested.ended(curve, "complete", 1.0))


def test_fewer_trials_than_families_are_refused(table):
    with pytest.raises(UsageError, match="count: 1, expected at least 2"):
        search.search(table, contract_of(BOOSTED_TREES, "forest"), 1, Settings())


def test_the_families_of_a_contract():
    assert families_of(plant_contract()) == [BOOSTED_TREES]
    assert families_of(contract_of("forest", BOOSTED_TREES)) == ["forest", BOOSTED_TREES]
    with pytest.raises(
        DataError, match=r"'froest': not known here\. Expected one of boosted trees"
    ):
        families_of(contract_of("froest"))


def test_a_family_that_cannot_be_monotone_is_refused_or_left_out():
    monotone = '[train.monotone]\ntorque = "increasing"\n'
    with pytest.raises(DataError, match=r"'neural network' does not hold to \[train.monotone\]"):
        families_of(contract_of("neural network", more=monotone))
    text = CONTRACT.format(by="time") + '[detector]\nfamilies = "auto"\n'
    assert families_of(Contract.from_text(text, "sensors.toml")) == LABELLED
    bound = families_of(Contract.from_text(text + monotone, "sensors.toml"))
    assert bound == [BOOSTED_TREES, "forest"]


OF_ONES_OWN = '''
import numpy as np
from optuna.distributions import IntDistribution

from breezeway.detector.families.dense import DenseModel
from breezeway.detector.families.family import Family
from breezeway.detector.families.standardization import fit_standardization


class Means(Family):
    """Weighs each feature by how far apart its means are."""

    name = "means"

    def defaults(self, rows):
        return {"power": 1}

    def space(self, label):
        return {"power": IntDistribution(1, 3)}

    def fit(self, features, label, contract, params, *, rounds, threads, seed):
        before = fit_standardization(features, ~label, contract)
        values = before(features)
        apart = values[label].mean(axis=0) - values[~label].mean(axis=0)
        weights = np.sign(apart) * np.abs(apart) ** params["power"]
        layer = weights[:, None], np.array([-2.0])
        origin, names = values.mean(axis=0), contract.feature_names
        return DenseModel(self.name, names, before, [layer], "relu", origin, [])

    def load(self, native):
        return DenseModel.load(self.name, native)
'''

END_TO_END = """
import json, sys
from dataclasses import replace
from pathlib import Path

from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
from breezeway.datasets.versions import OpenedVersion
from breezeway.deployment.store import Served as Deployment
from breezeway.detector import search
from breezeway.detector.clock import clock_scores
from breezeway.detector.fitting import Served, fit_detector, judge_unseen
from breezeway.detector.folds import split
from breezeway.detector.scoring import load_folder
from breezeway.detector.explanation import Explainer
from breezeway.detector.table import read_table
from breezeway.pipeline.training import parameters
from breezeway.pipeline.training_record import Training, write_model_files

data, made = Path(sys.argv[1]), Path(sys.argv[2])
contract = load_contract(data / "contract.toml")
table = read_table(data, contract)
best = search.best(search.search(table, contract, 3, Settings(threads=2)))
tuned = {"family": best.family, "params": best.params, "rounds": best.rounds}
version = OpenedVersion("v1", "c", "h", "", "", {}, params=tuned, folder=data)
family, params, rounds = parameters(version, contract, len(table.features))
fitted = fit_detector(table, contract, params, rounds, 2, family)
clock = clock_scores(table, split(table.rows, contract), 2)
training = Training(
    run_name="own", model_name="mill", table=table, contract=contract, version=version,
    fitted=fitted, served=Served(fitted.model, table.scope, again=False),
    judgement=judge_unseen(table, contract, fitted.scores, clock), lineage={"data_tag": "v1"},
)
made.mkdir()
write_model_files(training, json.loads((data / "examples.json").read_text()), made / "extra_files")
(made / "model.onnx").write_bytes(training.graph)
training.write_reports(made / "reports")
model = load_folder(made)
rows = table.features[model.score(table.features) >= model.threshold]
explainer = Explainer(model.fitted_model, contract, model.usual)
print(json.dumps({
    "family": model.family, "lineage": model.lineage, "rounds": rounds, "params": params,
    "average_precision": training.judgement.cards["model"].average_precision,
    "files": sorted(path.name for path in (made / "extra_files").iterdir()),
    "reports": sorted(path.name for path in (made / "reports").iterdir()),
    "reason": [reason.field for reason in explainer.reasons(rows[0])],
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with a package that has a family, as pip leaves it."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "means.py").write_text(OF_ONES_OWN)
    about = folder / "means-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: means\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[breezeway.families]\nmeans = means:Means\n")
    return folder


def test_a_family_of_ones_own_goes_from_the_search_to_the_explanation(installed, tmp_path):
    assert len(OF_ONES_OWN.strip().splitlines()) <= 40
    data = make_plant(tmp_path / "data", devices=3, readings=600)
    (data / "contract.toml").write_text(contract_of("means").text)
    path = os.pathsep.join([str(installed), str(ROOT / "include")])
    done = subprocess.run(
        [sys.executable, "-c", END_TO_END, str(data), str(tmp_path / "made")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["family"], said["rounds"]) == ("means", 1)
    assert set(said["params"]) == {"power"}
    assert "family" not in said["lineage"]
    assert said["average_precision"] > 0.3
    assert "model.json" in said["files"] and "model.ubj" not in said["files"]
    assert {"training_curves.png", "feature_importance.png"} <= set(said["reports"])
    assert set(said["reason"]) <= {"temperature", "torque"} and said["reason"]
