"""A model repository: its head, its versions and their metadata; publishes and restores versions.

A version is a tag v{YYYYMMDD}_{HHMMSS} on one commit. Beside it stands verified-TAG once it has come into
service, and given-up-TAG once it was found not to: a run may be killed between the release and either.
Knows no model.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import httpx

from retrain.errors import CheckpointError, ComparisonError, HubError, ReleaseError, RetrainError
from retrain.hub.client import hub_errors
from retrain.hub.commits import Commit, Operation, make_commit
from retrain.hub.model_card import OWN_BEGINS, VersionFacts
from retrain.records import TAG_TIME, Head, Release, Version, is_version_tag, time_of_tag

VERIFIED, GIVEN_UP = "verified-", "given-up-"
# Formats that can run code when they are loaded: never published, and taken out of the repository.
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
# What a model is loaded from: nothing in subfolders, and no format that can run code.
LOADED = ["*.json", "*.safetensors", "*.model", "*.txt"]
METADATA, CARD = "metadata.json", "README.md"
TAG_TRIES = 3

logger = logging.getLogger(__name__)


class ModelRepo:
    """A model repository on the Hub. Every method raises HubError if the Hub refuses or can't be reached."""

    def __init__(self, api: HfApi, repo_id: str) -> None:
        self.repo_id = repo_id
        self._api = api

    def head(self) -> Head:
        """The commit at main, and whether a model is there."""
        with hub_errors("read the model repository", self.repo_id):
            try:
                info = self._api.model_info(self.repo_id)
            except GatedRepoError:  # which is a RepositoryNotFoundError
                raise
            except RepositoryNotFoundError:
                return Head(None, has_model=False)
        files = {sibling.rfilename for sibling in info.siblings or ()}
        weights = any(name.endswith((".safetensors", ".bin")) for name in files)
        return Head(info.sha, has_model="config.json" in files and weights)

    def versions(self) -> list[Version]:
        """The versions by the time in their tags, the newest first; the Hub's own order means nothing."""
        with hub_errors("read the tags of", self.repo_id):
            try:
                tags = {tag.name: tag.target_commit for tag in self._api.list_repo_refs(self.repo_id).tags}
            except RepositoryNotFoundError:
                return []
        return [
            Version(name, tags[name], f"{VERIFIED}{name}" in tags, f"{GIVEN_UP}{name}" in tags)
            for name in sorted(filter(is_version_tag, tags), reverse=True)
        ]

    def newest(self) -> Version | None:
        """The newest version, if there is one."""
        return next(iter(self.versions()), None)

    def free_tag(self) -> str:
        """The version tag for a release made now.

        Raises:
            ReleaseError: somebody has made the last one that there can be.
        """
        taken = [version.tag for version in self.versions()]
        tag = next_version_tag(datetime.now(UTC), taken)
        if not is_version_tag(tag):
            raise ReleaseError(f"No version can come after {taken[0]} of {self.repo_id}: delete that tag.")
        return tag

    def metadata(self, revision: str | None = None) -> dict[str, Any]:
        """metadata.json of a version (main's unless given), {} if there is none that can be read."""
        content = self._read(METADATA, revision)
        try:
            found = json.loads(content or "{}")
        except (ValueError, RecursionError):
            logger.warning("metadata.json of %s at %s is not JSON: skipped", self.repo_id, revision)
            return {}
        return found if isinstance(found, dict) else {}

    def is_ours(self, version: Version) -> bool:
        """Whether a version was made by this program: its metadata.json says so."""
        return self.metadata(version.revision).get("version_tag") == version.tag

    def history(self, most: int = 10) -> list[tuple[Version, dict[str, Any]]]:
        """The newest versions, each with its metadata.json."""
        return [(version, self.metadata(version.revision)) for version in self.versions()[:most]]

    def own_card_sections(self, revision: str | None) -> str:
        """What people have written into the card of a revision, below the line that says it is theirs."""
        return self._card(revision).partition(OWN_BEGINS)[2].strip()

    def download(self, revision: str) -> Path:
        """A folder with what the model at a revision is loaded from."""
        with hub_errors("load HUB_MODEL_ID", self.repo_id):
            return _download(self._api, self.repo_id, revision)

    def labels(self) -> dict[int, str] | None:
        """The label names of the model at main by id, as its config.json has them; None if it does not."""
        try:
            named = json.loads(self._read("config.json", None) or "{}")["id2label"]
            return {int(i): str(name) for i, name in named.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def mark(self, kind: Literal["verified-", "given-up-"], tag: str | None, revision: str) -> bool:
        """Put a second tag beside a version's; False if the Hub refuses. Then the next run checks again."""
        try:
            with hub_errors(f"mark {tag} as {kind.rstrip('-')} in", self.repo_id):
                self._api.create_tag(self.repo_id, tag=f"{kind}{tag}", revision=revision, exist_ok=True)
        except HubError as error:
            logger.warning("%s", error)
            return False
        return True

    def unmark(self, kind: Literal["verified-", "given-up-"], tag: str | None) -> None:
        """Remove a second tag."""
        with hub_errors(f"unmark {tag} in", self.repo_id):
            self._api.delete_tag(self.repo_id, tag=f"{kind}{tag}")

    def publish(self, folder: Path, head: str | None, facts: VersionFacts) -> Release:
        """Commit all of `folder` on top of `head`, and tag that commit with a free version tag.

        metadata.json and the model card are written into the folder, again if somebody has taken the tag
        meanwhile.

        Raises:
            ComparisonError: main is no longer at `head`, so what was compared is not what would be replaced.
            ReleaseError: the commit or the tag could not be made; says which, and where the weights are.
        """
        if head is None:
            with hub_errors("create the model repository", self.repo_id, ReleaseError):
                self._api.create_repo(self.repo_id, private=True, exist_ok=True)
                head = self._api.model_info(self.repo_id).sha
        previous, version_tag = head, self.free_tag()
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        logger.info("Publishing %s as %s: %.1f MB", self.repo_id, version_tag, size / 1e6)
        for _ in range(TAG_TRIES):
            (folder / METADATA).write_text(_as_json(facts.metadata(version_tag)), encoding="utf-8")
            (folder / CARD).write_text(facts.card(version_tag), encoding="utf-8")
            try:
                operations = self._operations(folder, head)
                commit = Commit(operations, head, facts.title, f"Version {version_tag}")
                revision = make_commit(self._api, self.repo_id, commit)
            except ReleaseError as error:
                raise ReleaseError(
                    f"{error} On this machine the weights are kept in {folder}, which on a Space outlives "
                    "the pause only where RUN_DIR is a mounted volume."
                ) from error
            if self._tag(version_tag, revision):
                return self._release(version_tag, revision, previous)
            head, version_tag = revision, self.free_tag()
        raise ReleaseError(
            f"Main of {self.repo_id} holds the new version at {revision}, but somebody else took its tag "
            f"{TAG_TRIES} times, so that it is not served. Restart the run when nobody else publishes there."
        )

    def restore(self, version: Version, cause: str) -> Release:
        """Make an earlier version the newest: one commit of copies on the server, not an upload, and its tag.

        Files that people have put beside it stay. Its metadata.json says what was restored, and why.

        Raises:
            ReleaseError: the commit or the tag could not be made.
        """
        name = version.tag or version.revision
        version_tag, head, newest = self.free_tag(), self.head().revision, self.newest()
        metadata = self.metadata(version.revision) | {
            "version_tag": version_tag,
            "timestamp_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit_message": f"Restore {name}",
            "restored_from": name,
            "restored_because": cause,
            "previous_version": newest and newest.tag,
            "previous_revision": head,
        }
        card = self._card(version.revision).partition(OWN_BEGINS)[0]
        card = f"{card}{OWN_BEGINS}\n{self.own_card_sections(head)}\n"
        with hub_errors("read the versions of", self.repo_id, ReleaseError):
            of_version = self._api.list_repo_files(self.repo_id, revision=version.revision)
            at_head = self._api.list_repo_files(self.repo_id, revision=head)
        written = {METADATA: _as_json(metadata), CARD: card}
        kept = [file for file in of_version if not file.endswith(PICKLES) and file not in written]
        operations: list[Operation] = [
            *(CommitOperationCopy(file, file, src_revision=version.revision) for file in kept),
            *(CommitOperationDelete(file) for file in _stale(at_head, kept)),
            *(CommitOperationAdd(file, content.encode()) for file, content in written.items()),
        ]
        commit = Commit(operations, head, f"Restore {name}", f"Version {version_tag}\n\n{cause}")
        try:
            revision = make_commit(self._api, self.repo_id, commit)
        except ComparisonError as error:
            raise ReleaseError(
                f"Main of {self.repo_id} moved while {name} was restored: try once more."
            ) from error
        if not self._tag(version_tag, revision):
            raise ReleaseError(
                f"{name} was restored at main of {self.repo_id} ({revision}), but somebody else took its tag "
                f"{version_tag} meanwhile, so that it is not served. Try once more."
            )
        return self._release(version_tag, revision, head)

    def tag_untagged_head(self) -> Release | None:
        """Tag the version at main if an interrupted run has left it without a tag; None if there is none."""
        head = self.head().revision
        tag, versions = self.metadata(head).get("version_tag"), self.versions()
        if not head or not is_version_tag(str(tag)) or any(version.tag == tag for version in versions):
            return None
        if not self._tag(str(tag), head):
            return None
        return self._release(str(tag), head, versions[0].revision if versions else None)

    def _release(self, tag: str, revision: str, previous: str | None) -> Release:
        return Release(tag, revision, previous, f"{self._api.endpoint}/{self.repo_id}/tree/{tag}")

    def _card(self, revision: str | None) -> str:
        return (self._read(CARD, revision) or "") if revision else ""

    def _read(self, name: str, revision: str | None) -> str | None:
        with hub_errors(f"read {name} of", self.repo_id):
            try:
                file = self._api.hf_hub_download(self.repo_id, name, revision=revision)
            except (RemoteEntryNotFoundError, RepositoryNotFoundError):
                return None
        return Path(file).read_text(encoding="utf-8", errors="replace")

    def _operations(self, folder: Path, head: str | None) -> list[Operation]:
        """Add the folder's files; delete weights and pickles of earlier versions that they do not replace."""
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        assert not [name for name in files if name.endswith(PICKLES)], "a pickle is in the release folder"
        with hub_errors("publish to", self.repo_id, ReleaseError):
            existing = self._api.list_repo_files(self.repo_id, revision=head)
        return [
            *(CommitOperationAdd(name, path) for name, path in sorted(files.items())),
            *(CommitOperationDelete(name) for name in _stale(existing, files)),
        ]

    def _tag(self, version_tag: str, revision: str) -> bool:
        """Tag a commit; False if the tag is on another one. After a lost answer it looks for the tag."""
        try:
            self._api.create_tag(self.repo_id, tag=version_tag, revision=revision)
            return True
        except (HfHubHTTPError, httpx.TransportError) as error:
            try:
                on = next((each.revision for each in self.versions() if each.tag == version_tag), None)
            except RetrainError:
                on = None
            if on is not None:
                return on == revision
            cause = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
            raise ReleaseError(self._without_tag(revision, version_tag, cause)) from error

    def _without_tag(self, revision: str, version_tag: str, cause: str) -> str:
        return (
            f"Main of {self.repo_id} holds the new version at {revision}, but its tag {version_tag} could "
            f"not be made ({cause}), so that it is not served. The next run makes the tag and finishes the "
            "release."
        )


def next_version_tag(now: datetime, taken: Iterable[str | None]) -> str:
    """v{YYYYMMDD}_{HHMMSS} in UTC, later than all that are taken: the inference Space serves the newest."""
    tag = now.astimezone(UTC).strftime(TAG_TIME)
    newest = max((name for name in taken if name and is_version_tag(name)), default="")
    if tag > newest:
        return tag
    following = time_of_tag(newest) + timedelta(seconds=1)
    return following.strftime(TAG_TIME)


def checkpoint_revision(api: HfApi, checkpoint: str) -> str:
    """What the base checkpoint is: the commit at main of a repository, or a hash of a folder's files.

    Raises:
        CheckpointError: it is not there, or can't be read.
    """
    folder = Path(checkpoint)
    if os.path.isdir(folder):  # noqa: PTH112 (Path.is_dir() raises where a name is too long)
        return _digest(folder)
    with hub_errors("find MODEL_CHECKPOINT", checkpoint, CheckpointError):
        return str(api.model_info(checkpoint).sha)


def _digest(folder: Path) -> str:
    """The SHA-256 of names and contents of what a model is loaded from."""
    files = sorted(each for each in folder.iterdir() if any(map(each.match, LOADED)))
    whole = hashlib.sha256()
    try:
        for file in files:
            with file.open("rb") as handle:
                whole.update(file.name.encode() + hashlib.file_digest(handle, "sha256").digest())
    except OSError as error:
        raise CheckpointError(f"MODEL_CHECKPOINT={folder} can't be read ({error.strerror}).") from error
    return f"sha256:{whole.hexdigest()}"


def checkpoint_config(api: HfApi, checkpoint: str) -> dict[str, Any]:
    """config.json of a base checkpoint on the Hub; its weights are not downloaded.

    Raises:
        CheckpointError: there is none, or it is no JSON.
    """
    revision = checkpoint_revision(api, checkpoint)
    try:
        with hub_errors("read config.json of MODEL_CHECKPOINT", checkpoint, CheckpointError):
            file = Path(api.hf_hub_download(checkpoint, "config.json", revision=revision))
        config = json.loads(file.read_bytes())
    except ValueError as error:
        raise CheckpointError(
            f"MODEL_CHECKPOINT={checkpoint} has no config.json that can be read. Name another model."
        ) from error
    return config if isinstance(config, dict) else {}


def download_checkpoint(api: HfApi, checkpoint: str, revision: str | None) -> Path:
    """The folder of the base checkpoint's config, tokenizer and safetensors, from the cache if it is there.

    Raises:
        CheckpointError: they can't be downloaded.
    """
    with hub_errors("load MODEL_CHECKPOINT", checkpoint, CheckpointError):
        return _download(api, checkpoint, revision)


def _download(api: HfApi, repo_id: str, revision: str | None) -> Path:
    return Path(
        api.snapshot_download(repo_id, revision=revision, allow_patterns=LOADED, ignore_patterns="*/*")
    )


def _as_json(metadata: Mapping[str, Any]) -> str:
    """The text of metadata.json."""
    return json.dumps(metadata, ensure_ascii=False, indent=2) + "\n"


def _stale(existing: Sequence[str], new: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Weights and pickles that a version without them must not inherit."""
    return [name for name in existing if name not in new and name.endswith((".safetensors", *PICKLES))]
