"""One commit on a known head of a repository. After a lost answer it looks, and does not commit twice."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from huggingface_hub.hf_api import GitCommitInfo
from huggingface_hub.utils import httpx

from retrain.errors import ComparisonError, ReleaseError, RetrainError
from retrain.hub.client import hub_errors

# Looks for a commit whose answer was lost, and the seconds between them: the Hub may still be at it.
LOOKS, SECONDS_BETWEEN_LOOKS = 3, 5.0

Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete


@dataclass(frozen=True)
class Commit:
    """What to commit to main of a repository.

    signature: a line that no other commit has. Of two runs that release at the same moment both make the same
    version tag, so a tag does not say whose commit it is. failed, moved: what is raised if it could not be
    made, and if somebody else was first.
    """

    operations: Sequence[Operation]
    parent: str | None
    title: str
    description: str = ""
    signature: str = field(default_factory=lambda: f"Commit {uuid.uuid4().hex}")
    repo_type: str = "model"
    failed: type[RetrainError] = ReleaseError
    moved: type[RetrainError] = ComparisonError


def make_commit(api: HfApi, repo_id: str, commit: Commit) -> str:
    """Make the commit on its parent; returns its id.

    Raises:
        ComparisonError, or commit.moved: main is no longer at the parent.
        ReleaseError, or commit.failed: it could not be made.
    """
    try:
        with hub_errors("publish to", repo_id, commit.failed):
            made = api.create_commit(
                repo_id,
                commit.operations,
                commit_message=commit.title,
                commit_description=f"{commit.description}\n\n{commit.signature}".strip(),
                parent_commit=commit.parent,
                repo_type=commit.repo_type,
            )
        return made.oid
    # What an upload raises, to LFS or to Xet, has no common root.
    except (commit.failed, RuntimeError, ValueError, OSError, EntryNotFoundError) as error:
        since = _commits_since(api, repo_id, commit, wait=_may_still_be_made(error))
        ours = next((each.commit_id for each in since if commit.signature in each.message), None)
        if ours:
            return ours
        if since:
            again = "compare anew" if commit.repo_type == "model" else "build on it"
            raise commit.moved(
                f"Main of {repo_id} has moved from {commit.parent} to {since[0].commit_id} meanwhile: "
                f"{', '.join(since[0].authors) or 'somebody'} committed {since[0].title!r}. What was made no "
                f"longer holds, and nothing was overwritten. Restart to {again}."
            ) from error
        if isinstance(error, commit.failed):
            raise
        reason = (str(error) or "no reason given").splitlines()[0][:200]
        raise commit.failed(
            f"Could not publish to {repo_id}: the upload failed ({type(error).__name__}: {reason}). Restart "
            "the run later."
        ) from error


def _may_still_be_made(error: Exception) -> bool:
    cause = error.__cause__
    return isinstance(cause, httpx.TransportError | TimeoutError | ConnectionError) or (
        isinstance(cause, HfHubHTTPError) and cause.response.status_code >= 500
    )


def _commits_since(api: HfApi, repo_id: str, commit: Commit, *, wait: bool) -> list[GitCommitInfo]:
    """The commits on main above the parent, the newest first; [] also if the Hub can't be asked."""
    head = commit.parent
    for look in range(LOOKS if wait else 1):
        if look:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        try:
            with hub_errors("read the commits of", repo_id):
                commits = api.list_repo_commits(repo_id, repo_type=commit.repo_type)
        except RetrainError:
            continue
        ids = [commit.commit_id for commit in commits]
        if since := commits[: ids.index(head) if head in ids else len(ids)]:
            return since
    return []
