"""Opens each page of a running platform in a browser, and says what a person would stumble over.

    .venv/bin/breezeway up                      # in another shell, until its run has ended
    .venv/bin/python docs/walk_pages.py FOLDER  # where the screenshots go

Each page is opened at two widths, in light and in dark. A console error, a request to another host
and a page wider than its window are faults anywhere, text that is cut off on pages of our own.
The exit code is 1 if there is one.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import BrowserContext, Page, TimeoutError, sync_playwright

from breezeway.core.settings import Settings
from breezeway.laptop.platform import running_platform
from breezeway.laptop.programs import USER

WIDTHS, SCHEMES = (1440, 1024), ("light", "dark")
MILLISECONDS, QUIET_MILLISECONDS = 60_000, 10_000
KNOWN = (
    "/mlflow/users/current",  # MLflow's page asks that of a server that knows no users
    "ResizeObserver loop",  # Chromium's word for a layout that took two rounds, MLflow's
)
"""Parts of what a browser logs of pages that are not ours, and which harms nobody."""
CUT_OFF = """() => [...document.querySelectorAll('body *')].filter(e => {
    const style = getComputedStyle(e);
    return [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())
        && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0
        && ['hidden', 'clip'].includes(style.overflowX) && !e.title;
}).map(e => e.textContent.trim().slice(0, 80))"""
TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def pages(platform: dict[str, Any], model: str) -> Iterator[tuple[str, str, bool]]:
    """Name, address, and whether all of it is ours."""
    airflow, mlflow, server = (platform[f"{part}_url"] for part in ("airflow", "mlflow", "serving"))
    yield "start-page", f"{airflow}/plugin/breezeway", True
    yield "reports-page", f"{airflow}/plugin/reports", True
    yield "preview", f"{airflow}/breezeway/preview/", True
    yield "dags", f"{airflow}/dags", False
    yield "training", f"{airflow}/dags/training", False
    yield "server-page", f"{server}/", True
    yield "server-api", f"{server}/docs", False
    answer = httpx.get(
        f"{mlflow}/api/2.0/mlflow/experiments/get-by-name",
        params={"experiment_name": model},
        trust_env=False,
    ).raise_for_status()
    experiment = answer.json()["experiment"]["experiment_id"]
    runs = f"{mlflow}/#/experiments/{experiment}/runs?workflowType=machine_learning"
    yield "mlflow-runs", runs, False
    yield "mlflow-model", f"{mlflow}/#/models/{model}", False


def main(folder: Path) -> int:
    settings = Settings.from_environment()
    platform = running_platform(settings.root)
    if not platform:
        print(f"No platform runs in {settings.root}: start it with `breezeway up`.")
        return 2
    password = json.loads((settings.root / "run" / "keys.json").read_text())["password"]
    folder.mkdir(parents=True, exist_ok=True)
    faults = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
        )
        for scheme in SCHEMES:
            for width in WIDTHS:
                context = browser.new_context(
                    viewport={"width": width, "height": 900}, color_scheme=scheme
                )
                for fault in walk(context, platform, password, folder / f"{scheme}-{width}"):
                    print(fault, flush=True)
                    faults.append(fault)
                context.close()
        browser.close()
    print(f"{len(faults)} faults; screenshots in {folder}")
    return 1 if faults else 0


def walk(
    context: BrowserContext, platform: dict[str, Any], password: str, folder: Path
) -> Iterator[str]:
    """The faults of all pages at one width in one scheme."""
    context.set_default_timeout(MILLISECONDS)
    page, said, foreign = context.new_page(), list[str](), list[str]()
    ours = tuple(platform[f"{part}_url"] for part in ("airflow", "mlflow", "serving"))
    page.on(
        "console",
        lambda m: said.append(f"{m.text} {m.location['url']}") if m.type == "error" else None,
    )
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request",
        lambda r: (
            foreign.append(r.url) if not r.url.startswith((*ours, "data:", "blob:")) else None
        ),
    )
    log_in(page, platform["airflow_url"], password)
    said.clear()  # Airflow's page asks for what only a user may see, before the login too
    todo = list(pages(platform, Path(platform["sensors"]).stem))
    while todo:
        name, address, is_ours = todo.pop(0)
        page.goto(address)
        if "/plugin/" in address:
            page.frame_locator("iframe").locator("h1").first.wait_for()
        with suppress(TimeoutError):  # a page that asks again and again
            page.wait_for_load_state("networkidle", timeout=QUIET_MILLISECONDS)
        page.wait_for_timeout(1000)  # what draws itself when all is loaded
        folder.mkdir(exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")
        if name == "reports-page":
            todo += newest_reports(page)
        where = f"{folder.name} {name}: "
        for text in said:
            if not any(known in text for known in KNOWN):
                yield f"{where}console: {text}"
        for url in foreign:
            yield f"{where}asks {url}"
        said.clear()
        foreign.clear()
        # A page of ours may be a frame of Airflow's.
        shown = [f for f in page.frames if f != page.main_frame] if "/plugin/" in address else []
        for frame in (page.main_frame, *shown):
            if (pixels := frame.evaluate(TOO_WIDE)) > 1:
                yield f"{where}{pixels} px wider than its window"
        for frame in shown or [page.main_frame] * is_ours:
            yield from (f"{where}cut off: {text}" for text in frame.evaluate(CUT_OFF))


def log_in(page: Page, airflow: str, password: str) -> None:
    page.goto(airflow)
    page.fill("input[name=username]", USER)
    page.fill("input[name=password]", password)
    page.click("button[type=submit]")
    page.get_by_role("link", name="Dags").first.wait_for()
    page.wait_for_load_state("networkidle")


def newest_reports(page: Page) -> Iterator[tuple[str, str, bool]]:
    """The first report of each name on the page of all reports."""
    seen = set()
    for frame in page.frames:
        for link in frame.locator(".reports a").all():
            name = link.inner_text().strip("0123456789- ").lower().replace(" ", "-")
            if name and name not in seen:
                seen.add(name)
                yield f"report-{name}", link.evaluate("a => a.href"), True


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
