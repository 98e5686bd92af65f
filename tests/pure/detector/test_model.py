"""Folds that do not leak, thresholds that keep what the contract says, models that repeat."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost as xgb

from breezeway.contract.contract import Contract, load_contract
from breezeway.core.errors import DataError, InternalError
from breezeway.detector import model, scorecard, scoring
from breezeway.detector.folds import split
from breezeway.detector.table import Table, read_table
from breezeway.detector.thresholds import choose_threshold, honest_thresholds, threshold_curve
from breezeway.serving import row_scorer
from tests.fixtures.plant import CONTRACT, make_plant

ROUNDS = 20


def contract_of(by: str = "time", **changes: str) -> Contract:
    text = CONTRACT.format(by=by)
    for old, new in changes.items():
        text = text.replace(f"{old} = ", f"{new}\n# {old} = ")
    return Contract.from_text(text, "sensors.toml")


NAMES = contract_of().feature_names


@pytest.fixture(scope="module")
def table(plant_dataset) -> Table:
    return read_table(plant_dataset, load_contract(plant_dataset / "contract.toml"))


@pytest.fixture(scope="module")
def scores(table) -> model.OutOfFold:
    return model.out_of_fold(table, contract_of(), model.DEFAULT_PARAMS, ROUNDS, 2)


def rows_from(label: np.ndarray, interval: int = 60) -> scorecard.Rows:
    """Readings of devices, one a row of `label`."""
    devices, readings = label.shape
    at = np.datetime64("2026-01-01") + (np.arange(readings) * interval).astype("timedelta64[s]")
    names = np.repeat([f"mill-{i}" for i in range(devices)], readings)
    return scorecard.rows_of(
        {"device": names, "time": np.tile(at, devices), "label": label.ravel()}
    )


def chosen_threshold(rows, score, contract) -> float:
    return choose_threshold(threshold_curve(rows, score, contract), contract)


class TestReadTable:
    def test_labelled_rows_in_order(self, table, plant_dataset):
        parts = [pq.read_table(p) for p in sorted((plant_dataset / "features").iterdir())]
        whole = pa.concat_tables(parts)
        labelled = whole.filter(whole["label"].is_valid())
        assert len(labelled) < len(whole)
        may_learn = table.scope.covers(labelled["device"], labelled["time"])
        assert 0.75 < may_learn.mean() < 0.85
        labelled = labelled.filter(pa.array(may_learn))
        assert table.features.dtype == np.float32
        np.testing.assert_array_equal(
            table.features[:, 1], labelled["torque"].to_numpy().astype(np.float32)
        )
        np.testing.assert_array_equal(table.rows.label, labelled["label"].to_numpy() == 1)

    @pytest.mark.parametrize(
        ("label", "message"),
        [
            ([0, 0, None], "one class only: 0 of 2 rows are positive"),
            ([1, None, 1], "one class only: 2 of 2 rows are positive"),
            ([0, 0, 1], "one class only: 0 of 2 rows to train on"),
            ([None, None, None], "label: no row has one"),
        ],
    )
    def test_one_class_is_refused_with_counts(self, tmp_path, label, message):
        contract = contract_of()
        columns = {name: [1.0, 2.0, 3.0] for name in contract.feature_names}
        at = pa.array([0, 1, 2], pa.timestamp("us", "UTC"))
        rows = pa.table(
            {"device": ["mill-1"] * 3, "time": at, **columns, "label": pa.array(label, pa.int8())}
        )
        (tmp_path / "features").mkdir()
        pq.write_table(rows, tmp_path / "features" / "part-00000.parquet")
        with pytest.raises(DataError, match=message):
            read_table(tmp_path, contract)

    def test_a_missing_column_is_named(self, plant_dataset, tmp_path):
        (tmp_path / "features").mkdir()
        part = pq.read_table(plant_dataset / "features" / "part-00000.parquet")
        pq.write_table(part.drop_columns("strain"), tmp_path / "features" / "part-00000.parquet")
        with pytest.raises(DataError, match=r"part-00000.parquet: the column strain is missing"):
            read_table(tmp_path, contract_of())

    def test_an_empty_folder_is_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"expected features/part-\*.parquet"):
            read_table(tmp_path, contract_of())


class TestSplitByDevice:
    def test_no_device_on_both_sides_and_each_row_scored_once(self, table):
        folds = split(table.rows, contract_of("device"))
        assert len(folds) == 3
        for fold in folds:
            assert not set(table.rows.device[fold.fit]) & set(table.rows.device[fold.scored])
        scored = np.concatenate([fold.scored for fold in folds])
        np.testing.assert_array_equal(np.sort(scored), np.arange(len(table.features)))

    def test_single_readings_are_dealt_evenly(self):
        label = (np.random.default_rng(0).random((900, 1)) < 0.034).astype(int)
        rows = rows_from(label)
        folds = split(rows, contract_of("device"))
        positives = [int(rows.label[fold.scored].sum()) for fold in folds]
        sizes = [len(fold.scored) for fold in folds]
        assert max(positives) - min(positives) <= 1
        assert max(sizes) - min(sizes) <= 1

    def test_the_order_of_devices_does_not_matter(self):
        label = np.random.default_rng(0).integers(0, 2, (12, 5))
        frame = {
            "device": np.repeat([f"mill-{i}" for i in range(12)], 5),
            "time": np.tile(np.datetime64("2026-01-01") + np.arange(5), 12),
            "label": label.ravel(),
        }
        backwards = {name: column[::-1] for name, column in frame.items()}

        def dealt(columns: dict) -> list[set]:
            rows = scorecard.rows_of(columns)
            folds = split(rows, contract_of("device"))
            return [set(rows.names[rows.device[fold.scored]]) for fold in folds]

        assert dealt(frame) == dealt(backwards)


class TestSplitByTime:
    def test_the_past_is_fitted_with_a_gap(self, table):
        rows = table.rows
        folds = split(rows, contract_of())
        assert len(folds) == 3
        previous_end = 0
        for fold in folds:
            cut = rows.time[fold.scored].min()
            assert rows.time[fold.fit].max() < cut - 10 * 60 * 1_000_000
            assert cut > previous_end
            previous_end = rows.time[fold.scored].max()

    def test_an_event_that_spans_the_cut_is_not_fitted(self):
        label = np.zeros((1, 400), dtype=int)
        label[0, 20:30] = 1
        label[0, 60:140] = 1  # the first cut of four stretches is at 100
        rows = rows_from(label)
        first = split(rows, contract_of())[0]
        assert first.scored[0] == 100
        assert first.fit[-1] == 59

    def test_folds_without_both_classes_to_fit_are_left_out(self):
        label = np.zeros((1, 400), dtype=int)
        label[0, 150:160] = 1
        assert len(split(rows_from(label), contract_of())) == 2

    def test_no_fold_at_all_is_refused(self):
        label = np.zeros((1, 400), dtype=int)
        label[0, 390:] = 1
        with pytest.raises(DataError, match='by = "time" with 3 folds leaves no fold'):
            split(rows_from(label), contract_of())


class TestThreshold:
    def false_a_day(self, rows, score, threshold) -> float:
        horizon = scorecard.horizon_seconds(60)
        days = len(score) * 60 / 86400
        return scorecard.false_episodes(rows, score >= threshold, horizon) / days

    def test_budget_is_kept_and_used(self, table, scores):
        known = scores.fold >= 0
        rows, score = table.rows.where(known), scores.score[known]
        threshold = chosen_threshold(rows, score, contract_of())
        assert self.false_a_day(rows, score, threshold) <= 2
        lower = np.sort(score[score < threshold])[-len(score) // 20]
        assert self.false_a_day(rows, score, lower) > 2

    def test_always_on_is_no_way_to_keep_a_budget(self):
        """Always in alarm is one episode, which overlaps an event: no false one at all."""
        generator = np.random.default_rng(0)
        label = np.zeros((1, 3000), dtype=int)
        label[0, 1000:1050] = 1
        rows = rows_from(label)
        score = generator.random(3000)
        threshold = chosen_threshold(rows, score, contract_of())
        assert (score >= threshold).mean() < 0.05

    def test_costs_weigh_missed_events_against_false_episodes(self):
        label = np.zeros((2, 500), dtype=int)
        label[0, 100:110] = label[1, 300:310] = 1
        score = np.zeros((2, 500))
        score[0, 105], score[1, 305] = 0.9, 0.4
        score[0, [200, 250, 300]] = 0.6

        def chosen(missed: float) -> float:
            costs = f"missed_event_cost = {missed}\nfalse_episode_cost = 1"
            contract = contract_of(false_episodes_per_day=costs)
            return chosen_threshold(rows_from(label), score.ravel(), contract)

        assert chosen(2) == 0.9
        assert chosen(4) == 0.4

    def test_a_budget_that_allows_nothing_gives_no_alarm(self):
        label = np.zeros((1, 100), dtype=int)
        label[0, 50:60] = 1
        score = np.zeros(100)
        score[10] = 1.0
        threshold = chosen_threshold(rows_from(label), score, contract_of())
        assert threshold > 1.0

    def test_a_score_of_two_values_does_not_end_in_endless_alarm(self):
        label = np.zeros((1, 100), dtype=int)
        label[0, 50:60] = 1
        score = np.where(label.ravel() == 1, 0.9, 0.1)
        assert chosen_threshold(rows_from(label), score, contract_of()) == 0.9

    def test_a_row_has_no_say_in_its_own_threshold(self, table, scores):
        thresholds = honest_thresholds(table.rows, scores, contract_of())
        assert np.isnan(thresholds[scores.fold <= 0]).all()
        last = scores.fold == 2
        meddled = scores._replace(score=np.where(last, 1.0, scores.score))
        again = honest_thresholds(table.rows, meddled, contract_of())
        np.testing.assert_array_equal(thresholds, again)
        assert len(set(thresholds[last])) == 1


class TestFit:
    def test_out_of_fold_scores_learn_something(self, table, scores):
        known = scores.fold >= 0
        reached = scorecard.average_precision(table.rows.label[known], scores.score[known])
        assert 0.5 < reached < 0.999

    def test_same_bytes_every_time_whatever_the_threads(self, table):
        arguments = (table, slice(None), NAMES, model.DEFAULT_PARAMS)
        first, again, threaded = (
            model.model_bytes(model.fit(*arguments, rounds=ROUNDS, threads=threads))
            for threads in (1, 1, 2)
        )
        assert first == again == threaded

    def test_a_parameter_that_xgboost_refuses_is_named(self, table):
        with pytest.raises(DataError, match=r"XGBoost refuses .*max_depth"):
            model.fit(table, slice(None), NAMES, {"max_depth": "x"}, rounds=1, threads=1)


@pytest.fixture
def model_folder(tmp_path, table, plant_dataset):
    """What MLflow keeps of a model."""
    booster = model.fit(table, slice(None), NAMES, model.DEFAULT_PARAMS, rounds=ROUNDS, threads=1)
    extra = tmp_path / "model" / "extra_files"
    extra.mkdir(parents=True)
    booster.save_model(tmp_path / "model" / "model.ubj")
    shutil.copy(plant_dataset / "contract.toml", extra)
    shutil.copy(plant_dataset / "examples.json", extra)
    scope = json.loads(table.scope.to_json())
    decided = {"threshold": 0.7, "model_name": "mill", "data_tag": "v1", "trained_on": scope}
    (extra / "threshold.json").write_text(json.dumps(decided))
    return tmp_path / "model"


class TestLoadFolder:
    def test_scores_as_it_was_fitted(self, model_folder, table):
        loaded = scoring.load_folder(model_folder, version="3")
        assert (loaded.threshold, loaded.name, loaded.version) == (0.7, "mill", "3")
        assert loaded.data_tag == "v1"
        assert loaded.trained_on == table.scope
        assert loaded.contract == contract_of()
        booster = xgb.Booster(model_file=model_folder / "model.ubj")
        expected = booster.predict(
            xgb.DMatrix(table.features[:100], feature_names=loaded.feature_names)
        )
        np.testing.assert_array_equal(loaded.score(table.features[:100].astype(float)), expected)

    def test_a_row_by_itself_scores_to_the_bit_as_in_a_batch(self, model_folder):
        loaded = scoring.load_folder(model_folder)
        generator = np.random.default_rng(5)
        rows = generator.normal(scale=50, size=(2000, len(loaded.feature_names)))
        rows[generator.random(rows.shape) < 0.1] = np.nan
        rows[generator.random(rows.shape) < 0.01] = 1e300
        score_row = row_scorer.RowScorer(loaded)
        assert [score_row(row) for row in rows] == loaded.score(rows).tolist()

    def test_another_number_of_features_is_our_defect(self, model_folder):
        with pytest.raises(InternalError, match=r"shape \(1, 3\), expected \(rows, 7\)"):
            scoring.load_folder(model_folder).score(np.zeros((1, 3)))

    @pytest.mark.parametrize("name", ["contract.toml", "threshold.json", "examples.json"])
    def test_a_missing_file_is_named(self, model_folder, name):
        (model_folder / "extra_files" / name).unlink()
        with pytest.raises(DataError, match=name):
            scoring.load_folder(model_folder)

    def test_a_damaged_model_is_refused(self, model_folder):
        (model_folder / "model.ubj").write_bytes(b"{not a model")
        with pytest.raises(DataError, match="holds no model that loads"):
            scoring.load_folder(model_folder)

    def test_a_contract_of_other_features_is_refused(self, model_folder):
        path = model_folder / "extra_files" / "contract.toml"
        path.write_text(path.read_text().replace('"std", "max"', '"std", "min"'))
        with pytest.raises(DataError, match="not those of its contract"):
            scoring.load_folder(model_folder)


def test_split_by_device_scores_every_row(tmp_path):
    folder = make_plant(tmp_path / "dataset", by="device", devices=4, readings=400)
    contract = load_contract(folder / "contract.toml")
    table = read_table(folder, contract)
    scores = model.out_of_fold(table, contract, model.DEFAULT_PARAMS, 5, 2)
    assert not np.isnan(scores.score).any()
    assert not np.isnan(honest_thresholds(table.rows, scores, contract)).any()
