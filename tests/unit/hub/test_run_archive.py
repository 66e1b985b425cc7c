"""The archive of runs: what others have put on its branch is left out, and the rest is read."""

import json
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from retrain.hub.run_archive import BRANCH, RunArchive

REPO = "city/model"
RECORD = {
    "outcome": "accepted",
    "reasons": ["x"],
    "folder": "runs/x",
    "started_at": "2026-01-01T00:00:00+00:00",
    "finished_at": "2026-01-01T01:00:00+00:00",
}


@pytest.fixture
def archive(api: HfApi) -> RunArchive:
    api.create_repo(REPO, private=True)
    return RunArchive(api, REPO)


def put(api: HfApi, records: dict[str, str]) -> None:
    operations = [CommitOperationAdd(f"{name}/run.json", text.encode()) for name, text in records.items()]
    api.create_commit(REPO, operations, commit_message="by hand", revision=BRANCH)


def test_a_run_is_kept_and_read_again(archive: RunArchive, tmp_path: Path) -> None:
    folder = tmp_path / "20260101_000000_urgency_aaaa"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(RECORD))
    url = archive.add(folder)
    assert url.endswith(f"/{REPO}/tree/runs/{folder.name}")
    (record,) = archive.read()
    assert (record.outcome, record.folder) == ("accepted", "runs/x")


def test_what_others_have_put_there_is_left_out(api: HfApi, archive: RunArchive) -> None:
    assert archive.read() == []
    api.create_branch(REPO, branch=BRANCH)
    whole = RECORD | {"test_scores": None}
    put(
        api,
        {
            "20260101_000000_a": json.dumps(whole),
            "20260102_000000_b": "null",
            "20260103_000000_c": "{",
            "20260104_000000_d": "[" * 100_000,
            "20260105_000000_e": json.dumps({"outcome": "accepted"}),
            "notes": json.dumps(whole),
        },
    )
    (record,) = archive.read()
    assert (record.outcome, record.test_scores) == ("accepted", None)
