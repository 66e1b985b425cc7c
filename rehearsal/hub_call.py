"""A request to the local Hub: the user, their rights, and the repository in the path.

Path parameters arrive percent-encoded (see `hub_faults`) and are decoded here. Only `Call.repository` decides
what a route may do with a repository.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any
from urllib.parse import unquote

from dulwich.objects import Commit
from fastapi import Depends, Request

from .hub_storage import Entry, HubError, HubStorage, Repository
from .space_host import Space, SpaceHost

User = dict[str, Any]
Json = dict[str, Any]


class Call:
    """One request. Its parts are looked up when a route asks for them, or refused in the Hub's words."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.path: str = request.scope["path"]
        self.storage: HubStorage = request.app.state.storage
        self.host: SpaceHost = request.app.state.host
        users: dict[str, User] = request.app.state.users
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme and token not in users:
            raise HubError(401, "Invalid credentials in Authorization header")
        self.user: User = users.get(token, {})

    def owns(self, repo_id: str) -> bool:
        """Users own what is in their own namespace and in those of their organizations."""
        names = [self.user.get("name", ""), *self.user.get("orgs", [])]
        return repo_id.split("/")[0].lower() in [name.lower() for name in names]

    def require_writer(self, repo_id: str | None = None) -> None:
        """401 without a token; 403 with a read-only one, or in somebody else's namespace."""
        if not self.user:
            raise HubError(401, "Invalid username or password.")
        if self.user.get("role") == "read":
            raise HubError(403, "This token has no write permission: it is read-only")
        if repo_id and not self.owns(repo_id):
            raise HubError(403, f"You don't have the rights to change {repo_id}")

    def find(self, kind: str, repo_id: str) -> Repository:
        """A repository that the user may see; any other is "not found", whether it exists or not."""
        found = self.storage.find(kind, repo_id)
        if found is None or (found.meta["private"] and not self.owns(found.id)):
            if self.user:
                raise HubError(404, "Repository not found", "RepoNotFound")
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        return found

    @cached_property
    def repository(self) -> Repository:
        """The repository in the path (a model if it names no kind), if the user may do this with it.

        Anyone who sees a repository may read it and, with a write token, propose changes in a pull request.
        The rest is reserved for owners.
        """
        found = self.find(self.part("kind", "models"), f"{self.part('owner')}/{self.part('name')}")
        route = self.request.scope["route"].path
        reads = self.request.method in ("GET", "HEAD") or "/paths-info/" in route
        proposes = route.endswith(("/discussions", "/objects/batch"))
        if route.endswith(("/preupload/{revision}", "/commit/{revision}")):
            proposes = self.asks_for("create_pr") or self.part("revision").startswith("refs/pr/")
        if proposes and not reads:
            self.require_writer()
        elif not reads or route.endswith(("/secrets", "/variables")):
            self.require_writer(found.id)
        return found

    @property
    def space(self) -> Space:
        """The repository in the path, as a Space."""
        return self.host.space(self.repository.id)

    @cached_property
    def commit(self) -> Commit:
        """The commit that the revision in the path stands for; without one, that of main."""
        return self.repository.resolve(self.part("revision", "main"))

    @property
    def entries(self) -> dict[str, Entry]:
        """The files and directories of that commit, by path."""
        return self.repository.entries(self.commit)

    def part(self, name: str, otherwise: str = "") -> str:
        """A part of the path, decoded."""
        return unquote(self.request.path_params.get(name, otherwise))

    def asks_for(self, name: str) -> bool:
        """Whether the query switches an option on."""
        return self.request.query_params.get(name, "").lower() in ("1", "true")

    def url_of(self, repository: Repository) -> str:
        """The address of a repository's page."""
        prefix = "" if repository.kind == "models" else f"{repository.kind}/"
        return f"{self.request.base_url}{prefix}{repository.id}"


Asked = Annotated[Call, Depends()]
