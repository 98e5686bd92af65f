"""What a person sees in Airflow's web UI, in a real browser."""

import argparse
import http.client
import os
import shutil
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.laptop.platform import Platform
from breezeway.laptop.programs import USER
from breezeway.readings import simulate
from breezeway.readings.label_store import LabelStore
from breezeway.steps import preprocess, train
from breezeway.tracking import champions, reports, rest

pytestmark = pytest.mark.timeout(600)

PATIENCE = 60_000
"""Milliseconds for a page on a busy machine."""

FIELDS = (
    "steps",
    "query",
    "test_query",
    "tag",
    "count",
    "run_name",
    "model_name",
    "model_version",
)


@pytest.fixture(scope="module")
def page(platform: Platform) -> Iterator[Page]:
    """A browser's page, logged in."""
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser_path:
        pytest.skip("there is no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path,
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
        )
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.goto(platform.url("airflow"))
        page.fill("input[name=username]", USER)
        page.fill("input[name=password]", platform.password)
        page.click("button[type=submit]")
        expect(page.get_by_role("link", name="Dags").first).to_be_visible(timeout=PATIENCE)
        page.wait_for_load_state("networkidle")
        yield page
        browser.close()


def picture(page: Page, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep a screenshot, in the folder `BREEZEWAY_SCREENSHOTS` if a person wants to look."""
    folder = os.environ.get("BREEZEWAY_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots")
    page.screenshot(path=Path(folder) / f"{name}.png")


def test_the_form_shows_each_field_with_its_help(page, platform, tmp_path_factory):
    page.goto(f"{platform.url('airflow')}/dags/training")
    page.get_by_role("button", name="Trigger").first.click(timeout=PATIENCE)
    for field in FIELDS:
        expect(page.locator(f"[name=element_{field}], #element_{field}").first).to_be_visible(
            timeout=PATIENCE
        )
    picture(page, "trigger-form", tmp_path_factory)
    expect(page.get_by_text("How many sets of parameters")).to_be_visible()
    expect(page.get_by_text("one SELECT on the raw store")).to_be_visible()


NIGHT = "2026-05-01"
QUERY = "SELECT device, time, payload FROM readings WHERE time < '2026-05-01'"


def arguments(module, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture(scope="module")
def settings(platform: Platform) -> Settings:
    return platform.settings.model_copy(update={"mlflow_url": platform.url("mlflow")})


@pytest.fixture(scope="module")
def client(platform: Platform) -> Iterator[httpx.Client]:
    with platform.airflow() as client:
        yield client


@pytest.fixture(scope="module")
def night(settings: Settings, client: httpx.Client) -> str:
    """A run of the nightly check, of a day on which the thermometers read too much."""
    simulate.fill(settings, devices=2, days=13, end=date(2026, 5, 2), drift=12)
    made = preprocess.run(arguments(preprocess, f"--query={QUERY}", "--tag=web"), settings)
    versions.publish(settings, Path(made["folder"]), "web")
    words = ["--tag=web", "--run-name=web", "--model-name=plant"]
    trained = train.run(arguments(train, *words), settings)
    champion = {"alias": champions.CHAMPION, "version": trained["model_version"]}
    rest.post(settings, "registered-models/alias", name="plant", **champion)
    return finished(client, "nightly_drift", {"date": NIGHT})


def finished(client: httpx.Client, dag: str, conf: dict) -> str:
    """Start a run, wait for its end, and return its id."""
    runs = f"/api/v2/dags/{dag}/dagRuns"
    answer = client.post(runs, json={"logical_date": None, "conf": conf})
    assert answer.is_success, answer.text
    run_id = answer.json()["dag_run_id"]
    deadline = time.monotonic() + 300
    while (state := client.get(f"{runs}/{run_id}").json()["state"]) in ("queued", "running"):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert state == "success"
    return run_id


def test_the_form_suggests_names_that_exist(page, platform, client, night):
    deadline = time.monotonic() + 60
    while not (fields := suggested(client, "training")).get("tag"):
        assert time.monotonic() < deadline  # a busy store gives no names in time
        time.sleep(1)
    page.goto(f"{platform.url('airflow')}/dags/training")
    page.get_by_role("button", name="Trigger").first.click(timeout=PATIENCE)
    tag = page.locator("datalist#list_tag option[value=web]")
    expect(tag).to_be_attached(timeout=PATIENCE)
    assert "web" in fields["run_name"] and "plant" in fields["model_name"]
    assert fields["model_version"][0] == "champion"
    assert "champion" not in suggested(client, "rollback")["model_version"]


def suggested(client: httpx.Client, dag: str) -> dict[str, list[str]]:
    params = client.get(f"/api/v2/dags/{dag}/details").json()["params"]
    return {field: param["schema"].get("examples") for field, param in params.items()}


def test_from_a_dag_run_to_its_drift_report_in_two_clicks(page, platform, night, tmp_path_factory):
    page.goto(f"{platform.url('airflow')}/dags/nightly_drift/runs/{night}")
    page.get_by_role("link", name="Reports").last.click(timeout=PATIENCE)  # the first click
    reports = page.frame_locator("iframe[title=Reports]")
    drift = reports.get_by_role("link", name="Drift", exact=True)
    expect(drift).to_be_visible(timeout=PATIENCE)
    picture(page, "run-reports", tmp_path_factory)
    drift.click()  # the second
    report = reports.frame_locator("iframe[title=Drift]")
    expect(report.get_by_text(NIGHT).first).to_be_visible(timeout=PATIENCE)
    expect(report.get_by_text("Dataset Drift").first).to_be_visible(timeout=PATIENCE)
    page.wait_for_load_state("networkidle")
    picture(page, "drift-report", tmp_path_factory)


def test_the_page_of_all_reports(page, platform, night, tmp_path_factory):
    page.goto(f"{platform.url('airflow')}/plugin/reports")
    listed = page.frame_locator("iframe[title=Reports]").locator("tbody tr, table tr")
    expect(listed.filter(has_text="drift").first).to_be_visible(timeout=PATIENCE)
    expect(listed.filter(has_text="Training curves").first).to_be_visible()
    picture(page, "reports-page", tmp_path_factory)


def test_the_start_page_leads_to_everything(page, platform, night, tmp_path_factory):
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{platform.url('airflow')}/plugin/breezeway")
    start = page.frame_locator("iframe[title=Breezeway]")
    expect(start.get_by_role("heading", name="plant", exact=True)).to_be_visible(timeout=PATIENCE)
    picture(page, "start-page", tmp_path_factory)
    start.get_by_label("Search the dataset tags").fill("no such tag")
    expect(start.get_by_text("No tag fits.")).to_be_visible()
    with page.expect_popup() as opened:
        start.get_by_role("link", name="all in MLflow").click()
    assert opened.value.url.endswith("/runs?workflowType=machine_learning")
    opened.value.close()
    dag = start.get_by_role("link", name="canary")
    dag.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/dags/canary**", timeout=PATIENCE)
    assert errors == []


def test_the_button_of_a_task_opens_its_report(page, platform, night):
    page.goto(f"{platform.url('airflow')}/dags/nightly_drift/runs/{night}/tasks/drift/details")
    button = page.get_by_role("link", name="Report", exact=True)
    expect(button).to_be_visible(timeout=PATIENCE)
    page.goto(platform.url("airflow") + button.get_attribute("href"))
    frame = page.frame_locator("iframe[title=Reports]").frame_locator("iframe[title=Drift]")
    expect(frame.get_by_text(NIGHT).first).to_be_visible(timeout=PATIENCE)
    expect(frame.get_by_text("Data Drift Summary").first).to_be_visible(timeout=PATIENCE)


def test_a_report_cannot_act_as_the_user(page, platform, settings, night):
    """Its frame has an origin of its own: it reads neither the page around it nor Airflow's API."""
    base = platform.url("airflow")
    run = reports.find(settings, dag="nightly_drift", dag_run=night)[0][0]
    page.goto(f"{base}/breezeway/reports/{run.run_id}/view/drift.html")
    page.wait_for_load_state("networkidle")
    frame = next(frame for frame in page.frames if "/file/" in frame.url)
    assert frame.evaluate("origin") == "null"
    blocked = "async (url) => { try { await fetch(url); return 'read' } catch { return 'no' } }"
    assert frame.evaluate(blocked, f"{base}/api/v2/dags") == "no"
    assert (
        frame.evaluate("() => { try { return parent.document.title } catch { return 'no' } }")
        == "no"
    )
    assert frame.evaluate("() => { try { return document.cookie } catch { return 'no' } }") == "no"


def test_nobody_reads_a_report_without_a_login(platform, settings, night):
    run = reports.find(settings, dag="nightly_drift", dag_run=night)[0][0]
    root = "/breezeway/reports"
    for path in (
        f"{root}/",
        f"{root}/?dag=nightly_drift&run={night}",
        f"{root}/{run.run_id}/",
        f"{root}/{run.run_id}/view/drift.html",
        f"{root}/{run.run_id}/file/drift.html",
        f"{root}/{run.run_id}/file/..%2fdrift.html",
        f"{root}/docs",
    ):
        assert asked(platform, path)[0] == 401, path


@pytest.mark.parametrize(
    "path",
    [
        "../../../../../../etc/passwd",
        "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "..%252f..%252f..%252fetc%252fpasswd",
        "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "%2fetc%2fpasswd",
        "..\\..\\etc\\passwd",
        "..%5c..%5cetc%5cpasswd",
        "drift.html%00",
        "drift.html/..",
        "x/../drift.html",
        "./drift.html",
    ],
)
def test_no_path_leads_out_of_the_reports(platform, client, settings, night, path):
    """As it is, not as a browser would tidy it up."""
    run = reports.find(settings, dag="nightly_drift", dag_run=night)[0][0]
    token = client.headers["Authorization"]
    for place in ("file", "view"):
        address = f"/breezeway/reports/{run.run_id}/{place}/{path}"
        assert asked(platform, address, token)[0] == 404, address
        status, body = asked(platform, address)
        assert status == 401 and b"root:" not in body


def asked(platform: Platform, path: str, token: str = "") -> tuple[int, bytes]:
    """Status and body of exactly this path."""
    connection = http.client.HTTPConnection(urlsplit(platform.url("airflow")).netloc, timeout=60)
    try:
        connection.request("GET", path, headers={"Authorization": token} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_labels_come_by_airflows_api_and_keep_who_sent_them(settings, client, night):
    label = {"device": "machine-02", "start": "2026-04-20T10:00:00Z", "end": "2026-04-20T10:20:00Z"}
    finished(client, "import_labels", {"labels": [{**label, "label": "fault"}]})
    (kept,) = [
        row
        for row in LabelStore(settings.raw_address).labels().to_pylist()
        if row["labelled_by"] and row["device"] == "machine-02"
    ]
    assert kept["labelled_by"] == USER
    wrong = {"labels": [{**label, "label": "perhaps"}]}
    answer = client.post(
        "/api/v2/dags/import_labels/dagRuns", json={"logical_date": None, "conf": wrong}
    )
    assert answer.status_code == 400
