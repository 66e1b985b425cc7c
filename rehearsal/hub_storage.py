"""The local Hub's repositories: bare git repositories, and beside them the content of their files.

Everything is under one folder and survives a restart of the server:

    ROOT/models|datasets|spaces/OWNER__NAME/{git/, meta.json}     ids are case-insensitive: lower-case folders
    ROOT/content/ETAG      content of files: by sha256 if it came through LFS, otherwise by the git blob's id

It knows nothing of routes, users' rights or running Spaces. It refuses in the Hub's words.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dulwich.lfs import LFSPointer
from dulwich.object_store import commit_tree_changes, iter_tree_contents
from dulwich.objects import Blob, Commit, Tree
from dulwich.objectspec import parse_commit
from dulwich.refs import check_ref_format
from dulwich.repo import Repo
from starlette.exceptions import HTTPException

KINDS = ("models", "datasets", "spaces")
LFS_SUFFIXES = """7z arrow bin bz2 ckpt ftz gz h5 joblib lfs.* mlmodel model msgpack npy npz onnx ot parquet
pb pickle pkl pt pth rar safetensors tar tflite tgz wasm xz zip zst"""
GITATTRIBUTES = "".join(
    f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES.split()
)
FORBIDDEN_PARTS = {"", ".", "..", ".git"}

Entry = dict[str, Any]  # a file or directory in the form of the Hub's JSON


class HubError(HTTPException):
    """A refusal: `code` (X-Error-Code) selects the client's exception, the message is for people."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        headers["X-Error-Message"] = message.encode("ascii", "replace").decode().replace("\n", " ")
        headers["X-Request-Id"] = uuid.uuid4().hex
        if code is not None:
            headers["X-Error-Code"] = code
        super().__init__(status, message, headers)


def entry_not_found(path: str, commit: Commit) -> HubError:
    """404 for a missing path; the client caches its absence for this commit (X-Repo-Commit)."""
    seen = {"X-Repo-Commit": commit.id.decode()}
    return HubError(404, f'Entry not found: "{path}" does not exist', "EntryNotFound", **seen)


def revision_not_found(revision: str) -> HubError:
    """404 for a branch, tag, pull request or commit that isn't there."""
    return HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def iso(timestamp: float) -> str:
    """A time in the Hub's form: UTC, milliseconds, `Z`."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def etag(file: Entry) -> str:
    """The name of a file's content: the sha256 of an LFS file, otherwise the git blob's id."""
    return str(file.get("lfs", file)["oid"])


class Repository:
    """One repository: its git history, its refs, and its metadata (`meta`; `save` makes it durable)."""

    def __init__(self, folder: Path, content: Path, meta: dict[str, Any]) -> None:
        self.folder = folder
        self.meta = meta
        self.id = str(meta["id"])
        self.kind = str(meta["kind"])
        self.lock = threading.RLock()
        self.git = Repo(str(folder / "git"))
        self._content = content
        self._entries: dict[bytes, dict[str, Entry]] = {}

    def save(self) -> None:
        """Make `meta` durable."""
        with self.lock:
            (self.folder / "meta.json").write_text(json.dumps(self.meta, indent=1))

    # --- refs

    def resolve(self, revision: str) -> Commit:
        """The commit that a branch, tag, `refs/…` name or (short) commit id stands for."""
        try:
            return parse_commit(self.git, revision)
        except (KeyError, ValueError) as error:
            raise revision_not_found(revision) from error

    def create_ref(self, ref: str, commit: Commit) -> None:
        """A new branch, tag or pull request. 400 for an invalid name, 409 if it exists: it never moves."""
        if not check_ref_format(ref.encode()):
            raise HubError(400, f"Invalid reference name: {ref}")
        if not self.git.refs.add_if_new(ref.encode(), commit.id):
            raise HubError(409, f"Reference {ref} already exists")

    def delete_ref(self, ref: str) -> None:
        """Delete a branch or tag. 404 if it isn't there, 403 for main."""
        if ref == "refs/heads/main":
            raise HubError(403, "Cannot delete refs/heads/main")
        if ref.encode() not in self.git.refs:
            raise revision_not_found(ref.split("/", 2)[2])
        self.git.refs.remove_if_equals(ref.encode(), None)

    # --- reading

    def entries(self, commit: Commit) -> dict[str, Entry]:
        """Path → file or directory; the root's path is empty. Sizes are of the content, not of a pointer."""
        if commit.id not in self._entries:
            below = iter_tree_contents(self.git.object_store, commit.tree, include_trees=True)
            found = [self._entry(item.path.decode(), item.mode, item.sha) for item in below]
            self._entries[commit.id] = {entry["path"]: entry for entry in found}
        return self._entries[commit.id]

    def _entry(self, path: str, mode: int, oid: bytes) -> Entry:
        entry = {"type": "file", "path": path, "oid": oid.decode()}
        if stat.S_ISDIR(mode):
            return entry | {"type": "directory", "size": 0}
        data = self.git[oid].data
        pointer = LFSPointer.from_bytes(data)
        if pointer is None:
            return entry | {"size": len(data)}
        lfs = {"oid": pointer.oid, "sha256": pointer.oid, "size": pointer.size, "pointerSize": len(data)}
        return entry | {"size": pointer.size, "lfs": lfs}

    def below(self, commit: Commit, path: str = "", *, recursive: bool = True) -> list[Entry]:
        """The entries below a directory; 404 if there is no such directory."""
        entries = self.entries(commit)
        if entries.get(path, {}).get("type") != "directory":
            raise entry_not_found(path, commit)
        start = f"{path}/".lstrip("/")
        found = [entries[each] for each in entries if each.startswith(start) and each != path]
        return [each for each in found if recursive or "/" not in each["path"].removeprefix(start)]

    def content(self, file: Entry) -> Path:
        """The plain file with the content, to be sent whole or in ranges."""
        return self._content / etag(file)

    def read(self, commit: Commit, path: str) -> bytes:
        """The content of a file; empty if it isn't there."""
        file = self.entries(commit).get(path)
        return self.content(file).read_bytes() if file else b""

    def history(self, commit: Commit, path: str | None = None) -> Iterator[Commit]:
        """The commits from this one back to the first; with a path, only those that changed it."""
        walker = self.git.get_walker([commit.id], paths=[path.encode()] if path else None)
        return (step.commit for step in walker)

    def export(self, commit: Commit, destination: Path) -> None:
        """Check a commit out into a new folder, with LFS content instead of pointers."""
        for path, entry in self.entries(commit).items():
            if entry["type"] == "directory":
                (destination / path).mkdir()
            else:
                shutil.copyfile(self.content(entry), destination / path)

    # --- writing

    def commit(
        self, ref: str, operations: list[dict[str, Any]], message: str, author: str, parent: str | None = None
    ) -> Commit:
        """One atomic commit of operations, deletions first; 412 if `parent` isn't the head."""
        with self.lock:
            head = self.resolve(ref) if ref.encode() in self.git.refs else None
            if head and parent and not head.id.startswith(parent.encode()):
                raise HubError(
                    412, "The branch was updated since you opened this page. Please refresh and try again."
                )
            changes: dict[str, bytes | None] = {}
            for operation in sorted(operations, key=lambda each: not each["key"].startswith("deleted")):
                changes |= self._changes(operation["key"], operation["value"], head)
            made = Commit()
            made.tree = commit_tree_changes(
                self.git.object_store,
                head.tree if head else Tree(),
                [(path.encode(), 0o100644 if blob else None, blob) for path, blob in changes.items()],
            )
            made.parents = [head.id] if head else []
            made.author = made.committer = f"{author} <{author}@users.noreply.local>".encode()
            made.author_time = made.commit_time = int(time.time())
            made.author_timezone = made.commit_timezone = 0
            made.message = message.encode()
            self.git.object_store.add_object(made)
            self.git.refs[ref.encode()] = made.id
            return made

    def _changes(self, key: str, value: dict[str, Any], head: Commit | None) -> dict[str, bytes | None]:
        """Path → its new blob, or None if it is deleted."""
        path = value["path"]
        if "\\" in path or FORBIDDEN_PARTS & set(path.rstrip("/").split("/")):
            raise HubError(422, f"Invalid path in repository: {path}")
        if key.startswith("deleted"):
            assert head is not None
            gone = self.entries(head).get(path.rstrip("/"))
            if gone is None:
                raise entry_not_found(path, head)
            items = [gone] if gone["type"] == "file" else self.below(head, gone["path"])
            return {item["path"]: None for item in items if item["type"] == "file"}
        if key == "lfsFile":
            stored = self._content / value["oid"]
            if not stored.exists():
                raise HubError(400, f"LFS pointer pointed to a file that does not exist: {path}")
            blob = Blob.from_string(LFSPointer(value["oid"], stored.stat().st_size).to_bytes())
        else:
            blob = Blob.from_string(value["content"])
            stored = self._content / blob.id.decode()
            if not stored.exists():
                stored.write_bytes(value["content"])
        self.git.object_store.add_object(blob)
        return {path: blob.id}


class HubStorage:
    """All repositories under one folder, and the content of their files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.content = root / "content"
        self.content.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._repositories: dict[tuple[str, str], Repository] = {}
        for file in root.glob("*/*/meta.json"):
            self._add(Repository(file.parent, self.content, json.loads(file.read_text())))

    def _add(self, repository: Repository) -> None:
        self._repositories[repository.kind, repository.id.lower()] = repository

    def find(self, kind: str, repo_id: str) -> Repository | None:
        """A repository by its id; case does not matter."""
        return self._repositories.get((kind, repo_id.lower()))

    def create(self, kind: str, repo_id: str, author: str, meta: dict[str, Any]) -> tuple[Repository, bool]:
        """A repository, with the Hub's initial commit if it is new; and whether it is."""
        with self._lock:
            existing = self.find(kind, repo_id)
            if existing is not None:
                return existing, False
            folder = self.root / kind / repo_id.lower().replace("/", "__")
            shutil.rmtree(folder, ignore_errors=True)  # left behind by an interrupted creation
            (folder / "git").mkdir(parents=True)
            Repo.init_bare(str(folder / "git"), default_branch=b"main").close()
            meta = meta | {"kind": kind, "id": repo_id, "createdAt": iso(time.time())}
            made = Repository(folder, self.content, meta)
            first = {"path": ".gitattributes", "content": GITATTRIBUTES.encode()}
            made.commit("refs/heads/main", [{"key": "file", "value": first}], "initial commit", author)
            made.save()
            self._add(made)
            return made, True

    def delete(self, repository: Repository) -> None:
        """Delete a repository; the content of its files stays, because others may share it."""
        del self._repositories[repository.kind, repository.id.lower()]
        (repository.folder / "meta.json").unlink()
        repository.git.close()
        shutil.rmtree(repository.folder, ignore_errors=True)

    async def receive(self, sha256: str, chunks: AsyncIterable[bytes]) -> None:
        """Store an LFS upload; 400 if its content does not match its name."""
        digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=self.content) as file:
            async for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            if digest.hexdigest() != sha256:
                raise HubError(400, "The content does not match its sha256")
            if not (self.content / sha256).exists():
                os.link(file.name, self.content / sha256)
