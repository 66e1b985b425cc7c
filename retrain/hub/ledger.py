"""What the orchestrator has asked for, in one file on the branch `runs` of the model repository.

Each change is a commit on the one that was read, so that of two who change it at once one is turned away: the
Hub is the lock.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from retrain.errors import HubError
from retrain.hub.client import hub_errors
from retrain.hub.run_archive import BRANCH, make_branch

FILE = "requests.json"
KEPT = 200


class LedgerMovedError(HubError):
    """Somebody else has changed the ledger since it was read."""


class Ledger:
    """The ledger of a model repository. Its methods raise HubError if the Hub refuses."""

    def __init__(self, api: HfApi, repo_id: str) -> None:
        self._api, self.repo_id = api, repo_id
        self._head: str | None = None

    def read(self) -> list[dict[str, Any]]:
        """The entries, oldest first; what somebody else has put there is left out."""
        with hub_errors("read the requests in", self.repo_id):
            try:
                branches = self._api.list_repo_refs(self.repo_id).branches
            except RepositoryNotFoundError:  # there was no release yet
                branches = []
            self._head = next((each.target_commit for each in branches if each.name == BRANCH), None)
            if self._head is None:
                return []
            try:
                file = Path(self._api.hf_hub_download(self.repo_id, FILE, revision=self._head))
            except (RemoteEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
                return []
        try:
            entries = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            return []
        return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []

    def write(self, entries: Sequence[dict[str, Any]], title: str) -> None:
        """Replace what was read.

        Raises:
            LedgerMovedError: somebody else has changed the branch since it was read.
        """
        content = json.dumps(list(entries)[-KEPT:], ensure_ascii=False, indent=1) + "\n"
        with hub_errors("write the requests in", self.repo_id):
            if self._head is None:
                self._api.create_repo(self.repo_id, private=True, exist_ok=True)
                self._head = make_branch(self._api, self.repo_id)
            try:
                made = self._api.create_commit(
                    self.repo_id,
                    [CommitOperationAdd(FILE, content.encode())],
                    commit_message=title,
                    revision=BRANCH,
                    parent_commit=self._head,
                )
            except HfHubHTTPError as error:
                if error.response.status_code in (409, 412):
                    raise LedgerMovedError(f"{FILE} in {self.repo_id} was changed meanwhile.") from error
                raise
        self._head = made.oid
