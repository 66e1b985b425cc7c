"""A data set that means harm goes through the whole job: texts stay texts, short, and where they belong."""

import contextlib
import json
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import datasets
import psutil
import pytest
from playwright.sync_api import sync_playwright

from load_dataset import check_splits
from rehearsal.local_hub import LocalHub
from retrain.errors import DatasetError
from retrain.journal import Journal
from retrain.redaction import Redactor
from tests.conftest import LABELS, USERS, City, LiveAPI, Run, meanwhile
from tests.test_status_page import CHROMIUM

HOSTILE = [
    "<script>document.title = 'owned'</script>",
    '"><img src=x onerror="document.title = \'owned\'">',
    "</td></table></svg></script><iframe src=javascript:alert(1)>",
    "{{ 7 * 6 }}{% for x in ().__class__.__mro__ %}{{ x }}{% endfor %}",
    '=HYPERLINK("http://example.org/?" & A1, "look")',
    "\x00\x01\x07\x08\x7f\x9b",
    "red \x1b[31malert\x1b]0;owned\x07 \x1b[2J\r\nfaked line",
    "turned \u202earound\u2066 and \u2028 parted \x85 lines",
    "long " + "word " * 2_000_000,
]
Rows = list[dict[str, Any]]


def hostile_splits(rows: Rows) -> dict[str, Rows]:
    """Each hostile text under each label: however it is answered, two of three are mistakes."""
    every = [{"grievance": text, "label": label} for text in HOSTILE for label in LABELS]
    training = [{"grievance": text + " in train", "label": "URGENT"} for text in HOSTILE]
    return {"train": rows[:40] + training, "eval": rows[40:70], "test": every}


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
        job = city.start(ALLOW_FIRST_RELEASE="true", REPORT_TEXTS="true")
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


def control_characters(text: str) -> set[str]:
    """Those that hide or turn what stands beside them; Devanagari needs its joiners."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf")} - set("\n\u200c\u200d")


def test_a_run_on_hostile_texts_ends_as_any_other(hostile_run: tuple[Run, int]) -> None:
    run, _ = hostile_run
    assert run.exit_code == 0, run.output
    assert run.record["outcome"] == "accepted"


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


@pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
def test_a_browser_runs_nothing_of_them(hostile_run: tuple[Run, int]) -> None:
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: asked.append(dialog.message))
        page.goto((hostile_run[0].folder / "report.html").as_uri())
        assert page.title() == "Accepted: retraining the urgency model"
        assert page.evaluate("document.images.length + document.scripts.length + window.frames.length") == 0
        browser.close()
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


# --- labels and names


def fault_of(test: datasets.Dataset, rows: Rows) -> str:
    loaded = {name: datasets.Dataset.from_list(rows) for name in ("train", "eval")} | {"test": test}
    with pytest.raises(DatasetError) as told:
        check_splits(loaded, {n: i for i, n in enumerate(LABELS)}, repo_id="city/data", revision="0" * 40)
    return str(told.value)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_labels_and_columns_are_told_short_and_harmlessly(unique_grievances: Rows, name: str) -> None:
    rows = unique_grievances[:30]
    label = fault_of(datasets.Dataset.from_list([*rows, {"grievance": "x", "label": name}]), rows)
    columns = [name.replace("\0", ""), *map(str, range(50))]  # Arrow ends a name at NUL
    column = fault_of(datasets.Dataset.from_dict({each: ["x"] for each in columns}), rows)
    assert "has 1 row (number 30, from 0) with an unknown label" in label
    assert "has no column grievance or label (it has " in column
    for told in (label, column):
        assert control_characters(told) | set(told) & {"\n", "\u2028"} == set()
        assert len(told) < 400


def test_a_secret_with_a_quotation_mark_takes_no_event_with_it(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run", Redactor(['city"', "reasons"]))
    journal.write("outcome", outcome="failed", reasons=['The token is city"'])
    assert journal.write_run_record()["reasons"] == ["The token is [secret]"]


def test_an_event_is_one_whatever_stands_in_it(tmp_path: Path) -> None:
    """What ends a line elsewhere does not end one here; what can't be written is told as far as it can."""
    journal = Journal.create(tmp_path / "run")
    for text in HOSTILE[:-1]:
        journal.write("warning", message=text)
    journal.write("warning", message="half of a pair \ud83d")
    journal.write("outcome", outcome="failed", reasons=["The last one."])
    assert [event.get("message") for event in journal.read()] == [*HOSTILE[:-1], "half of a pair ?", None]
    assert journal.write_run_record()["outcome"] == "failed"
    with journal.path.open("ab") as being_written:
        being_written.write('{"event": "warning", "message": "पानी'.encode()[:-1])
    assert journal.write_run_record()["outcome"] == "failed"
