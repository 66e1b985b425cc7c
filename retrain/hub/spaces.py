"""A Space on the Hub: its stage, restart, pause, and what it is made of. Knows nothing of the run."""

import hashlib
import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceHardware, SpaceStage
from huggingface_hub._space_api import INTERMEDIATE_SPACE_STAGES  # not exported; wait_for_space goes by it
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import httpx

from retrain.errors import HubError, NotTriedError
from retrain.hub.client import hub_errors
from retrain.records import SpaceState

# Every list of stages in this project is made here, from the client's own.
ON_ITS_WAY = frozenset(INTERMEDIATE_SPACE_STAGES)
AT_WORK = ON_ITS_WAY | {SpaceStage.RUNNING}
# Somebody else is restarting or stopping the Space, or has done so.
BEING_REPLACED = ON_ITS_WAY | {SpaceStage.PAUSED, SpaceStage.STOPPED, SpaceStage.DELETING}
# What somebody has to do before such a Space runs.
REMEDIES: Mapping[str, str] = {
    SpaceStage.PAUSED: "Restart it in its settings on the Hub.",
    SpaceStage.STOPPED: "Restart it in its settings on the Hub.",
    SpaceStage.DELETING: "It is being deleted: set SPACE_REPO_ID to another one.",
    SpaceStage.RUNTIME_ERROR: "Read its container log on the Hub, mend the cause, and restart it.",
    SpaceStage.BUILD_ERROR: "Read its build log on the Hub, mend the cause, and restart it.",
    SpaceStage.CONFIG_ERROR: "Mend the front matter of its README.md.",
    SpaceStage.NO_APP_FILE: "It has no program: `python -m retrain setup` uploads one.",
}
KNOWN_HARDWARE = frozenset(each.value for each in SpaceHardware)
SLEEPING = "SLEEPING"  # the client does not know it; a request wakes such a Space

logger = logging.getLogger(__name__)


_PLAN = re.compile(r"(?i)\b(plan|paid|payment|pro|subscri\w+|upgrade|billing)\b")
NO_PLAN = (
    "{space} was not created: the Hub wants a paid plan for a Docker Space ({said}). Subscribe for the "
    "account that owns it. Or do without: run the image with `docker run` (docs/image.md), or as a Job "
    "of the Hub with HOST=job (docs/starting.md)."
)


class Space:
    """A Space on the Hub."""

    def __init__(self, api: HfApi, repo_id: str) -> None:
        self.repo_id = repo_id
        self._api = api

    def stage(self) -> str:
        """The stage of the Space, as in "RUNNING".

        Raises:
            HubError: the Hub does not say.
        """
        with hub_errors("ask for the state of the Space", self.repo_id):
            return str(self._api.get_space_runtime(self.repo_id).stage)

    def state(self) -> SpaceState:
        """The stage and what it means; what went wrong if the Hub does not say."""
        try:
            stage = self.stage()
        except HubError as error:
            return SpaceState(f"unknown: {error}", unknown=True)
        return SpaceState(
            stage,
            coming=stage in ON_ITS_WAY or stage == SLEEPING,
            remedy=REMEDIES.get(stage, ""),
            broken=stage == SpaceStage.RUNTIME_ERROR,
        )

    def pause(self) -> None:
        """Pause the Space; a lost answer is no failure if it is paused.

        Raises:
            HubError: the Hub refused, also after retries.
        """
        try:
            self._pause()
        except HubError:
            time.sleep(1)
            if self.state().stage != SpaceStage.PAUSED:
                self._pause()

    def _pause(self) -> None:
        with hub_errors("pause the Space", self.repo_id):
            self._api.pause_space(self.repo_id)

    def restart(self) -> None:
        """Restart the Space. A lost answer is no failure: whether it restarted will be seen.

        Raises:
            NotTriedError: the Hub refused, also after retries.
        """
        with hub_errors("restart the Space", self.repo_id, NotTriedError):
            try:
                self._api.restart_space(self.repo_id)
            except httpx.TransportError as error:
                logger.warning("The restart of %s was not answered (%s)", self.repo_id, type(error).__name__)

    def is_being_replaced(self) -> bool:
        """Whether somebody else is restarting or stopping it: then a pause would hit the next run."""
        return self.state().stage in BEING_REPLACED

    def is_private_at(self, url: str) -> bool:
        """Whether the URL is that of this Space and the Space is private: only then may it see our token."""
        with hub_errors("read the Space", self.repo_id):
            info = self._api.space_info(self.repo_id)
        domains = info.runtime.raw.get("domains", []) if info.runtime else []
        parts = urlsplit(url)
        is_safe = parts.scheme == "https" or parts.hostname in ("127.0.0.1", "localhost")
        return bool(info.private) and is_safe and parts.netloc in [each["domain"] for each in domains]

    def exists(self) -> bool:
        """Whether there is such a Space that the token may see."""
        return self._api.repo_exists(self.repo_id, repo_type="space")

    def create(self, *, paused: bool) -> None:
        """Create it: private, for Docker, and paused if asked for."""
        try:
            self._api.create_repo(
                self.repo_id, repo_type="space", space_sdk="docker", private=True, exist_ok=True
            )
        except HfHubHTTPError as error:
            said = (error.server_message or "").splitlines()[:1]
            status = error.response.status_code
            if status == 402 or (status == 403 and _PLAN.search(" ".join(said))):
                raise HubError(NO_PLAN.format(space=self.repo_id, said=" ".join(said)[:200])) from error
            raise
        if paused:
            self._api.pause_space(self.repo_id)

    def hardware(self) -> tuple[str | None, int | None]:
        """The hardware that was asked for, and after how many seconds the Space sleeps."""
        runtime = self._api.get_space_runtime(self.repo_id)
        return runtime.requested_hardware, runtime.sleep_time

    def variables(self) -> dict[str, str]:
        """Its public variables."""
        return {name: each.value for name, each in self._api.get_space_variables(self.repo_id).items()}

    def secret_names(self) -> set[str]:
        """The names of its secrets; the Hub does not give their values back."""
        return set(self._api.get_space_secrets(self.repo_id))

    def set_variable(self, name: str, value: str) -> None:
        self._api.add_space_variable(self.repo_id, name, value)

    def remove_variable(self, name: str) -> None:
        self._api.delete_space_variable(self.repo_id, name)

    def set_secret(self, name: str, value: str) -> None:
        self._api.add_space_secret(self.repo_id, name, value)

    def request_hardware(self, flavour: str) -> None:
        self._api.request_space_hardware(self.repo_id, SpaceHardware(flavour))

    def sleep_after(self, seconds: int) -> None:
        self._api.set_space_sleep_time(self.repo_id, seconds)

    def changed_files(self, files: Mapping[str, Path]) -> tuple[list[str], list[str]]:
        """Which of these files are not in the Space as they are here, and which in it are none of them.

        Files are compared by git's hash of their content, so that a plan downloads nothing.
        """
        tree = self._api.list_repo_tree(self.repo_id, recursive=True, repo_type="space")
        there = {each.path: each.blob_id for each in tree if isinstance(each, RepoFile)}
        new = [path for path, file in files.items() if there.get(path) != _blob_id(file.read_bytes())]
        return new, sorted(set(there) - set(files) - {".gitattributes"})

    def upload(self, files: Mapping[str, Path], delete: list[str], title: str) -> None:
        """One commit that adds these files and deletes those."""
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(path, file) for path, file in files.items()),
            *(CommitOperationDelete(path) for path in delete),
        ]
        self._api.create_commit(self.repo_id, operations, commit_message=title, repo_type="space")


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
