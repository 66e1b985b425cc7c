"""What stands in a model repository: its head, its version tags, and what a version tells of itself."""

import json
import logging
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

from errors import HubError, hub_errors
from run_record import ServedVersion

VERSION_TAG = re.compile(r"^v\d{8}_\d{6}$")
VERIFIED = "verified/"

logger = logging.getLogger(__name__)


def published_head(api: HfApi, repo_id: str) -> tuple[str | None, bool]:
    """The commit at main (None where there is no repository yet) and whether a model stands there."""
    with hub_errors("read the model repository", repo_id):
        try:
            info = api.model_info(repo_id)
        except RepositoryNotFoundError:
            return None, False
    files = {sibling.rfilename for sibling in info.siblings or ()}
    return info.sha, "config.json" in files and any(name.endswith((".safetensors", ".bin")) for name in files)


def list_versions(api: HfApi, repo_id: str) -> list[ServedVersion]:
    """The versions by the time in their tags, the newest first; the Hub's own order means nothing."""
    with hub_errors("read the tags of", repo_id):
        try:
            tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo_id).tags}
        except RepositoryNotFoundError:
            return []
    return [ServedVersion(name, tags[name]) for name in sorted(tags, reverse=True) if VERSION_TAG.match(name)]


def read_metadata(api: HfApi, repo_id: str, revision: str | None = None) -> dict[str, Any]:
    """metadata.json of a version (main's unless given), {} where there is none."""
    with hub_errors("read metadata.json of", repo_id):
        try:
            file = api.hf_hub_download(repo_id, "metadata.json", revision=revision)
        except EntryNotFoundError:
            return {}
    found = json.loads(Path(file).read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def next_version_tag(now: datetime, taken: Iterable[str | None]) -> str:
    """v{YYYYMMDD}_{HHMMSS} in UTC, the next free second."""
    held = set(taken)
    moment = now.astimezone(UTC)
    while (tag := f"v{moment:%Y%m%d_%H%M%S}") in held:
        moment += timedelta(seconds=1)
    return tag


def free_version_tag(api: HfApi, repo_id: str) -> str:
    """The version tag for a release made now."""
    return next_version_tag(datetime.now(UTC), (version.tag for version in list_versions(api, repo_id)))


def mark_verified(api: HfApi, repo_id: str, version_tag: str, revision: str) -> None:
    """Leave a tag beside that of a version once it has come into service: a run may be killed before that."""
    try:
        with hub_errors("mark the version as verified in", repo_id):
            api.create_tag(repo_id, tag=f"{VERIFIED}{version_tag}", revision=revision, exist_ok=True)
    except HubError as error:  # it does serve; the next run will only look once more
        logger.warning("%s", error)


def is_verified(api: HfApi, repo_id: str, version: ServedVersion) -> bool:
    """Whether a version has come into service once."""
    with hub_errors("read the tags of", repo_id):
        return f"{VERIFIED}{version.tag}" in [tag.name for tag in api.list_repo_refs(repo_id).tags]
