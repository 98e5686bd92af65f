"""What a person sees in Airflow's web UI, in a real browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from breezeway.launcher import USER, Platform

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
