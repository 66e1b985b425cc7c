"""The Hub's routes for accounts, repositories, trees, history, references and downloads, with their JSON."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Body
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse

from .hub_call import Asked, Call
from .hub_storage import Entry, HubError, entry_not_found, etag, iso
from .space_host import new_space_settings

REPO = "/api/{kind}/{owner}/{name}"

api = APIRouter()


@api.get("/api/whoami-v2")
def whoami(call: Asked) -> dict[str, Any]:
    """The user of the token."""
    user = call.user
    if not user:
        raise HubError(401, "Invalid username or password.")
    full_names = user.get("org_fullnames", {})
    return {
        "type": "user",
        "name": user["name"],
        "fullname": user.get("fullname", user["name"]),
        "orgs": [{"name": name, "fullname": full_names.get(name, name)} for name in user.get("orgs", [])],
        "auth": {"accessToken": {"displayName": "local", "role": user.get("role", "write")}},
    }


# --- repositories


def named(call: Call, payload: dict[str, Any]) -> tuple[str, str]:
    """The kind and id of the repository that a payload names, for a user who may write."""
    call.require_writer()
    return (
        f"{payload.get('type') or 'model'}s",
        f"{payload.get('organization') or call.user['name']}/{payload['name']}",
    )


@api.post("/api/repos/create")
def create_repository(call: Asked, payload: dict[str, Any]) -> JSONResponse:
    """A new repository; 409 with its `url` where it exists, 403 in somebody else's namespace."""
    kind, repo_id = named(call, payload)
    call.require_owner(repo_id)
    by_default = "private" if call.user.get("private_by_default") else "public"
    meta = {"private": payload.get("visibility", by_default) == "private", "gated": False}
    if kind == "spaces":
        meta |= {"sdk": payload["sdk"], "space": new_space_settings(payload)}
    made, is_new = call.storage.create(kind, repo_id, call.user["name"], meta)
    answer = {"url": call.url_of(made), "name": made.id, "id": made.id}
    if not is_new:
        return JSONResponse({"error": f"You already created this repository: {made.id}"} | answer, 409)
    if kind == "spaces":
        call.host.space(made.id).changed()
    return JSONResponse(answer)


@api.delete("/api/repos/delete")
def delete_repository(call: Asked, payload: dict[str, Any]) -> PlainTextResponse:
    """Delete a repository of one's own."""
    repository = call.find(*named(call, payload))
    call.require_owner(repository.id)
    if repository.kind == "spaces":
        call.host.forget(repository.id)
    call.storage.delete(repository)
    return PlainTextResponse("OK")


@api.put(REPO + "/settings")
def update_settings(call: Asked, payload: dict[str, Any]) -> dict[str, Any]:
    """Visibility and gating (the latter is only recorded)."""
    meta = call.own_repository.meta
    if "visibility" in payload:
        meta["private"] = payload["visibility"] == "private"
    meta["gated"] = payload.get("gated", meta["gated"])
    call.repository.save()
    return {}


@api.get(REPO)
@api.get(REPO + "/revision/{revision}")
def repository_info(call: Asked) -> dict[str, Any]:
    """A repository at a revision, with all its files."""
    repository = call.repository
    siblings = []
    for file in repository.files(call.commit):
        sibling = {"rfilename": file["path"], "size": file["size"], "blobId": file["oid"]}
        siblings.append(sibling | {"lfs": file.get("lfs")})
    info = {
        "id": repository.id,
        "author": repository.id.split("/")[0],
        "sha": call.commit.id.decode(),
        "lastModified": iso(call.commit.commit_time),
        "siblings": siblings,
        "tags": [],
    }
    if repository.kind == "spaces":
        info["runtime"] = call.host.space(repository.id).runtime()
    return info | {key: value for key, value in repository.meta.items() if key != "space"}


# --- trees, history, references


def with_last_commits(call: Call, items: list[Entry]) -> list[Entry]:
    """Entries, each with the commit that changed it last."""
    expanded = []
    for item in items:
        last = next(call.repository.history(call.commit, item["path"]))
        about = {"id": last.id.decode(), "title": last.message.decode().split("\n")[0]}
        expanded.append(item | {"lastCommit": about | {"date": iso(last.commit_time)}})
    return expanded


@api.get(REPO + "/tree/{revision}")
@api.get(REPO + "/tree/{revision}/{path:path}")
def tree(call: Asked) -> list[Entry]:
    """The files and directories below a path."""
    items = call.repository.tree(call.commit, call.part("path"), recursive=call.asks_for("recursive"))
    return with_last_commits(call, list(items)) if call.asks_for("expand") else list(items)


@api.post(REPO + "/paths-info/{revision}")
def paths_info(call: Asked, body: Annotated[bytes, Body()]) -> list[Entry]:
    """The entries at given paths; those that aren't there are left out."""
    form = parse_qs(body.decode())
    found = (call.repository.entry(call.commit, path) for path in form.get("paths", []))
    items = [item for item in found if item is not None]
    return with_last_commits(call, items) if form["expand"][0].lower() == "true" else items


@api.get(REPO + "/commits/{revision}")
def commits(call: Asked) -> list[dict[str, Any]]:
    """The history of a revision, the latest first."""
    history = []
    for version in call.repository.history(call.commit):
        title, _, message = version.message.decode().partition("\n\n")
        words = {"title": title, "message": message}
        item = words | {"id": version.id.decode(), "date": iso(version.commit_time)}
        item["authors"] = [{"user": version.author.decode().split(" <")[0]}]
        history.append(item | ({"formatted": words} if call.asks_to_expand("formatted") else {}))
    return history


@api.get(REPO + "/refs")
def refs(call: Asked) -> dict[str, Any]:
    """Branches, tags and pull requests."""

    def listed(namespace: str) -> list[dict[str, str]]:
        prefix = "refs/pr/" if namespace == "pr" else ""
        return [
            {"name": prefix + name, "ref": f"refs/{namespace}/{name}", "targetCommit": commit}
            for name, commit in call.repository.refs(namespace).items()
        ]

    proposed = listed("pr") if call.asks_for("include_prs") else None
    return {"branches": listed("heads"), "tags": listed("tags"), "converts": [], "pullRequests": proposed}


@api.post(REPO + "/tag/{revision}")
def create_tag(call: Asked, payload: dict[str, Any]) -> None:
    """Tag a revision; 409 where the tag exists, whatever it points to."""
    call.own_repository.create_ref(f"refs/tags/{payload['tag']}", call.commit)


@api.post(REPO + "/branch/{branch}")
def create_branch(call: Asked, payload: dict[str, Any]) -> None:
    """A new branch at `startingPoint`, or at main."""
    start = call.own_repository.resolve(payload.get("startingPoint", "main"))
    call.repository.create_ref(f"refs/heads/{call.part('branch')}", start)


@api.delete(REPO + "/tag/{tag}")
def delete_tag(call: Asked) -> None:
    """Delete a tag."""
    call.own_repository.delete_ref(f"refs/tags/{call.part('tag')}")


@api.delete(REPO + "/branch/{branch}")
def delete_branch(call: Asked) -> None:
    """Delete a branch, but not main."""
    call.own_repository.delete_ref(f"refs/heads/{call.part('branch')}")


# --- downloads


def resolve_file(call: Asked) -> FileResponse:
    """A file at a revision, whole, in part, or its headers alone."""
    path = call.part("path")
    file = call.repository.entry(call.commit, path)
    if file is None or file["type"] == "directory":
        raise entry_not_found(path, call.commit)
    name = f'"{etag(file)}"'
    headers = {"ETag": name, "X-Repo-Commit": call.commit.id.decode()}
    if "lfs" in file:
        headers |= {"X-Linked-Etag": name, "X-Linked-Size": str(file["size"])}
    return FileResponse(call.repository.content(file), headers=headers)
