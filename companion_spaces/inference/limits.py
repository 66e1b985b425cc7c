"""Limits who may send a body, how slowly, and how many may at a time. Knows nothing of their content.

A request that lacks its token is refused before a byte of its body is read. The others get one of few places,
because each may hold several megabytes while it waits for the rest. No client address gets more than its
share; and if no place is free, the body that is furthest behind the lowest rate gives up its own, so that
clients that drip can't keep out those that send.
"""

import ipaddress
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from secrets import compare_digest

import anyio
from fastapi import HTTPException
from fastapi.responses import JSONResponse
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_IN_FLIGHT, MAX_OF_ONE_ADDRESS = 32, 16
SECONDS_WITHOUT_A_BYTE = 10.0
# A body may take as long as it would at this rate (slower than any mobile network), and the grace on top.
LOWEST_BYTES_PER_SECOND, GRACE_SECONDS = 2_000, 10.0
# Whose X-Forwarded-For is believed: a proxy is in front of a container, in its private network. A platform's
# proxy hides the clients, and can't be named in advance. A client on the internet has no such address, so
# that it can't choose another; one inside the private network can, and then only escapes its share.
PROXIES = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,169.254.0.0/16,::1/128,fc00::/7"
BUSY = {"detail": "too many requests at a time"}


@dataclass(eq=False)
class Place:
    """A request under way: whose it is, when it began, and how much of its body has arrived."""

    address: str
    began: float = field(default_factory=anyio.current_time)
    size: int = 0
    whole: bool = False
    lost: bool = False
    waiting: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    @property
    def seconds_behind(self) -> float:
        """By how much the body is later than at the lowest rate; negative if it is faster."""
        return anyio.current_time() - self.began - self.size / LOWEST_BYTES_PER_SECOND

    def give_up(self) -> None:
        self.lost = True
        self.waiting.cancel()


class InFlightLimit:
    """ASGI middleware. tokens: the bearer token that a POST to a path needs."""

    def __init__(self, app: ASGIApp, tokens: Mapping[str, SecretStr]) -> None:
        self.app = app
        self.tokens = tokens
        self.places: set[Place] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif not self._may(scope):
            detail = {"detail": "send the bearer token"}
            await JSONResponse(detail, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
        elif (place := self._take(address_of(scope))) is None:
            await JSONResponse(BUSY, 503, {"Retry-After": "5"})(scope, receive, send)
        else:
            try:
                await self.app(scope, partial(_receive_in_time, receive, place), send)
            finally:
                self.places.discard(place)

    def _may(self, scope: Scope) -> bool:
        wanted = self.tokens.get(scope["path"].rstrip("/"))
        if wanted is None:
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = given.partition(b" ")
        return scheme.lower() == b"bearer" and compare_digest(token, wanted.get_secret_value().encode())

    def _take(self, address: str) -> Place | None:
        """A place, free or given up by another; None if all the others wait only for their answers."""
        crowd = [place for place in self.places if place.address == address]
        if len(crowd) < MAX_OF_ONE_ADDRESS:
            crowd = list(self.places) if len(self.places) >= MAX_IN_FLIGHT else []
        sending = [place for place in crowd if not place.whole]
        if crowd and not sending:
            return None
        if sending:
            held = Counter(place.address for place in sending)
            slowest = max(sending, key=lambda place: (held[place.address], place.seconds_behind))
            self.places.discard(slowest)
            slowest.give_up()
        self.places.add(place := Place(address))
        return place


class Turns:
    """One at a time, and the addresses in turn: a client that asks for much does not keep others waiting."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: dict[str, deque[anyio.Event]] = {}

    @asynccontextmanager
    async def of(self, address: str) -> AsyncIterator[None]:
        """Wait for a turn of this address, and have it within the block."""
        if self._taken:
            turn = anyio.Event()
            self._waiting.setdefault(address, deque()).append(turn)
            await turn.wait()
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        self._taken = bool(self._waiting)
        if self._taken:
            address, turns = next(iter(self._waiting.items()))
            del self._waiting[address]
            turns.popleft().set()
            if turns:
                self._waiting[address] = turns  # behind the other addresses


async def _receive_in_time(receive: Receive, place: Place) -> Message:
    """What ASGI's `receive` gives; 408 or 503 if the body is too slow, or its place was given to another."""
    if place.whole:
        return await receive()
    patience = min(SECONDS_WITHOUT_A_BYTE, GRACE_SECONDS - place.seconds_behind)
    if not place.lost:
        with anyio.move_on_after(patience) as place.waiting:
            message = await receive()
            place.size += len(message.get("body", b""))
            place.whole = not message.get("more_body", False)
            return message
    if place.lost:
        raise HTTPException(503, BUSY["detail"], {"Retry-After": "5"})
    raise HTTPException(408, "the body did not arrive")


def address_of(scope: Scope) -> str:
    """The client's address; of IPv6 its network, because a client has all of that."""
    host = (scope.get("client") or ("",))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # what a proxy wrote
        return str(host)
    if address.version == 4:
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
