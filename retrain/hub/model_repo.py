"""Publishes a version of a model repository, new or restored: one commit, one tag on it. Knows no model."""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from huggingface_hub.hf_api import GitCommitInfo
from huggingface_hub.utils import httpx

from retrain.errors import ComparisonError, ReleaseError, RetrainError, hub_errors
from retrain.hub.model_card import restored_card
from retrain.hub.versions import free_version_tag, list_versions, published_head, read_metadata
from retrain.records import VERSION_TAG, Release, Version

# Formats that can run code when they are loaded: never published, and taken out of the repository.
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
TAG_TRIES = 3
# Looks for a commit whose answer was lost, and the seconds between them: the Hub may still be at it.
LOOKS, SECONDS_BETWEEN_LOOKS = 3, 5.0

Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete

logger = logging.getLogger(__name__)


def release_model(
    api: HfApi,
    repo_id: str,
    folder: Path,
    *,
    head: str | None,
    version_tag: str,
    message: str,
    write: Callable[[str], None],
) -> Release:
    """Commit all of `folder` on top of `head`, and tag that commit.

    write: puts what names the version (metadata.json, README.md) into the folder, for a given tag.
    Where somebody has taken the tag meanwhile, that is the next free one.

    Raises:
        ComparisonError: main is no longer at `head`, so what was compared is not what would be replaced.
        ReleaseError: the commit or the tag could not be made; says which, and where the weights are.
    """
    if head is None:
        with hub_errors("create the model repository", repo_id, ReleaseError):
            api.create_repo(repo_id, private=True, exist_ok=True)
            head = api.model_info(repo_id).sha
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    logger.info("Publishing %s as %s: %.1f MB", repo_id, version_tag, size / 1e6)
    previous = head
    for _ in range(TAG_TRIES):
        write(version_tag)
        try:
            operations = _operations(api, repo_id, folder, head)
            revision = _commit(api, repo_id, operations, head, version_tag, message)
        except ReleaseError as error:
            raise ReleaseError(
                f"{error} On this machine the weights are kept in {folder}, which on a Space outlives the "
                "pause only where RUN_DIR is a mounted volume."
            ) from error
        if _tag(api, repo_id, version_tag, revision):
            return _release(api, repo_id, version_tag, revision, previous)
        head, version_tag = revision, free_version_tag(api, repo_id)
    raise ReleaseError(_without_tag(repo_id, revision, version_tag, "it was taken each time"))


def restore_version(api: HfApi, repo_id: str, version: Version, *, cause: str) -> Release:
    """Make an earlier version the newest: one commit of copies on the server, without an upload, and its tag.

    Files that people have put beside it stay. Its metadata.json tells what was restored, and why.

    Raises:
        ReleaseError: the commit or the tag could not be made.
    """
    name = version.tag or version.revision
    version_tag, (head, _) = free_version_tag(api, repo_id), published_head(api, repo_id)
    metadata = read_metadata(api, repo_id, version.revision) | {
        "version_tag": version_tag,
        "timestamp_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit_message": f"Restore {name}",
        "restored_from": name,
        "restored_because": cause,
    }
    with hub_errors("read the versions of", repo_id, ReleaseError):
        of_version = api.list_repo_files(repo_id, revision=version.revision)
        at_head = api.list_repo_files(repo_id, revision=head)
    rewritten = ("metadata.json", "README.md")
    kept = [file for file in of_version if not file.endswith(PICKLES) and file not in rewritten]
    operations: list[Operation] = [
        CommitOperationCopy(file, file, src_revision=version.revision) for file in kept
    ]
    operations += [CommitOperationDelete(file) for file in _stale(at_head, kept)]
    operations.append(CommitOperationAdd("metadata.json", _as_json(metadata).encode()))
    operations.append(
        CommitOperationAdd("README.md", restored_card(api, repo_id, version.revision, head).encode())
    )
    try:
        revision = _commit(
            api, repo_id, operations, head, version_tag, metadata["commit_message"], description=cause
        )
    except ComparisonError as error:
        raise ReleaseError(f"Main of {repo_id} moved while {name} was restored: try once more.") from error
    if not _tag(api, repo_id, version_tag, revision):
        raise ReleaseError(_without_tag(repo_id, revision, version_tag, "it was taken"))
    return _release(api, repo_id, version_tag, revision, head)


def finish_release(api: HfApi, repo_id: str) -> Release | None:
    """Tag the version at main if a run that was cut short has left it without; None if there is none."""
    head, _ = published_head(api, repo_id)
    tag, versions = read_metadata(api, repo_id, head).get("version_tag"), list_versions(api, repo_id)
    if not head or not VERSION_TAG.match(str(tag)) or any(version.tag == tag for version in versions):
        return None
    if not _tag(api, repo_id, str(tag), head):
        return None
    return _release(api, repo_id, str(tag), head, versions[0].revision if versions else None)


def write_metadata(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write metadata.json at the root of the folder to be released."""
    (folder / "metadata.json").write_text(_as_json(metadata), encoding="utf-8")


def _as_json(metadata: Mapping[str, Any]) -> str:
    return json.dumps(metadata, ensure_ascii=False, indent=2) + "\n"


def _release(api: HfApi, repo_id: str, tag: str, revision: str, previous: str | None) -> Release:
    return Release(tag, revision, previous, f"{api.endpoint}/{repo_id}/tree/{tag}")


def _operations(api: HfApi, repo_id: str, folder: Path, head: str | None) -> list[Operation]:
    """Add the folder's files; delete weights and pickles of earlier versions that they do not overwrite."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in files if name.endswith(PICKLES)], "a pickle is in the release folder"
    with hub_errors("publish to", repo_id, ReleaseError):
        existing = api.list_repo_files(repo_id, revision=head)
    return [
        *(CommitOperationAdd(name, path) for name, path in sorted(files.items())),
        *(CommitOperationDelete(name) for name in _stale(existing, files)),
    ]


def _stale(existing: Sequence[str], new: Sequence[str] | Mapping[str, Path]) -> list[str]:
    return [name for name in existing if name not in new and name.endswith((".safetensors", *PICKLES))]


def _commit(
    api: HfApi,
    repo_id: str,
    operations: Sequence[Operation],
    head: str | None,
    version_tag: str,
    message: str,
    description: str = "",
) -> str:
    """One commit on `head`; a lost answer is resolved by looking, not by committing twice."""
    signature = f"Version {version_tag}"
    try:
        with hub_errors("publish to", repo_id, ReleaseError):
            made = api.create_commit(
                repo_id,
                operations,
                commit_message=message,
                commit_description=f"{signature}\n\n{description}".strip(),
                parent_commit=head,
            )
        return made.oid
    # What an upload raises, to LFS or to Xet, has no common root.
    except (ReleaseError, RuntimeError, ValueError, OSError, EntryNotFoundError) as error:
        since = _commits_since(api, repo_id, head, wait=_may_still_be_made(error))
        ours = next((commit.commit_id for commit in since if signature in commit.message), None)
        if ours:
            return ours
        if since:
            raise ComparisonError(
                f"Main of {repo_id} has moved from {head} to {since[0].commit_id} since the comparison was "
                f"made: {', '.join(since[0].authors) or 'somebody'} committed {since[0].title!r}. The "
                "verdict no longer holds, and nothing was overwritten. Restart to compare anew."
            ) from error
        if isinstance(error, ReleaseError):
            raise
        reason = (str(error) or "no reason given").splitlines()[0][:200]
        raise ReleaseError(
            f"Could not publish to {repo_id}: the upload failed ({type(error).__name__}: {reason}). Restart "
            "the run later."
        ) from error


def _may_still_be_made(error: Exception) -> bool:
    cause = error.__cause__
    return isinstance(cause, httpx.TransportError | TimeoutError | ConnectionError) or (
        isinstance(cause, HfHubHTTPError) and cause.response.status_code >= 500
    )


def _commits_since(api: HfApi, repo_id: str, head: str | None, *, wait: bool) -> list[GitCommitInfo]:
    """The commits on main above `head`, the newest first; [] also where the Hub can't be asked."""
    for look in range(LOOKS if wait else 1):
        if look:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        try:
            with hub_errors("read the commits of", repo_id):
                commits = api.list_repo_commits(repo_id)
        except RetrainError:
            continue
        ids = [commit.commit_id for commit in commits]
        if since := commits[: ids.index(head) if head in ids else len(ids)]:
            return since
    return []


def _tag(api: HfApi, repo_id: str, version_tag: str, revision: str) -> bool:
    """Tag a commit, whose answer may be lost too; False if the tag stands on another one."""
    try:
        api.create_tag(repo_id, tag=version_tag, revision=revision)
        return True
    except (HfHubHTTPError, httpx.TransportError) as error:
        try:
            on = next((v.revision for v in list_versions(api, repo_id) if v.tag == version_tag), None)
        except RetrainError:
            on = None
        if on is not None:
            return on == revision
        cause = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        raise ReleaseError(_without_tag(repo_id, revision, version_tag, cause)) from error


def _without_tag(repo_id: str, revision: str, version_tag: str, cause: str) -> str:
    return (
        f"Main of {repo_id} holds the new version at {revision}, but its tag {version_tag} could not be made "
        f"({cause}), so that it is not served. The next run makes the tag and finishes the release."
    )
