"""The page at `/` of the inference Space, in a real browser against the real process."""

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, expect

from rehearsal.local_hub import LocalHub
from tests.browsing import open_page
from tests.spaces.conftest import NEWEST, REPO, Space

WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def started(hub: LocalHub, start: Callable[..., Space]) -> Callable[..., Space]:
    def run(repo: str = REPO, wanted: int = 200, **variables: str) -> Space:
        space = start(MODEL_REPO=repo, HF_ENDPOINT=hub.url, HF_TOKEN="hf_owner", **variables)
        space.health(wanted)
        return space

    return run


@pytest.fixture(scope="module")
def space(started: Callable[..., Space]) -> Space:
    return started()


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("*/*", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_a_browser_gets_the_page_and_a_program_the_state(space: Space, accept: str, is_page: bool) -> None:
    for ask in (requests.get, requests.head):
        answer = ask(f"{space.url}/", headers={"Accept": accept}, timeout=30)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/html" if is_page else "application/json")
        assert answer.headers["Vary"] == "Accept"
    if not is_page:
        assert requests.get(f"{space.url}/", headers={"Accept": accept}, timeout=30).json()["status"] == "ok"


def test_it_may_be_framed_by_the_hub_and_loads_nothing_from_elsewhere(space: Space) -> None:
    headers = requests.get(f"{space.url}/", headers={"Accept": "text/html"}, timeout=30).headers
    assert (
        "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
        in headers["Content-Security-Policy"]
    )
    assert "X-Frame-Options" not in headers
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_text_is_classified_by_keyboard_and_its_scores_are_shown(
    space: Space,
    browser: Browser,
    width: int,
    colours: str,
    tmp_path: Path,
) -> None:
    page, wrong = open_page(browser, f"{space.url}/", width, colours)
    expect(page.locator("#about")).to_contain_text(
        f"Version {NEWEST}, released on 2026-08-01 at 09:30 UTC, of {REPO} answers."
    )
    page.get_by_label("A grievance in Nepali or English").focus()
    page.keyboard.type("<b>सडकमा खाल्डो</b>")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#answer h2")).to_contain_text("% sure")
    expect(page.locator("#answer meter")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert wrong == []


def test_an_example_is_a_click_away(space: Space, browser: Browser) -> None:
    page, wrong = open_page(browser, f"{space.url}/")
    page.get_by_role("button", name="Thank you for the new park benches").click()
    expect(page.locator("#answer h2")).to_contain_text("sure")
    assert wrong == []


def test_a_token_is_asked_for_where_one_is_needed_and_stays_on_the_page(
    started: Callable[..., Space],
    browser: Browser,
) -> None:
    page, _ = open_page(browser, f"{started(API_TOKEN='open-sesame').url}/")
    expect(page.get_by_label("Token")).to_be_hidden()
    page.get_by_role("button", name="Thank you").click()
    expect(page.locator("#answer")).to_contain_text("This service needs a token")
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type("open-sesame")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#answer h2")).to_contain_text("sure")
    assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    assert "open-sesame" not in page.url


def test_before_the_first_release_it_says_so_in_words(
    started: Callable[..., Space],
    browser: Browser,
    tmp_path: Path,
) -> None:
    space = started("city/empty", 503)
    space.waits()
    page, _ = open_page(browser, f"{space.url}/", 390)
    expect(page.locator("#about")).to_contain_text("There is no version yet: city/empty holds no model.")
    page.get_by_role("button", name="Thank you").click()
    expect(page.locator("#answer")).to_contain_text("It can't answer just now")
    page.screenshot(path=tmp_path / "page.png", full_page=True)


@pytest.mark.parametrize(("path", "shown"), [("docs", "/predict"), ("redoc", "Grievance classifier")])
def test_the_documentation_is_whole_without_anything_from_elsewhere(
    space: Space,
    browser: Browser,
    path: str,
    shown: str,
) -> None:
    page, answered = browser.new_page(), []
    page.on("response", lambda response: answered.append(response.url))
    page.goto(f"{space.url}/{path}")
    expect(page.locator("body")).to_contain_text(shown, timeout=20_000)
    assert [url for url in answered if not url.startswith((space.url, "data:", "blob:"))] == []


def test_a_text_that_is_empty_or_too_long_is_not_sent(space: Space, browser: Browser) -> None:
    page, _ = open_page(browser, f"{space.url}/")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#answer")).to_be_empty()
    page.get_by_label("A grievance in Nepali or English").fill("   ")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#answer")).to_contain_text("The text is empty or too long")
