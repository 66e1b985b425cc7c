"""A data set that means harm goes through the whole job: texts stay texts, short, and where they belong."""

import contextlib
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser

from rehearsal.local_hub import LocalHub
from tests.conftest import FIRST, LABELS, USERS, City, LiveAPI, Run, meanwhile
from tests.hostile_texts import HOSTILE, control_characters

Rows = list[dict[str, Any]]


def hostile_splits(rows: Rows) -> dict[str, Rows]:
    """Each hostile text under each label: however it is answered, two of three are mistakes.

    The ordinary rows let the model show that it has learnt something.
    """
    every = [{"grievance": text, "label": label} for text in HOSTILE for label in LABELS]
    training = [{"grievance": text + " in train", "label": "URGENT"} for text in HOSTILE]
    return {"train": rows[:60] + training, "eval": rows[60:90], "test": every + rows[90:150]}


@pytest.fixture(scope="module")
def hostile_run(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, unique_grievances: Rows
) -> tuple[Run, int]:
    """An accepted run, and the most memory that its training process took, in megabytes."""
    root, live_api = tmp_path_factory.mktemp("hostile"), LiveAPI()
    with LocalHub(root / "hub", USERS) as hub:
        city = City(root, hub, live_api, checkpoint)
        city.push(hostile_splits(unique_grievances))
        city.serve_newest()
        job = city.start(
            real_start=True, REPORT_TEXTS="true", **FIRST | {"NUM_TRAIN_EPOCHS": "40", "EVAL_STEPS": "1000"}
        )
        peak = [0]

        def look_at_memory() -> None:
            with contextlib.suppress(psutil.Error):
                peak.extend(child.memory_info().rss for child in psutil.Process(job.pid).children())

        with contextlib.closing(city), meanwhile(look_at_memory):
            run = city.end(job)
    live_api.close()
    return run, max(peak) // 2**20


class Elements(HTMLParser):
    """Collects the tags, the attributes and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_a_run_on_hostile_texts_ends_as_any_other(hostile_run: tuple[Run, int]) -> None:
    run, _ = hostile_run
    assert run.exit_code == 0, run.output
    assert run.record["outcome"] == "accepted"


def test_texts_with_several_labels_are_warned_of_and_recorded(hostile_run: tuple[Run, int]) -> None:
    record = hostile_run[0].record
    assert record["dataset"]["contradictory_texts"] == len(HOSTILE)
    assert f"{len(HOSTILE)} texts are in city/data with more than one label (test: " in str(
        record["warnings"]
    )


def test_a_text_of_ten_megabytes_costs_no_gigabytes(hostile_run: tuple[Run, int]) -> None:
    assert 200 < hostile_run[1] < 3000


def test_hostile_texts_stand_in_the_report_as_text(hostile_run: tuple[Run, int]) -> None:
    page = (hostile_run[0].folder / "report.html").read_text(encoding="utf-8")
    seen = Elements(page)
    text = "".join(seen.text)
    for shown in (*HOSTILE[:5], "�[31malert", "turned �around"):
        assert shown in text
    assert not seen.tags & {"script", "img", "iframe", "object", "embed", "form", "base", "link"}
    assert not [(name, value) for name, value in seen.attributes if name.startswith("on")]
    assert not [value for name, value in seen.attributes if value.lower().startswith("javascript:")]
    assert control_characters(page) == set()
    assert len(page) < 500_000


def test_a_browser_runs_nothing_of_them(hostile_run: tuple[Run, int], browser: Browser) -> None:
    asked: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    page.goto((hostile_run[0].folder / "report.html").as_uri())
    assert page.title() == "Accepted: Retraining the urgency model"
    assert page.evaluate("document.images.length + document.scripts.length + window.frames.length") == 0
    assert asked == [(hostile_run[0].folder / "report.html").as_uri()]


def test_no_text_and_no_control_character_is_in_the_log_or_the_journal(
    hostile_run: tuple[Run, int],
) -> None:
    run, _ = hostile_run
    kept = {"the log": run.output}
    for name in ("events.jsonl", "run.json", "output.log"):
        kept[name] = (run.folder / name).read_text(encoding="utf-8")
    for name, content in kept.items():
        assert control_characters(content) == set(), name
        assert not [text for text in HOSTILE if text[:20] in content or json.dumps(text)[1:20] in content]
        assert len(content) < 200_000


def test_texts_are_on_the_machine_in_the_report_and_the_list_of_mistakes_alone(
    hostile_run: tuple[Run, int],
) -> None:
    """Neither the released files nor the table of answers nor W&B's folder has them."""
    files = [file for file in hostile_run[0].folder.rglob("*") if file.is_file()]
    with_texts = {file.name for file in files if b"HYPERLINK" in file.read_bytes()}
    assert with_texts == {"report.html", "mistakes.json"}
    assert not [file for file in files if file.suffix in (".csv", ".tsv", ".xlsx")], "no table opens in Excel"
