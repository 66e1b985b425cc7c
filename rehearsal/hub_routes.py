"""The Hub's routes for accounts, repositories, trees, history, references, downloads and Spaces."""

from __future__ import annotations

import time
from typing import Annotated
from urllib.parse import parse_qs

from dulwich.objects import Commit
from fastapi import APIRouter, Body
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse

from .hub_call import Asked, Call, Json
from .hub_storage import KINDS, Entry, HubError, entry_not_found, etag, iso
from .hub_webhooks import deliver
from .space_host import new_space_settings

REPO = "/api/{kind}/{owner}/{name}"
FILE = "/{owner}/{name}/resolve/{revision}/{path:path}"

api = APIRouter()


@api.get("/api/whoami-v2")
def whoami(call: Asked) -> Json:
    """The user of the token."""
    user = call.user
    if not user:
        raise HubError(401, "Invalid username or password.")
    full_names = user.get("org_fullnames", {})
    organizations = [{"name": name, "fullname": full_names.get(name, name)} for name in user.get("orgs", [])]
    token = {"displayName": "local", "role": user.get("role", "write")}
    if "fineGrained" in user:
        token |= {"role": "fineGrained", "fineGrained": user["fineGrained"]}
    auth = {"auth": {"accessToken": token}}
    return {"type": "user", "fullname": user["name"]} | user | {"orgs": organizations} | auth


# --- repositories


def named(call: Call, payload: Json) -> tuple[str, str]:
    """The kind and id of the repository that a payload names."""
    call.require_writer()
    kind = f"{payload.get('type') or 'model'}s"
    if kind not in KINDS:
        raise HubError(400, f"Unknown type of repository: {payload['type']}")
    return kind, f"{payload.get('organization') or call.user['name']}/{payload['name']}"


@api.post("/api/repos/create")
def create_repository(call: Asked, payload: Json) -> JSONResponse:
    """A new repository; 409 with its `url` if it exists, 403 in somebody else's namespace."""
    kind, repo_id = named(call, payload)
    call.require_writer(repo_id)
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
def delete_repository(call: Asked, payload: Json) -> PlainTextResponse:
    """Delete a repository that the user owns."""
    repository = call.find(*named(call, payload))
    call.require_writer(repository.id)
    if repository.kind == "spaces":
        call.host.forget(repository.id)
    call.storage.delete(repository)
    return PlainTextResponse("OK")


@api.put(REPO + "/settings")
def update_settings(call: Asked, payload: Json) -> None:
    """Set the visibility; gating is only recorded."""
    meta = call.repository.meta
    meta["gated"] = payload.get("gated", meta["gated"])
    if "visibility" in payload:
        meta["private"] = payload["visibility"] == "private"
    call.repository.save()


@api.get(REPO)
@api.get(REPO + "/revision/{revision}")
def repository_info(call: Asked) -> Json:
    """A repository at a revision, with all its files."""
    repository, commit = call.repository, call.commit
    info = {key: value for key, value in repository.meta.items() if key != "space"}
    info |= {"sha": commit.id.decode(), "lastModified": iso(commit.commit_time), "siblings": []}
    for path, entry in call.entries.items():
        if entry["type"] == "file":
            sibling = {"rfilename": path, "size": entry["size"], "blobId": entry["oid"]}
            info["siblings"].append(sibling | {"lfs": entry.get("lfs")})
    if repository.kind == "spaces":
        info["runtime"] = call.space.runtime()
    return info


# --- trees, history, references


def described(version: Commit) -> Json:
    """A commit in the form of the Hub's JSON."""
    title, _, message = version.message.decode().partition("\n\n")
    author = version.author.decode().split(" <")[0]
    words = {"title": title, "message": message, "authors": [{"user": author}]}
    return words | {"id": version.id.decode(), "date": iso(version.commit_time)}


def with_last_commits(call: Call, items: list[Entry]) -> list[Entry]:
    """Entries, each with the last commit that changed it."""
    last = {item["path"]: next(call.repository.history(call.commit, item["path"])) for item in items}
    return [item | {"lastCommit": described(last[item["path"]])} for item in items]


@api.get(REPO + "/tree/{revision}")
@api.get(REPO + "/tree/{revision}/{path:path}")
def tree(call: Asked) -> list[Entry]:
    """The files and directories below a path."""
    items = call.repository.below(call.commit, call.part("path"), recursive=call.asks_for("recursive"))
    return with_last_commits(call, items) if call.asks_for("expand") else items


@api.post(REPO + "/paths-info/{revision}")
def paths_info(call: Asked, body: Annotated[bytes, Body()]) -> list[Entry]:
    """The entries at the given paths; missing ones are left out."""
    form = parse_qs(body.decode())
    items = [call.entries[path] for path in form.get("paths", []) if path in call.entries]
    return with_last_commits(call, items) if form["expand"][0].lower() == "true" else items


@api.get(REPO + "/commits/{revision}")
def commits(call: Asked) -> list[Json]:
    """The history of a revision, newest first."""
    history = [described(version) for version in call.repository.history(call.commit)]
    if call.request.query_params.get("expand[]") == "formatted":
        history = [item | {"formatted": item} for item in history]
    return history


@api.get(REPO + "/refs")
def refs(call: Asked) -> Json:
    """Branches, tags and pull requests."""

    def listed(namespace: str, prefix: str = "") -> list[Json]:
        found = call.repository.git.refs.as_dict(f"refs/{namespace}".encode())
        return [
            {
                "name": prefix + name.decode(),
                "ref": f"refs/{namespace}/{name.decode()}",
                "targetCommit": commit,
            }
            for name, commit in found.items()
        ]

    answer = {"branches": listed("heads"), "tags": listed("tags"), "converts": []}
    return answer | ({"pullRequests": listed("pr", "refs/pr/")} if call.asks_for("include_prs") else {})


@api.post(REPO + "/tag/{revision}")
def create_tag(call: Asked, payload: Json) -> None:
    """Tag a revision; 409 if the tag exists, whatever it points to."""
    ref = f"refs/tags/{payload['tag']}"
    call.repository.create_ref(ref, call.commit)
    deliver(call, ref, None, call.commit.id.decode())


@api.post(REPO + "/branch/{branch}")
def create_branch(call: Asked, payload: Json) -> None:
    """A new branch at `startingPoint`, or at main."""
    start = call.repository.resolve(payload.get("startingPoint", "main"))
    ref = f"refs/heads/{call.part('branch')}"
    call.repository.create_ref(ref, start)
    deliver(call, ref, None, start.id.decode())


@api.delete(REPO + "/tag/{tag}")
def delete_tag(call: Asked) -> None:
    """Delete a tag."""
    ref = f"refs/tags/{call.part('tag')}"
    old = call.repository.git.refs.read_ref(ref.encode()) or b""
    call.repository.delete_ref(ref)
    deliver(call, ref, old.decode(), None)


@api.delete(REPO + "/branch/{branch}")
def delete_branch(call: Asked) -> None:
    """Delete a branch other than main."""
    call.repository.delete_ref(f"refs/heads/{call.part('branch')}")


# --- downloads


@api.api_route(FILE, methods=["GET", "HEAD"])
@api.api_route("/{kind}" + FILE, methods=["GET", "HEAD"])
def resolve_file(call: Asked) -> FileResponse:
    """A file at a revision: whole, a range, or only its headers."""
    path = call.part("path")
    file = call.entries.get(path)
    if file is None or file["type"] == "directory":
        raise entry_not_found(path, call.commit)
    name = f'"{etag(file)}"'
    headers = {"ETag": name, "X-Repo-Commit": call.commit.id.decode()}
    if "lfs" in file:
        headers |= {"X-Linked-Etag": name, "X-Linked-Size": str(file["size"])}
    return FileResponse(call.repository.content(file), headers=headers)


# --- Spaces


@api.get(REPO + "/runtime")
def runtime(call: Asked) -> Json:
    """The stage and hardware of a Space."""
    return call.space.runtime()


@api.post(REPO + "/pause")
@api.post(REPO + "/restart")
def pause_or_restart(call: Asked) -> Json:
    """Stop a Space until it is restarted, or rebuild and start it. The answer doesn't wait for that."""
    call.space.wish("PAUSED" if call.path.endswith("/pause") else "BUILDING")
    return call.space.runtime()


@api.post(REPO + "/hardware")
@api.post(REPO + "/sleeptime")
def set_hardware(call: Asked, payload: Json) -> Json:
    """Set the hardware, which restarts the Space, or the sleep time; both are only recorded."""
    settings = call.space.settings
    settings["sleep"] = payload.get("sleepTimeSeconds", payload.get("seconds", settings["sleep"]))
    if "flavor" in payload:
        settings["hardware"] = payload["flavor"]
        call.space.changed()
    call.repository.save()
    return call.space.runtime()


@api.api_route(REPO + "/secrets", methods=["GET", "POST", "DELETE"])
@api.api_route(REPO + "/variables", methods=["GET", "POST", "DELETE"])
def values(call: Asked, payload: Json | None = None) -> Json:
    """Secrets (shown without their values) or variables. Setting or removing one restarts the Space."""
    what = call.path.rsplit("/", 1)[1]
    found = call.space.settings[what]
    if payload and call.request.method == "POST":
        found[payload["key"]] = payload | {"updatedAt": iso(time.time())}
    elif payload:
        found.pop(payload["key"], None)
    if payload:
        call.space.changed()
    hidden = {"value"} if what == "secrets" else set()
    return {key: {name: each[name] for name in each.keys() - hidden} for key, each in found.items()}


def not_found(call: Asked) -> None:
    """Answers for an id without a namespace, and for what the local Hub doesn't offer."""
    call.find("", "")
