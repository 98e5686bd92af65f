"""The page "Reports" in Airflow's own API server, against a real MLflow."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from secrets import token_hex

import pytest
from fastapi.testclient import TestClient

from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
from breezeway.pipeline.preprocessing import make_version
from breezeway.readings import plant
from breezeway.readings.store import RawStore
from breezeway.tracking import mlflow_client, rest, runs
from breezeway.tracking.page_runs import record_page
from tests.fixtures.api_server import api_server, login
from tests.fixtures.mlflow import serving
from tests.fixtures.s3 import s3_server

ROOT = "/breezeway/reports"
DRIFT = "<!doctype html><title>x</title><script>document.title = 'drawn'</script>"
PIXEL = b"\x89PNG\r\n\x1a\n" + b"\0" * 100_000


@pytest.fixture(scope="module")
def settings(mlflow_server: str) -> Iterator[Settings]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZEWAY_MLFLOW_URL", mlflow_server)
        yield Settings.from_environment()


@pytest.fixture(scope="module")
def server(airflow_database: None, settings: Settings) -> Iterator[TestClient]:
    with api_server() as client:
        yield client


@pytest.fixture(scope="module")
def viewer(server: TestClient) -> dict[str, str]:
    return login("VIEWER")


@pytest.fixture(scope="module")
def run_id(settings: Settings) -> str:
    """A run of the step `drift`, of the DAG run `nightly/r-1`."""
    reports = {"drift.html": "Drift", "deep/er/a b.png": "Picture", "drift.json": "Findings"}
    return report(settings, "nightly/r-1", "plant/3", reports)


def report(
    settings: Settings, airflow_run: str | None, model: str, reports: dict[str, str], **tags: str
) -> str:
    """A finished MLflow run with the files of its reports, and one that is no report."""
    mine = Settings(mlflow_url=settings.mlflow_url, run_id=airflow_run)
    client = mlflow_client.client(mine)
    experiment = client.get_experiment_by_name("reports")
    number = experiment.experiment_id if experiment else client.create_experiment("reports")
    run = client.create_run(number).info.run_id
    for path in [*reports, "no-report.json"]:
        if path.endswith(".png"):
            folder = Path(path).parent
            local = Path(os.environ["AIRFLOW_HOME"]) / Path(path).name
            local.write_bytes(PIXEL)
            client.log_artifact(run, str(local), str(folder))
        else:
            client.log_text(run, DRIFT if path.endswith(".html") else "{}", path)
    for key, value in (runs.report_tags(mine, "drift", model, reports) | tags).items():
        client.set_tag(run, key, value)
    client.set_terminated(run)
    return run


def paths(run_id: str) -> list[str]:
    return [
        f"{ROOT}/",
        f"{ROOT}/?dag=nightly&run=r-1",
        f"{ROOT}/{run_id}/",
        f"{ROOT}/{run_id}/view/drift.html",
        f"{ROOT}/{run_id}/file/drift.html",
        f"{ROOT}/{run_id}/file/deep/er/a%20b.png",
        f"{ROOT}/nothing/of/ours",
        f"{ROOT}/docs",
        f"{ROOT}/openapi.json",
    ]


def test_nobody_gets_anything_without_a_login(server, viewer, run_id):
    for path in paths(run_id):
        assert server.get(path).status_code == 401, path
        assert server.get(path, headers={"Authorization": "Bearer no-token"}).status_code == 403
        assert server.get(path, headers=viewer).status_code != 401, path


def test_a_user_without_a_role_gets_nothing(server, run_id):
    nobody = login(None)
    for path in paths(run_id):
        assert server.get(path, headers=nobody).status_code == 403, path


def test_the_list_shows_each_report_of_a_run(server, viewer, run_id):
    page = server.get(f"{ROOT}/?dag=nightly&run=r-1", headers=viewer)
    assert page.status_code == 200
    assert "script" not in page.text
    links = re.findall(r'href="([^"]+/view/[^"]+)">([^<]+)<', page.text)
    assert links == [
        (f"{ROOT}/{run_id}/view/drift.html", "Drift"),
        (f"{ROOT}/{run_id}/view/deep/er/a%20b.png", "Picture"),
        (f"{ROOT}/{run_id}/view/drift.json", "Findings"),
    ]
    for link, title in links:
        shown = server.get(link, headers=viewer)
        assert shown.status_code == 200
        assert f"<title>{title}</title>" in shown.text
        assert server.get(link.replace("/view/", "/file/"), headers=viewer).status_code == 200


def test_after_preprocess_the_page_of_its_data_is_there_and_harmless(
    server, viewer, settings, tmp_path
):
    hostile = "<script>alert(1)</script>"
    text = (Settings.shipped_sensors / "plant.toml").read_text("utf-8")
    sensors = tmp_path / "hostile.toml"
    pattern = re.search("device_pattern = .*", text)
    text = text.replace(pattern[0], 'device_pattern = ".+"') if pattern else text
    sensors.write_text(text.replace('name = "plant"', 'name = "hostile"'), "utf-8")
    mine = Settings(
        home=tmp_path, sensors=sensors, mlflow_url=settings.mlflow_url, run_id="training/h-1"
    )
    store = RawStore(mine.raw_address)
    store.create()
    readings = plant.simulate(hostile, date(2026, 3, 1)).readings
    store.append([readings.slice(0, 100), readings.slice(150, 100)])  # a gap, which is named
    query = "SELECT device, time, payload FROM readings"
    made = make_version(mine, load_contract(mine.sensors), query, "v1")
    listed = server.get(f"{ROOT}/?dag=training&run=h-1", headers=viewer).text
    link = f"{ROOT}/{made['run_id']}/view/profile.html"
    assert re.findall(r'href="([^"]+/view/[^"]+)">([^<]+)<', listed) == [(link, "Data of v1")]
    page = server.get(link.replace("/view/", "/file/"), headers=viewer)
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert hostile not in page.text and "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text


def test_what_is_missing_stands_above_the_reports(server, viewer, settings):
    today = datetime.now(UTC).date()
    last, gone, old = (today - timedelta(days=days) for days in (4, 7, 70))
    absent = f'{{"nights": ["{gone}"], "days": ["{last}"], "late": ["{old}"]}}'
    tags = {"breezeway.date": str(last), "breezeway.verdict": "quiet", "breezeway.absent": absent}
    report(settings, "nightly/r-9", "crane/3", {"drift.html": "Drift"}, **tags)
    tags = {"breezeway.date": str(today - timedelta(days=1)), "breezeway.verdict": "drifted"}
    report(settings, "nightly/r-9", "hoist/1", {"drift.html": "Drift"}, **tags)
    report(settings, "secret/r-9", "vault/1", {"drift.html": "Drift"}, **tags)
    tags["breezeway.absent"] = "<b>"
    report(settings, "nightly/r-9", "winch/1", {"drift.html": "Drift"}, **tags)
    page = server.get(f"{ROOT}/", headers=viewer).text
    said = [
        re.sub(r"<[^>]+>|\s+", " ", text)
        for text in re.findall(r'class="night">(.*?)</p', page, re.S)
    ]
    said = {text.split(":")[0].split()[-1]: " ".join(text.split()) for text in said}
    assert said["crane"] == (
        f"Last night of crane: {last}, quiet. No later night has been checked. "
        f"Nights not checked: {gone}. Days not published by history: {last}. "
        f"Days with late readings, to be made by a backfill of history: {old}."
    )
    assert said["hoist"] == f"Last night of hoist: {today - timedelta(days=1)}, drifted."
    assert not {"vault", "winch"} & said.keys()
    assert 'class="night"' not in server.get(f"{ROOT}/?model=crane", headers=viewer).text


def test_a_report_is_sent_whole_and_can_act_as_nobody(server, viewer, run_id):
    html = server.get(f"{ROOT}/{run_id}/file/drift.html", headers=viewer)
    assert html.text == DRIFT
    policy = html.headers["content-security-policy"].split("; ")
    assert "sandbox allow-scripts" in policy
    assert "default-src 'none'" in policy
    assert html.headers["x-content-type-options"] == "nosniff"
    assert html.headers["cache-control"] == "no-store"
    picture = server.get(f"{ROOT}/{run_id}/file/deep/er/a%20b.png", headers=viewer)
    assert picture.content == PIXEL
    assert picture.headers["content-type"] == "image/png"
    data = server.get(f"{ROOT}/{run_id}/file/drift.json", headers=viewer)
    assert data.headers["content-type"].startswith("text/plain")
    page = server.get(f"{ROOT}/{run_id}/view/drift.html", headers=viewer)
    assert 'sandbox="allow-scripts"' in page.text


def test_the_address_of_a_run_leads_to_its_first_report(server, viewer, run_id):
    answer = server.get(f"{ROOT}/{run_id}/", headers=viewer)
    assert answer.status_code == 307
    assert answer.headers["location"] == f"{ROOT}/{run_id}/view/drift.html"


@pytest.mark.parametrize(
    "path",
    [
        "no-report.json",  # a file of the run that no tag names
        "../artifacts/no-report.json",
        "..%2f..%2fmlflow.db",
        "..%252f..%252fmlflow.db",
        "%2e%2e/%2e%2e/mlflow.db",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "..%5c..%5cmlflow.db",
        "drift.html%00.png",
        "%2e/drift.html",
        "deep/%2e%2e/drift.html",
        "DRIFT.HTML",
        "drift.html/",
        "",
    ],
)
def test_no_other_path_is_read(server, viewer, run_id, path):
    for place in ("view", "file"):
        answer = server.get(f"{ROOT}/{run_id}/{place}/{path}", headers=viewer)
        assert answer.status_code == 404, (place, path)


@pytest.mark.parametrize("run", ["0" * 32, "..%2f" * 3, "x'y", "%00", "A" * 32, "models"])
def test_no_other_run_is_read(server, viewer, run):
    assert server.get(f"{ROOT}/{run}/", headers=viewer).status_code == 404
    assert server.get(f"{ROOT}/{run}/file/drift.html", headers=viewer).status_code == 404


def test_a_run_that_is_not_ours_is_not_shown(server, viewer, settings):
    client = mlflow_client.client(settings)
    other = client.create_run("0").info.run_id
    client.log_text(other, DRIFT, "drift.html")
    client.set_tag(other, "breezeway.reports", '[{"path": "drift.html", "title": "theirs"}]')
    assert server.get(f"{ROOT}/{other}/file/drift.html", headers=viewer).status_code == 404
    assert other not in server.get(f"{ROOT}/", headers=viewer).text


@pytest.mark.parametrize(
    "path", ["../../mlflow.db.html", "/etc/passwd.json", "..\\x.html", "%2e%2e/x.png", "x.svg"]
)
def test_not_even_a_tag_leads_out_of_its_run(server, viewer, settings, path):
    tag = f'[{{"path": "{path}", "title": "leads out"}}]'.replace("\\", "\\\\")
    run = report(settings, None, "plant/9", {}, **{"breezeway.reports": tag})
    assert "leads out" not in server.get(f"{ROOT}/?model=plant", headers=viewer).text
    assert server.get(f"{ROOT}/{run}/", headers=viewer).status_code == 404


@pytest.mark.parametrize(
    "tag",
    [
        "[",
        "[1]",
        '[{"path": 1, "title": "x"}]',
        '[{"title": "x"}]',
        '[{"path": "a.html"}]',
        "[" * 3000,
        '[{"path": "a\\u0000.html", "title": "x"}]',
    ],
)
def test_a_tag_that_lists_no_reports_hides_no_other_run(server, viewer, settings, run_id, tag):
    bad = report(settings, "nightly/bad", "plant/3", {}, **{"breezeway.reports": tag})
    page = server.get(f"{ROOT}/", headers=viewer)
    assert page.status_code == 200
    assert f"{ROOT}/{run_id}/view/drift.html" in page.text
    assert server.get(f"{ROOT}/{bad}/", headers=viewer).status_code == 404
    name = rest.get(settings, "runs/get", run_id=bad)["run"]["info"]["run_name"]
    assert re.search(rf"{name}: (the tag breezeway.reports is no list|not shown)", page.text)


@pytest.mark.parametrize("start", [-(2**62), 2**62, 253_402_300_800_000])
def test_a_run_from_no_time_hides_no_other_run(server, viewer, settings, run_id, start):
    tags = runs.report_tags(Settings(run_id="nightly/r-9"), "drift", "plant/3", {})
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    answer = rest.post(settings, "runs/create", experiment_id="0", start_time=start, tags=listed)
    strange = answer["run"]["info"]["run_id"]
    assert server.get(f"{ROOT}/?run=r-9", headers=viewer).status_code == 200
    assert server.get(f"{ROOT}/{strange}/", headers=viewer).status_code == 404
    rest.post(settings, "runs/delete", run_id=strange)


def test_times_are_those_of_the_contracts_zone(server, viewer, settings, tmp_path, monkeypatch):
    sensors = tmp_path / "plant.toml"
    sensors.write_text(f'time_zone = "Europe/Berlin"\n{settings.sensors.read_text("utf-8")}')
    monkeypatch.setenv("BREEZEWAY_SENSORS", str(sensors))
    times = {
        "2026-10-25T00:30Z": "2026-10-25 02:30+02:00",
        "2026-10-25T01:30Z": "2026-10-25 02:30+01:00",  # that hour again
        "9999-12-31T23:30Z": "9999-12-31 23:30+00:00",
    }
    tags = runs.report_tags(Settings(run_id="clocks/r-1"), "drift", "plant/3", {"a.html": "A"})
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    made = []
    for text in times:
        start = round(datetime.fromisoformat(text).timestamp() * 1000)
        run = rest.post(settings, "runs/create", experiment_id="0", start_time=start, tags=listed)
        made.append(run["run"]["info"]["run_id"])
    page = server.get(f"{ROOT}/?dag=clocks", headers=viewer).text
    assert "<th>Time (Europe/Berlin)<th>" in page
    assert re.findall(r'class="time">(.+)', page) == list(times.values())[::-1]
    page = server.get(f"{ROOT}/{made[0]}/view/a.html", headers=viewer).text
    assert "2026-10-25 02:30+02:00 (Europe/Berlin)" in page
    for run_id in made:
        rest.post(settings, "runs/delete", run_id=run_id)


def test_titles_are_text(server, viewer, settings):
    title = "<script>alert(1)</script>"
    run = report(settings, "nightly/r-2", "plant/3", {"drift.html": title})
    for page in (f"{ROOT}/?run=r-2", f"{ROOT}/{run}/view/drift.html"):
        text = server.get(page, headers=viewer).text
        assert "<script" not in text
        assert "&lt;script&gt;" in text


def test_the_filters(server, viewer, settings, run_id):
    look_alike = report(settings, "night_y/r-1", "plan/1", {"drift.html": "Drift"})

    def shown(query: str) -> set[str]:
        page = server.get(f"{ROOT}/?{query}", headers=viewer)
        assert page.status_code == 200
        return set(re.findall(rf"{ROOT}/([0-9a-f]{{32}})/view/", page.text)) & {run_id, look_alike}

    today = datetime.now(UTC).date().isoformat()
    assert shown("") == shown(f"day={today}") == shown("run=r-1") == {run_id, look_alike}
    assert shown("dag=night_y") == shown("model=plan") == {look_alike}
    assert shown("dag=nightly&model=plant") == {run_id}
    assert shown("day=2020-01-01") == shown("dag=other") == set()


@pytest.mark.parametrize("query", ["dag=x'%20or%20''='", "model=%22", "run=%60", "day=tomorrow"])
def test_a_filter_that_no_name_can_have_is_refused(server, viewer, query):
    assert server.get(f"{ROOT}/?{query}", headers=viewer).status_code == 400


def test_no_report_says_what_to_do(server, viewer, monkeypatch):
    from breezeway.tracking import reports

    fits_none = server.get(f"{ROOT}/?day=2020-01-01", headers=viewer).text
    assert "No report fits." in fits_none and "dags/training" not in fits_none
    monkeypatch.setattr(reports, "find", lambda *_, **__: ([], ""))
    empty = server.get(f"{ROOT}/", headers=viewer).text
    assert 'href="/dags/training">Trigger training</a>' in empty


def test_newest_first_page_by_page(server, viewer, settings, monkeypatch):
    from breezeway.tracking import reports

    monkeypatch.setattr(reports, "PAGE_RUNS", 2)
    made = [report(settings, f"paged/{n}", "pump/1", {"drift.html": "Drift"}) for n in range(3)]
    first = server.get(f"{ROOT}/?dag=paged", headers=viewer).text
    assert re.findall(r"/([0-9a-f]{32})/view/", first) == made[:0:-1]
    older = re.search(r'href="([^"]+)">Older<', first)[1].replace("&amp;", "&")
    second = server.get(older, headers=viewer).text
    assert re.findall(r"/([0-9a-f]{32})/view/", second) == made[:1]
    assert "Older" not in second


def test_reports_of_a_dag_that_a_user_may_not_see(server, viewer, settings):
    run = report(settings, "secret/r-1", "plant/3", {"drift.html": "Drift"})
    assert run not in server.get(f"{ROOT}/", headers=viewer).text
    assert server.get(f"{ROOT}/{run}/file/drift.html", headers=viewer).status_code == 404
    admin = login("ADMIN")
    assert run in server.get(f"{ROOT}/", headers=admin).text
    assert server.get(f"{ROOT}/{run}/file/drift.html", headers=admin).status_code == 200


def test_a_report_that_mlflow_has_lost_is_said_so(server, viewer, settings):
    run = report(settings, None, "plant/3", {"drift.html": "Drift"})
    rest.post(
        settings,
        "runs/set-tag",
        run_id=run,
        key="breezeway.reports",
        value='[{"path": "gone.html", "title": "Gone"}]',
    )
    assert server.get(f"{ROOT}/{run}/file/gone.html", headers=viewer).status_code == 404


def test_an_mlflow_that_is_away_is_said_so(server, viewer, monkeypatch, run_id):
    monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", "http://127.0.0.1:1")
    answer = server.get(f"{ROOT}/", headers=viewer)
    assert answer.status_code == 503
    assert "MLflow does not answer" in answer.text


def test_the_plugin_is_in_the_menu_and_on_a_dag_run(server, viewer):
    plugins = server.get("/api/v2/plugins", headers=login("ADMIN")).json()["plugins"]
    ours = next(plugin for plugin in plugins if plugin["name"] == "breezeway")
    views = {view["destination"]: view["href"] for view in ours["external_views"]}
    assert views == {
        "nav": f"{ROOT}/",
        "dag_run": ROOT + "/?dag={DAG_ID}&run={RUN_ID}",
    }
    assert (
        server.get("/api/v2/plugins/importErrors", headers=login("ADMIN")).json()["import_errors"]
        == []
    )


class TestInS3BehindAPassword:
    """As on a cluster: MLflow asks for a user, and keeps the files in an object store."""

    @pytest.fixture(scope="class")
    def guarded(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        """Address of an MLflow server with basic authentication and artifacts in S3."""
        folder = tmp_path_factory.mktemp("guarded")
        (folder / "s3" / "mlflow").mkdir(parents=True)
        configuration = folder / "auth.ini"
        configuration.write_text(
            "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
            f"database_uri = sqlite:///{folder / 'auth.db'}\n"
            "admin_username = reader\nadmin_password = a long password\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        with (
            s3_server(folder / "s3", "key", "secret") as store,
            serving(
                folder,
                "s3://mlflow",
                "--app-name=basic-auth",
                AWS_ACCESS_KEY_ID="key",
                AWS_SECRET_ACCESS_KEY="secret",
                AWS_RESPONSE_CHECKSUM_VALIDATION="when_required",
                MLFLOW_AUTH_CONFIG_PATH=str(configuration),
                MLFLOW_FLASK_SERVER_SECRET_KEY=token_hex(16),
                MLFLOW_S3_ENDPOINT_URL=store,
            ) as url,
        ):
            yield url

    def test_reports_are_read_as_from_a_folder(self, server, viewer, guarded, monkeypatch):
        monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", guarded)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "reader")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a long password")
        reports = {"drift.html": "Drift", "deep/a b.png": "Picture"}
        run = report(Settings.from_environment(), "nightly/r-1", "plant/3", reports)
        assert run in server.get(f"{ROOT}/?dag=nightly", headers=viewer).text
        assert server.get(f"{ROOT}/{run}/file/drift.html", headers=viewer).text == DRIFT
        picture = server.get(f"{ROOT}/{run}/file/deep/a%20b.png", headers=viewer)
        assert picture.content == PIXEL
        out = f"{ROOT}/{run}/file/..%2fdrift.html"
        assert server.get(out, headers=viewer).status_code == 404
        assert server.get(f"{ROOT}/{run}/file/drift.html").status_code == 401

    def test_a_page_is_recorded_without_a_client_of_mlflow(
        self, server, viewer, guarded, monkeypatch
    ):
        monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", guarded)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "reader")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a long password")
        settings, titles = Settings.from_environment(), {"profile.html": "Data"}
        for page in (b"old", b"new"):
            run = record_page(
                settings, "pumps", "n", page, key="k1", titles=titles, step="preprocess", started=1
            )
        link = f"{ROOT}/{run}/file/profile.html"
        assert server.get(link, headers=viewer).content == b"new"

    def test_a_wrong_password_is_said_so(self, server, viewer, guarded, monkeypatch):
        monkeypatch.setenv("BREEZEWAY_MLFLOW_URL", guarded)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "reader")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another one")
        answer = server.get(f"{ROOT}/", headers=viewer)
        assert answer.status_code == 400
        assert "MLflow" in answer.text
        assert "another one" not in answer.text
