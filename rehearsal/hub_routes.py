"""The Hub's routes for accounts, repositories, trees, history, references and downloads, with their JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote

from dulwich.objects import Commit
from fastapi import APIRouter, Depends, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from .hub_access import (
    REPO,
    AtRevision,
    MaybeUser,
    Payload,
    RevisionName,
    User,
    Visible,
    Writable,
    Writer,
    find_visible,
    owns,
    page,
    raw_body,
    require_owner,
    signed_in,
    spaces_of,
    storage_of,
    truthy,
    url_of,
    writer,
)
from .hub_errors import HubError, entry_not_found
from .hub_storage import KINDS, Entry, Repository, iso
from .space_runtime import new_space_settings

PAGE_SIZES = {"tree": 1000, "tree expanded": 50, "commits": 50}

api = APIRouter()


@api.get("/api/whoami-v2")
def whoami(user: Annotated[User, Depends(signed_in)]) -> dict[str, Any]:
    """The user of the token."""
    full_names = user.get("org_fullnames", {})
    organizations = [
        {"type": "org", "name": name, "fullname": full_names.get(name, name)} for name in user.get("orgs", [])
    ]
    token = {
        "type": "access_token",
        "accessToken": {"displayName": "local", "role": user.get("role", "write")},
    }
    names = {"name": user["name"], "fullname": user.get("fullname", user["name"])}
    return {"type": "user", "id": user["name"], **names, "orgs": organizations, "auth": token}


# --- repositories


def kind_of(payload: dict[str, Any]) -> str:
    kind = f"{payload.get('type') or 'model'}s"
    if kind not in KINDS:
        raise HubError(400, f"Unknown type of repository: {payload['type']}")
    return kind


def id_of(payload: dict[str, Any], user: User) -> str:
    return f"{payload.get('organization') or user['name']}/{payload['name']}"


@api.post("/api/repos/create")
def create_repository(request: Request, user: Writer, payload: Payload) -> JSONResponse:
    """A new repository; 409 with its `url` where it exists, 403 in somebody else's namespace."""
    kind, repo_id = kind_of(payload), id_of(payload, user)
    storage = storage_of(request)
    namespace = repo_id.split("/")[0]
    if not owns(user, namespace):
        raise HubError(
            403, f'You don\'t have the rights to create a {kind[:-1]} under the namespace "{namespace}"'
        )
    by_default = bool(user.get("private_by_default"))
    visibility = payload.get("visibility") or ("private" if payload.get("private", by_default) else "public")
    extra: dict[str, Any] = {}
    if kind == "spaces":
        extra = {"sdk": payload.get("sdk"), "space": new_space_settings(payload)}
    with request.app.state.creating:
        existing = storage.find(kind, repo_id)
        if existing is not None and existing.id.lower() == repo_id.lower():
            message = f"You already created this {kind[:-1]} repo: {repo_id}"
            raise HubError(409, message, url=url_of(request, existing), name=existing.id, id=existing.id)
        made = storage.create(kind, repo_id, author=user["name"], private=visibility == "private", **extra)
    if kind == "spaces":
        spaces_of(request).committed(made)
    return JSONResponse({"url": url_of(request, made), "name": made.id, "id": made.id})


@api.delete("/api/repos/delete")
def delete_repository(request: Request, user: Writer, payload: Payload) -> PlainTextResponse:
    """Delete a repository of one's own."""
    repository = find_visible(storage_of(request), user, kind_of(payload), id_of(payload, user))
    require_owner(user, repository.id, "delete")
    if repository.kind == "spaces":
        spaces_of(request).deleted(repository)
    storage_of(request).delete(repository)
    return PlainTextResponse("OK")


@api.post("/api/repos/move")
def move_repository(request: Request, user: Writer, payload: Payload) -> dict[str, str]:
    """Rename a repository; 409 if the new name is taken."""
    storage, kind = storage_of(request), kind_of(payload)
    repository = find_visible(storage, user, kind, payload["fromRepo"])
    for repo_id in (repository.id, payload["toRepo"]):
        require_owner(user, repo_id, "move")
    taken = storage.find(kind, payload["toRepo"])
    if taken is not None and taken is not repository:
        raise HubError(409, f"A {kind[:-1]} repository called {payload['toRepo']} already exists")
    return {"url": url_of(request, storage.move(repository, payload["toRepo"]))}


@api.put(REPO + "/settings")
def update_settings(repository: Writable, payload: Payload) -> dict[str, Any]:
    """Visibility and gating."""
    if "visibility" in payload or "private" in payload:
        repository.meta["private"] = payload.get("visibility") == "private" or bool(payload.get("private"))
    if "gated" in payload:
        repository.meta["gated"] = payload["gated"]
    repository.save()
    return {key: repository.meta[key] for key in ("private", "gated")}


@api.get(REPO + "/auth-check")
@api.get(REPO + "/auth-check/write")
def auth_check(request: Request, repository: Visible, user: MaybeUser) -> dict[str, Any]:
    """200 if the user may read (or write)."""
    if request.scope["path"].endswith("/write"):
        require_owner(writer(signed_in(user)), repository.id, "write to")
    return {}


@api.get("/api/{kind}")
def list_repositories(request: Request, kind: str, user: MaybeUser) -> JSONResponse:
    """The repositories that the user may see, by `author` and `search`."""
    if kind not in KINDS:
        raise HubError(404, f"Sorry, we can't find {kind}")
    author, search = (request.query_params.get(key, "").lower() for key in ("author", "search"))
    found = []
    for repository in storage_of(request).all(kind):
        owner, name = repository.id.lower().split("/")
        may_see = not repository.meta["private"] or owns(user, owner)
        if may_see and author in ("", owner) and search in f"{owner}/{name}":
            found.append(describe(request, repository, repository.resolve("main")))
    return page(request, found, 1000)


def describe(
    request: Request, repository: Repository, commit: Commit, *, blobs: bool = False
) -> dict[str, Any]:
    """The JSON of a repository at a commit."""
    card = repository.card_data(commit)
    siblings: list[dict[str, Any]] = []
    for item in repository.files(commit):
        details = {"size": item.size, "blobId": item.oid} | lfs_json(item) if blobs else {}
        siblings.append({"rfilename": item.path, **details})
    meta = repository.meta
    info: dict[str, Any] = {"_id": repository.id, "id": repository.id, "author": repository.id.split("/")[0]}
    info |= {
        "sha": commit.id.decode(),
        "lastModified": iso(commit.commit_time),
        "createdAt": meta["createdAt"],
    }
    info |= {
        "private": meta["private"],
        "gated": meta["gated"],
        "disabled": False,
        "downloads": 0,
        "likes": 0,
    }
    info |= {"tags": list(card.get("tags") or []), "cardData": card, "siblings": siblings}
    if repository.kind == "models":
        info |= {key: card[key] for key in ("pipeline_tag", "library_name") if key in card}
    if repository.kind == "spaces":
        subdomain = repository.id.replace("/", "-").lower()
        info |= {
            "sdk": meta["sdk"],
            "subdomain": subdomain,
            "runtime": spaces_of(request).runtime(repository),
        }
    return info


def lfs_json(item: Entry) -> dict[str, Any]:
    """The `lfs` part of a file's JSON, {} for a regular file. The sha256 has two names."""
    if item.lfs_sha256 is None:
        return {}
    sha256 = item.lfs_sha256
    return {"lfs": {"oid": sha256, "sha256": sha256, "size": item.size, "pointerSize": item.pointer_size}}


@api.get(REPO)
@api.get(REPO + "/revision/{revision}")
def repository_info(request: Request, repository: Visible) -> dict[str, Any]:
    """A repository at a revision; `expand` picks single properties."""
    revision = unquote(request.path_params.get("revision", "main"))
    blobs = request.query_params.get("blobs", "").lower() in ("1", "true")
    info = describe(request, repository, repository.resolve(revision), blobs=blobs)
    wanted = request.query_params.getlist("expand") + request.query_params.getlist("expand[]")
    return {key: value for key, value in info.items() if not wanted or key in ("_id", "id", *wanted)}


# --- trees, history, references


def entry_json(item: Entry, last_commit: Commit | None = None) -> dict[str, Any]:
    """The JSON of a file or directory."""
    answer: dict[str, Any] = {
        "type": "directory" if item.is_directory else "file",
        "oid": item.oid,
        "path": item.path,
    }
    answer |= {"size": item.size} | lfs_json(item)
    if last_commit is not None:
        title = last_commit.message.decode().split("\n")[0]
        date = iso(last_commit.commit_time)
        answer["lastCommit"] = {"id": last_commit.id.decode(), "title": title, "date": date}
    return answer


def entries_json(
    repository: Repository, commit: Commit, items: list[Entry], *, expand: bool
) -> list[dict[str, Any]]:
    last = repository.last_commits(commit, [item.path for item in items]) if expand else {}
    return [entry_json(item, last.get(item.path)) for item in items]


@api.get(REPO + "/tree/{revision}")
@api.get(REPO + "/tree/{revision}/{path:path}")
def tree(request: Request, repository: Visible, commit: AtRevision) -> JSONResponse:
    """The files and directories below a path, in pages."""
    recursive, expand = (truthy(request.query_params.get(key)) for key in ("recursive", "expand"))
    path = unquote(request.path_params.get("path", ""))
    items = list(repository.list_tree(commit, path, recursive=recursive))
    size = PAGE_SIZES["tree expanded" if expand else "tree"]
    return page(request, entries_json(repository, commit, items, expand=expand), size)


@api.post(REPO + "/paths-info/{revision}")
def paths_info(
    request: Request, repository: Visible, commit: AtRevision, body: Annotated[bytes, Depends(raw_body)]
) -> list[dict[str, Any]]:
    """The entries at given paths; those that aren't there are left out."""
    is_json = "json" in request.headers.get("Content-Type", "")
    form = json.loads(body) if is_json else parse_qs(body.decode())
    paths = form.get("paths", [])
    expand = form.get("expand", False)
    expand = truthy(expand[0]) if isinstance(expand, list) else bool(expand)
    items = [item for path in paths if (item := repository.entry(commit, path)) is not None]
    return entries_json(repository, commit, items, expand=expand)


@api.get(REPO + "/commits/{revision}")
def commits(request: Request, repository: Visible, commit: AtRevision) -> JSONResponse:
    """The history of a revision, the latest first."""
    formatted = "formatted" in request.query_params.getlist("expand[]")
    history = []
    for version in repository.history(commit):
        title, _, message = version.message.decode().partition("\n\n")
        author = version.author.decode().split(" <")[0]
        item: dict[str, Any] = {"id": version.id.decode(), "title": title, "message": message}
        item |= {"authors": [{"user": author}], "date": iso(version.commit_time)}
        if formatted:
            item["formatted"] = {"title": title, "message": message}
        history.append(item)
    return page(request, history, PAGE_SIZES["commits"])


@api.get(REPO + "/refs")
def refs(request: Request, repository: Visible) -> dict[str, Any]:
    """Branches, tags and, if asked for, pull requests."""

    def listed(namespace: str, prefix: str = "") -> list[dict[str, str]]:
        return [
            {"name": prefix + name, "ref": f"refs/{namespace}/{name}", "targetCommit": commit}
            for name, commit in repository.refs(namespace).items()
        ]

    answer: dict[str, Any] = {"branches": listed("heads"), "tags": listed("tags"), "converts": []}
    if truthy(request.query_params.get("include_prs")):
        answer["pullRequests"] = listed("pr", "refs/pr/")
    return answer


@api.post(REPO + "/tag/{revision}")
def create_tag(
    repository: Writable, revision: RevisionName, user: Writer, payload: Payload
) -> dict[str, Any]:
    """Tag a revision; 409 where the tag exists, whatever it points to."""
    repository.tag(payload["tag"], revision, payload.get("message"), user["name"])
    return {}


@api.delete(REPO + "/tag/{revision}")
def delete_tag(repository: Writable, revision: RevisionName) -> dict[str, Any]:
    """Delete a tag."""
    repository.delete_ref(f"refs/tags/{revision}")
    return {}


@api.post(REPO + "/branch/{revision}")
def create_branch(repository: Writable, revision: RevisionName, payload: Payload) -> dict[str, Any]:
    """A new branch at `startingPoint`, or at main."""
    start = repository.resolve(payload.get("startingPoint") or "main")
    repository.create_ref(f"refs/heads/{revision}", start.id)
    return {}


@api.delete(REPO + "/branch/{revision}")
def delete_branch(repository: Writable, revision: RevisionName) -> dict[str, Any]:
    """Delete a branch, but not main."""
    repository.delete_ref(f"refs/heads/{revision}")
    return {}


# --- downloads


def resolve_file(request: Request, repository: Visible, commit: AtRevision, user: MaybeUser) -> Response:
    """A file at a revision, whole, in part, or its headers alone."""
    if repository.meta["gated"] and not owns(user, repository.id.split("/")[0]):
        name = f"{repository.kind[:-1]} {repository.id}"
        message = f"Access to {name} is restricted and you are not in the authorized list."
        raise HubError(403 if user else 401, message, code="GatedRepo")
    sha = commit.id.decode()
    path = unquote(request.path_params["path"])
    item = repository.entry(commit, path)
    if item is None or item.is_directory:
        raise entry_not_found(path, sha)
    etag = f'"{item.lfs_sha256 or item.oid}"'
    headers = {"ETag": etag, "X-Repo-Commit": sha, "Cache-Control": "no-cache"}
    if item.lfs_sha256 is not None:
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(item.size)}
    if request.headers.get("If-None-Match") == etag:
        return Response(status_code=304, headers=headers)
    return FileResponse(
        repository.content_path(item),
        headers=headers,
        filename=Path(path).name,
        content_disposition_type="inline",
    )
