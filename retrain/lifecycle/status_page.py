"""The port that the platform looks at: a page for people, /health, /api/status and /metrics.

All of it is read from the journal. The page is public on a public Space.
"""

import asyncio
import json
import math
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import uvicorn
from jinja2 import Environment
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from uvicorn.protocols.http.h11_impl import H11Protocol

from retrain.errors import SettingsError
from retrain.journal import Journal
from retrain.language import templates
from retrain.lifecycle.metrics import metrics
from retrain.lifecycle.run_status import run_status

PAGE = Path(__file__).with_name("page")
LOOK_SECONDS = 1.0
# A line so often keeps proxies from closing a stream in which nothing happens.
ALIVE_SECONDS = 15.0
# Each connection is a file of the process that has to pause the Space in the end; who watches keeps one.
MAX_CONNECTIONS, MAX_WATCHERS, COME_BACK_SECONDS = 200, 100, 60
# As many may be accepted at once, before the first of them is counted.
BACKLOG = 32
# In which watchers are sent the end of the run, before the Space and its page are paused.
LAST_LOOK_SECONDS = 5.0
# In which a client has to send a whole request, and to read what it is sent.
PATIENCE_SECONDS = 10.0
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "frame-ancestors 'self' https://huggingface.co"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class StatusPage:
    """Renders the state of a run, anew only when its journal has grown."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._version: object = None
        self._status: dict[str, Any] = {}
        self._rendered: dict[str, str] = {}
        self._seen: dict[object, tuple[int, int]] = {}  # by watcher: the journal's version that it was sent
        self._was_seen = threading.Condition()

    @property
    def status(self) -> dict[str, Any]:
        """See run_status."""
        version = self._journal.version
        if version != self._version:
            self._status, self._version, self._rendered = run_status(list(self._journal.read())), version, {}
        return self._status

    def render(self, template: str) -> str:
        status = self.status
        if template not in self._rendered:
            templates = page_templates(status["language"])
            self._rendered[template] = templates.get_template(template).render(run=status)
        return self._rendered[template]

    async def page(self, request: Request) -> Response:
        return HTMLResponse(self.render("page.html"), headers=HEADERS)

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=HEADERS)

    async def api(self, request: Request) -> Response:
        return JSONResponse(self.status, headers=HEADERS)

    async def metrics(self, request: Request) -> Response:
        return Response(metrics(self.status), media_type=CONTENT_TYPE_LATEST, headers=HEADERS)

    async def events(self, request: Request) -> Response:
        if request.method == "HEAD":  # has no body, and so would never end
            return Response(media_type="text/event-stream", headers=HEADERS)
        return StreamingResponse(self.changes(), media_type="text/event-stream", headers=HEADERS)

    async def changes(self) -> AsyncIterator[str]:
        """Server-sent events: the part of the page that changes, whenever it has changed."""
        if len(self._seen) >= MAX_WATCHERS:
            yield f"retry: {COME_BACK_SECONDS * 1000}\n\n"
            return
        shown, silent, watcher = "", 0.0, object()
        self._seen[watcher] = (0, 0)
        try:
            while True:
                version = self._journal.version
                if (now := self.render("run.html")) != shown:
                    shown, silent = now, 0.0
                    yield f"data: {json.dumps(now)}\n\n"
                elif silent > ALIVE_SECONDS:
                    silent = 0.0
                    yield ": alive\n\n"
                with self._was_seen:
                    self._seen[watcher] = version
                    self._was_seen.notify_all()
                await asyncio.sleep(LOOK_SECONDS)
                silent += LOOK_SECONDS
        finally:
            with self._was_seen:
                del self._seen[watcher]
                self._was_seen.notify_all()

    def show_to_all(self, seconds: float = LAST_LOOK_SECONDS) -> bool:
        """Wait until all who watch were sent what the journal holds now; False if some were not in time."""
        version = self._journal.version
        with self._was_seen:
            return self._was_seen.wait_for(
                lambda: all(seen >= version for seen in self._seen.values()), seconds
            )


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP, with an end to connections that are too many, or whose clients keep it waiting.

    A client is waited for until it has sent a request, and while it does not read. There is one answer a
    connection, so that nobody keeps one for the next.
    """

    waiting_since = math.inf
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > MAX_CONNECTIONS:
            # Whoever waits longest makes room; if all others are busy, that is the new one itself.
            ours = [each for each in self.connections if isinstance(each, BoundedProtocol)]
            longest = min(ours, key=lambda each: each.waiting_since)
            self.connections.discard(longest)
            longest.transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._stop_waiting_if_busy()

    def on_response_complete(self) -> None:
        self._wait()  # until the client has read it
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting_if_busy()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()

    def _wait(self) -> None:
        self._stop_waiting()
        self.waiting_since = self.loop.time()
        self._deadline = self.loop.call_later(PATIENCE_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        self.waiting_since = math.inf
        if self._deadline:
            self._deadline.cancel()

    def _stop_waiting_if_busy(self) -> None:
        if self.cycle and not self.cycle.response_complete and not self.flow.write_paused:
            self._stop_waiting()


def open_port(port: int) -> socket.socket:
    """Listen on every interface, as the platform's proxy needs it.

    Raises:
        SettingsError: somebody else listens there.
    """
    try:
        return socket.create_server(("0.0.0.0", port))  # noqa: S104 (a container's port is published by its host)
    except OSError as error:
        raise SettingsError(f"PORT={port} can't be opened ({error.strerror}). Choose a free port.") from error


def serve(listener: socket.socket, journal: Journal) -> StatusPage:
    """Answer on `listener`, in a daemon thread of this process, until the process ends."""
    page = StatusPage(journal)
    app = Starlette(
        routes=[
            Route("/", page.page),
            Route("/events", page.events),
            Route("/health", page.health),
            Route("/api/status", page.api),
            Route("/metrics", page.metrics),
            Mount("/assets", StaticFiles(directory=PAGE / "assets")),
        ]
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            backlog=BACKLOG,
            headers=[("Connection", "close")],
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
        )
    )
    threading.Thread(target=server.run, args=([listener],), name="status page", daemon=True).start()
    return page


@cache
def page_templates(language: str) -> Environment:
    """The templates of the page in a language."""
    made = templates(PAGE, language)
    made.filters |= {"curve": curve, "span": span}
    return made


def curve(points: Sequence[tuple[float, float]], steps: float, width: int = 300, height: int = 90) -> str:
    """Points as an SVG polyline's, in a box with the origin at the top left; it is as wide as all steps."""
    xs, ys = zip(*points, strict=True)
    along, up = max(steps, *xs, 1), max(ys) - min(ys) or 1
    return " ".join(f"{x / along * width:.1f},{height - (y - min(ys)) / up * height:.1f}" for x, y in points)


def span(verdict: dict[str, Any], width: int = 300) -> dict[str, float]:
    """Where the gain, its interval and zero stand on a line of that width."""
    low, high = verdict["interval"]
    left, right = min(low, 0), max(high, 0)
    scale = width / ((right - left) or 1)
    return {
        name: (x - left) * scale
        for name, x in (("low", low), ("high", high), ("gain", verdict["delta"]), ("zero", 0))
    }
