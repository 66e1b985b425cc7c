"""The page in a real browser: a run is watched from its start to the verdict."""

import threading
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, expect

from retrain.events import Ended
from retrain.journal import Journal
from retrain.lifecycle.status_page import open_port, serve
from tests.browsing import open_page
from tests.conftest import CITY, City
from tests.job.test_job_faults import answer_right

Splits = dict[str, list[dict[str, Any]]]


def resident_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def test_a_run_is_watched_from_its_start_to_the_verdict(
    city: City, good_splits: Splits, browser: Browser, tmp_path: Path
) -> None:
    city.push(good_splits)
    city.publish_a_model()
    asked, right = threading.Event(), answer_right(good_splits)
    city.live_api.answer = lambda text: (asked.wait(60), right(text))[1]
    city.hub.faults.add(path="/spaces/city/retrain/pause", status=403, times=None)
    job = city.start(
        NUM_TRAIN_EPOCHS="10",
        EVAL_STEPS="10",
        EARLY_STOPPING_PATIENCE="9",
        NOTIFY_URLS="json://localhost:9",
        SPACE_ID="city/retrain",  # in its own Space it stays up while it can't be paused
    )
    city.wait_for(job, "started")
    url = f"http://127.0.0.1:{city.settings['PORT']}/"
    page, wrong = open_page(browser, url)
    expect(page.locator("#headline")).to_have_text("The run is under way.")
    expect(page.locator("[aria-current=step]")).to_contain_text("Compare", timeout=60_000)
    expect(page.get_by_role("img", name="Validation macro F1 from")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("Compare")
    expect(page.locator(".confusion tbody tr")).to_have_count(3)
    page.screenshot(path=tmp_path / "compare.png", full_page=True)
    asked.set()
    expect(page.locator("#headline")).to_have_text(
        "Rejected. Nothing changes: the new model is not good enough to be released.", timeout=30_000
    )
    expect(page.get_by_role("alert")).to_contain_text(
        "The Space is not paused and is still billed", timeout=30_000
    )
    expect(page.get_by_role("link", name="Read the report of this run")).to_be_visible()
    expect(page.get_by_role("img", name="The gain is")).to_be_visible()
    page.screenshot(path=tmp_path / "verdict.png", full_page=True)

    told = "".join(requests.get(url + path, timeout=5).text for path in ("", "api/status", "metrics"))
    assert not [row for rows in good_splits.values() for row in rows if row["grievance"] in told]
    assert CITY not in told
    assert resident_megabytes(job.pid) < 100
    job.terminate()
    city.end(job)
    expect(page.locator("#silent")).to_be_visible()
    assert [text for text in wrong if "ERR_" not in text] == [], "the end of the connection alone may be told"


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_page_fits_a_phone_in_light_and_dark_and_shows_hostile_text_as_text(
    browser: Browser, journal: Journal, colours: str
) -> None:
    journal.write(Ended("failed", ("<b>a</b>" + "w" * 300,)))
    listener = open_port(0)
    serve(listener, journal)
    page, wrong = open_page(browser, f"http://127.0.0.1:{listener.getsockname()[1]}/", 360, colours)
    expect(page.locator(".state")).to_contain_text("<b>a</b>www")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(246, 247, 249)", "dark": "rgb(14, 17, 22)"}[colours]
    assert wrong == []


def test_without_scripts_the_page_is_whole_and_comes_anew(browser: Browser, journal: Journal) -> None:
    listener = open_port(0)
    serve(listener, journal)
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    expect(page.locator("progress")).to_be_visible()
    assert page.locator("meta[http-equiv=refresh]").count() == 1
