"""Record and report of every run, on the branch `runs` of the model repository."""

import json
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from retrain.hub.client import hub_errors
from retrain.records import READABLE_REPORT
from retrain.run_record import RunRecord

BRANCH = "runs"
RUNS_READ = 50


class RunArchive:
    """The archive of a model repository's runs. Its methods raise HubError if the Hub refuses."""

    def __init__(self, api: HfApi, repo_id: str) -> None:
        self.repo_id = repo_id
        self._api = api

    def add(self, folder: Path) -> str:
        """Commit record and report of a run's folder; returns the address at which people read them.

        report.html may hold texts: then it goes to a private repository only. report.md never does.
        """
        record: Mapping[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        api, repo_id = self._api, self.repo_id
        with hub_errors("keep the record of the run in", repo_id):
            open_to_all = not api.model_info(repo_id).private
            with_texts = (record.get("settings") or {}).get("REPORT_TEXTS", False)
            # Apart, so that many of these do not push what happened out of what is read.
            place = f"unchanged/{folder.name}" if record["outcome"] == "unchanged" else folder.name
            kept = ["run.json", READABLE_REPORT, *sorted(path.name for path in folder.glob("*.svg"))]
            if not (open_to_all and with_texts):
                kept.append("report.html")
            operations = [
                CommitOperationAdd(f"{place}/{name}", folder / name)
                for name in kept
                if (folder / name).exists()
            ]
            if BRANCH not in [branch.name for branch in api.list_repo_refs(repo_id).branches]:
                make_branch(api, repo_id)
            title = f"{folder.name}: {record['outcome']}"
            api.create_commit(repo_id, operations, commit_message=title, revision=BRANCH)
        if (folder / READABLE_REPORT).exists():
            return f"{api.endpoint}/{repo_id}/blob/{BRANCH}/{place}/{READABLE_REPORT}"
        return f"{api.endpoint}/{repo_id}/tree/{BRANCH}/{place}"

    def read(self, newest: int = RUNS_READ) -> list[RunRecord]:
        """The records of the newest runs, oldest first. What others have put there is left out."""
        with hub_errors("read the earlier runs of", self.repo_id):
            try:
                files = self._api.list_repo_files(self.repo_id, revision=BRANCH)
            except (RepositoryNotFoundError, RevisionNotFoundError):
                return []
            wanted = sorted(name for name in files if fnmatch(name, "[0-9]*/run.json"))[-newest:]
            if not wanted:
                return []
            folder = Path(self._api.snapshot_download(self.repo_id, revision=BRANCH, allow_patterns=wanted))
        records = (_parsed(folder / name) for name in wanted)
        return [
            record
            for record in records
            if record and record.folder and record.started_at and record.finished_at
        ]


def make_branch(api: HfApi, repo_id: str) -> str:
    """Create the branch from the oldest commit, which holds no weights; returns that commit."""
    oldest = api.list_repo_commits(repo_id)[-1].commit_id
    api.create_branch(repo_id, branch=BRANCH, revision=oldest, exist_ok=True)
    return oldest


def _parsed(file: Path) -> RunRecord | None:
    try:
        return RunRecord.parse(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return None
