"""The page "Breezeway" in Airflow's own API server, and `breezeway status`, against real stores."""

import html
import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from breezeway import cli
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.pipeline import known_names, overview
from breezeway.tracking import rest, runs
from tests.fixtures.api_server import api_server, login
from tests.fixtures.serving import ModelServer, add_deployment, examples_of, make_model

ROOT = "/breezeway/start"
NAME = "basin"
HOSTILE = "<script>alert(1)</script>"
TAGS = 200
TRAINED = ("basin first", "basin second")
"""Names of the runs that trained the two versions."""
LAST_NIGHT = datetime.now(UTC).date() - timedelta(days=1)


@pytest.fixture(scope="module")
def example(model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A request with the score that version 2, which is in service, gave in training."""
    folder = make_model(tmp_path_factory.mktemp("start") / "m")
    first = examples_of(folder)[0]
    model_server.store.point(add_deployment(model_server.store, NAME, 2, folder))
    model_server.wait(NAME, lambda status: status.get("model_version") == "2")
    return first


@pytest.fixture(scope="module")
def settings(
    mlflow_server: str,
    model_server: ModelServer,
    example: dict,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Settings]:
    """Stores with two champions, checked nights, a drift, and many dataset tags."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZEWAY_HOME", str(model_server.home))
        patch.setenv("BREEZEWAY_MLFLOW_URL", mlflow_server)
        patch.setenv("BREEZEWAY_SERVING_URL", model_server.url)
        settings = Settings.from_environment()
        data = tmp_path_factory.mktemp("start data")
        (data / "rows").write_text("1")
        versions.publish(settings, data, "basin-000")
        names = [f"basin-{n:03}" for n in range(1, TAGS)] + ["basin-day-20260101-1"]
        for name in names:
            git(settings, "tag", name, "basin-000")
        train(settings)
        yield settings


def git(settings: Settings, *words: str) -> None:
    subprocess.run(["git", "-C", settings.repository_address, *words], check=True, timeout=60)


def train(settings: Settings) -> None:
    rest.post(settings, "registered-models/create", name=NAME, description=HOSTILE)
    for number, precision, name in (("1", 0.5, TRAINED[0]), ("2", 0.75, TRAINED[1])):
        metrics = {"average_precision": precision, "events": 8, "events_hit": 6, "f1": 0.25}
        run = record(settings, "training/r-1", "train", name, metrics=metrics)
        rest.post(
            settings,
            "model-versions/create",
            name=NAME,
            source=f"mlflow-artifacts:/0/{run}/artifacts/x",
            run_id=run,
        )
        for key, value in {"decision": "promoted", "reason": HOSTILE}.items():
            rest.post(
                settings,
                "model-versions/set-tag",
                name=NAME,
                version=number,
                key=f"breezeway.{key}",
                value=value,
            )
    rest.post(settings, "registered-models/alias", name=NAME, alias="champion", version="2")
    drift = json.dumps({"date": f"{LAST_NIGHT}", "seen": f"{LAST_NIGHT}", "airflow_run": "n/r"})
    for key, value in {"champions": '["1", "2"]', "drift_announced": drift}.items():
        rest.post(
            settings, "registered-models/set-tag", name=NAME, key=f"breezeway.{key}", value=value
        )
    record(settings, "nightly_drift/r-1", "drift", date=f"{LAST_NIGHT}", verdict="drifted")
    night = LAST_NIGHT - timedelta(days=1)
    record(settings, "secret/r-1", "drift", date=f"{night}", verdict="quiet")


def record(
    settings: Settings,
    dag_run: str,
    step: str,
    name: str = "drift",
    metrics: dict | None = None,
    **tags: str,
) -> str:
    """A finished run in MLflow."""
    mine = Settings(mlflow_url=settings.mlflow_url, run_id=dag_run)
    tags = runs.report_tags(mine, step, f"{NAME}/2", {}) | {
        f"breezeway.{key}": value for key, value in tags.items()
    }
    now = round(time.time() * 1000)
    made = rest.post(
        settings,
        "runs/create",
        experiment_id="0",
        run_name=name,
        start_time=now,
        tags=[{"key": key, "value": value} for key, value in tags.items()],
    )["run"]["info"]["run_id"]
    for key, value in (metrics or {}).items():
        rest.post(settings, "runs/log-metric", run_id=made, key=key, value=value, timestamp=now)
    rest.post(settings, "runs/update", run_id=made, status="FINISHED", end_time=now)
    return made


@pytest.fixture(scope="module")
def server(airflow_database: None, settings: Settings) -> Iterator[TestClient]:
    with api_server() as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """A busy machine may need longer than a person would wait."""
    from breezeway_airflow import start

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "SECONDS", 60)
        yield


@pytest.fixture(scope="module")
def viewer(server: TestClient) -> dict[str, str]:
    return login("VIEWER")


@pytest.fixture(scope="module")
def page(server: TestClient, viewer: dict[str, str]) -> str:
    answer = server.get(f"{ROOT}/", headers=viewer)
    assert answer.status_code == 200
    return answer.text


def words(page: str) -> str:
    """What a person reads."""
    return " ".join(
        html.unescape(re.sub(r"<style>.*</style>|<[^>]+>", " ", page, flags=re.S)).split()
    )


def test_nobody_gets_anything_without_a_login(server, viewer):
    for path in ("/", "/start.js", "/docs", "/openapi.json", "/nothing"):
        assert server.get(ROOT + path).status_code == 401, path
        assert server.get(ROOT + path, headers=login(None)).status_code == 403, path
        assert server.get(ROOT + path, headers=viewer).status_code in (200, 404), path


def test_the_page_says_what_is_in_service_and_how_good_it_is(page):
    said = words(page)
    assert re.search(r"In service version 2 since 20.*, from the dataset data-2", said)
    assert "alarm from score 0.5000" in said
    assert "average precision 0.75 ▲ better than 0.5" in said
    assert "share of events hit 0.75 same than" not in said and "share of events hit 0.75" in said
    assert f"Drift announced, since {LAST_NIGHT}" in said
    assert f"{LAST_NIGHT} drifted" in said
    assert "version 2" in said and "promoted" in said


def test_what_comes_from_a_store_is_text(page):
    assert HOSTILE not in page and html.escape(HOSTILE) in page
    assert page.count("<script") == 1


def test_a_link_to_mlflow_opens_the_view_for_models(page, settings):
    assert (
        f'href="{settings.mlflow_url}/#/experiments/0/runs?workflowType=machine_learning"' in page
    )


def test_tags_are_listed_newest_name_first_without_those_of_days(page):
    shown = re.findall(r'<li data-tag="([^"]+)"', page)
    assert shown == [f"basin-{n:03}" for n in reversed(range(TAGS))]
    assert "And 1 day of the history" in words(page)


def test_the_names_for_a_form_are_those_of_the_stores_newest_first(settings):
    found = known_names.look(settings, NAME, 60)
    assert found["tag"] == [f"basin-{TAGS - n:03}" for n in range(1, known_names.MOST + 1)]
    assert NAME in found["model_name"]
    assert found["model_version"] == ["champion", "2", "1"]
    assert found["run_name"][0] == TRAINED[1] and TRAINED[0] in found["run_name"]
    assert "drift" not in found["run_name"]


def test_a_store_that_is_away_leaves_the_names_of_the_others(settings):
    away = settings.model_copy(update={"mlflow_url": "http://127.0.0.1:9"})
    found = known_names.look(away, NAME, 60)
    assert found.pop("tag")[0] == f"basin-{TAGS - 1:03}"
    assert set(found) == {"model_name", "model_version", "run_name"}
    assert not any(found.values())


def test_the_request_on_the_page_gets_the_recorded_score(page, example):
    (text,) = re.findall(rf"<pre[^>]*>(curl [^<]*{NAME}[^<]*)</pre>", page)
    done = subprocess.run(
        shlex.split(html.unescape(text)), capture_output=True, check=True, timeout=60
    )
    assert json.loads(done.stdout)["score"] == pytest.approx(example["score"], abs=1e-6)


def test_a_user_sees_no_night_of_a_dag_that_is_hidden_from_him(server, page):
    night = f"{LAST_NIGHT - timedelta(days=1)} quiet"
    assert night not in words(page)
    assert night in words(server.get(f"{ROOT}/", headers=login("ADMIN")).text)


def test_the_page_may_ask_nobody_but_its_server(server, viewer):
    answer = server.get(f"{ROOT}/", headers=viewer)
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'"} <= set(policy)
    assert not re.search(r"""(src|@import|url\()=?["']?https?:""", answer.text)


def test_a_store_that_is_away_leaves_the_facts_of_the_others(server, viewer, monkeypatch, page):
    monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", "http://127.0.0.1:1")
    said = words(server.get(f"{ROOT}/", headers=viewer).text)
    assert "MLflow: MLflow does not answer at http://127.0.0.1:1" in said
    assert "In service version 2" in said and "basin-199" in said
    assert "Drift not known" in said


def test_a_contract_that_cannot_be_read_is_said_so(server, viewer, monkeypatch, tmp_path):
    sensors = tmp_path / "wrong.toml"
    sensors.write_text('name = "x"\ntime_zone = "Moon/Base"\n')
    monkeypatch.setenv("BREEZEWAY_SENSORS", str(sensors))
    answer = server.get(f"{ROOT}/", headers=viewer)
    assert answer.status_code == 500
    assert "wrong.toml: time_zone:" in words(answer.text)


def test_an_empty_platform_says_what_to_do(server, viewer, monkeypatch, tmp_path):
    found = overview.Overview((), overview.Datasets())
    monkeypatch.setattr(overview, "look", lambda *_: found)
    said = words(server.get(f"{ROOT}/", headers=viewer).text)
    assert "No model yet Trigger training and leave its form as it is" in said
    assert "load readings first: breezeway load-readings FILE , or breezeway simulate" in said
    assert "None yet: trigger training with the step preprocess" in said


@pytest.fixture
def status(settings: Settings, monkeypatch, capsys):
    """Runs `breezeway status`: exit code, standard output, standard error."""

    def run(*options: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["status", *options])
        return (ended.value.code, *capsys.readouterr())

    return run


def test_status_says_the_same(status):
    code, said, _ = status()
    said = " ".join(said.split())
    assert code == 0
    assert "in service version 2 since" in said
    assert "average precision 0.75 (better, before 0.5)" in said
    assert f"drift announced, since {LAST_NIGHT}" in said


def test_status_is_json_for_programs(status):
    code, said, _ = status("--json")
    facts = json.loads(said)
    (model,) = [model for model in facts["models"] if model["name"] == NAME]
    assert code == 0
    assert (model["in_service"]["version"], model["champion"]) == ("2", "2")
    assert model["nights"][0] == {
        "night": f"{LAST_NIGHT}",
        "version": "2",
        "verdict": "drifted",
        "dag_id": "nightly_drift",
    }
    assert facts["datasets"]["count"] == TAGS


def test_status_prints_the_rest_and_fails_if_a_store_is_away(status, monkeypatch):
    monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", "http://127.0.0.1:1")
    code, said, wrong = status()
    assert code == 69
    assert "version 2" in said
    assert "Facts are missing. MLflow: MLflow does not answer at http://127.0.0.1:1" in wrong
