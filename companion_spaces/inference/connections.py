"""Ends connections that are too many, or whose clients keep the server waiting. Knows nothing of content."""

import asyncio
import math

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Each is an open file, of which a process may often have 1,024. A backlog is accepted before it is counted.
MAX_CONNECTIONS, BACKLOG = 400, 256
# In which a client has to send the head of a request, and to read what it is sent.
PATIENCE_SECONDS = 10.0


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP, with an end to silence; uvicorn's own time-out ends with the next byte.

    A client is waited for until it sends a request, first and after each answer, and while it does not read.
    A body that is slow to arrive is the business of `limits`.
    """

    waiting_since = math.inf
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > MAX_CONNECTIONS:
            # The one waited for longest makes room; if all others are busy, that is the new one itself.
            ours = [each for each in self.connections if isinstance(each, BoundedProtocol)]
            longest = min(ours, key=lambda each: each.waiting_since)
            self.connections.discard(longest)
            longest.transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._stop_waiting_if_busy()

    def on_response_complete(self) -> None:
        self._wait()
        if self.conn.their_state is h11.DONE and self.conn.trailing_data[0]:
            self.transport.close()  # requests sent in a row, before an answer: no library does so
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
