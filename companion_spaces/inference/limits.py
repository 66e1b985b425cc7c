"""Limits how many requests are accepted at a time. Knows nothing of their content."""

import anyio
from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_IN_FLIGHT = 32  # each may hold a body of several megabytes while it waits for the others
SECONDS_WITHOUT_A_BYTE = 10


class InFlightLimit:
    """ASGI middleware: one POST too many gets 503; a client that stops sending loses its place."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_in_time() -> Message:
            try:
                with anyio.fail_after(SECONDS_WITHOUT_A_BYTE):
                    return await receive()
            except TimeoutError:
                raise HTTPException(408, "the body did not arrive") from None

        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif self.in_flight == MAX_IN_FLIGHT:
            busy = JSONResponse({"detail": "too many requests at a time"}, 503, {"Retry-After": "5"})
            await busy(scope, receive, send)
        else:
            self.in_flight += 1
            try:
                await self.app(scope, receive_in_time, send)
            finally:
                self.in_flight -= 1
