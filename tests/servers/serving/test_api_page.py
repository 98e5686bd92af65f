"""The page with forms for the API, of a real model server, in a real browser."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.fixtures.serving import ModelServer, add_deployment, make_model

NAME = "pump-docs"
HOSTILE = "</script><script>alert(1)</script>"
PATIENCE = 60_000
"""Milliseconds for a page on a busy machine."""
FILES = ("/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js")


@pytest.fixture(scope="module")
def server(model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> ModelServer:
    folder = make_model(tmp_path_factory.mktemp("docs") / "m")
    model_server.store.point(add_deployment(model_server.store, NAME, 1, folder))
    model_server.wait(NAME, lambda status: status.get("model_version") == "1")
    return model_server


@pytest.fixture(scope="module")
def page(server: ModelServer) -> Iterator[Page]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        pytest.skip("there is no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def test_a_request_is_sent_from_the_page_and_nothing_goes_outside(server, page, tmp_path) -> None:
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(server.url)
    page.get_by_role("link", name="API with forms").click()
    form = page.locator("#operations-default-predict")
    form.locator(".opblock-summary-control").click(timeout=PATIENCE)
    form.locator("tr[data-param-name=model] select").select_option(NAME)
    form.locator("button.execute").click(timeout=PATIENCE)
    answer = form.locator(".live-responses-table .response")
    answer.wait_for(timeout=PATIENCE)
    assert '"score"' in answer.inner_text() and f'"model": "{NAME}"' in answer.inner_text()
    outside = [url for url in asked if not url.startswith((server.url, "data:"))]
    assert (outside, wrong) == ([], [])


def test_the_page_may_load_and_ask_only_its_server(server) -> None:
    answer = server.http.get("/docs")
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "connect-src 'self'"} <= set(policy)
    assert "http" not in answer.text.replace("https://", "http://").partition("<script type")[0]
    for path in FILES:
        assert server.http.get(path).status_code == 200, path
        assert server.http.post(path).status_code == 405, path
    for path in ("/docs/", "/docs/swagger-initializer.js"):
        assert server.http.get(path).status_code == 404, path


def test_what_a_model_recorded_is_data(server, monkeypatch) -> None:
    from breezeway.serving import api_page

    request = {"device": HOSTILE, "readings": []}
    monkeypatch.setattr(api_page, "recorded_request", lambda models: (HOSTILE, request))

    class Models:
        def states(self) -> list[str]:
            return [HOSTILE]

    shown = api_page.index(Models(), token=False)
    assert shown.count(b"</script>") == 3
    assert HOSTILE.encode() not in shown
    assert b"alert" not in api_page.index(Models(), token=True)


def test_behind_a_token_the_page_is_open_and_names_no_model(new_model_server) -> None:
    server = new_model_server(BREEZEWAY_SERVING_TOKEN="s3cret").start()
    for path in FILES:
        assert server.http.get(path).status_code == 200, path
    assert '<script type="application/json" id="facts">{}</script>' in server.http.get("/docs").text
