"""What a training is told to go by, and what it says of its code."""

import re
from dataclasses import replace

import pytest

from breezeway.core.settings import Settings
from breezeway.datasets.versions import DatasetVersion
from breezeway.detector.families.registry import BOOSTED_TREES
from breezeway.detector.model import DEFAULT_ROUNDS, default_params
from breezeway.pipeline import training
from tests.fixtures.plant import plant_contract

VERSION = DatasetVersion("v1", "c0ffee", "1.dir", "", "", {})


def test_parameters_are_those_that_were_tuned_or_the_defaults():
    contract, other = plant_contract(), "logistic regression"
    defaults = (BOOSTED_TREES, default_params(500), DEFAULT_ROUNDS)
    assert training.parameters(VERSION, contract, 500) == defaults
    tuned = DatasetVersion(
        "v1", "c0ffee", "1.dir", "", "", {}, params={"params": {"max_depth": 3}, "rounds": 40}
    )
    assert training.parameters(tuned, contract, 500) == (BOOSTED_TREES, {"max_depth": 3}, 40)
    named = replace(tuned, params={"params": {}, "rounds": 1, "family": other})
    assert training.parameters(named, contract, 500) == (other, {}, 1)


def test_lineage_names_what_is_known():
    keys = training.lineage_of(VERSION, Settings(code="abc", run_id="training/r1"))
    assert keys == {
        "data_tag": "v1",
        "data_hash": "1.dir",
        "data_commit": "c0ffee",
        "airflow_run": "training/r1",
        "code": "abc",
    }


def test_in_a_checkout_the_code_is_a_commit():
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", training.code_version())


def test_without_git_the_code_is_a_release(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    assert re.fullmatch(r"breezeway [0-9.]+", training.code_version())
