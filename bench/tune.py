"""The search for parameters beside Ray Tune, Optuna and scikit-learn as their examples have them.

Thirty sets of parameters of one space, up to 140 boosting rounds each, for 200,000 rows of twenty
features, of which the newest fifth is kept back. Ours judges a trial on three stretches of time, as
the contract of the simulated plant has it. What each of them finds is fitted by one function and
judged on what was kept back. The floor is what no search can spare: the boosting rounds that ours
ran, once more, with all matrices made before.
"""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from bench import frame

ROWS, FEATURES, DEVICES = 200_000, 20, 50
KNOWN = 0.8
"""Share of the rows that a search may learn from: the oldest."""
TRIALS = 30
MOST_ROUNDS = 140
THREADS = 2
RATIO = 1.15
NAMES = [f"x{number:02}" for number in range(FEATURES)]
SEED = 11

OURS, ALONE = "breezeway", "its boosting rounds alone"
PEERS = RAY_TUNE, OPTUNA, HALVING = "Ray Tune", "Optuna", "HalvingRandomSearchCV"

_FIELD = '[fields.{0}]\ntype = "float"\ninvalid = "missing"\n'
CONTRACT = f"""
name = "bench"
interval_seconds = 1
payload = {{ format = "delimited" }}
label = {{ column = "label" }}
alarm = {{ false_episodes_per_day = 1 }}
split = {{ by = "time", folds = 3, holdout = {1 - KNOWN:.1f} }}

{"".join(_FIELD.format(name) for name in NAMES)}
[features]
window = 1

[features.reading]
{"".join(f'{name} = "{name}"{chr(10)}' for name in NAMES)}
"""


def make_rows(folder: Path) -> None:
    """Write `features` float32 (rows, features) and `label` bool (rows,), by time."""
    generator = np.random.default_rng(SEED)
    x = generator.normal(size=(ROWS, FEATURES)).astype(np.float32)
    risk = (
        1.2 * x[:, 0] * x[:, 1]
        + np.abs(x[:, 2])
        + np.maximum(0, x[:, 3] + x[:, 4]) ** 1.5
        + 0.8 * np.sin(2 * x[:, 5]) * (x[:, 6] > 0)
        + 0.4 * x[:, 7:12].sum(axis=1)
        + generator.gumbel(size=ROWS)
    )
    x[generator.random(x.shape) < 0.02] = np.nan
    np.savez(folder / "rows.npz", features=x, label=risk > np.quantile(risk, 0.93))


def rows_of(folder: str, known: bool) -> tuple[np.ndarray, np.ndarray]:
    """Features and label of the rows that may be learnt from, or of those that are kept back."""
    rows = np.load(Path(folder) / "rows.npz")
    part = slice(int(KNOWN * ROWS)) if known else slice(int(KNOWN * ROWS), None)
    return rows["features"][part], rows["label"][part]


def our_table(folder: str) -> tuple[Any, Any]:
    """The table that `train` and `tune` have of all rows; the contract."""
    import pyarrow as pa

    from breezeway.contract.contract import Contract
    from breezeway.detector.table import labelled_table

    contract = Contract.from_text(CONTRACT, "bench")
    rows = np.load(Path(folder) / "rows.npz")
    number = np.arange(ROWS)
    table = pa.table(
        {
            "device": pa.array(np.char.mod("machine-%02d", number % DEVICES)),
            "time": pa.array(number // DEVICES * 1_000_000).cast(pa.timestamp("us", "UTC")),
            "label": rows["label"].astype(np.int8),
            **dict(zip(NAMES, rows["features"].T.astype(np.float64), strict=True)),
        }
    )
    return labelled_table(table, contract), contract


def ours(folder: str, count: int = TRIALS) -> Callable[[], Any]:
    from breezeway.core.settings import Settings
    from breezeway.detector.search import search

    table, contract = our_table(folder)

    def work() -> list[dict[str, Any]]:
        trials = search(table, contract, count, Settings(threads=THREADS))
        return [
            {"params": trial.params, "curve": trial.curve, "rounds": trial.rounds}
            for trial in sorted(trials, key=lambda trial: -trial.average_precision)
        ]

    return work


def rounds_alone(folder: str, trials: list[dict[str, Any]]) -> Callable[[], Any]:
    """The same boosting rounds: as many at once, one thread each, one matrix a fold for all."""
    from breezeway.detector.boosting import booster_params, matrix, xgb
    from breezeway.detector.families.registry import BOOSTED_TREES, family_of
    from breezeway.detector.folds import split

    table, contract = our_table(folder)
    folds = [
        (matrix(table.features[fold.fit], label, NAMES, threads=1), label)
        for fold in split(table.rows, contract)
        for label in [table.rows.label[fold.fit]]
    ]

    def boost(trial: dict[str, Any]) -> int:
        rounds = len(trial["curve"]) * family_of(BOOSTED_TREES).rounds_a_step
        for learned, label in folds:
            params = booster_params(trial["params"], contract.train.monotone, label, threads=1)
            booster = xgb.Booster(params, [learned])
            for number in range(rounds):
                booster.update(learned, number)
        return rounds

    def work() -> int:
        with ThreadPoolExecutor(THREADS) as pool:
            return sum(pool.map(boost, trials))

    return work


# -- the peers, as their own examples have it: a quarter of the rows judges, the others train


def _common(label: np.ndarray) -> dict[str, Any]:
    return {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "scale_pos_weight": float((~label).sum() / label.sum()),
    }


def _ray_trial(config: dict[str, Any]) -> None:
    """A trial of the tutorial "Tuning XGBoost hyperparameters with Ray Tune"."""
    import xgboost as xgb
    from ray.tune.integration.xgboost import TuneReportCheckpointCallback
    from sklearn.model_selection import train_test_split

    config = dict(config)
    features, label = rows_of(config.pop("folder"), known=True)
    train_x, test_x, train_y, test_y = train_test_split(features, label, test_size=0.25)
    train_set = xgb.DMatrix(train_x, label=train_y)
    test_set = xgb.DMatrix(test_x, label=test_y)
    xgb.train(
        {**_common(label), "eval_metric": ["logloss", "aucpr"], **config},
        train_set,
        num_boost_round=MOST_ROUNDS,
        evals=[(test_set, "test")],
        verbose_eval=False,
        # The tutorial writes a checkpoint each round, too; ours writes none, so neither does this.
        callbacks=[TuneReportCheckpointCallback(checkpoint_at_end=False)],
    )


def ray_tune(folder: str) -> Callable[[], Any]:
    """The tutorial's search: ASHA, one processor a trial."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    space = {
        "folder": folder,
        "max_depth": tune.randint(2, 8),
        "learning_rate": tune.loguniform(0.03, 0.3),
        "min_child_weight": tune.loguniform(0.5, 50),
        "subsample": tune.uniform(0.5, 1.0),
        "colsample_bytree": tune.uniform(0.4, 1.0),
        "reg_lambda": tune.loguniform(0.1, 30),
        "gamma": tune.uniform(0.0, 5.0),
    }

    def work() -> dict[str, Any]:
        ray.init(num_cpus=THREADS, log_to_driver=False)
        tuner = tune.Tuner(
            tune.with_resources(_ray_trial, resources={"cpu": 1}),
            tune_config=tune.TuneConfig(
                metric="test-aucpr",
                mode="max",
                num_samples=TRIALS,
                scheduler=ASHAScheduler(max_t=MOST_ROUNDS, grace_period=1, reduction_factor=2),
            ),
            run_config=tune.RunConfig(storage_path=f"{folder}/ray", verbose=0),
            param_space=space,
        )
        best = tuner.fit().get_best_result()
        ray.shutdown()
        params = {name: value for name, value in best.config.items() if name != "folder"}
        return {"params": params, "rounds": best.metrics["training_iteration"]}

    return work


def optuna_alone(folder: str) -> Callable[[], Any]:
    """Optuna's example for XGBoost: matrices a trial, all rounds, all threads a round."""
    import optuna
    import xgboost as xgb
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import train_test_split

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial: optuna.Trial) -> float:
        features, label = rows_of(folder, known=True)
        train_x, valid_x, train_y, valid_y = train_test_split(features, label, test_size=0.25)
        params = {
            "max_depth": trial.suggest_int("max_depth", 2, 7),
            "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
            "min_child_weight": trial.suggest_float("min_child_weight", 0.5, 50, log=True),
            "subsample": trial.suggest_float("subsample", 0.5, 1.0),
            "colsample_bytree": trial.suggest_float("colsample_bytree", 0.4, 1.0),
            "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 30, log=True),
            "gamma": trial.suggest_float("gamma", 0.0, 5.0),
        }
        train_set = xgb.DMatrix(train_x, label=train_y)
        booster = xgb.train(_common(label) | params, train_set, num_boost_round=MOST_ROUNDS)
        return average_precision_score(valid_y, booster.predict(xgb.DMatrix(valid_x)))

    def work() -> dict[str, Any]:
        study = optuna.create_study(direction="maximize")
        study.optimize(objective, n_trials=TRIALS)
        return {"params": study.best_params, "rounds": MOST_ROUNDS}

    return work


def halving(folder: str) -> Callable[[], Any]:
    """Boosting rounds as the resource; the third that does best gets three times as many."""
    from scipy.stats import loguniform, randint, uniform
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV
    from xgboost import XGBClassifier

    features, label = rows_of(folder, known=True)
    space = {
        "max_depth": randint(2, 8),
        "learning_rate": loguniform(0.03, 0.3),
        "min_child_weight": loguniform(0.5, 50),
        "subsample": uniform(0.5, 0.5),
        "colsample_bytree": uniform(0.4, 0.6),
        "reg_lambda": loguniform(0.1, 30),
        "gamma": uniform(0.0, 5.0),
    }

    def work() -> dict[str, Any]:
        search = HalvingRandomSearchCV(
            XGBClassifier(**_common(label), n_jobs=1),
            space,
            n_candidates=TRIALS,
            resource="n_estimators",
            max_resources=MOST_ROUNDS,
            scoring="average_precision",
            cv=2,
            n_jobs=THREADS,
            refit=False,
        ).fit(features, label)
        best = dict(search.best_params_)
        return {"rounds": int(best.pop("n_estimators")), "params": best}

    return work


# -- what they found


def _judge(folder: Path, found: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Fit what each found on all known rows, and score the rows that were held out.

    Returns:
        `average_precision`, and by how much ours is better: `estimate`, `low` and `high` of 95 %.
    """
    from breezeway.detector import model, scorecard

    table, contract = our_table(str(folder))
    features, label = rows_of(str(folder), known=False)
    scores = {}
    for name, best in found.items():
        booster = model.fit(
            table.features,
            table.rows.label,
            contract,
            best["params"],
            rounds=best["rounds"],
            threads=THREADS,
        )
        scores[name] = booster.inplace_predict(features)
    blocks = np.arange(len(label)) // 100
    return {
        name: {
            "average_precision": float(scorecard.average_precision(label, score)),
            **scorecard.compare(label, scores[OURS], score, blocks),
        }
        for name, score in scores.items()
    }


def _parts(
    costs: dict[str, frame.Cost], judged: dict[str, dict[str, float]]
) -> list[dict[str, str]]:
    def text(name: str) -> str:
        cost, score = costs[name], judged[name]["average_precision"]
        return f"{cost.cpu:.0f} CPU-s, {cost.wall:.0f} s, average precision {score:.3f}"

    return [
        {
            "part": f"tune, {TRIALS} trials, {ROWS // 1000} k rows x {FEATURES}",
            "ours": text(OURS),
            "peers": "; ".join(f"{name} {text(name)}" for name in PEERS),
            "floor": f"the boosting rounds themselves {costs[ALONE].cpu:.0f} CPU-s, "
            f"{costs[ALONE].wall:.0f} s",
        }
    ]


def _processes(cost: frame.Cost) -> dict[str, float]:
    """CPU seconds by kind of process, the longest first; what is below a second is left out."""
    whole = {**cost.processes, "the step itself": cost.cpu - sum(cost.processes.values())}
    ordered = sorted(whole.items(), key=lambda item: -item[1])
    return {kind: seconds for kind, seconds in ordered if seconds >= 1}


def _targets(
    costs: dict[str, frame.Cost], judged: dict[str, dict[str, float]]
) -> list[frame.Target]:
    behind = max(-judged[name]["high"] for name in PEERS)
    return [
        frame.Target(
            "tune: times the CPU of Optuna's example",
            RATIO,
            costs[OURS].cpu / costs[OPTUNA].cpu,
            False,
            "its trials are scored once, on random rows; ours on three stretches of time",
        ),
        frame.Target(
            "tune: average precision behind the best peer, beyond what chance explains at 95 %",
            0.0,
            max(0.0, behind),
            False,
        ),
    ]


def run(folder: Path) -> None:
    """Once each: all of it takes minutes."""
    with tempfile.TemporaryDirectory(prefix="breezeway-bench-") as scratch:
        make_rows(Path(scratch))
        costs = {OURS: frame.measure(ours, folder=scratch)}
        trials = costs[OURS].value
        costs[ALONE] = frame.measure(rounds_alone, folder=scratch, trials=trials)
        for name, work in ((RAY_TUNE, ray_tune), (OPTUNA, optuna_alone), (HALVING, halving)):
            costs[name] = frame.measure(work, folder=scratch)
        found = {OURS: trials[0], **{name: costs[name].value for name in PEERS}}
        judged = _judge(Path(scratch), found)
    lines = [
        [name, f"{cost.cpu:.1f}", f"{cost.wall:.1f}", f"{cost.peak_mib:.0f}"]
        + ([f"{judged[name]['average_precision']:.4f}"] if name in judged else ["-"])
        for name, cost in costs.items()
    ]
    print(frame.table(["", "CPU-s", "s", "MiB more", "average precision"], lines))
    result = {
        "rows": ROWS,
        "features": FEATURES,
        "trials": TRIALS,
        "runs": 1,
        "boosting_rounds": costs[ALONE].value,
        "costs": {
            name: {"cpu": cost.cpu, "wall": cost.wall, "peak_mib": cost.peak_mib}
            for name, cost in costs.items()
        },
        "processes": _processes(costs[OURS]),
        "found": found,
        "judged": judged,
        "parts": _parts(costs, judged),
    }
    packages = ["optuna", "ray", "scikit-learn", "xgboost-cpu"]
    frame.write_result(folder, "tune", result, _targets(costs, judged), packages)
