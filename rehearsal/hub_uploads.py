"""The Hub's routes that add content: preupload, LFS, commits, pull requests, and the check of a README."""

from __future__ import annotations

import base64
import json
import time
from typing import Annotated, Any
from urllib.parse import unquote

import yaml
from dulwich.objects import Commit
from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from .hub_access import (
    REPO,
    Payload,
    RevisionName,
    User,
    Visible,
    Writer,
    find_visible,
    raw_body,
    require_owner,
    spaces_of,
    storage_of,
    truthy,
    url_of,
)
from .hub_errors import HubError, revision_not_found
from .hub_storage import Repository, front_matter, iso, stale_parent

api = APIRouter()


def may_propose(request: Request, repository: Repository, user: User, revision: str) -> None:
    """Anybody with a writing token may open a pull request or add to one; the rest is for owners."""
    if not truthy(request.query_params.get("create_pr")) and not revision.startswith("refs/pr/"):
        require_owner(user, repository.id, "write to")


def branch_ref(repository: Repository, revision: str) -> str:
    """The full name of a branch or pull request that can be committed to; 404 for a tag or a commit id."""
    ref = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
    if not ref.startswith(("refs/heads/", "refs/pr/")) or ref.encode() not in repository.git.refs:
        raise revision_not_found(revision)
    return ref


@api.post(REPO + "/preupload/{revision}")
def preupload(
    request: Request, repository: Visible, revision: RevisionName, user: Writer, payload: Payload
) -> dict[str, Any]:
    """How each file is to be uploaded."""
    may_propose(request, repository, user, revision)
    branch_ref(repository, revision)
    commit = repository.resolve(revision)
    return {"files": repository.upload_modes(commit, payload["files"], payload.get("gitIgnore"))}


def lfs_batch(request: Request, user: Writer, payload: Payload) -> JSONResponse:
    """Where to upload large files; no action for those that are here already."""
    parts = request.path_params
    kind, name = parts.get("kind", "models"), unquote(parts["name"]).removesuffix(".git")
    find_visible(storage_of(request), user, kind, f"{unquote(parts['owner'])}/{name}")
    base = str(request.base_url).rstrip("/")
    objects = []
    for each in payload["objects"]:
        answer = {"oid": each["oid"], "size": each["size"]}
        if not storage_of(request).lfs.path(each["oid"]).exists():
            verify = {"href": f"{base}/_lfs/verify"}
            answer["actions"] = {"upload": {"href": f"{base}/_lfs/{each['oid']}"}, "verify": verify}
        objects.append(answer)
    return JSONResponse({"transfer": "basic", "objects": objects}, media_type="application/vnd.git-lfs+json")


@api.put("/_lfs/{oid}")
async def lfs_upload(request: Request, oid: str) -> Response:
    """The content of a large file. Without a token, as at the Hub: only its sha256 lets it in."""
    await storage_of(request).lfs.receive(oid, request.stream())
    return Response(status_code=200)


@api.post("/_lfs/verify")
def lfs_verify(request: Request, payload: Payload) -> dict[str, Any]:
    """200 if the object arrived in full."""
    stored = storage_of(request).lfs.path(payload["oid"])
    if not stored.exists() or stored.stat().st_size != payload["size"]:
        raise HubError(404, "The object was not uploaded")
    return {}


def parse_operations(body: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and the operations of a commit's ndjson."""
    header: dict[str, Any] = {}
    operations = []
    try:
        for line in body.splitlines():
            item = json.loads(line)
            if item["key"] == "header":
                header = item["value"]
                continue
            if item["key"] == "file":
                item["value"]["data"] = base64.b64decode(item["value"]["content"])
            operations.append(item)
    except (ValueError, KeyError, TypeError) as error:
        raise HubError(400, f"Malformed commit: {error}") from error
    if not header.get("summary"):
        raise HubError(400, "A commit needs a summary")
    return header, operations


@api.post(REPO + "/commit/{revision}")
def commit(
    request: Request,
    repository: Visible,
    revision: RevisionName,
    user: Writer,
    body: Annotated[bytes, Depends(raw_body)],
) -> dict[str, Any]:
    """One atomic commit; with `create_pr` on a new pull request. 412 if `parentCommit` is not the head."""
    may_propose(request, repository, user, revision)
    header, operations = parse_operations(body)
    with repository.lock:
        ref = branch_ref(repository, revision)
        head = repository.resolve(ref)
        parent = header.get("parentCommit")
        if parent and not (len(parent) >= 7 and head.id.decode().startswith(parent)):
            raise stale_parent()
        answer: dict[str, Any] = {"success": True}
        opened = None
        if truthy(request.query_params.get("create_pr")):
            opened = open_pull_request(repository, header["summary"], user, head)
            ref = f"refs/pr/{opened['num']}"
            answer["pullRequestUrl"] = f"{url_of(request, repository)}/discussions/{opened['num']}"
        made = repository.commit(
            ref,
            head,
            operations,
            summary=header["summary"],
            description=header.get("description") or "",
            author=user["name"],
        )
    if repository.kind == "spaces" and ref == "refs/heads/main":
        spaces_of(request).committed(repository)
    oid = made.id.decode()
    return answer | {
        "commitOid": oid,
        "commitUrl": f"{url_of(request, repository)}/commit/{oid}",
        "hookOutput": "",
    }


def open_pull_request(repository: Repository, title: str, user: User, head: Commit) -> dict[str, Any]:
    """A new pull request whose branch starts at `head`."""
    with repository.lock:
        number = len(repository.meta["pulls"]) + 1
        opened = {"num": number, "title": title, "author": user["name"], "createdAt": iso(time.time())}
        repository.create_ref(f"refs/pr/{number}", head.id)
        repository.meta["pulls"].append(opened)
        repository.save()
    return opened


@api.post(REPO + "/discussions")
def create_discussion(repository: Visible, user: Writer, payload: Payload) -> dict[str, Any]:
    """An empty pull request. Plain discussions are not offered: 501."""
    if not payload.get("pullRequest"):
        raise HubError(501, "The local Hub has pull requests only")
    return open_pull_request(repository, payload["title"], user, repository.resolve("main"))


@api.get(REPO + "/discussions/{number}")
def discussion(repository: Visible, number: str) -> dict[str, Any]:
    """A pull request."""
    found = next((each for each in repository.meta["pulls"] if str(each["num"]) == number), None)
    if found is None:
        raise HubError(404, f"No discussion {number}")
    answer = {
        **found,
        "author": {"name": found["author"]},
        "status": "open",
        "events": [],
        "isPullRequest": True,
    }
    answer |= {"changes": {"base": "refs/heads/main"}, "filesWithConflicts": []}
    answer["repo"] = {"name": repository.id, "type": repository.kind[:-1]}
    return answer | {"diffUrl": "", "pinned": False}


@api.post("/api/validate-yaml")
def validate_yaml(payload: Payload) -> JSONResponse:
    """The metadata of a README: warnings if there is none, 400 with errors if it is broken."""
    warnings, errors = [], []
    try:
        card = front_matter(payload.get("content") or "")
        if not card:
            warnings.append({"message": "empty or missing yaml metadata in repo card"})
        elif not isinstance(card.get("model-index", []), list):
            errors.append({"message": '"model-index" must be an array'})
    except yaml.YAMLError as error:
        errors.append({"message": f"invalid yaml metadata: {error}"})
    return JSONResponse({"errors": errors, "warnings": warnings}, 400 if errors else 200)
