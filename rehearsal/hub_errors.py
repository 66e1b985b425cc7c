"""The errors of the local Hub, in the words and headers of the real one.

The official client turns `X-Error-Code` into typed exceptions and shows `X-Error-Message`; both are set here
and nowhere else. This module knows nothing of storage or routes.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse


class HubError(Exception):
    """An answer other than success: HTTP status, message, and the code that the client's exceptions go by."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        headers: dict[str, str] | None = None,
        **body: object,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = {"X-Error-Message": message.encode("ascii", "replace").decode().replace("\n", " ")}
        self.headers |= headers or {}
        if code is not None:
            self.headers["X-Error-Code"] = code
        self.body = {"error": message, **body}


def repository_not_found(*, signed_in: bool) -> HubError:
    """404, or 401 without a token: the Hub doesn't tell strangers whether a private repository exists."""
    if signed_in:
        return HubError(404, "Repository not found", code="RepoNotFound")
    return HubError(401, "Invalid username or password.", code="RepoNotFound")


def revision_not_found(revision: str) -> HubError:
    """404 for a branch, tag, pull request or commit that isn't there."""
    return HubError(404, f"Invalid rev id: {revision}", code="RevisionNotFound")


def entry_not_found(path: str, commit: str) -> HubError:
    """404 for a missing path; the client caches the absence under `X-Repo-Commit`."""
    message = f'Entry not found: "{path}" does not exist'
    return HubError(404, message, code="EntryNotFound", headers={"X-Repo-Commit": commit})


async def answer_with_error(_request: Request, error: Exception) -> JSONResponse:
    """Starlette's exception handler for `HubError`."""
    assert isinstance(error, HubError)
    return JSONResponse(error.body, error.status, error.headers)
