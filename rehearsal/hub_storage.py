"""Repositories of the local Hub: bare git repositories, LFS objects by sha256, metadata as small JSON files.

Everything lies under one folder and survives a restart of the server. This module knows git and files; it
knows nothing of HTTP routes, users' rights, or running Spaces. Errors are `HubError`s in the Hub's words.

    ROOT/models|datasets|spaces/OWNER__NAME/{git/, meta.json}     ids are case-insensitive: lower-case folders
    ROOT/lfs/ab/cd/SHA256       ROOT/blobs/SHA1 (git blobs, unpacked for range requests)       ROOT/moved.json
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import stat
import threading
import time
from collections.abc import AsyncIterable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from dulwich.attrs import compile_gitattributes_patterns, match_path, parse_git_attributes
from dulwich.errors import NotTreeError
from dulwich.ignore import IgnoreFilter, read_ignore_patterns
from dulwich.lfs import LFSPointer
from dulwich.object_store import commit_tree_changes
from dulwich.objects import Blob, Commit, Tag, Tree
from dulwich.refs import check_ref_format
from dulwich.repo import Repo

from .hub_errors import HubError, entry_not_found, revision_not_found

KINDS = ("models", "datasets", "spaces")
LFS_SUFFIXES = """7z arrow bin bz2 ckpt ftz gz h5 joblib lfs.* mlmodel model msgpack npy npz onnx ot parquet
pb pickle pkl pt pth rar safetensors tar tflite tgz wasm xz zip zst"""
INITIAL_GITATTRIBUTES = "".join(
    f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES.split()
)
LFS_FROM_BYTES = 10 * 1024 * 1024
FORBIDDEN_PARTS = {"", ".", "..", ".git"}


@dataclass(frozen=True)
class Entry:
    """A file or directory at some commit. `size` is that of the content, not of an LFS pointer."""

    path: str
    oid: str
    size: int = 0
    lfs_sha256: str | None = None
    pointer_size: int = 0
    is_directory: bool = False


def iso(timestamp: float) -> str:
    """A time as the Hub writes it: UTC, milliseconds, `Z`."""
    return (
        datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        + f"{int(timestamp * 1000) % 1000:03d}Z"
    )


def write_json(path: Path, value: object) -> None:
    """Write a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{threading.get_ident()}.tmp")
    partial.write_text(json.dumps(value, indent=1))
    partial.replace(path)


class Repository:
    """One repository: its git history, its refs, and its metadata (`meta`; `save` makes it durable)."""

    def __init__(self, folder: Path, meta: dict[str, Any], lfs: LfsObjects) -> None:
        self.folder = folder
        self.meta = meta
        self.lock = threading.RLock()
        self.git = Repo(str(folder / "git"))
        self._lfs = lfs
        self._blob_sizes: dict[bytes, tuple[int, LFSPointer | None]] = {}

    @property
    def id(self) -> str:
        return self.meta["id"]

    @property
    def kind(self) -> str:
        return self.meta["kind"]

    def save(self) -> None:
        """Make `meta` durable."""
        with self.lock:
            write_json(self.folder / "meta.json", self.meta)

    # --- refs

    def refs(self, namespace: str) -> dict[str, str]:
        """Names → commits under `heads`, `tags` or `pr`; annotated tags are followed to their commit."""
        found = self.git.refs.as_dict(f"refs/{namespace}".encode())
        return {name.decode(): self._commit_of(target).id.decode() for name, target in found.items()}

    def resolve(self, revision: str) -> Commit:
        """The commit that a branch, tag, `refs/…` name, or full or short (≥ 7) commit id stands for."""
        for ref in (
            f"refs/heads/{revision}",
            f"refs/tags/{revision}",
            revision if revision.startswith("refs/") else "",
        ):
            if ref and ref.encode() in self.git.refs:
                return self._commit_of(self.git.refs[ref.encode()])
        if re.fullmatch(r"[0-9a-f]{7,40}", revision):
            for object_id in self.git.object_store.iter_prefix(revision.encode()):
                if isinstance(found := self.git[object_id], Commit):
                    return found
        raise revision_not_found(revision)

    def _commit_of(self, object_id: bytes) -> Commit:
        found = self.git[object_id]
        while isinstance(found, Tag):
            found = self.git[found.object[1]]
        assert isinstance(found, Commit)
        return found

    def create_ref(self, ref: str, commit: bytes) -> None:
        """A new branch or tag. 400 for an invalid name, 409 where it exists: it never moves."""
        if not check_ref_format(ref.encode()):
            raise HubError(400, f"Invalid reference name: {ref}")
        if not self.git.refs.add_if_new(ref.encode(), commit):
            raise HubError(409, f"Reference {ref} already exists")

    def tag(self, name: str, revision: str, message: str | None, author: str) -> None:
        """Tag a revision, annotated if there is a message. 404 without the revision, 409 if it exists."""
        commit = self.resolve(revision)
        target = commit.id
        with self.lock:
            if message and f"refs/tags/{name}".encode() not in self.git.refs:
                annotated = Tag()
                annotated.name, annotated.message = name.encode(), message.encode()
                annotated.tagger = _identity(author)
                annotated.tag_time, annotated.tag_timezone = int(time.time()), 0
                annotated.object = (Commit, commit.id)
                self.git.object_store.add_object(annotated)
                target = annotated.id
            self.create_ref(f"refs/tags/{name}", target)

    def delete_ref(self, ref: str) -> None:
        """Delete a branch or tag. 404 if it isn't there, 403 for main."""
        if ref == "refs/heads/main":
            raise HubError(403, "Cannot delete refs/heads/main")
        with self.lock:
            if ref.encode() not in self.git.refs:
                raise revision_not_found(ref.split("/", 2)[2])
            self.git.refs.remove_if_equals(ref.encode(), None)

    # --- reading

    def _blob(self, oid: bytes) -> tuple[int, LFSPointer | None]:
        if oid not in self._blob_sizes:
            data = self.git[oid].data
            self._blob_sizes[oid] = len(data), LFSPointer.from_bytes(data) if len(data) < 512 else None
        return self._blob_sizes[oid]

    def _entry(self, path: str, mode: int, oid: bytes) -> Entry:
        if stat.S_ISDIR(mode):
            return Entry(path, oid.decode(), is_directory=True)
        size, pointer = self._blob(oid)
        if pointer is None:
            return Entry(path, oid.decode(), size)
        return Entry(path, oid.decode(), pointer.size, pointer.oid, size)

    def entry(self, commit: Commit, path: str) -> Entry | None:
        """What lies at a path, None if nothing does. The root is a directory with the empty path."""
        path = path.strip("/")
        if not path:
            return Entry("", commit.tree.decode(), is_directory=True)
        root = self.git[commit.tree]
        assert isinstance(root, Tree)
        try:
            mode, oid = root.lookup_path(self.git.object_store.__getitem__, path.encode())
        except (KeyError, NotTreeError):  # the latter for `file.txt/x`
            return None
        return self._entry(path, mode, oid)

    def list_tree(self, commit: Commit, path: str = "", *, recursive: bool = False) -> Iterator[Entry]:
        """The entries below a directory; 404 EntryNotFound if there is no such directory."""
        top = self.entry(commit, path)
        if top is None or not top.is_directory:
            raise entry_not_found(path, commit.id.decode())
        tree = self.git[top.oid.encode()]
        assert isinstance(tree, Tree)
        for name, mode, oid in tree.iteritems():
            item = self._entry(f"{top.path}/{name.decode()}".lstrip("/"), mode, oid)
            yield item
            if recursive and item.is_directory:
                yield from self.list_tree(commit, item.path, recursive=True)

    def files(self, commit: Commit) -> list[Entry]:
        """All files of a commit."""
        return [item for item in self.list_tree(commit, recursive=True) if not item.is_directory]

    def read(self, commit: Commit, path: str) -> bytes | None:
        """A file's content (LFS followed), None if it isn't there."""
        item = self.entry(commit, path)
        return None if item is None or item.is_directory else self.content_path(item).read_bytes()

    def content_path(self, item: Entry) -> Path:
        """A plain file on disk with the entry's content, to be sent whole or in ranges."""
        if item.lfs_sha256 is not None:
            return self._lfs.path(item.lfs_sha256)
        return self._lfs.unpacked_blob(item.oid, lambda: self.git[item.oid.encode()].data)

    def history(self, commit: Commit) -> Iterator[Commit]:
        """The commits from this one back to the first."""
        while True:
            yield commit
            if not commit.parents:
                return
            commit = self._commit_of(commit.parents[0])

    def last_commits(self, commit: Commit, paths: Iterable[str]) -> dict[str, Commit]:
        """For each path the latest commit that changed it."""
        wanted = {path: item.oid if (item := self.entry(commit, path)) else None for path in paths}
        found: dict[str, Commit] = {}
        for version in self.history(commit):
            parent = self._commit_of(version.parents[0]) if version.parents else None
            for path in [path for path in wanted if path not in found]:
                before = self.entry(parent, path) if parent else None
                if before is None or before.oid != wanted[path]:
                    found[path] = version
            if len(found) == len(wanted):
                break
        return found

    def card_data(self, commit: Commit) -> dict[str, Any]:
        """The YAML front matter of README.md, {} without one or with a broken one."""
        readme = self.read(commit, "README.md") or b""
        try:
            return front_matter(readme.decode("utf-8", "replace")) or {}
        except yaml.YAMLError:
            return {}

    # --- writing

    def upload_modes(
        self, commit: Commit, files: list[dict[str, Any]], gitignore: str | None
    ) -> list[dict[str, Any]]:
        """Preupload: how each file is to come, whether it is ignored, and what is there now."""
        attributes = self.read(commit, ".gitattributes") or b""
        patterns = compile_gitattributes_patterns(parse_git_attributes(io.BytesIO(attributes)))
        ignored = gitignore.encode() if gitignore is not None else self.read(commit, ".gitignore") or b""
        ignore = IgnoreFilter(list(read_ignore_patterns(io.BytesIO(ignored))))
        answers = []
        for file in files:
            path = file["path"]
            by_attribute = match_path(patterns, path.encode()).get(b"filter") == b"lfs"
            is_lfs = file["size"] > 0 and (by_attribute or file["size"] >= LFS_FROM_BYTES)
            present = self.entry(commit, path)
            answer = {"path": path, "uploadMode": "lfs" if is_lfs else "regular"}
            answer["shouldIgnore"] = bool(ignore.is_ignored(path))
            if present is not None and not present.is_directory:
                answer["oid"] = present.lfs_sha256 or present.oid
            answers.append(answer)
        return answers

    def commit(
        self,
        ref: str,
        base: Commit | None,
        operations: list[dict[str, Any]],
        *,
        summary: str,
        description: str,
        author: str,
    ) -> Commit:
        """One atomic commit of ndjson operations on `ref`, whose head must still be `base` (412 otherwise).

        Deletions apply before additions. 422 for a path outside the repository, 404 for the deletion of a
        file that isn't there, 400 for an LFS object that was never uploaded.
        """
        with self.lock:
            changes: dict[str, tuple[int, bytes] | None] = {}
            for operation in sorted(operations, key=lambda each: not each["key"].startswith("deleted")):
                self._collect(operation["key"], operation["value"], base, changes)
            tree = commit_tree_changes(
                self.git.object_store,
                base.tree if base else Tree(),
                [(path.encode(), *(blob or (None, None))) for path, blob in changes.items()],
            )
            made = Commit()
            made.tree = tree.id if isinstance(tree, Tree) else tree
            made.parents = [base.id] if base else []
            made.author = made.committer = _identity(author)
            made.author_time = made.commit_time = int(time.time())
            made.author_timezone = made.commit_timezone = 0
            made.encoding = b"UTF-8"
            made.message = f"{summary}\n\n{description}".strip().encode()
            self.git.object_store.add_object(made)
            if not self.git.refs.set_if_equals(ref.encode(), base.id if base else None, made.id):
                raise stale_parent()
            return made

    def _collect(
        self,
        key: str,
        value: dict[str, Any],
        base: Commit | None,
        changes: dict[str, tuple[int, bytes] | None],
    ) -> None:
        path = value["path"]
        if "\\" in path or FORBIDDEN_PARTS & set(path.rstrip("/").split("/")):
            raise HubError(422, f"Invalid path in repository: {path}")
        if key in ("deletedFile", "deletedFolder"):
            gone = self.entry(base, path) if base else None
            if gone is None:
                raise entry_not_found(path, base.id.decode() if base else "")
            assert base is not None
            below = self.list_tree(base, path, recursive=True) if gone.is_directory else [gone]
            changes.update({item.path: None for item in below if not item.is_directory})
            return
        if key == "lfsFile":
            stored = self._lfs.path(value["oid"])
            if not stored.exists():
                raise HubError(400, f"LFS pointer pointed to a file that does not exist: {path}")
            blob = Blob.from_string(LFSPointer(value["oid"], stored.stat().st_size).to_bytes())
        elif key == "file":
            blob = Blob.from_string(value["data"])
        else:
            raise HubError(400, f"Unknown operation in commit: {key}")
        self.git.object_store.add_object(blob)
        changes[path] = (0o100644, blob.id)

    def export(self, commit: Commit, destination: Path) -> None:
        """Check a commit out into a new folder, LFS content in place of pointers."""
        destination.mkdir(parents=True)
        for item in self.files(commit):
            target = destination / item.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.content_path(item), target)


class LfsObjects:
    """Large files by sha256, and git blobs unpacked so that they can be sent in ranges."""

    def __init__(self, root: Path) -> None:
        self._root = root
        for name in ("lfs", "blobs", "incoming"):
            (root / name).mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where an object is, or would be; 422 for what is no sha256."""
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise HubError(422, f"Not a sha256: {sha256}")
        return self._root / "lfs" / sha256[:2] / sha256[2:4] / sha256

    async def receive(self, sha256: str, chunks: AsyncIterable[bytes]) -> None:
        """Store an upload; 400 if its content isn't what its name says (a broken transfer leaves nothing)."""
        path = self.path(sha256)
        digest = hashlib.sha256()
        incoming = self._root / "incoming" / f"{sha256}.{time.monotonic_ns()}"
        try:
            with incoming.open("wb") as file:
                async for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != sha256:
                raise HubError(400, "The content does not match its sha256")
            path.parent.mkdir(parents=True, exist_ok=True)
            incoming.replace(path)
        finally:
            incoming.unlink(missing_ok=True)

    def unpacked_blob(self, oid: str, read: Any) -> Path:
        """A git blob as a file of its own, written at its first use."""
        path = self._root / "blobs" / oid
        if not path.exists():
            partial = path.with_suffix(f".{threading.get_ident()}")
            partial.write_bytes(read())
            partial.replace(path)
        return path


class HubStorage:
    """All repositories under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.lfs = LfsObjects(self.root)
        self._lock = threading.RLock()
        self._repositories: dict[tuple[str, str], Repository] = {}
        moved = self.root / "moved.json"
        self._moved: dict[str, str] = json.loads(moved.read_text()) if moved.exists() else {}
        for kind in KINDS:
            for meta in sorted((self.root / kind).glob("*/meta.json")):
                self._load(meta.parent)

    def _load(self, folder: Path) -> Repository:
        meta = json.loads((folder / "meta.json").read_text())
        repository = Repository(folder, meta, self.lfs)
        self._repositories[meta["kind"], meta["id"].lower()] = repository
        return repository

    def _folder(self, kind: str, repo_id: str) -> Path:
        return self.root / kind / repo_id.lower().replace("/", "__")

    def find(self, kind: str, repo_id: str) -> Repository | None:
        """A repository by its id in any case, or by an id that it had before a move."""
        with self._lock:
            direct = self._repositories.get((kind, repo_id.lower()))
            moved_to = self._moved.get(f"{kind}/{repo_id.lower()}")
            return direct or (self._repositories.get((kind, moved_to.lower())) if moved_to else None)

    def all(self, kind: str) -> list[Repository]:
        """The repositories of a kind, the newest first."""
        with self._lock:
            found = [repository for (of_kind, _), repository in self._repositories.items() if of_kind == kind]
        return sorted(found, key=lambda repository: repository.meta["createdAt"], reverse=True)

    def create(self, kind: str, repo_id: str, *, author: str, private: bool, **meta: Any) -> Repository:
        """A new repository with the Hub's first commit (.gitattributes). The caller ruled out a double."""
        folder = self._folder(kind, repo_id)
        with self._lock:
            shutil.rmtree(folder, ignore_errors=True)  # left behind by a creation that was cut short
            (folder / "git").mkdir(parents=True)
            git = Repo.init_bare(str(folder / "git"))
            git.refs.set_symbolic_ref(b"HEAD", b"refs/heads/main")
            git.close()
            first = {"path": ".gitattributes", "data": INITIAL_GITATTRIBUTES.encode()}
            made = {
                "kind": kind,
                "id": repo_id,
                "private": private,
                "gated": False,
                "createdAt": iso(time.time()),
            }
            repository = Repository(folder, {**made, "pulls": [], **meta}, self.lfs)
            repository.commit(
                "refs/heads/main",
                None,
                [{"key": "file", "value": first}],
                summary="initial commit",
                description="",
                author=author,
            )
            repository.save()
            return self._load(folder)

    def delete(self, repository: Repository) -> None:
        """Delete a repository; its LFS objects stay, as others may share them."""
        with self._lock, repository.lock:
            self._repositories.pop((repository.kind, repository.id.lower()), None)
            (repository.folder / "meta.json").unlink(missing_ok=True)
            repository.git.close()
            shutil.rmtree(repository.folder, ignore_errors=True)

    def move(self, repository: Repository, new_id: str) -> Repository:
        """Rename a repository; the old id goes on leading to it."""
        with self._lock, repository.lock:
            old_id = repository.id
            del self._repositories[repository.kind, old_id.lower()]
            repository.git.close()
            repository.meta["id"] = new_id
            repository.save()
            folder = self._folder(repository.kind, new_id)
            repository.folder.replace(folder)
            for alias, target in self._moved.items():
                if target.lower() == old_id.lower() and alias.startswith(f"{repository.kind}/"):
                    self._moved[alias] = new_id
            self._moved[f"{repository.kind}/{old_id.lower()}"] = new_id
            write_json(self.root / "moved.json", self._moved)
            return self._load(folder)


def front_matter(readme: str) -> dict[str, Any] | None:
    """The YAML between the leading `---` lines, None without them. yaml.YAMLError if it is broken."""
    match = re.match(r"\s*-{3,}[ \t]*\r?\n(.*?)\r?\n-{3,}[ \t]*(\r?\n|$)", readme, re.DOTALL)
    loaded = yaml.safe_load(match[1]) if match else None
    if loaded is not None and not isinstance(loaded, dict):
        raise yaml.YAMLError("the metadata must be a mapping")
    return loaded


def stale_parent() -> HubError:
    """412: somebody committed in between."""
    return HubError(412, "The branch was updated since you opened this page. Please refresh and try again.")


def _identity(author: str) -> bytes:
    return f"{author} <{author}@users.noreply.local>".encode()
