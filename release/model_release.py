"""Publishes a folder as one version of a model repository: one commit, one tag on it. Knows no model."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from errors import ComparisonError, HubError, ReleaseError, RetrainError, hub_errors
from run_record import Release, ServedVersion

# Formats that can run code when they are loaded: never published, and taken out of the repository.
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")

VERSION_TAG = re.compile(r"^v\d{8}_\d{6}$")


def published_head(api: HfApi, repo_id: str) -> tuple[str | None, bool]:
    """The commit at main (None where there is no repository yet) and whether a model stands there."""
    with hub_errors("read the model repository", repo_id):
        try:
            info = api.model_info(repo_id)
        except RepositoryNotFoundError:
            return None, False
    files = {sibling.rfilename for sibling in info.siblings or ()}
    return info.sha, "config.json" in files and any(name.endswith((".safetensors", ".bin")) for name in files)


def newest_version(api: HfApi, repo_id: str) -> ServedVersion | None:
    """The version with the latest time in its tag, as the inference Space takes it; None without one."""
    with hub_errors("read the tags of", repo_id):
        tags = {
            t.name: t.target_commit for t in api.list_repo_refs(repo_id).tags if VERSION_TAG.match(t.name)
        }
    return ServedVersion(newest := max(tags), tags[newest]) if tags else None


def next_version_tag(now: datetime, taken: Iterable[str]) -> str:
    """v{YYYYMMDD}_{HHMMSS} in UTC, the next free second."""
    held = set(taken)
    moment = now.astimezone(UTC)
    while (tag := f"v{moment:%Y%m%d_%H%M%S}") in held:
        moment += timedelta(seconds=1)
    return tag


def free_version_tag(api: HfApi, repo_id: str) -> str:
    """The version tag for a release made now."""
    with hub_errors("read the tags of", repo_id):
        try:
            taken = [tag.name for tag in api.list_repo_refs(repo_id).tags]
        except RepositoryNotFoundError:
            taken = []
    return next_version_tag(datetime.now(UTC), taken)


def release_model(
    api: HfApi, repo_id: str, folder: Path, *, head: str | None, version_tag: str, message: str
) -> Release:
    """Commit all of `folder` on top of `head` and tag that commit.

    Raises:
        ComparisonError: main is no longer at `head`, so what was compared is not what would be replaced.
        ReleaseError: the commit or the tag could not be made; says which, and where the weights are.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert not [path for path in files if path.suffix in PICKLES], "a pickle is in the release folder"
    names = {path.relative_to(folder).as_posix() for path in files}
    try:
        with hub_errors("publish to", repo_id, ReleaseError):
            if head is None:
                api.create_repo(repo_id, private=True, exist_ok=True)
                head = api.model_info(repo_id).sha
            existing = api.list_repo_files(repo_id, revision=head)
            commit_oid = _commit(
                api, repo_id, folder, files, _stale(existing, names), head, version_tag, message
            )
    except ReleaseError as error:
        raise ReleaseError(f"{error} Nothing was published; the weights are kept in {folder}.") from error
    try:
        with hub_errors("tag the new version in", repo_id, ReleaseError):
            api.create_tag(repo_id, tag=version_tag, revision=commit_oid)
    except ReleaseError as error:
        raise ReleaseError(
            f"{error} Main of {repo_id} holds the new version at {commit_oid}, but without its tag "
            f"{version_tag}; the weights are kept in {folder}."
        ) from error
    return Release(version_tag, commit_oid, head, f"{api.endpoint}/{repo_id}/tree/{version_tag}")


def _stale(existing: Iterable[str], new: set[str]) -> list[str]:
    """Weights and pickles of earlier versions that the new one does not overwrite."""
    return [name for name in existing if name not in new and name.endswith((".safetensors", *PICKLES))]


def _commit(
    api: HfApi,
    repo_id: str,
    folder: Path,
    files: list[Path],
    stale: list[str],
    head: str | None,
    version_tag: str,
    message: str,
) -> str:
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files
    ]
    operations += [CommitOperationDelete(name) for name in stale]
    try:
        made: CommitInfo = api.create_commit(
            repo_id,
            operations,
            commit_message=message,
            commit_description=f"Version {version_tag}",
            parent_commit=head,
        )
    except Exception as error:
        # The answer may be lost while the commit exists: look before anything else is believed.
        newest = _newest_commit(api, repo_id)
        if newest and newest[0] != head and f"Version {version_tag}" in newest[1]:
            return newest[0]
        if isinstance(error, HfHubHTTPError) and error.response.status_code == 412 and newest:
            raise ComparisonError(
                f"Main of {repo_id} has moved from {head} to {newest[0]} "
                f"({newest[1].splitlines()[0]!r}) since the comparison was made: the verdict no longer "
                "holds, and nothing was overwritten. Restart to compare anew."
            ) from error
        raise
    return made.oid


def _newest_commit(api: HfApi, repo_id: str) -> tuple[str, str] | None:
    """The commit at main and its whole message; None where the Hub can't be asked."""
    try:
        with hub_errors("read the commits of", repo_id, HubError):
            newest = api.list_repo_commits(repo_id)[0]
    except RetrainError:
        return None
    return newest.commit_id, f"{newest.title}\n{newest.message}"
