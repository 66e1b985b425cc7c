"""The Hub's routes that add content: preupload, LFS, commits, pull requests, README check."""

from __future__ import annotations

import base64
import io
import json
from typing import Annotated

import yaml
from dulwich.attrs import compile_gitattributes_patterns, match_path, parse_git_attributes
from dulwich.ignore import IgnoreFilter, read_ignore_patterns
from fastapi import APIRouter, Body, Request
from huggingface_hub import ModelCard
from starlette.responses import JSONResponse

from .hub_call import Asked, Call, Json
from .hub_routes import REPO
from .hub_storage import HubError, Repository, etag, revision_not_found
from .hub_webhooks import deliver

LFS_FROM_BYTES = 10 * 1024 * 1024
LFS_BATCH = "/{owner}/{name}.git/info/lfs/objects/batch"

api = APIRouter()


@api.post(REPO + "/preupload/{revision}")
def preupload(call: Asked, payload: Json) -> Json:
    """How each file should be uploaded, whether it is ignored, and what is there now."""
    repository, commit = call.repository, call.commit
    branch_to_change(call)
    attributes = parse_git_attributes(io.BytesIO(repository.read(commit, ".gitattributes")))
    patterns = compile_gitattributes_patterns(attributes)
    ignored = payload.get("gitIgnore", "").encode() or repository.read(commit, ".gitignore")
    ignore = IgnoreFilter(list(read_ignore_patterns(io.BytesIO(ignored))))
    answers = []
    for file in payload["files"]:
        path, size = file["path"], file["size"]
        by_attribute = match_path(patterns, path.encode()).get(b"filter") == b"lfs"
        is_lfs = size > 0 and (by_attribute or size >= LFS_FROM_BYTES)
        present = call.entries.get(path)
        answer = {"path": path, "uploadMode": "lfs" if is_lfs else "regular"}
        answer |= {"shouldIgnore": bool(ignore.is_ignored(path)), "oid": etag(present) if present else None}
        answers.append(answer)
    return {"files": answers}


@api.post(LFS_BATCH)
@api.post("/{kind}" + LFS_BATCH)
def lfs_batch(call: Asked, payload: Json) -> Json:
    """Where to upload large files; no action for those that are stored already."""
    assert call.repository  # refuses users who may not upload
    objects = []
    for each in payload["objects"]:
        answer = {"oid": each["oid"], "size": each["size"]}
        if not (call.storage.content / each["oid"]).exists():
            answer["actions"] = {"upload": {"href": f"{call.request.base_url}_lfs/{each['oid']}"}}
        objects.append(answer)
    return {"transfer": "basic", "objects": objects}


@api.put("/_lfs/{oid}")
async def lfs_upload(request: Request, oid: str) -> None:
    """Receive a large file. As on the Hub it needs no token, only the right sha256."""
    await request.app.state.storage.receive(oid, request.stream())


def branch_to_change(call: Call) -> str:
    """The full name of the branch or pull request in the path; 404 for a tag or commit."""
    revision = call.part("revision")
    ref = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
    if ref.encode() not in call.repository.git.refs:
        raise revision_not_found(revision)
    return ref


def parse_operations(body: bytes) -> tuple[Json, list[Json]]:
    """The header and the operations of a commit's ndjson, with the content of files decoded."""
    try:
        header, *operations = [json.loads(line) for line in body.splitlines()]
        for operation in operations:
            if operation["key"] == "file":
                operation["value"]["content"] = base64.b64decode(operation["value"]["content"])
        return header["value"], operations
    except (ValueError, KeyError) as error:
        raise HubError(400, f"Malformed commit: {error!r}") from error


@api.post(REPO + "/commit/{revision}")
def commit(call: Asked, body: Annotated[bytes, Body()]) -> Json:
    """One atomic commit, with `create_pr` to a new pull request. 412 if `parentCommit` isn't the head."""
    repository, ref = call.repository, branch_to_change(call)
    header, operations = parse_operations(body)
    answer = {}
    if call.asks_for("create_pr"):
        number = open_pull_request(repository, ref)
        ref = f"refs/pr/{number}"
        answer["pullRequestUrl"] = f"{call.url_of(repository)}/discussions/{number}"
    message = f"{header['summary']}\n\n{header.get('description') or ''}".strip()
    made = repository.commit(ref, operations, message, call.user["name"], header.get("parentCommit"))
    if repository.kind == "spaces" and ref == "refs/heads/main":
        call.space.changed()
    oid = made.id.decode()
    deliver(call, ref, made.parents[0].decode() if made.parents else None, oid)
    return answer | {"commitOid": oid, "commitUrl": f"{call.url_of(repository)}/commit/{oid}"}


def open_pull_request(repository: Repository, base: str) -> int:
    """Open a pull request, which here is only a ref; returns its number."""
    with repository.lock:
        number = len(repository.git.refs.subkeys(b"refs/pr")) + 1
        repository.create_ref(f"refs/pr/{number}", repository.resolve(base))
    return number


@api.post(REPO + "/discussions")
def create_pull_request(call: Asked) -> Json:
    """An empty pull request."""
    return {"num": open_pull_request(call.repository, "refs/heads/main")}


@api.get(REPO + "/discussions/{number}")
def pull_request(call: Asked) -> Json:
    """The details of a pull request that the client asks for."""
    repository = call.repository
    answer = {"num": int(call.part("number")), "title": "", "status": "open", "isPullRequest": True}
    answer |= {"createdAt": repository.meta["createdAt"], "changes": {"base": "refs/heads/main"}}
    answer |= {"repo": {"name": repository.id, "type": repository.kind[:-1]}}
    return answer | {"events": [], "filesWithConflicts": []}


@api.post("/api/validate-yaml")
def validate_yaml(payload: Json) -> JSONResponse:
    """The metadata of a README: a warning if there is none, 400 with errors if it is broken."""
    try:
        found = ModelCard(payload["content"]).data.to_dict()
    except (ValueError, yaml.YAMLError) as error:
        return JSONResponse({"errors": [{"message": f"invalid yaml metadata: {error}"}], "warnings": []}, 400)
    missing = [{"message": "empty or missing yaml metadata in repo card"}]
    return JSONResponse({"errors": [], "warnings": [] if found else missing})
