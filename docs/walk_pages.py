"""Opens each page of a running platform in a browser, and says what a person would stumble over.

    .venv/bin/breezeway up                      # in another shell, until its run has ended
    .venv/bin/python docs/walk_pages.py FOLDER  # where the screenshots go
    .venv/bin/python docs/walk_pages.py FOLDER --pictures  # and then into docs

Each page is opened at two widths, in light and in dark; for pictures only as docs shows them. A
console error, a request to another host and a page wider than its window are faults anywhere, text
that is cut off on pages of our own. The exit code is 1 if there is one.

A platform without a run (`up --no-run`) has pages too. The pictures in docs show readings that have
something to see, in a store that `up` does not fill, and a night: a run of the DAG `nightly_drift`
with the date of yesterday. DAY is three days ago.

    export BREEZEWAY_RAW_URL=sqlite:////tmp/pictures.db
    .venv/bin/breezeway simulate --devices 4 --days 18 --bad-share 0.01 --drift 6 --drift-from DAY
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from playwright.sync_api import BrowserContext, Page, TimeoutError, sync_playwright

from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
from breezeway.laptop.platform import running_platform
from breezeway.laptop.programs import USER

DOCS = Path(__file__).parent
WIDTHS, SCHEMES = (1440, 1024), ("light", "dark")
MILLISECONDS, QUIET_MILLISECONDS = 60_000, 10_000
KNOWN = (
    r"/mlflow/users/current",  # MLflow's page asks that of a server that knows no users
    r"ResizeObserver loop",  # Chromium's word for a layout that took two rounds, MLflow's
    r"\(Service Unavailable\) \S+/breezeway/preview/$",  # no raw store yet; the page says so
)
"""Patterns of what a browser logs and which harms nobody."""
CUT_OFF = """() => [...document.querySelectorAll('body *')].filter(e => {
    const style = getComputedStyle(e);
    return [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())
        && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0
        && ['hidden', 'clip'].includes(style.overflowX) && !e.title;
}).map(e => e.textContent.trim().slice(0, 80))"""
TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Stop(NamedTuple):
    """A page of the walk.

    Args:
        name: of its screenshot; that of a picture in docs, if it is one.
        address: where it is.
        is_ours: whether all of it is.
        press: the button whose result is looked at; empty for the page as it opens.
        shows: a selector of what is waited for.
    """

    name: str
    address: str
    is_ours: bool = True
    press: str = ""
    shows: str = "body"


def pages(platform: dict[str, Any], page: Page) -> Iterator[Stop]:
    """All pages whose address is known before the walk; `page` is logged in."""
    airflow, mlflow, server = (platform[f"{part}_url"] for part in ("airflow", "mlflow", "serving"))
    yield Stop("start-page", f"{airflow}/plugin/breezeway")
    yield Stop("reports-page", f"{airflow}/plugin/reports")
    yield Stop("preview-form", f"{airflow}/breezeway/preview/")
    told = "[aria-label='What was found'], [role=alert]"
    yield Stop("preview", f"{airflow}/breezeway/preview/", press="Look", shows=told)
    yield Stop("dags", f"{airflow}/dags", is_ours=False)
    yield Stop("training", f"{airflow}/dags/training", is_ours=False)
    form = "text=Run Parameters"
    yield Stop("trigger-form", f"{airflow}/dags/training", False, press="Trigger", shows=form)
    runs = f"{airflow}/api/v2/dags/training/dagRuns"
    for run in asked(page, runs, order_by="-start_date", limit=1).get("dag_runs", []):
        address = f"{airflow}/dags/training/runs/{run['dag_run_id']}"
        yield Stop("training-run", address, is_ours=False)
    yield Stop("server-page", f"{server}/")
    yield Stop("server-api", f"{server}/docs", is_ours=False)
    model = load_contract(Path(platform["sensors"])).name
    api = f"{mlflow}/api/2.0/mlflow"
    yield Stop("mlflow-experiments", f"{mlflow}/#/experiments", is_ours=False)
    found = asked(page, f"{api}/experiments/get-by-name", experiment_name=model)
    if found:
        runs = f"{mlflow}/#/experiments/{found['experiment']['experiment_id']}/runs"
        yield Stop("mlflow-runs", f"{runs}?workflowType=machine_learning", is_ours=False)
    if asked(page, f"{api}/registered-models/get", name=model):
        yield Stop("mlflow-model", f"{mlflow}/#/models/{model}", is_ours=False)


def asked(page: Page, address: str, **params: Any) -> dict[str, Any]:
    """The answer of a server, by the page's login; empty if there is no such thing."""
    answer = page.request.get(address, params=params)
    if answer.status == httpx.codes.NOT_FOUND:
        return {}
    if not answer.ok:
        sys.exit(f"{address}: {answer.status} {answer.text()[:500]}")
    return dict(answer.json())


def main(folder: Path, *, pictures: bool) -> int:
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
        views = list(product(SCHEMES, WIDTHS))
        for scheme, width in views[:1] if pictures else views:
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            )
            for fault in walk(context, platform, password, folder / f"{scheme}-{width}"):
                print(fault, flush=True)
                faults.append(fault)
            context.close()
        browser.close()
    print(f"{len(faults)} faults; screenshots in {folder}")
    if pictures:
        replace_pictures(folder / f"{SCHEMES[0]}-{WIDTHS[0]}")
    return 1 if faults else 0


def replace_pictures(folder: Path) -> None:
    """Replace those in docs that have the name of a screenshot."""
    for picture in sorted(DOCS.glob("*.png")):
        if (new := folder / picture.name).is_file():
            shutil.copyfile(new, picture)
            print(f"{picture}: {picture.stat().st_size:,} bytes")


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
    todo = list(pages(platform, page))
    while todo:
        stop = todo.pop(0)
        visit(page, stop)
        folder.mkdir(exist_ok=True)
        page.screenshot(path=folder / f"{stop.name}.png")
        if stop.name == "reports-page":
            todo += newest_reports(page)
        asks = (f"asks {url}" for url in foreign)
        for fault in (*heard(said), *asks, *seen(page, stop)):
            yield f"{folder.name} {stop.name}: {fault}"
        said.clear()
        foreign.clear()


def visit(page: Page, stop: Stop) -> None:
    page.goto("about:blank")  # or what was opened over the last page stays
    page.goto(stop.address)
    if "/plugin/" in stop.address:
        page.frame_locator("iframe").locator("h1").first.wait_for()
    if stop.press:
        page.get_by_role("button", name=stop.press).first.click()
    page.locator(stop.shows).first.wait_for()
    with suppress(TimeoutError):  # a page that asks again and again
        page.wait_for_load_state("networkidle", timeout=QUIET_MILLISECONDS)
    page.wait_for_timeout(1000)  # what draws itself when all is loaded


def heard(said: list[str]) -> Iterator[str]:
    """Console errors of a page that are faults."""
    for text in said:
        if not any(re.search(known, text) for known in KNOWN):
            yield f"console: {text}"


def seen(page: Page, stop: Stop) -> Iterator[str]:
    """What does not fit on a page; one of ours may be a frame of Airflow's."""
    in_frame = "/plugin/" in stop.address
    shown = [f for f in page.frames if f != page.main_frame] if in_frame else []
    for frame in (page.main_frame, *shown):
        if (pixels := frame.evaluate(TOO_WIDE)) > 1:
            yield f"{pixels} px wider than its window"
    for frame in shown or [page.main_frame] * stop.is_ours:
        yield from (f"cut off: {text}" for text in frame.evaluate(CUT_OFF))


def log_in(page: Page, airflow: str, password: str) -> None:
    page.goto(airflow)
    page.fill("input[name=username]", USER)
    page.fill("input[name=password]", password)
    page.click("button[type=submit]")
    page.get_by_role("link", name="Dags").first.wait_for()
    page.wait_for_load_state("networkidle")


def newest_reports(page: Page) -> Iterator[Stop]:
    """The first report of each name on the page of all reports."""
    seen = set()
    for frame in page.frames:
        for link in frame.locator(".reports a").all():
            name = link.inner_text().partition(" of ")[0].lower().replace(" ", "-")
            if name and name not in seen:
                seen.add(name)
                yield Stop(f"{name}-report", link.evaluate("a => a.href"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the screenshots go")
    parser.add_argument(
        "--pictures", action="store_true", help="only one view, and then those in docs are replaced"
    )
    arguments = parser.parse_args()
    sys.exit(main(arguments.folder, pictures=arguments.pictures))
