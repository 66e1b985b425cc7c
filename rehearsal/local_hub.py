"""A Hub on loopback that the official clients can't tell from the real one, and its command line.

    python -m rehearsal.local_hub --port 8080 --root DIR --users users.json [--host-spaces]

This module puts the parts together: routes (`hub_routes`, `hub_uploads`, `space_routes`), storage
(`hub_storage`), faults (`hub_faults`) and Spaces (`space_host`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from . import hub_routes, hub_uploads, space_routes
from .hub_access import MaybeUser, Payload, User
from .hub_errors import HubError, answer_with_error, repository_not_found
from .hub_faults import REQUESTS_KEPT, DroppableProtocol, Faults, SeenRequest, Wire
from .hub_storage import HubStorage
from .space_host import SpaceHost
from .space_runtime import SimulatedSpaces

local = APIRouter()
unprefixed = APIRouter()


@local.get("/_local/faults")
def list_faults(request: Request) -> list[dict[str, Any]]:
    """The faults switched on."""
    return request.app.state.faults.as_list()


@local.post("/_local/faults")
def add_fault(request: Request, payload: Payload) -> dict[str, Any]:
    """Switch a fault on: the fields of `hub_faults.Fault`."""
    request.app.state.faults.add(**payload)
    return {}


@local.delete("/_local/faults")
def clear_faults(request: Request) -> dict[str, Any]:
    """Switch all faults off."""
    request.app.state.faults.clear()
    return {}


# The id of a model has no prefix, so its routes would swallow others: they come last (see `create_app`).
for start in ("/{kind}/{owner}/{name}", "/{owner}/{name}"):
    for route in ("/resolve/{revision}/{path:path}", "/raw/{revision}/{path:path}"):
        unprefixed.add_api_route(start + route, hub_routes.resolve_file, methods=["GET", "HEAD"])
    unprefixed.add_api_route(start + "/info/lfs/objects/batch", hub_uploads.lfs_batch, methods=["POST"])


@unprefixed.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "DELETE"])
def not_found(user: MaybeUser) -> Response:
    """An id without a namespace, or what the local Hub doesn't offer."""
    raise repository_not_found(signed_in=user is not None)


# --- the server


def create_app(
    root: Path, users: dict[str, User], *, space_build_seconds: float = 0, space_host: SpaceHost | None = None
) -> FastAPI:
    """The ASGI application: storage below `root`, `users` by token.

    A `space_host` really runs Spaces and brings its own storage; without one, stages are simulated.
    """

    @asynccontextmanager
    async def close_spaces(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(app.state.spaces.close)

    app = FastAPI(
        title="local Hub", lifespan=close_spaces, docs_url=None, openapi_url=None, redirect_slashes=False
    )
    app.state.storage = space_host.storage if space_host else HubStorage(root)
    app.state.spaces = space_host or SimulatedSpaces(space_build_seconds)
    app.state.users = users
    app.state.creating = threading.Lock()
    app.state.faults = Faults()
    app.state.requests = deque(maxlen=REQUESTS_KEPT)
    for router in (hub_routes.api, hub_uploads.api, space_routes.api, local, unprefixed):
        app.include_router(router)
    app.add_exception_handler(HubError, answer_with_error)
    app.add_middleware(Wire, faults=app.state.faults, requests=app.state.requests)
    return app


def server_of(app: FastAPI, **settings: Any) -> uvicorn.Server:
    """uvicorn on loopback, with connections that can be dropped."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        http=DroppableProtocol,
        log_level="warning",
        timeout_graceful_shutdown=2,
        **settings,
    )
    return uvicorn.Server(config)


class LocalHub:
    """A local Hub in a thread of this process, for tests: `HfApi(endpoint=hub.url, token=...)`.

    `host_spaces` really runs Spaces (`space_host`); closing ends them. A new LocalHub on
    the same root goes on.
    """

    def __init__(
        self,
        root: Path,
        users: dict[str, User],
        *,
        port: int = 0,
        space_build_seconds: float = 0,
        host_spaces: bool = False,
        space_grace_seconds: float = 10.0,
    ) -> None:
        hosted = SpaceHost(HubStorage(root), grace_seconds=space_grace_seconds) if host_spaces else None
        self.space_host = hosted
        app = create_app(root, users, space_build_seconds=space_build_seconds, space_host=hosted)
        self.storage: HubStorage = app.state.storage
        self.faults: Faults = app.state.faults
        self.requests: deque[SeenRequest] = app.state.requests
        listener = socket.create_server(("127.0.0.1", port))  # listens at once: early callers queue
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = server_of(app)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and end the Spaces' processes."""
        self._server.should_exit = True
        self._thread.join()

    def __enter__(self) -> LocalHub:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.local_hub", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", type=Path, required=True, help="folder of all repositories")
    parser.add_argument("--users", type=Path, required=True, help="JSON: token → name, fullname, orgs, role")
    parser.add_argument(
        "--space-build-seconds", type=float, default=0.0, help="how long a simulated Space builds"
    )
    parser.add_argument("--host-spaces", action="store_true", help="really run Spaces, as processes")
    options = parser.parse_args()
    users = json.loads(options.users.read_text())
    space_host = SpaceHost(HubStorage(options.root)) if options.host_spaces else None
    app = create_app(
        options.root, users, space_build_seconds=options.space_build_seconds, space_host=space_host
    )
    server_of(app, port=options.port).run()


if __name__ == "__main__":
    main()
