"""Faults on demand, and a record of the requests seen: the outermost layer of the local Hub.

It also routes on the raw path, because a revision arrives as `refs%2Fpr%2F1` and must stay one segment.
It knows nothing of repositories: a fault is a pattern on method and path, and what happens on a match.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

import anyio
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUESTS_KEPT = 10_000


@dataclass
class Fault:
    """What to do with matching requests. `path` is a regex searched in the raw path (without the query).

    Exactly in this order: wait `delay` seconds; `drop` the connection unprocessed; answer `status`;
    or process the request and then lose the answer. `skip` first matches pass, then `times` are hit
    (None = for ever).
    """

    path: str = ""
    method: str | None = None
    status: int | None = None
    delay: float = 0.0
    lose_answer: bool = False
    drop: bool = False
    times: int | None = 1
    skip: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    hits: int = 0


class Faults:
    """The faults switched on now, in the order in which they were added; the first that applies is used."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, **settings: Any) -> Fault:
        """Switch a fault on; the keywords are the fields of `Fault`. Its `hits` counts what it met."""
        fault = Fault(**settings)
        re.compile(fault.path)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Switch all faults off."""
        with self._lock:
            self._faults.clear()

    def as_list(self) -> list[dict[str, Any]]:
        """The faults as plain values, for the HTTP route."""
        with self._lock:
            return [asdict(fault) for fault in self._faults]

    def match(self, method: str, path: str) -> Fault | None:
        """The fault that this request runs into, counted; None if it passes."""
        with self._lock:
            for fault in self._faults:
                if fault.method not in (None, method) or not re.search(fault.path, path):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                if fault.times is not None and fault.hits >= fault.times:
                    continue
                fault.hits += 1
                return fault
        return None


@dataclass(frozen=True)
class SeenRequest:
    """One request: method, raw path without its query, and the status sent (None: no answer was sent)."""

    method: str
    path: str
    status: int | None


class Wire:
    """ASGI middleware: raw-path routing, request ids, faults, and the record of requests."""

    def __init__(self, app: ASGIApp, *, faults: Faults, requests: deque[SeenRequest]) -> None:
        self._app = app
        self._faults = faults
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope.get("raw_path", scope["path"].encode()).decode("ascii")
        scope["path"] = path
        status: int | None = None

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(raw=message["headers"])["X-Request-Id"] = f"Root=1-{uuid.uuid4().hex[:24]}"
            await send(message)

        fault = None if path.startswith("/_local/") else self._faults.match(scope["method"], path)
        try:
            if fault is None:
                await self._app(scope, receive, send_on)
            else:
                await self._run_into(fault, scope, receive, send_on)
        finally:
            self._requests.append(SeenRequest(scope["method"], path, status))

    async def _run_into(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep(fault.delay)
        if fault.drop:
            await _hang_up(scope, receive)
        elif fault.status is not None:
            message = f"injected fault: {fault.status}"
            headers = {"X-Error-Message": message, **fault.headers}
            await JSONResponse({"error": message}, fault.status, headers)(scope, receive, send)
        elif fault.lose_answer:
            await self._app(scope, receive, _discard)
            await _hang_up(scope, receive)
        else:
            await self._app(scope, receive, send)


async def _discard(_message: Message) -> None:
    """A `send` for answers that never arrive."""


async def _hang_up(scope: Scope, receive: Receive) -> None:
    """Cut the connection and wait until the server has noticed, so that it doesn't answer 500 by itself."""
    scope["state"]["transport"].abort()
    while (await receive())["type"] != "http.disconnect":
        pass


class DroppableProtocol(H11Protocol):
    """uvicorn's HTTP protocol, with the transport within reach of `Wire`: ASGI has no way to hang up."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}
