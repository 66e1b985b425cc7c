"""Who asks, and for what: users, their rights, and the parts of a request that routes depend on.

Path parameters arrive percent-encoded (see `hub_faults.Wire`) and are decoded here. No route is known here.
"""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import unquote, urlencode

from dulwich.objects import Commit
from fastapi import Depends, Request
from starlette.responses import JSONResponse

from .hub_errors import HubError, repository_not_found
from .hub_storage import KINDS, HubStorage, Repository
from .space_runtime import Spaces

User = dict[str, Any]


def storage_of(request: Request) -> HubStorage:
    return request.app.state.storage


def spaces_of(request: Request) -> Spaces:
    return request.app.state.spaces


def current_user(request: Request) -> User | None:
    """The user of the bearer token; None without a token, 401 for an unknown one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not scheme:
        return None
    user = request.app.state.users.get(token)
    if user is None:
        raise HubError(401, "Invalid credentials in Authorization header")
    return user


def signed_in(user: Annotated[User | None, Depends(current_user)]) -> User:
    """Any user: 401 without one."""
    if user is None:
        raise HubError(401, "Invalid username or password.")
    return user


def writer(user: Annotated[User, Depends(signed_in)]) -> User:
    """A user whose token may write: 403 for a read-only one."""
    if user.get("role") == "read":
        raise HubError(403, "This token has no write permission: it is read-only")
    return user


def owns(user: User | None, namespace: str) -> bool:
    """Users write in their own namespace and in those of their organizations, in any case of letters."""
    names = [user["name"], *user.get("orgs", [])] if user else []
    return namespace.lower() in {name.lower() for name in names}


def require_owner(user: User, repo_id: str, action: str) -> None:
    """403 unless the namespace is the user's."""
    if not owns(user, repo_id.split("/")[0]):
        raise HubError(403, f"You don't have the rights to {action} {repo_id}")


def find_visible(storage: HubStorage, user: User | None, kind: str, repo_id: str) -> Repository:
    """A repository that this user may see; otherwise it is not found, whether or not it exists."""
    repository = storage.find(kind, repo_id)
    if repository is None or (repository.meta["private"] and not owns(user, repository.id.split("/")[0])):
        raise repository_not_found(signed_in=user is not None)
    return repository


def visible_repository(request: Request, user: Annotated[User | None, Depends(current_user)]) -> Repository:
    """The repository in the path. A path without a kind means a model, as on the Hub."""
    parts = request.path_params
    kind = parts.get("kind", "models")
    if kind not in KINDS:
        raise HubError(404, f"Sorry, we can't find {kind}")
    return find_visible(storage_of(request), user, kind, unquote(f"{parts['owner']}/{parts['name']}"))


def writable_repository(
    repository: Annotated[Repository, Depends(visible_repository)], user: Annotated[User, Depends(writer)]
) -> Repository:
    """The repository in the path, for its owner's eyes: 403 for others."""
    require_owner(user, repository.id, "write to")
    return repository


def space_in_path(request: Request, user: Annotated[User | None, Depends(current_user)]) -> Repository:
    """The Space in the path, for anybody who may see it."""
    repo_id = unquote("{owner}/{name}".format(**request.path_params))
    return find_visible(storage_of(request), user, "spaces", repo_id)


def own_space(
    space: Annotated[Repository, Depends(space_in_path)], user: Annotated[User, Depends(writer)]
) -> Repository:
    """The Space in the path, for its owner."""
    require_owner(user, space.id, "manage")
    return space


def revision_in_path(request: Request) -> str:
    return unquote(request.path_params["revision"])


def commit_in_path(
    repository: Annotated[Repository, Depends(visible_repository)],
    revision: Annotated[str, Depends(revision_in_path)],
) -> Commit:
    return repository.resolve(revision)


async def json_body(request: Request) -> dict[str, Any]:
    """The request's JSON object, {} without a body; 400 if it is something else."""
    try:
        payload = json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise HubError(400, "The request's body is not JSON") from error
    if not isinstance(payload, dict):
        raise HubError(400, "The request's body must be a JSON object")
    return payload


async def raw_body(request: Request) -> bytes:
    return await request.body()


MaybeUser = Annotated[User | None, Depends(current_user)]
Writer = Annotated[User, Depends(writer)]
Visible = Annotated[Repository, Depends(visible_repository)]
Writable = Annotated[Repository, Depends(writable_repository)]
OwnSpace = Annotated[Repository, Depends(own_space)]
AtRevision = Annotated[Commit, Depends(commit_in_path)]
RevisionName = Annotated[str, Depends(revision_in_path)]
Payload = Annotated[dict[str, Any], Depends(json_body)]
REPO = "/api/{kind}/{owner}/{name}"


def truthy(value: str | None) -> bool:
    return (value or "").lower() in ("1", "true")


def url_of(request: Request, repository: Repository) -> str:
    prefix = "" if repository.kind == "models" else f"{repository.kind}/"
    return f"{str(request.base_url).rstrip('/')}/{prefix}{repository.id}"


def page(request: Request, items: list[Any], size: int) -> JSONResponse:
    """One page of a listing, with the Link to the next."""
    start = int(request.query_params.get("cursor") or 0)
    size = min(size, int(request.query_params.get("limit") or size))
    headers = {}
    if start + size < len(items):
        query = [(key, value) for key, value in request.query_params.multi_items() if key != "cursor"]
        following = urlencode([*query, ("cursor", str(start + size))])
        base = str(request.base_url).rstrip("/")
        headers["Link"] = f'<{base}{request.scope["path"]}?{following}>; rel="next"'
    return JSONResponse(items[start : start + size], headers=headers)
