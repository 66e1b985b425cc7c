"""A Hub on loopback that looks to the official clients like the real one, and its command line.

    python -m rehearsal.local_hub --port 8080 --root DIR --users users.json [--host-spaces]

This module puts the parts together: routes, storage, faults, Spaces and Jobs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import socket
import threading
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from . import hub_jobs, hub_routes, hub_schedules, hub_uploads, hub_webhooks
from .hub_call import User
from .hub_faults import DroppableProtocol, Faults
from .hub_storage import HubStorage
from .job_host import JobHost
from .space_host import SpaceHost


class LocalHub:
    """A local Hub in a thread of this process, for tests: `HfApi(endpoint=hub.url, token=...)`.

    Repositories are kept in `root`; a new LocalHub on the same root has them again. `users` are by token.
    With `host_spaces` Spaces and Jobs really run, until the Hub is closed. Otherwise their stages are
    simulated.
    """

    def __init__(
        self,
        root: Path,
        users: dict[str, User],
        *,
        port: int = 0,
        host_spaces: bool = False,
        space_build_seconds: float = 0.0,
        space_grace_seconds: float = 10.0,
    ) -> None:
        pretended_build = None if host_spaces else space_build_seconds
        app = FastAPI(title="local Hub", docs_url=None, openapi_url=None, redirect_slashes=False)
        app.state.users = users
        app.state.storage = HubStorage(root)
        app.state.host = self.space_host = SpaceHost(app.state.storage, pretended_build, space_grace_seconds)
        self.job_host = JobHost(
            app.state.storage, root / "jobs", space_grace_seconds, runs_processes=host_spaces
        )
        app.state.jobs = self.jobs = hub_jobs.JobsOfHub(root, self.job_host)
        for router in (
            hub_jobs.api,
            hub_schedules.api,
            hub_webhooks.api,
            hub_uploads.api,
        ):  # before the general paths
            app.include_router(router)
        app.include_router(hub_routes.api)
        app.add_api_route(
            "/{path:path}", hub_routes.not_found, methods=["GET", "HEAD", "POST", "PUT", "DELETE"]
        )
        self.faults = Faults(app)
        self.requests = self.faults.requests
        listener = socket.create_server(("127.0.0.1", port))  # listens at once: early callers queue
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else answers wait 40 ms for an ACK
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self.faults,
            http=DroppableProtocol,
            lifespan="off",
            log_level="warning",
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and end the processes of Spaces and Jobs."""
        self._server.should_exit = True
        self.job_host.close()  # first: who follows a Job's log is served until it ends
        self._thread.join()
        self.job_host.close()
        self.space_host.close()

    def __enter__(self) -> LocalHub:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main() -> None:
    """The command line: serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.local_hub", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", type=Path, required=True, help="folder of all repositories")
    parser.add_argument("--users", type=Path, required=True, help="JSON: token → name, fullname, orgs, role")
    parser.add_argument(
        "--space-build-seconds", type=float, default=0.0, help="how long Spaces seem to build"
    )
    parser.add_argument("--host-spaces", action="store_true", help="really run Spaces and Jobs, as processes")
    options = vars(parser.parse_args())
    options["users"] = json.loads(options["users"].read_text())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with LocalHub(**options), contextlib.suppress(KeyboardInterrupt):
        signal.pause()


if __name__ == "__main__":
    main()
