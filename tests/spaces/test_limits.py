"""Who may send a body, how slowly, and how many may at a time: real sockets, and an app that waits."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from types import ModuleType

import pytest
import uvicorn
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


@pytest.fixture(scope="module")
def limits(space_module: Callable[[str], ModuleType]) -> ModuleType:
    return space_module("limits")


@dataclass
class Waiting:
    """An ASGI app that reads a body, counts it, and answers once it may."""

    bodies: list[int] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        self.bodies.append(size)
        while not self.may_answer.is_set():
            await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    def wait_for(self, bodies: int) -> None:
        """Until this many have arrived."""
        while len(self.bodies) < bodies:
            time.sleep(0.01)


@dataclass
class Door:
    """An app behind the limits; requests for it, each from an address that a proxy names."""

    port: int
    app: Waiting
    open: contextlib.ExitStack

    def send(self, address: str, body: bytes, size: int | None = None, **headers: str) -> HTTPConnection:
        """Send a POST with some of its body, which has this size in the end."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.open.callback(connection.close)
        connection.putrequest("POST", headers.pop("path", "/predict"))
        connection.putheader("X-Forwarded-For", f"made-up, {address}, 10.0.0.7")
        connection.putheader("Content-Length", str(len(body) if size is None else size))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        return connection

    def answer(self, address: str, body: bytes, **headers: str) -> HTTPResponse:
        return self.send(address, body, **headers).getresponse()


@pytest.fixture
def door(limits: ModuleType) -> Iterator[Door]:
    """The path /secret needs a token."""
    from fastapi import FastAPI

    app, waiting = FastAPI(), Waiting()
    app.mount("/", waiting)
    app.add_middleware(limits.InFlightLimit, tokens={"/secret": SecretStr("sésame")})
    config = uvicorn.Config(
        app, forwarded_allow_ips=limits.PROXIES, log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as opened:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield Door(listener.getsockname()[1], waiting, opened)
        waiting.may_answer.set()
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("path", ["/secret", "/secret/"])
@pytest.mark.parametrize("token", ["", "Bearer wrong", "Basic sésame", "Bearer"])
def test_without_the_token_a_request_is_refused_before_its_body_is_read(
    door: Door, path: str, token: str
) -> None:
    headers = {"Authorization": token.encode().decode("latin-1")} if token else {}
    refused = door.send("203.0.113.1", b"", 1000, path=path, **headers).getresponse()
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert refused.read() == b'{"detail":"send the bearer token"}'
    assert door.app.bodies == []


def test_the_bearer_of_the_token_is_let_in(door: Door) -> None:
    door.app.may_answer.set()
    token = "bearer sésame".encode().decode("latin-1")
    assert door.answer("203.0.113.1", b"x", path="/secret", Authorization=token).status == 200


@pytest.mark.parametrize(
    ("many", "other"), [("203.0.113.1", "203.0.113.2"), ("2001:db8::{:x}", "2001:db8:0:1::1")]
)
def test_one_client_leaves_places_to_the_others(
    limits: ModuleType, door: Door, many: str, other: str
) -> None:
    """Of IPv6 a client has a whole network."""
    share = limits.MAX_OF_ONE_ADDRESS
    held = [door.send(many.format(number), b"x") for number in range(share)]
    door.app.wait_for(bodies=share)
    refused = door.answer(many.format(share), b"x")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    served = door.send(other, b"x")
    door.app.wait_for(bodies=share + 1)
    door.app.may_answer.set()
    assert [each.getresponse().status for each in [*held, served]] == [200] * (share + 1)


def test_a_request_too_many_is_asked_to_come_back(limits: ModuleType, door: Door) -> None:
    held = [door.send(f"203.0.113.{number % 4}", b"x") for number in range(limits.MAX_IN_FLIGHT)]
    door.app.wait_for(bodies=len(held))
    refused = door.answer("203.0.113.9", b"x")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    door.app.may_answer.set()
    assert {each.getresponse().status for each in held} == {200}


def test_clients_that_drip_give_up_their_places_to_those_that_send(limits: ModuleType, door: Door) -> None:
    dripping = [door.send(f"203.0.113.{number % 2}", b"x", 9) for number in range(limits.MAX_IN_FLIGHT)]
    served = [door.send("203.0.113.9", b"x"), door.send("203.0.113.0", b"x")]
    door.app.wait_for(bodies=2)
    door.app.may_answer.set()
    assert [each.getresponse().status for each in served] == [200, 200]
    for connection in dripping[:2]:
        assert connection.getresponse().status == 503
    for connection in dripping[2:]:
        connection.send(b"x" * 8)
        assert connection.getresponse().status == 200


def test_a_slow_line_is_waited_for_and_one_that_drips_is_not(limits: ModuleType, door: Door) -> None:
    door.app.may_answer.set()
    pieces = int(limits.GRACE_SECONDS) + 2
    slow = door.send("203.0.113.1", b"", pieces * limits.LOWEST_BYTES_PER_SECOND)
    drips, silent = (door.send("203.0.113.2", b"x", 1000) for _ in range(2))
    for _ in range(pieces):
        slow.send(b"x" * limits.LOWEST_BYTES_PER_SECOND)
        with contextlib.suppress(OSError):
            drips.send(b"x")
        time.sleep(1)  # the slowness is what is tested
    for connection in (drips, silent):
        late = connection.getresponse()
        assert (late.status, late.read()) == (408, b'{"detail":"the body did not arrive"}')
    assert slow.getresponse().status == 200


def test_addresses_are_served_in_turn(limits: ModuleType) -> None:
    async def serve() -> list[str]:
        turns, served = limits.Turns(), []

        async def ask(name: str) -> None:
            async with turns.of(name[0]):
                served.append(name)
                await asyncio.sleep(0)

        await asyncio.gather(*map(ask, ["a1", "a2", "a3", "a4", "b1", "c1", "b2"]))
        await ask("a5")
        return served

    assert asyncio.run(serve()) == ["a1", "a2", "b1", "c1", "a3", "b2", "a4", "a5"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.1", "203.0.113.1", "198.51.100.1"),
        ("10.1.2.3", "203.0.113.1", "203.0.113.1"),
        ("10.1.2.3", "1.1.1.1, 203.0.113.1, 172.16.0.9", "203.0.113.1"),
        ("::ffff:8.8.8.8", "203.0.113.1", "8.8.8.8"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("10.1.2.3", "what the proxy wrote", "what the proxy wrote"),
    ],
)
def test_the_address_is_the_last_that_a_proxy_in_a_private_network_names(
    limits: ModuleType, peer: str, forwarded: str, client: str
) -> None:
    seen: list[str] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(limits.address_of(scope))

    scope = {"type": "http", "client": (peer, 1), "headers": [(b"x-forwarded-for", forwarded.encode())]}
    asyncio.run(ProxyHeadersMiddleware(look, limits.PROXIES)(scope, None, None))
    assert seen == [client]
