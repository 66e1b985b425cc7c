"""The review Space as a real process: in a browser by keyboard, and as a hostile client sees it."""

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from common.feedback_store import FeedbackStore
from preparation.entries import Since
from preparation.exports import Export
from tests.browsing import open_page
from tests.conftest import SOURCE, free_port
from tests.spaces.prepare_dataset.conftest import settings_for

TOKENS = {"ram": "a-token-of-ram-0", "sita": "a-token-of-sita"}
NAMES = {"urgency": ["NORMAL", "URGENT", "HIGHLY URGENT"], "department": ["Waste", "Water"]}
ANSWER = {"label": "NORMAL", "scores": {"NORMAL": 0.9, "URGENT": 0.08, "HIGHLY URGENT": 0.02}}
TEXTS = ("तीन दिनदेखि खानेपानी आएको छैन", "सडकमा ठूलो खाल्डो परेको छ", "<b>बिजुलीको तार</b> झरेको छ")


@dataclass
class Service:
    """A running review Space, and its store."""

    url: str
    store: FeedbackStore
    process: subprocess.Popen[bytes]

    def log_in(self, name: str) -> requests.Session:
        session = requests.Session()
        answer = session.post(f"{self.url}/login", {"token": TOKENS[name]}, timeout=30)
        assert answer.status_code == 200
        return session

    def form_key(self, session: requests.Session) -> str:
        found = re.search(
            r'name="form_key" value="(\w+)"', session.get(f"{self.url}/people", timeout=30).text
        )
        assert found
        return found[1]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCE / "companion_spaces"),
        "PORT": str(port),
        "REVIEWERS": ", ".join(f"{name}:{token}" for name, token in TOKENS.items()),
        "FEEDBACK_LABELS": json.dumps(NAMES),
        "FEEDBACK_DIR": str(tmp_path),
        "FEEDBACK_TOKEN": "the-officers-token",
        "EXPORT_TOKEN": "the-export-token",
    }
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "review.py"],
        cwd=SOURCE / "companion_spaces/review",
        env=environment,
        stderr=log,
        stdout=log,
    )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while True:
        try:
            requests.get(f"{url}/health", timeout=5)
            break
        except requests.ConnectionError:
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield Service(url, FeedbackStore.open(None, tmp_path), process)
    process.terminate()
    process.wait(15)
    assert not [text for text in TEXTS if text in (tmp_path / "log").read_text()]


@pytest.fixture
def report(service: Service) -> Callable[..., str]:
    """Reports a correction of an answer; returns its id."""

    def add(text: str, label: str = "URGENT") -> str:
        (place,) = service.store.add_predictions([text], [ANSWER], "v1")
        return service.store.add_feedback(text, {"urgency": label}, "officer", prediction_id=place)[0]

    return add


def enter(browser: Browser, service: Service, name: str, width: int = 1000) -> tuple[Page, list[str]]:
    page, wrong = open_page(browser, f"{service.url}/", width)
    page.get_by_label("Your token").fill(TOKENS[name])
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    return page, [each for each in wrong if "401" not in each]


def press(page: Page, key: str) -> None:
    """A key, once the page listens to keys."""
    page.wait_for_load_state()
    page.keyboard.press(key)


@pytest.mark.parametrize("width", [390, 1280])
def test_corrections_are_decided_by_one_key_each_and_taken_back(
    service: Service, report: Callable[..., str], browser: Browser, width: int, tmp_path: Path
) -> None:
    for text in TEXTS:
        report(text)
    page, wrong = enter(browser, service, "ram", width)
    expect(page.locator("main")).to_contain_text("3 to decide")
    page.screenshot(path=tmp_path / "correction.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    press(page, "a")
    expect(page.get_by_role("status")).to_contain_text("Accepted")
    assert service.store.count_reviewed("urgency", None) == 1
    press(page, "u")
    expect(page.get_by_role("status")).to_contain_text("Taken back")
    assert service.store.count_reviewed("urgency", None) == 0
    press(page, "r")
    expect(page.get_by_role("status")).to_contain_text("Rejected")
    press(page, "1")
    press(page, "l")
    expect(page.get_by_role("status")).to_contain_text("Relabelled")
    (row,) = service.store.reviewed()
    assert (row["correct_urgency"], row["reviewed_by"]) == ("NORMAL", "ram")
    expect(page.locator("main")).to_contain_text("1 to decide")
    assert wrong == []


def test_a_critical_label_needs_two_people(
    service: Service, report: Callable[..., str], browser: Browser
) -> None:
    report(TEXTS[0], "HIGHLY URGENT")
    page, _ = enter(browser, service, "ram")
    press(page, "a")
    expect(page.get_by_role("status")).to_contain_text("a second person has to agree")
    expect(page.locator("main")).to_contain_text("Nothing waits to be reviewed")
    assert service.store.count_reviewed("urgency", None) == 0
    page, _ = enter(browser, service, "sita")
    expect(page.locator("main")).to_contain_text("Reviewed by ram")
    press(page, "a")
    expect(page.get_by_role("status")).to_have_text(re.compile(r"Accepted\.\s"))
    assert service.store.count_reviewed("urgency", None) == 1


def test_texts_are_labelled_and_it_is_kept_why_they_were_chosen(service: Service, browser: Browser) -> None:
    service.store.add_predictions(list(TEXTS), [ANSWER] * 3, "v1")
    page, wrong = enter(browser, service, "ram")
    page.get_by_role("link", name="Texts worth a label").click()
    for place in range(3):
        expect(page.locator("input[name=place]")).to_have_value(str(place))
        press(page, "2")
        page.get_by_role("button", name="Take this label").click()
    expect(page.locator("main")).to_contain_text("There is no text to label")
    rows = list(service.store.reviewed())
    assert [row["correct_urgency"] for row in rows] == ["URGENT"] * 3
    assert sorted(row["drawn_by_chance"] for row in rows) == [False, False, True]
    assert wrong == []


def test_hostile_text_is_text(service: Service, report: Callable[..., str], browser: Browser) -> None:
    report(TEXTS[2])
    page, _ = enter(browser, service, "ram")
    expect(page.locator("blockquote")).to_have_text(TEXTS[2])
    assert page.locator("blockquote b").count() == 0


# --- who may not


def test_nothing_is_shown_to_whoever_is_not_logged_in(service: Service, report: Callable[..., str]) -> None:
    place = report(TEXTS[0])
    for path in ("", "texts", "people", "files/corrections.csv", "export"):
        answer = requests.get(f"{service.url}/{path}", timeout=30)
        assert answer.status_code == 401
        assert TEXTS[0] not in answer.text
    for cookie in ("", "ram", "ram|99999999999|0"):
        answer = requests.post(
            f"{service.url}/review/{place}", {"verdict": "accept"}, cookies={"reviewer": cookie}, timeout=30
        )
        assert answer.status_code == 401
    assert requests.post(f"{service.url}/login", {"token": "wrong"}, timeout=30).status_code == 401
    assert service.store.count_reviewed("urgency", None) == 0


def test_a_form_of_another_site_is_refused(service: Service, report: Callable[..., str]) -> None:
    place, session = report(TEXTS[0]), service.log_in("ram")
    for form_key in ("", service.form_key(service.log_in("sita"))):
        body = {"verdict": "accept", "form_key": form_key}
        assert session.post(f"{service.url}/review/{place}", body, timeout=30).status_code == 403
    assert service.store.count_reviewed("urgency", None) == 0
    (cookie,) = session.cookies
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"


def test_tokens_are_not_guessed_in_thousands(service: Service) -> None:
    answers = [
        requests.post(f"{service.url}/login", {"token": f"guess-{n}"}, timeout=30).status_code
        for n in range(130)
    ]
    assert 429 in answers


# --- files


def test_verdicts_come_back_in_a_file(service: Service, report: Callable[..., str]) -> None:
    for text in TEXTS:
        report(text)
    session = service.log_in("ram")
    table = session.get(f"{service.url}/files/corrections.csv", timeout=30).content.decode("utf-8-sig")
    lines = table.splitlines()
    filled = "\n".join(
        [lines[0], lines[1] + "accept", lines[2].replace("URGENT", "NORMAL") + "relabel", lines[3]]
    )
    form = {"form_key": service.form_key(session)}
    answer = session.post(
        f"{service.url}/files", form, files={"file": ("a.csv", io.BytesIO(filled.encode()))}, timeout=30
    )
    assert "2 verdicts read, 0 refused" in answer.text
    assert sorted(row["correct_urgency"] for row in service.store.reviewed()) == ["NORMAL", "URGENT"]
    broken = session.post(
        f"{service.url}/files", form, files={"file": ("a.csv", b"feedback_id,verdict\nx,maybe")}, timeout=30
    )
    assert broken.status_code == 422
    assert "line 2" in broken.text


def test_tasks_of_label_studio_come_back_annotated(service: Service, report: Callable[..., str]) -> None:
    report(TEXTS[0])
    session = service.log_in("ram")
    tasks = session.get(f"{service.url}/files/label_studio.json", timeout=30).json()
    assert tasks[0]["data"]["text"] == TEXTS[0]
    tasks[0]["annotations"] = [{"result": tasks[0]["predictions"][0]["result"]}]
    form = {"form_key": service.form_key(session)}
    session.post(
        f"{service.url}/files", form, files={"file": ("tasks.json", json.dumps(tasks).encode())}, timeout=30
    )
    (row,) = service.store.reviewed()
    assert row["correct_urgency"] == "URGENT"


def test_what_was_reviewed_is_the_source_of_a_preparation(
    service: Service, report: Callable[..., str]
) -> None:
    service.store.review(report(TEXTS[0]), "accept", "ram")
    report(TEXTS[1])
    export = Export(settings_for(SOURCE=f"{service.url}/export", SOURCE_TOKEN="the-export-token"))
    (entry,) = (each for each in export.entries(Since()) if each.is_correction)
    assert (entry.text, entry.labels, entry.is_correction, entry.reviewer) == (
        TEXTS[0],
        ("URGENT",),
        True,
        "ram",
    )


def test_feedback_is_taken_here_too(service: Service) -> None:
    body = {"text": TEXTS[0], "correct_urgency": "URGENT", "reporter": "officer"}
    for token, status in (("wrong", 401), ("the-officers-token", 201)):
        headers = {"Authorization": f"Bearer {token}"}
        assert (
            requests.post(f"{service.url}/feedback", json=body, headers=headers, timeout=30).status_code
            == status
        )
    assert len(service.store.pending()) == 1
