"""Publishes a version of a model repository, new or restored: one commit, one tag on it. Knows no model."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
)
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import httpx

from errors import ComparisonError, HubError, ReleaseError, RetrainError, hub_errors
from release.versions import free_version_tag, list_versions, published_head, read_metadata
from run_record import Release, ServedVersion

# Formats that can run code when they are loaded: never published, and taken out of the repository.
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
TAG_TRIES = 3

Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete


def release_model(
    api: HfApi, repo_id: str, folder: Path, *, head: str | None, version_tag: str, message: str
) -> Release:
    """Commit all of `folder`, in whose metadata.json and README.md the tag stands, on top of `head`; tag it.

    Where somebody has taken the tag meanwhile, the next free one is used, in the files too.

    Raises:
        ComparisonError: main is no longer at `head`, so what was compared is not what would be replaced.
        ReleaseError: the commit or the tag could not be made; says which, and where the weights are.
    """
    if head is None:
        with hub_errors("create the model repository", repo_id, ReleaseError):
            api.create_repo(repo_id, private=True, exist_ok=True)
            head = api.model_info(repo_id).sha
    previous = head
    for _ in range(TAG_TRIES):
        try:
            operations = _operations(api, repo_id, folder, head)
            revision = _commit(api, repo_id, operations, head, version_tag, message)
        except ReleaseError as error:
            raise ReleaseError(f"{error} Nothing was published; the weights are kept in {folder}.") from error
        if _tag(api, repo_id, version_tag, revision):
            return _release(api, repo_id, version_tag, revision, previous)
        head, taken, version_tag = revision, version_tag, free_version_tag(api, repo_id)
        for name in ("metadata.json", "README.md"):
            text = (folder / name).read_text(encoding="utf-8")
            (folder / name).write_text(text.replace(taken, version_tag), encoding="utf-8")
    raise ReleaseError(_without_tag(repo_id, revision, version_tag, "its tags were taken each time"))


def restore_version(
    api: HfApi, repo_id: str, version: ServedVersion, *, head: str | None, cause: str
) -> Release:
    """Make an earlier version the newest: one commit of copies on the server, without an upload, and its tag.

    Its metadata.json tells what it was restored from, and why.

    Raises:
        ComparisonError: main is no longer at `head`.
        ReleaseError: the commit or the tag could not be made.
    """
    version_tag = free_version_tag(api, repo_id)
    metadata = read_metadata(api, repo_id, version.revision) | {
        "version_tag": version_tag,
        "restored_from": version.tag or version.revision,
        "restored_because": cause,
    }
    with hub_errors("read the versions of", repo_id, ReleaseError):
        wanted = set(api.list_repo_files(repo_id, revision=version.revision)) - {"metadata.json"}
        there = set(api.list_repo_files(repo_id, revision=head)) - {"metadata.json", ".gitattributes"}
    operations: list[Operation] = [
        CommitOperationCopy(name, name, src_revision=version.revision) for name in sorted(wanted)
    ]
    operations += [CommitOperationDelete(name) for name in sorted(there - wanted)]
    operations.append(CommitOperationAdd("metadata.json", _as_json(metadata).encode()))
    message = f"Restore {version.tag or version.revision}: {cause}"
    revision = _commit(api, repo_id, operations, head, version_tag, message)
    if not _tag(api, repo_id, version_tag, revision):
        raise ReleaseError(_without_tag(repo_id, revision, version_tag, "its tag was taken"))
    return _release(api, repo_id, version_tag, revision, head)


def finish_release(api: HfApi, repo_id: str) -> Release | None:
    """Tag the version at main if a run that was cut short has left it without; None if there is none."""
    head, _ = published_head(api, repo_id)
    tag, versions = read_metadata(api, repo_id, head).get("version_tag"), list_versions(api, repo_id)
    if not head or not tag or any(version.tag == tag for version in versions):
        return None
    if not _tag(api, repo_id, tag, head):
        return None
    return _release(api, repo_id, tag, head, versions[0].revision if versions else None)


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
        existing: Iterable[str] = api.list_repo_files(repo_id, revision=head)
    stale = [name for name in existing if name not in files and name.endswith((".safetensors", *PICKLES))]
    return [
        *(CommitOperationAdd(name, path) for name, path in sorted(files.items())),
        *(CommitOperationDelete(name) for name in stale),
    ]


def _commit(
    api: HfApi,
    repo_id: str,
    operations: Sequence[Operation],
    head: str | None,
    version_tag: str,
    message: str,
) -> str:
    """One commit on `head`; a lost answer is resolved by looking, not by committing twice."""
    try:
        with hub_errors("publish to", repo_id, ReleaseError):
            made: CommitInfo = api.create_commit(
                repo_id,
                operations,
                commit_message=message,
                commit_description=f"Version {version_tag}",
                parent_commit=head,
            )
        return made.oid
    except ReleaseError as error:
        newest = _newest_commit(api, repo_id)
        if newest and newest.commit_id != head:
            if f"Version {version_tag}" in newest.message:
                return newest.commit_id
            raise ComparisonError(
                f"Main of {repo_id} has moved from {head} to {newest.commit_id} since the comparison was "
                f"made: {', '.join(newest.authors) or 'somebody'} committed {newest.title!r}. The verdict no "
                "longer holds, and nothing was overwritten. Restart to compare anew."
            ) from error
        raise


def _newest_commit(api: HfApi, repo_id: str) -> Any:
    """The commit at main; None where the Hub can't be asked."""
    try:
        with hub_errors("read the commits of", repo_id, HubError):
            return api.list_repo_commits(repo_id)[0]
    except RetrainError:
        return None


def _tag(api: HfApi, repo_id: str, version_tag: str, revision: str) -> bool:
    """Tag a commit, whose answer may be lost too; False if the tag stands on another one."""
    try:
        api.create_tag(repo_id, tag=version_tag, revision=revision)
        return True
    except (HfHubHTTPError, httpx.TransportError) as error:
        on = next((v.revision for v in list_versions(api, repo_id) if v.tag == version_tag), None)
        if on is not None:
            return on == revision
        cause = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        raise ReleaseError(_without_tag(repo_id, revision, version_tag, cause)) from error


def _without_tag(repo_id: str, revision: str, version_tag: str, cause: str) -> str:
    return (
        f"Main of {repo_id} holds the new version at {revision}, but its tag {version_tag} could not be made "
        f"({cause}), so that it is not served. The next run makes the tag and finishes the release."
    )
