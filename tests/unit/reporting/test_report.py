"""The report of a run: harmless whatever stands in it, and kept where it may be."""

import json
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from retrain.events import Ended, Started
from retrain.hub.run_archive import RunArchive
from retrain.journal import Journal
from retrain.reporting.report import write_report
from tests.conftest import CITY, USERS


@pytest.mark.parametrize(("private", "kept"), [(True, {"run.json", "report.html"}), (False, {"run.json"})])
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
        RunArchive(api, "city/model").add(journal.folder)
        files = api.list_repo_files("city/model", revision="runs")
    assert {Path(file).name for file in files if file.startswith("run/")} == kept


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
    assert "The run has not ended." in write_report(journal.folder).read_text(encoding="utf-8")
