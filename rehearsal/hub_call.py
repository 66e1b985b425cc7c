"""Who asks the local Hub, and for what: a user, with rights, and the repository in the path of a request.

Path parameters arrive percent-encoded (see `hub_faults`) and are decoded here. No route is known here.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any
from urllib.parse import unquote

from dulwich.objects import Commit
from fastapi import Depends, Request

from .hub_storage import KINDS, HubError, HubStorage, Repository
from .space_host import Space, SpaceHost

User = dict[str, Any]


class Call:
    """One request. What a route asks of it is looked up, or refused in the Hub's words, at that moment."""

    def __init__(self, request: Request) -> None:
        self.request = request
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

    def require_writer(self) -> None:
        """401 without a token, 403 with one that may only read."""
        if not self.user:
            raise HubError(401, "Invalid username or password.")
        if self.user.get("role") == "read":
            raise HubError(403, "This token has no write permission: it is read-only")

    def require_owner(self, repo_id: str) -> None:
        """403 in somebody else's namespace, too."""
        self.require_writer()
        if not self.owns(repo_id):
            raise HubError(403, f"You don't have the rights to change {repo_id}")

    def not_found(self) -> HubError:
        """404, or 401 without a token: strangers aren't told whether a private repository exists."""
        if self.user:
            return HubError(404, "Repository not found", "RepoNotFound")
        return HubError(401, "Invalid username or password.", "RepoNotFound")

    def find(self, kind: str, repo_id: str) -> Repository:
        """A repository that the user may see; any other is not found, whether or not it exists."""
        found = self.storage.find(kind, repo_id)
        if found is None or (found.meta["private"] and not self.owns(found.id)):
            raise self.not_found()
        return found

    def part(self, name: str, otherwise: str = "") -> str:
        """A part of the path, decoded."""
        return unquote(self.request.path_params.get(name, otherwise))

    @cached_property
    def repository(self) -> Repository:
        """The repository in the path, for anybody who may see it. Without a kind it is a model."""
        kind = self.part("kind", "models")
        if kind not in KINDS:
            raise self.not_found()
        return self.find(kind, f"{self.part('owner')}/{self.part('name')}")

    @property
    def own_repository(self) -> Repository:
        """The repository in the path, for its owner."""
        self.require_owner(self.repository.id)
        return self.repository

    @property
    def own_space(self) -> Space:
        """The Space in the path, for its owner."""
        return self.host.space(self.own_repository.id)

    @cached_property
    def commit(self) -> Commit:
        """The commit that the revision in the path stands for; main's without one."""
        return self.repository.resolve(self.part("revision", "main"))

    def asks_for(self, name: str) -> bool:
        """Whether the query switches something on."""
        return self.request.query_params.get(name, "").lower() in ("1", "true")

    def asks_to_expand(self, name: str) -> bool:
        """Whether the answer is to have a further property."""
        return name in self.request.query_params.getlist("expand[]")

    def url_of(self, repository: Repository) -> str:
        """The address of a repository's page."""
        prefix = "" if repository.kind == "models" else f"{repository.kind}/"
        return f"{self.request.base_url}{prefix}{repository.id}"


Asked = Annotated[Call, Depends()]
