"""What stands in a model repository: its head, its version tags, and what a version tells of itself.

A version is a tag v{YYYYMMDD}_{HHMMSS}. Beside it stands verified-TAG once it has come into service, and
given-up-TAG once it was found not to: a run may be killed between the release and either of them.
"""

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError

from retrain.errors import HubError, hub_errors
from retrain.records import VERSION_TAG, Version

VERIFIED, GIVEN_UP = "verified-", "given-up-"

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


def list_versions(api: HfApi, repo_id: str) -> list[Version]:
    """The versions by the time in their tags, the newest first; the Hub's own order means nothing."""
    with hub_errors("read the tags of", repo_id):
        try:
            tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo_id).tags}
        except RepositoryNotFoundError:
            return []
    return [
        Version(name, tags[name], verified=f"{VERIFIED}{name}" in tags, given_up=f"{GIVEN_UP}{name}" in tags)
        for name in sorted(filter(VERSION_TAG.match, tags), reverse=True)
    ]


def mark(api: HfApi, repo_id: str, kind: str, tag: str | None, revision: str) -> None:
    """Leave VERIFIED or GIVEN_UP beside a version. Should the Hub refuse, the next run looks once more."""
    try:
        with hub_errors(f"mark {tag} as {kind.rstrip('-')} in", repo_id):
            api.create_tag(repo_id, tag=f"{kind}{tag}", revision=revision, exist_ok=True)
    except HubError as error:
        logger.warning("%s", error)


def read_metadata(api: HfApi, repo_id: str, revision: str | None = None) -> dict[str, Any]:
    """metadata.json of a version (main's unless given), {} where there is none that can be read."""
    with hub_errors("read metadata.json of", repo_id):
        try:
            file = api.hf_hub_download(repo_id, "metadata.json", revision=revision)
            found = json.loads(Path(file).read_text(encoding="utf-8"))
        except (RemoteEntryNotFoundError, RepositoryNotFoundError):
            return {}
        except ValueError:
            logger.warning("metadata.json of %s at %s is not JSON: it is passed over", repo_id, revision)
            return {}
    return found if isinstance(found, dict) else {}


def next_version_tag(now: datetime, taken: Iterable[str | None]) -> str:
    """v{YYYYMMDD}_{HHMMSS} in UTC, later than all that are taken: the inference Space serves the newest."""
    tag = f"{now.astimezone(UTC):v%Y%m%d_%H%M%S}"
    newest = max((name for name in taken if name and VERSION_TAG.match(name)), default="")
    if tag > newest:
        return tag
    following = datetime.strptime(newest, "v%Y%m%d_%H%M%S").replace(tzinfo=UTC) + timedelta(seconds=1)
    return f"{following:v%Y%m%d_%H%M%S}"


def free_version_tag(api: HfApi, repo_id: str) -> str:
    """The version tag for a release made now."""
    return next_version_tag(datetime.now(UTC), (version.tag for version in list_versions(api, repo_id)))


def history(api: HfApi, repo_id: str, most: int = 10) -> list[tuple[Version, dict[str, Any]]]:
    """The newest versions, each with its metadata.json."""
    return [(v, read_metadata(api, repo_id, v.revision)) for v in list_versions(api, repo_id)[:most]]
