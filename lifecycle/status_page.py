"""The port that the platform looks at: /health, and a line of state read from the journal alone."""

import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from errors import SettingsError


def open_port(port: int) -> socket.socket:
    """Listen on every interface, as the platform's proxy needs it.

    Raises:
        SettingsError: somebody else listens there.
    """
    try:
        return socket.create_server(("0.0.0.0", port))  # noqa: S104 (a container's port is published by its host)
    except OSError as error:
        raise SettingsError(f"PORT={port} can't be opened ({error.strerror}). Choose a free port.") from error


def serve(listener: socket.socket, read_record: Callable[[], dict[str, Any]]) -> None:
    """Answer on `listener`, in a daemon thread of this process, until the process ends."""

    def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    def state(request: Request) -> PlainTextResponse:
        return PlainTextResponse(state_line(read_record()) + "\n")

    app = Starlette(routes=[Route("/health", health), Route("/", state)])
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, args=([listener],), name="status page", daemon=True).start()


def state_line(record: dict[str, Any]) -> str:
    """Where the run is, in one line."""
    if record["outcome"]:
        return f"{record['outcome']}: {' '.join(record['reasons'])}"
    stages = record.get("stages", [])
    return f"{stages[-1]['name']}, since {stages[-1]['started_at']}" if stages else "starting"
