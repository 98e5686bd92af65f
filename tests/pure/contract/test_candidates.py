"""The candidates of `auto`: each is what a person could write, and both engines give its bits."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from breezeway.contract.candidates import (
    MOST_EXPLAINING,
    MOST_PAIRS,
    MOST_SIGNALS,
    candidate_groups,
    explicit,
)
from breezeway.contract.contract import Contract
from breezeway.contract.features import History, latest_features
from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway.preprocessing.days import shape
from tests.fixtures.candidates import auto_contract, auto_text

SHIPPED = ("plant", "skab", "ai4i")


def with_auto(text: str) -> Contract:
    return Contract.from_text(text.replace("[features]\n", "[features]\nauto = true\n"), "auto")


def shipped(name: str) -> str:
    return (Settings.shipped_sensors / f"{name}.toml").read_text("utf-8")


@pytest.mark.parametrize("name", SHIPPED)
def test_without_auto_nothing_is_added(name):
    text = shipped(name)
    own = Contract.from_text(text, "own")
    off = Contract.from_text(text.replace("[features]\n", "[features]\nauto = false\n"), "off")
    assert not own.features.auto
    assert off.feature_names == own.feature_names
    assert shape(off) == shape(own)
    assert "auto" not in str(shape(own))


@pytest.mark.parametrize("name", SHIPPED)
def test_all_groups_can_be_written_and_are_among_the_columns(name):
    own, auto = Contract.from_text(shipped(name), "own"), with_auto(shipped(name))
    plain = explicit(auto)
    assert plain.feature_names == own.feature_names
    assert plain.model_dump(exclude={"text"}) == own.model_dump(exclude={"text"})
    groups = candidate_groups(plain)
    assert len({group.name for group in groups}) == len(groups) > 1
    for group in groups:
        written = explicit(auto, [group])
        assert not written.features.auto
        assert Contract.from_text(written.text, "again").features == written.features
        assert set(written.feature_names) <= set(auto.feature_names)
        assert len(written.detector_features) > len(own.detector_features)
    everything = explicit(auto, groups)
    assert set(everything.feature_names) == set(auto.feature_names)
    assert with_auto(shipped(name)).feature_names == auto.feature_names


def test_what_the_contract_has_already_is_no_candidate():
    groups = {g.name: g for g in candidate_groups(Contract.from_text(shipped("plant"), "plant"))}
    assert groups["short windows"].rolling["temperature"] == ["slope:5"]  # it names mean:5
    assert groups["whole windows"].rolling["temperature"] == ["min:30", "max:30"]
    assert "own baseline" not in groups  # it has no [features.baseline]


def test_readings_without_a_past_get_no_windows():
    groups = candidate_groups(Contract.from_text(shipped("ai4i"), "ai4i"))
    assert not any(group.rolling for group in groups)
    assert "residuals given torque" in [group.name for group in groups]
    ratios = next(group for group in groups if group.name == "ratios")
    assert ratios.reading == {
        "air_temperature_per_process_temperature": "air_temperature / process_temperature"
    }


def test_their_number_is_bounded():
    fields = "".join(f'[fields.f{n}]\ntype = "float"\nunit = "V"\n' for n in range(60))
    reading = "\n".join(f'f{n} = "f{n}"' for n in range(60))
    text = auto_text().replace("[features.reading]", f"{fields}[features.reading]\n{reading}")
    auto = Contract.from_text(text, "many")
    groups = candidate_groups(explicit(auto))
    assert sum(group.name.startswith("residuals") for group in groups) == MOST_EXPLAINING
    assert all(len(group.rolling) <= max(MOST_SIGNALS, MOST_PAIRS) for group in groups)
    assert len(next(group for group in groups if group.name == "ratios").reading) == MOST_PAIRS
    assert len(auto.feature_names) < 500


def test_a_name_that_is_taken_is_left_out():
    text = auto_text().replace('strain = "', 'temperature_mean_1 = "torque"\nstrain = "')
    text = text.replace("window = 10", "window = 6")
    auto = Contract.from_text(text.replace("temperature_mean_1 =", "temperature_mean_2 ="), "taken")
    short = next(g for g in candidate_groups(explicit(auto)) if g.name == "short windows")
    assert list(short.rolling["temperature"]) == ["slope:2"]


def test_what_others_explain_by_is_not_explained_itself():
    auto = auto_contract()
    groups = {group.name: group for group in candidate_groups(explicit(auto))}
    given = [groups[f"residuals given {name}"] for name in ("torque", "temperature")]
    residual = explicit(auto, given).features.residual
    assert residual.of == ["strain_mean_3"]
    assert set(residual.given) == {
        "torque", "torque_mean_3", "temperature", "temperature_mean_3"
    }  # fmt: skip


@pytest.mark.parametrize("value", ['"yes"', "1", "[]", '"true"'])
def test_garbage_is_refused_by_name(value):
    with pytest.raises(DataError, match=r"features\.auto: .*boolean.*\(line \d+\)"):
        Contract.from_text(auto_text().replace("auto = true", f"auto = {value}"), "sensors.toml")


def test_a_mistake_beside_auto_is_told_as_without_it():
    text = auto_text().replace('torque = ["std"', 'torque = ["sdt"')
    with pytest.raises(DataError, match=r"features\.rolling\.torque\.0: 'sdt'"):
        Contract.from_text(text, "sensors.toml")


def test_all_engines_give_the_same_bits_whatever_else_is_computed():
    """History of all candidates, history of one group, and a request of that group."""
    auto, generator = auto_contract(), np.random.default_rng(1)
    names, count = ["mill-0", "mill-1"], 70
    values = {name: generator.normal(50, 9, 2 * count) for name in ("temperature", "torque")}
    values["temperature"][generator.random(2 * count) < 0.1] = np.nan
    gaps = generator.integers(30, 90, 2 * count).astype(np.int64) * 1_000_000
    times = np.concatenate([np.cumsum(gaps[:count]), np.cumsum(gaps[count:])])
    starts = np.array([0, count])
    whole = History(auto).features(names, starts, values, times)
    moments = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(t)) for t in times]
    readings = [
        dict(zip(values, row, strict=True)) for row in zip(*map(list, values.values()), strict=True)
    ]
    places = {name: place for place, name in enumerate(auto.feature_names)}
    groups = candidate_groups(explicit(auto))
    for group in groups:
        chosen = explicit(auto, [group])
        among = whole[:, [places[name] for name in chosen.feature_names]]
        alone = History(chosen).features(names, starts, values, times)
        np.testing.assert_array_equal(among, alone)
        for first, last in pairwise([0, count, 2 * count]):
            for end in (first + 1, first + 9, last):
                of_request = latest_features(chosen, readings[first:end], moments[first:end])
                np.testing.assert_array_equal(of_request[0], among[end - 1])
