"""Whatever a contract holds, its candidates can be written, and are columns of its datasets."""

import random

import pytest

from breezeway.contract.candidates import candidate_groups, explicit
from breezeway.contract.contract import Contract

REST = '[label]\ncolumn = "label"\n[alarm]\nmean_readings = 5\n[split]\nby = "time"\n'


def contract_text(seed: int) -> str:
    choose = random.Random(seed)
    window = choose.choice([1, 3, 4, 7, 30, 999, 2500, 9990])
    fields, reading = "", ""
    for number in range(choose.randint(1, 7)):
        name = choose.choice(["a", "x_mean_2", "lag", "per", "minus"]) + str(number)
        kind = choose.choice(["float", "float", "int", "bool", "vector", "category"])
        more = {"vector": "length = [2, 9]", "category": 'categories = ["p", "q"]', "bool": ""}
        unit = choose.choice(["", "V", "°C"])
        fields += f'[fields.{name}]\ntype = "{kind}"\n{more.get(kind, f'unit = "{unit}"')}\n'
        reading += f'{name} = "{f"rms({name})" if kind == "vector" else name}"\n'
    last, middle = reading.splitlines()[-1], max(3, window // 3)
    own, _, text = last.partition(" = ")
    reading += choose.choice(["", 'h = "hour()"\n', f"{own}_mean_{middle} = {text}\n"])
    rolling = choose.choice(["", f'[features.rolling]\n{own} = ["mean", "std"]\n'])
    interval = choose.choice([0.1, 0.5, 1, 7, 60, 86_400, 86_400 * 40])
    return (
        f'name = "m"\ninterval_seconds = {interval}\n[payload]\nformat = "json"\n{fields}'
        f"[features]\nwindow = {window}\n[features.reading]\n{reading}{rolling}{REST}"
    )


@pytest.mark.parametrize("seed", range(12))
def test_all_candidates_can_be_written(seed):
    text = contract_text(seed)
    own = Contract.from_text(text, "own")
    auto = Contract.from_text(text.replace("[features]\n", "[features]\nauto = true\n"), "auto")
    assert explicit(auto).feature_names == own.feature_names
    every = explicit(auto, candidate_groups(own))
    assert set(every.feature_names) == set(auto.feature_names)
    assert every.request_readings <= 10_000
