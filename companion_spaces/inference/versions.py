"""Which version is to be served, and its files: from the Hub, or from the cache while the Hub is away.

Knows nothing of models, requests or the environment.
"""

import hashlib
import json
import logging
import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx, parse_ratelimit_headers
from huggingface_hub.utils.sha import git_hash
from pydantic import BaseModel, Field, ValidationError

NOT_SERVED = ["*.bin", "*.pt", "*.pth", "*.pkl", "*.h5", "*.msgpack", "*.onnx", "*.py", "checkpoint-*/*"]
# v{YYYYMMDD}_{HHMMSS} of this millennium; whether there is such a day is asked of the calendar
VERSION_TAG = re.compile(r"v2\d{7}_\d{6}", re.ASCII)
LONGEST_WAIT = 600.0  # seconds that the Hub is left to itself, however long it asks for
MAY_PASS = (httpx.HTTPError, OSError, RuntimeError, json.JSONDecodeError)  # see why_away

log = logging.getLogger("inference")


class UnavailableError(Exception):
    """No version can be had at present, for a reason that may pass by itself. The message may be published.

    seconds: how long the Hub asks to be left to itself; away: whether that is the reason.
    """

    def __init__(self, reason: str, seconds: float = 0.0, *, away: bool = True) -> None:
        super().__init__(reason)
        self.seconds, self.away = seconds, away


@dataclass(frozen=True)
class Version:
    """A commit of the model repository, and its version tag, if it has one."""

    tag: str | None
    sha: str


class Memo(BaseModel):
    """The version served last, and what was asked for then."""

    wanted: str | None
    tag: str | None
    sha: str = Field(pattern=r"^[0-9a-f]{40}$")


@dataclass(frozen=True)
class Source:
    """The model repository, and the revision wanted of it: by default the newest version tag, or main."""

    repo: str
    wanted: str | None
    token: str | None = field(default=None, repr=False)

    def fetch(self) -> tuple[Version, Path]:
        """The wanted version and the folder of its files.

        Raises:
            UnavailableError: the Hub is away, or there is no version yet. Anything else does not pass.
        """
        try:
            version = self._resolve()
            return version, self._download(version)
        except MAY_PASS as error:
            if (reason := why_away(error)) is None:
                raise
            raise UnavailableError(reason, seconds_asked(error)) from error

    def served_last(self) -> tuple[Version, Path] | None:
        """The version served last, if the same was wanted and the cache has all of it."""
        try:
            memo = Memo.model_validate_json(self._memory.read_bytes())
            if memo.wanted != self.wanted:
                return None
            version = Version(memo.tag, memo.sha)
            return version, self._download(version, local_files_only=True)
        except FileNotFoundError as error:  # LocalEntryNotFoundError is one, too
            log.warning("nothing to serve from the cache (%s)", type(error).__name__)
        except (OSError, ValidationError) as error:
            log.warning("can't read which version was served last (%s)", type(error).__name__)
        return None

    def remember(self, version: Version) -> None:
        """Write down what is served, for a start without the Hub."""
        memo = Memo(wanted=self.wanted, tag=version.tag, sha=version.sha)
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            new = self._memory.with_suffix(".new")
            new.write_text(memo.model_dump_json())
            new.replace(self._memory)
        except OSError as error:
            log.warning("can't write down which version is served: %s", error)

    @property
    def _memory(self) -> Path:
        return Path(constants.HF_HOME) / "served" / f"{self.repo.replace('/', '--')}.json"

    def _resolve(self) -> Version:
        api = HfApi(token=self.token or False)
        tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(self.repo).tags}
        revision = self.wanted or newest_version(list(tags)) or "main"
        about = api.model_info(self.repo, revision=revision)
        if revision == "main" and "config.json" not in {file.rfilename for file in about.siblings or ()}:
            raise UnavailableError(f"no version yet: {self.repo} holds no model", away=False)
        sha = str(about.sha)
        if revision in tags:
            return Version(revision, sha)
        return Version(newest_version([name for name, commit in tags.items() if commit == sha]), sha)

    def _download(self, version: Version, **options: Any) -> Path:
        """The folder of a version. What was in the cache before is checked, and if damaged fetched anew."""
        began = time.time()
        options |= {"revision": version.sha, "ignore_patterns": NOT_SERVED, "token": self.token or False}
        folder = Path(snapshot_download(self.repo, **options))
        damaged = sorted(_damaged(folder, began))
        if not damaged:
            return folder
        log.warning("the cache is damaged, and fetched anew: %s", ", ".join(file.name for file in damaged))
        for file in damaged:
            for each in (file.resolve(), _blob(file), file):
                each.unlink(missing_ok=True)
        return Path(snapshot_download(self.repo, **options))


def newest_version(tags: list[str]) -> str | None:
    """The version tag with the latest time in its name; the Hub's own order is arbitrary."""
    return max(filter(is_version, tags), default=None)


def is_version(tag: str) -> bool:
    """Whether a tag is v{YYYYMMDD}_{HHMMSS} with a real date and time; others are somebody else's."""
    try:
        return bool(VERSION_TAG.fullmatch(tag) and datetime.strptime(tag, "v%Y%m%d_%H%M%S"))
    except ValueError:
        return False


def why_away(error: BaseException) -> str | None:
    """Why the Hub gives no answer, or not a whole one, without addresses; None for what it refuses."""
    if isinstance(error, LocalEntryNotFoundError):  # the client looked into its cache, having got no answer
        return why_away(error.__cause__) if error.__cause__ else "the Hub is away"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 429:
            return "the Hub limits its requests (status 429)"
        return f"the Hub is away (status {status})" if status == 408 or status >= 500 else None
    if isinstance(error, httpx.UnsupportedProtocol):  # a fault of HF_ENDPOINT or of a proxy's address
        return None
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in _causes(error)):
        return "the Hub is away (its certificate is not trusted)"
    if isinstance(error, httpx.RequestError | ConnectionError | TimeoutError):
        return f"the Hub is away ({type(error).__name__})"
    if isinstance(error, OSError) and error.errno is None:  # how the client says that a file came incomplete
        return "the Hub's answer is incomplete"
    if isinstance(error, json.JSONDecodeError):  # another server's page
        return "the Hub's answer is no JSON"
    return "the Hub's storage is away" if type(error) is RuntimeError else None  # its client says no more


def seconds_asked(error: BaseException) -> float:
    """How long the Hub asks to be left to itself (Retry-After, RateLimit), up to a limit; 0 if not."""
    for each in _causes(error):
        if isinstance(each, HfHubHTTPError):
            headers = each.response.headers
            limit = parse_ratelimit_headers(headers)
            asked = [float(limit.reset_in_seconds) if limit and each.response.status_code == 429 else 0.0]
            asked.append(_seconds(headers.get("Retry-After", "")))
            return min(LONGEST_WAIT, max(asked))
    return 0.0


def _seconds(retry_after: str) -> float:
    """Of a header, which has seconds or a date."""
    try:
        if retry_after.isdigit():
            return float(retry_after)
        return (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):  # neither; a date without a zone
        return 0.0


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _blob(file: Path) -> Path:
    """What a file of a snapshot links to. In the cache a blob's name is the hash that the Hub has for it."""
    return file.parent / file.readlink()


def _damaged(folder: Path, before: float) -> Iterator[Path]:
    """The files that were in the cache before a time (of the clock) and don't have their hash any more."""
    for file in folder.rglob("*"):
        if file.is_symlink() and file.stat().st_ctime < before:
            name = _blob(file).name
            with file.open("rb") as content:
                if len(name) == 64:  # stored as a large file
                    found = hashlib.file_digest(content, "sha256").hexdigest()
                else:
                    found = git_hash(content.read()) if len(name) == 40 else name
            if found != name:
                yield file
