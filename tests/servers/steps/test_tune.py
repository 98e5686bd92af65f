"""The search for parameters: the same every time, and nothing of it left behind."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
from filelock import FileLock
from optuna.distributions import IntDistribution

from breezeway.contract.contract import load_contract
from breezeway.core import ray_session
from breezeway.core.arguments import ArgumentParser
from breezeway.core.errors import ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.detector import boosting, search, trials
from breezeway.detector.boosting import FINE_ROWS, xgb
from breezeway.detector.families.registry import BOOSTED_TREES, family_of
from breezeway.detector.folds import split
from breezeway.detector.model import DEFAULT_PARAMS, default_params
from breezeway.detector.table import read_table
from breezeway.steps import tune
from breezeway.tracking import reports
from tests.fixtures.ray import ray_cluster

COUNT = 8
ROOT = Path(__file__).parents[3]


def start(
    home: Path, result: Path, count: int, temporary: Path, mlflow: str, **more: str
) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "breezeway.steps.tune", "--tag", "v1", "--count", str(count)],
        env={
            **os.environ,
            "BREEZEWAY_HOME": str(home),
            "BREEZEWAY_MLFLOW_URL": mlflow,
            "BREEZEWAY_RESULT": str(result),
            "BREEZEWAY_RUN_ID": "training/manual_1",
            "TMPDIR": str(temporary),
            **more,
        },
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes_of(result: Path) -> list[psutil.Process]:
    """The step and all that inherited its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("BREEZEWAY_RESULT") == str(result):
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


@pytest.fixture(scope="module", autouse=True)
def bins_of_processes(coarse_bins: None) -> Iterator[None]:
    """The bins that a step takes in a process of its own, whose files are compared here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boosting, "FINE_ROWS", FINE_ROWS)
        yield


@pytest.fixture(scope="module")
def short_folder():
    """A folder for temporary files whose path is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def contract(plant_dataset):
    return load_contract(plant_dataset / "contract.toml")


@pytest.fixture(scope="module")
def table(plant_dataset, contract):
    return read_table(plant_dataset, contract)


@pytest.fixture(scope="module")
def tuned(plant_home, tmp_path_factory, short_folder, mlflow_server):
    """A finished step: its result, its log, and what it left in the work folder."""
    result = tmp_path_factory.mktemp("tune") / "result.json"
    step = start(plant_home, result, COUNT, short_folder, mlflow_server)
    log, _ = step.communicate(timeout=240)
    assert step.returncode == 0, log
    work = plant_home / "work" / "v1"
    files = {path.name: path.read_bytes() for path in work.iterdir()}
    return json.loads(result.read_text()), log, files, processes_of(result)


def test_result_and_files_tell_of_the_best(tuned):
    result, log, files, _ = tuned
    assert set(files) == {"params.json", "tuning.json", "tuning.png"}
    params = json.loads(files["params.json"])
    history = json.loads(files["tuning.json"])
    best = history["trials"][history["best"]]
    assert result["params"] == params["params"] == best["params"]
    assert set(params["params"]) == {*DEFAULT_PARAMS, "max_bin"}
    assert params["average_precision"] == max(best["curve"])
    assert params["rounds"] == (best["curve"].index(max(best["curve"])) + 1) * 20
    assert params["trials"] == result["trials"] == len(history["trials"]) == COUNT
    assert history["trials"][0]["params"] == default_params(1000)
    assert f"of {COUNT}: average precision 0." in log
    assert files["tuning.png"].startswith(b"\x89PNG")


def test_the_history_is_a_report(tuned, plant_home, mlflow_server):
    settings = Settings(home=plant_home, mlflow_url=mlflow_server)
    result, _, files, _ = tuned
    run = reports.get(settings, result["run_id"])
    assert (run.step, run.model, run.airflow_run) == ("tune", "mill", "training/manual_1")
    titles = ["Tuning history", "Trials (JSON)", "Parameters (JSON)"]
    assert [report.title for report in run.reports] == titles
    for report in run.reports:
        with reports.open_report(settings, run, report.path) as content:
            assert content.read() == files[report.path]


def test_no_process_and_no_folder_is_left(tuned, short_folder):
    assert tuned[3] == []
    assert list(short_folder.iterdir()) == []


def start_and_signal(
    home: Path, result: Path, temporary: Path, mlflow: str, number: signal.Signals
) -> int:
    """Send a signal to a step in the midst of its trials; return its exit code."""
    step = start(home, result, 40, temporary, mlflow)
    for line in step.stdout:
        if "trial 2 of 40" in line:
            break
    listening = {
        socket.laddr.ip.removeprefix("::ffff:")
        for process in processes_of(result)
        for socket in process.net_connections()
        if socket.status == psutil.CONN_LISTEN
    }
    assert not listening
    step.send_signal(number)
    step.communicate(timeout=60)
    return step.returncode


def none_left(result: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while processes_of(result) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not processes_of(result)


def test_terminated_nothing_of_it_stays(plant_home, tmp_path, short_folder, mlflow_server):
    result = tmp_path / "result.json"
    code = start_and_signal(plant_home, result, short_folder, mlflow_server, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert none_left(result, 15)
    assert not result.exists()
    assert list(short_folder.iterdir()) == []


def test_killed_and_run_again_it_gives_the_same_bytes(
    tuned, plant_home, tmp_path, short_folder, mlflow_server
):
    """Again in this process, from another folder, whatever else the machine does meanwhile."""
    result = tmp_path / "result.json"
    code = start_and_signal(plant_home, result, short_folder, mlflow_server, signal.SIGKILL)
    assert code == -signal.SIGKILL
    output = tmp_path / "params out.json"
    arguments = tune_arguments("--tag", "v1", "--count", str(COUNT), "--output", str(output))
    tune.run(arguments, Settings(home=plant_home, mlflow_url=mlflow_server))
    again = {path.name: path.read_bytes() for path in (plant_home / "work" / "v1").iterdir()}
    assert again == tuned[2]
    assert output.read_bytes() == again["params.json"]
    assert none_left(result, 60)  # a worker of Ray's that was just starting notices after 30 s


@pytest.mark.timeout(600)  # on busy cores the processes of a cluster alone take minutes
def test_a_ray_cluster_finds_what_threads_find(
    tuned, plant_home, tmp_path, short_folder, mlflow_server
):
    """In a process of its own, because Ray reads the cluster's token once."""
    with ray_cluster(ROOT / "include") as cluster:
        cluster.add_workers(2)
        step = start(
            plant_home,
            tmp_path / "result.json",
            COUNT,
            short_folder,
            mlflow_server,
            **cluster.environment,
        )
        log, _ = step.communicate(timeout=400)
        workers = [path.read_text() for path in cluster.folder.glob("session_*/logs/worker-*.out")]
    assert step.returncode == 0, log
    assert any("RayTrial" in said for said in workers)
    work = plant_home / "work" / "v1"
    assert {path.name: path.read_bytes() for path in work.iterdir()} == tuned[2]


def test_folders_of_the_killed_are_swept(tmp_path):
    for name in ("bz-dead", "bz-live", "bz-new"):
        (tmp_path / name / "ray").mkdir(parents=True)
    for name in ("bz-dead", "bz-live"):
        os.utime(tmp_path / name, (0, 0))
    with FileLock(tmp_path / "bz-live" / "in-use"):
        os.utime(tmp_path / "bz-live", (0, 0))
        ray_session._sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"bz-live", "bz-new"}


def tune_arguments(*words: str):
    parser = ArgumentParser(prog="tune")
    tune.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("count", ["0", "-1", "2.5", "many"])
def test_a_count_that_is_none_is_refused(count):
    with pytest.raises(UsageError, match="count"):
        tune_arguments("--tag", "v1", f"--count={count}")


def test_an_unknown_tag_is_refused_before_ray_starts(plant_home, mlflow_server):
    with pytest.raises(UsageError, match="v9"):
        tune.run(
            tune_arguments("--tag", "v9", "--count", "2"),
            Settings(home=plant_home, mlflow_url=mlflow_server),
        )
    assert not ray.is_initialized()


@pytest.mark.timeout(60)  # Ray itself would try for minutes
def test_a_cluster_that_is_away_is_said(table, contract, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(ServiceUnavailable, match=r"RAY_ADDRESS=127.0.0.1:9"):
        search.search(table, contract, 2, Settings())


class TestOrderDoesNotMatter:
    """A study without models: three trials at a time of 24."""

    def study(self, table) -> search.Study:
        return search.Study(table, count=24, lag=5)

    def outcome(self, table, order: random.Random) -> list[search.SearchTrial]:
        study, running = self.study(table), {}
        while len(study.trials) < 24:
            while len(running) < 3 and not study.is_exhausted:
                suggested = study.suggest()
                if suggested is None:
                    break
                running[suggested.number] = suggested.params
            number = order.choice(sorted(running))
            params, curve, ended = running.pop(number), [], "complete"
            for step in range(1, family_of(BOOSTED_TREES).steps + 1):
                curve.append(params["learning_rate"] * 1e4 % 1 * step)
                if study.is_behind(number, curve):
                    ended = "behind"
                    break
            study.end(search.SearchTrial(number, params, curve, ended))
        return study.trials

    def test_every_order_has_the_same_outcome(self, table):
        outcomes = [self.outcome(table, random.Random(seed)) for seed in range(8)]
        assert all(outcome == outcomes[0] for outcome in outcomes)
        assert any(trial.ended == "behind" for trial in outcomes[0])
        assert all(trial.ended == "complete" for trial in outcomes[0][:8])

    def test_a_trial_waits_for_the_one_that_its_suggestion_needs(self, table):
        study = self.study(table)
        params = [study.suggest()[1] for _ in range(5)]
        for number in (4, 2, 1):
            study.end(search.SearchTrial(number, params[number], [0.5], "behind"))
            assert study.suggest() is None
        study.end(search.SearchTrial(0, params[0], [0.5], "behind"))
        assert [study.suggest()[0] for _ in range(3)] == [5, 6, 7]
        assert study.suggest() is None


def test_a_class_weight_has_to_gain_something():
    def trial(number: int, weight: float, reached: float) -> search.SearchTrial:
        return search.SearchTrial(number, {"scale_pos_weight": weight}, [reached], "complete")

    assert search.best([trial(0, 9.0, 0.805), trial(1, 1.0, 0.8)]).number == 1
    assert search.best([trial(0, 1.0, 0.8), trial(1, 9.0, 0.815)]).number == 1


def test_a_trial_that_fails_ends_the_search(table, contract, monkeypatch):
    family = family_of(BOOSTED_TREES)
    space = {**family.space(table.rows.label), "max_depth": IntDistribution(-2, -1)}
    monkeypatch.setattr(family, "space", lambda label: space)
    with pytest.raises(xgb.core.XGBoostError, match="max_depth"):
        search.search(table, contract, 8, Settings(threads=2))


def test_boosters_grow_by_steps_and_start_anew(table, contract):
    folds, label = split(table.rows, contract), table.rows.label
    shared = trials.Folds(table.features, label, folds, contract)

    def best_of(steps: int, **params: float) -> list[float]:
        trial = shared.trial(BOOSTED_TREES, {**default_params(len(label)), **params})
        for _ in range(steps):
            trial.step()
        return trial.curve

    first = best_of(2)
    assert len(first) == 2
    assert best_of(1, max_depth=2) != first[:1]
    assert best_of(2) == first
