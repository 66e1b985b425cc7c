"""The report of a run: harmless whatever stands in it, and kept where it may be."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from huggingface_hub import HfApi
from markdown_it import MarkdownIt

from rehearsal.local_hub import LocalHub
from retrain.events import Ended, Progress, Started, Validation
from retrain.hub.run_archive import RunArchive
from retrain.journal import Journal
from retrain.reporting.report import write_report
from tests.conftest import CITY, USERS
from tests.unit.reporting.test_summary import DATASET


@pytest.mark.parametrize(
    ("private", "kept"),
    [(True, {"run.json", "report.md", "report.html"}), (False, {"run.json", "report.md"})],
)
def test_a_report_with_texts_is_kept_in_a_private_repository_alone(
    tmp_path: Path, private: bool, kept: set[str]
) -> None:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        api.create_repo("city/model", private=private)
        journal = Journal.create(tmp_path / "run")
        journal.write(Started(str(journal.folder), settings={"REPORT_TEXTS": True}))
        journal.write(Ended("failed", ("x",)))
        journal.write_run_record()
        write_report(journal.folder)
        url = RunArchive(api, "city/model").add(journal.folder)
        files = api.list_repo_files("city/model", revision="runs")
    assert {Path(file).name for file in files if file.startswith("run/")} == kept
    assert url == f"{hub.url}/city/model/blob/runs/run/report.md"


HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>\u202e\x00\x1b[31m=HYPERLINK("x")'


def test_hostile_text_in_a_report_is_harmless(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run")
    journal.write(Started(HOSTILE, "urgency", {"DATASET_REPO_ID": HOSTILE}))
    journal.warn(HOSTILE)
    mistake = {
        "row": 1,
        "hash": "0",
        "label": HOSTILE,
        "answer": HOSTILE,
        "confidence": 1.0,
        "text": HOSTILE,
    }
    (journal.folder / "mistakes.json").write_text(json.dumps([mistake]), encoding="utf-8")
    journal.write(Ended("failed", (HOSTILE,)))
    report = write_report(journal.folder).read_text(encoding="utf-8")
    assert "<script" not in report
    assert "<img" not in report
    assert "&lt;script&gt;" in report
    assert report.count("\u202e") == report.count("\x1b") == report.count("\x00") == 0


def test_a_report_is_made_of_a_run_that_hardly_began(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run")
    assert "The run is under way." in write_report(journal.folder).read_text(encoding="utf-8")


RUN = [
    Started("x", "urgency", {"DECISION_THRESHOLD": 0.001}),
    Progress("train", 50, 100, 0.5),
    Validation(50, 100, 0.8, 0.4),
    Ended("rejected", ("<b>why</b> [x](http://evil)",)),
]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    journal = Journal.create(tmp_path / "run")
    for event in RUN:
        journal.write(event)
    mistakes = [{"row": 7, "hash": "0", "label": "A|B", "answer": "C", "confidence": 1.0, "text": "secret"}]
    (journal.folder / "mistakes.json").write_text(json.dumps(mistakes), encoding="utf-8")
    write_report(journal.folder)
    return journal.folder


def test_the_readable_report_shows_its_pictures_from_beside_it(run_folder: Path) -> None:
    page = (
        MarkdownIt("commonmark")
        .enable("table")
        .render((run_folder / "report.md").read_text(encoding="utf-8"))
    )
    shown = re.findall(r'<img src="([^"]+)"', page)
    assert shown == ["loss.svg", "validation.svg"]
    for name in shown:
        assert ElementTree.parse(run_folder / name).getroot().tag.endswith("svg")


def test_hostile_text_in_the_readable_report_is_text_and_texts_of_grievances_are_not_in_it(
    run_folder: Path,
) -> None:
    readable = (run_folder / "report.md").read_text(encoding="utf-8")
    page = MarkdownIt("commonmark").enable("table").render(readable)
    assert "<b>" not in page
    assert "evil" not in "".join(re.findall(r'href="([^"]+)"', page))
    assert "<td>A|B</td>" in page
    assert "secret" not in readable


def test_a_mistake_leads_to_its_row_in_the_viewer_of_the_data_set(run_folder: Path) -> None:
    journal = Journal(run_folder)
    counted = {"train": 1, "eval": 1, "test": 1}
    journal.write(
        replace(
            DATASET,
            read_as={"config": "urgency", "eval": "validation"},
            label_counts={name: {"NORMAL": 1} for name in counted},
            normalised_duplicates=counted,
        )
    )
    for name in ("report.html", "report.md"):
        write_report(run_folder)
        assert "https://huggingface.co/datasets/city/data/viewer/urgency/test?row=7" in (
            (run_folder / name).read_text(encoding="utf-8")
        )


def test_a_report_is_written_in_the_language_that_is_asked_for(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run")
    journal.write(Started("x", "urgency", {"REPORT_LANGUAGE": "ne"}))
    journal.write(Ended("failed", ("why",)))
    report = write_report(journal.folder).read_text(encoding="utf-8")
    assert '<html lang="ne">' in report
    assert "असफल" in report
    assert "What to do" not in report
