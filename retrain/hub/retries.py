"""How calls to the Hub are repeated: one policy for huggingface_hub, datasets and transformers.

| what came back                         | of which calls            | what is done              |
| -------------------------------------- | ------------------------- | ------------------------- |
| nothing: no connection was made        | all                       | repeated                  |
| nothing: it broke, or took too long    | GET, HEAD                 | repeated                  |
| 500, 502, 503, 504                     | GET, HEAD, and REPEATABLE | repeated                  |
| 429, or 503 with Retry-After           | all                       | waited out, then repeated |
| anything else                          | all                       | final                     |

Two kinds of calls are not repeated here, because the library does it: those with a stream for a body, which
only the library can rewind, and those of LIBRARY. But a wait that the Hub asks for is always waited for here.
"""

import logging
import random
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from huggingface_hub.utils import get_session, httpx, parse_ratelimit_headers

FAILED = frozenset({500, 502, 503, 504})
TRIES, LONGEST_BACK_OFF = 5, 30.0
# Seconds for which the Hub may ask to wait, in a row: twice the five minutes in which it counts calls.
PATIENCE = 600.0
ALIVE_SECONDS = 30.0
# Calls that change something, and why a second one does no harm.
REPEATABLE = re.compile(
    r"/commit/"  # it names its parent, so it is refused, and commits.py finds the first; else the same files
    r"|/tag/"  # it is refused, and model_repo.py looks at the commit of the tag
    r"|/branch/|/repos/create$"  # what exists is passed over
    r"|/(pause|restart|hardware|sleeptime|secrets|variables)$"  # the same state again
    r"|/jobs/[^/]+/[^/]+/cancel$|/scheduled-jobs/[^/]+/[^/]+/(resume|schedule)$"  # likewise
    r"|/validate-yaml$|/paths-info/"  # it changes nothing
)
LIBRARY = re.compile(r"POST .*(/preupload/|/info/lfs/)|GET .*/(tree|commits)/|HEAD .*/resolve/")

logger = logging.getLogger(__name__)


class Watcher(Protocol):
    """What is informed of a wait, such as the journal of a run."""

    def warn(self, message: str) -> None:
        """Show a message to people."""

    def alive(self) -> None:
        """Take a sign of life."""


class RetryingClient(httpx.Client):
    """An HTTP client with this module's policy; `options` are those of httpx.

    patience: see PATIENCE. watcher: of all clients of the process; it is warned of a client's first wait, and
    given signs of life in each.
    """

    watcher: Watcher | None = None

    def __init__(self, patience: float = PATIENCE, **options: Any) -> None:
        super().__init__(**options)
        self._patience = patience
        self._was_warned = False
        self._limited_since: float | None = None

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send the request, again if need be."""
        reads = request.method in ("GET", "HEAD")
        repeatable = reads or REPEATABLE.search(request.url.path) is not None
        is_stream = not isinstance(request.stream, httpx.ByteStream)
        tries = 1 if is_stream or LIBRARY.match(f"{request.method} {request.url.path}") else TRIES
        failures = waits = 0
        while not self.is_closed:
            try:
                response = super().send(request, **options)
            except httpx.TransportError as error:
                failures += 1
                # Without a connection the request was never sent, so that any may be repeated.
                may_pass = reads or isinstance(error, httpx.ConnectError)
                if failures == tries or not may_pass or _is_final(error):
                    raise
                _back_off(request, type(error).__name__, failures)
                continue
            status = response.status_code
            asked = asked_wait(response.headers, datetime.now(UTC)) if status in (429, 503) else None
            if status == 429 or asked is not None:
                waits += 1
                if self._wait_out(response, (asked or 0.0) + _jittered(waits)) and not is_stream:
                    response.close()
                    continue
                for name in ("Retry-After", "RateLimit"):  # else the library would wait once more
                    response.headers.pop(name, None)
                return response
            self._limited_since = None
            failures += 1
            if status not in FAILED or failures >= tries or not repeatable:
                return response
            response.close()
            _back_off(request, f"status {status}", failures)
        # In another thread the library has closed the client, to begin anew after an error.
        return get_session().send(request, **options)

    def _wait_out(self, response: httpx.Response, seconds: float) -> bool:
        """Wait as the Hub asks; False if our patience is at an end before."""
        now = time.monotonic()
        self._limited_since = self._limited_since or now
        place = f"{response.request.url.path} (status {response.status_code})"
        if now + seconds > self._limited_since + self._patience:
            logger.warning("The Hub limits the rate of calls to %s: it asks for %.0f s more", place, seconds)
            return False
        message = f"The Hub limits the rate of calls: {place} is asked again in {seconds:.0f} s."
        if self.watcher and not self._was_warned:
            self._was_warned = True
            self.watcher.warn(message)
        else:
            logger.warning("%s", message)
        while (left := now + seconds - time.monotonic()) > 0:
            if self.watcher:
                self.watcher.alive()
            time.sleep(min(left, ALIVE_SECONDS))
        return True


def asked_wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """The seconds that an answer asks to wait; None if it does not.

    They are in Retry-After, as a number or a date (RFC 9110, section 10.2.3), or in RateLimit as t
    (draft-ietf-httpapi-ratelimit-headers).
    """
    given = headers.get("Retry-After", "").strip()
    try:
        if (limit := parse_ratelimit_headers(headers)) and limit.remaining == 0:
            return float(limit.reset_in_seconds)
        if given.isascii() and given.isdigit():
            return float(given)
        when = parsedate_to_datetime(given)
        return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds())
    except (ValueError, OverflowError):
        return None


def _is_final(error: httpx.TransportError) -> bool:
    return isinstance(error, httpx.UnsupportedProtocol) or "CERTIFICATE_VERIFY_FAILED" in str(error)


def _jittered(attempt: int) -> float:
    longest: float = min(LONGEST_BACK_OFF, 0.5 * 2 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.5)  # noqa: S311 (no secret)


def _back_off(request: httpx.Request, cause: str, failures: int) -> None:
    wait = _jittered(failures)
    logger.info("The Hub: %s at %s; once more in %.1f s", cause, request.url.path, wait)
    time.sleep(wait)
