"""The operator's commands, as the guides write them."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from retrain.evaluation.comparison import save_comparison
from retrain.records import Comparison, GateRules
from tests.conftest import LiveAPI
from tests.documents.commands import runs
from tests.documents.conftest import ACTIVATE, JOB_ENVIRONMENT, MODEL, SPACE, TOKEN, Clone, make_space

TAGS = ("v20250129_143052", "v20250205_101500")


@pytest.fixture
def two_versions(clone: Clone, yours: HfApi, live_api: LiveAPI) -> None:
    """On the Hub, with an inference Space that serves the newest; and an env file for them."""
    clone.fill_env_file(HF_TOKEN=TOKEN, API_ENDPOINT=live_api.url)
    make_space(yours, SPACE)
    yours.create_repo(MODEL, private=True)
    for previous, tag in zip((None, *TAGS), TAGS, strict=False):
        metadata = {"version_tag": tag, "previous_version": previous, "eval_metrics": {"f1_macro": 0.9}}
        about = json.dumps(metadata).encode()
        files = {"metadata.json": about, "config.json": b"{}", "model.safetensors": tag.encode()}
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        yours.create_tag(
            MODEL, tag=tag, revision=yours.create_commit(MODEL, operations, commit_message=tag).oid
        )

    def serves_the_newest() -> dict[str, str]:
        tag, revision = newest_version(yours)
        return {"model_version": tag, "model_revision": revision}

    live_api.about = serves_the_newest


def newest_version(api: HfApi) -> tuple[str, str]:
    """Its tag and its commit."""
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(MODEL).tags}
    return max(item for item in tags.items() if item[0].startswith("v2"))


@pytest.mark.usefixtures("two_versions")
@runs(r"python -m retrain (versions|history|rollback|verdict|report) .*")
def test_the_commands_by_hand_tell_and_restore_with_the_env_file_of_the_job(
    clone: Clone, commands: list[str], yours: HfApi, tmp_path: Path
) -> None:
    run = a_run(tmp_path / "20250205_101000_urgency_ab12")
    yours.create_branch(MODEL, branch="runs")
    yours.upload_file(
        path_or_fileobj=run / "run.json",
        path_in_repo=f"{run.name}/run.json",
        repo_id=MODEL,
        revision="runs",
    )
    told = clone.type(ACTIVATE, *(text.replace("RUN_FOLDER", str(run)) for text in commands))
    assert re.search(r"(?m)^v20250205_101500 +0\.9000 .*serves now$", told)
    assert "v20250129_143052 was restored as" in told
    assert re.search(rf"(?m)^{run.name} +rejected", told)
    assert re.search(r"(?m)^REJECTED$", told)
    assert "rejected" in (run / "report.html").read_text(encoding="utf-8").lower()
    restored = yours.hf_hub_download(MODEL, "model.safetensors", revision=newest_version(yours)[1])
    assert Path(restored).read_text() == "v20250129_143052"


@pytest.mark.usefixtures("two_versions")
@runs(r"python -m retrain rollback")
def test_without_an_env_file_the_commands_read_the_environment_of_the_job(
    clone: Clone, commands: list[str]
) -> None:
    told = clone.type(ACTIVATE, JOB_ENVIRONMENT, *commands)
    assert f"{TAGS[0]} was restored as" in told


@runs(r"python -m retrain --help")
def test_the_help_names_every_command(clone: Clone, commands: list[str]) -> None:
    told = clone.type(ACTIVATE, *commands)
    named = {"setup", "check", "push", "versions", "rollback", "history", "verdict", "report"}
    assert not [name for name in named if not re.search(rf"\b{name}\b", told)], told


@pytest.mark.usefixtures("two_versions")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("versions", 2),  # no settings
        ("versions --env-file absent.env", 2),
        ("rollback --to", 2),
        ("rollback --to v20240101_000000 --env-file .env", 1),
    ],
)
def test_the_exit_code_is_what_the_guide_says(clone: Clone, command: str, code: int) -> None:
    clone.type(ACTIVATE, f"python -m retrain {command} || test $? = {code}")


def a_run(folder: Path) -> Path:
    """The folder of a run that was rejected: the two models say the same."""
    labels = [0, 1, 2] * 30
    answers = [(label + (i % 7 == 0)) % 3 for i, label in enumerate(labels)]
    names = ("NORMAL", "URGENT", "HIGHLY URGENT")
    unsaid = [None] * len(labels)
    comparison = Comparison(names, "api", range(len(labels)), labels, answers, answers, *[unsaid] * 4)
    folder.mkdir()
    save_comparison(folder / "comparison.parquet", comparison, GateRules())
    at = datetime(2025, 2, 5, 10, 10, tzinfo=UTC).isoformat()
    events = [
        {"time": at, "event": "started", "label": "urgency", "folder": str(folder), "settings": {}},
        {"time": at, "event": "outcome", "outcome": "rejected", "reasons": []},
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    record = {
        "outcome": "rejected",
        "reasons": [],
        "started_at": at,
        "finished_at": at,
        "folder": str(folder),
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder
