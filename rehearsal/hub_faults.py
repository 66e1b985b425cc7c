"""Faults on demand, and a record of all requests: the outermost layer of the local Hub.

It also routes on the raw path, because a revision arrives as `refs%2Fpr%2F1` and must stay one segment.
It knows nothing of repositories: a fault is a pattern on method and path, and what happens on a match.
"""

from __future__ import annotations

import functools
import re
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass
class Fault:
    """What to do with matching requests. `path` is a regex searched in the raw path (without the query).

    First wait `delay` seconds, or until `released` is set. Then answer `status`; or `drop` the connection
    without processing the request; or process it and lose the answer (with a `status`, send that instead).
    The first `skip` matches pass, the next `times` are hit (None: all); `met` is set at the first hit.
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
    met: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def meets(self, method: str, path: str) -> bool:
        """Whether this request meets the fault; counts it."""
        if self.method not in (None, method) or not re.search(self.path, path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        self.met.set()
        return True


@dataclass(frozen=True)
class SeenRequest:
    """One request: method, raw path without its query, and the status sent (None: no answer was sent)."""

    method: str
    path: str
    status: int | None


class Faults:
    """The active faults, wrapped around an application. The first that a request meets is applied."""

    def __init__(self, app: ASGIApp) -> None:
        self.requests: deque[SeenRequest] = deque(maxlen=10_000)
        self._app = app
        self._faults: list[Fault] = []

    def add(self, **settings: Any) -> Fault:
        """Switch a fault on; the keywords are the fields of `Fault`. `hits` counts the requests it met."""
        fault = Fault(**settings)
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Switch all faults off."""
        self._faults.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: apply a request's fault, if any. It is recorded before the client sees an answer."""
        method, path = scope["method"], scope["raw_path"].decode("ascii")
        scope["path"] = path
        fault = next((each for each in list(self._faults) if each.meets(method, path)), Fault())
        is_answered = not (fault.drop or (fault.lose_answer and fault.status is None))

        async def send_on(message: Message) -> None:
            if "status" in message:
                self.requests.append(SeenRequest(method, path, message["status"]))
            await send(message)

        async def lose(message: Message) -> None:
            """Swallow an answer."""

        if fault.delay:
            wait = functools.partial(fault.released.wait, fault.delay)
            await anyio.to_thread.run_sync(wait, abandon_on_cancel=True)
        if fault.lose_answer:
            await self._app(scope, receive, lose)
        if fault.status is not None:
            headers = {"X-Error-Message": f"injected fault: {fault.status}"} | fault.headers
            await JSONResponse({}, fault.status, headers)(scope, receive, send_on)
        elif not (fault.drop or fault.lose_answer):
            await self._app(scope, receive, send_on)
        if not is_answered:
            self.requests.append(SeenRequest(method, path, None))
            scope["state"]["transport"].abort()
            while (await receive())["type"] != "http.disconnect":
                pass  # until the server has noticed; otherwise it would answer 500


class DroppableProtocol(H11Protocol):
    """uvicorn's HTTP protocol, which gives `Faults` the transport: ASGI itself can't hang up."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}
