"""Clients that mean harm occupy the inference Space and the status page: is a rightful caller answered?

    python -m benchmarks.attacks [--seconds 20] [--page] [--json FILE]

Space and page run as processes of their own, each attack in another one, over loopback; all of them share the
machine. Meanwhile a caller asks ten times a second, each time on a new connection, and does not ask twice.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from itertools import chain
from multiprocessing.synchronize import Event
from pathlib import Path

from rehearsal.sample_data import make_grievances
from retrain.events import Stage, Started
from retrain.journal import Journal

from .inference_load import running_space

TOKEN = "open-sesame"
SETTLE_SECONDS, PAUSE_SECONDS, PATIENCE_SECONDS = 2.0, 0.1, 10.0
ENOUGH = 0.99
SERVE = """
import signal, sys; from pathlib import Path; from retrain.journal import Journal
from retrain.lifecycle.status_page import open_port, serve
listener = open_port(0); serve(listener, Journal(Path(sys.argv[1])))
print(listener.getsockname()[1], flush=True); signal.pause()
"""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Target:
    """What is attacked: its address, and what a rightful caller asks of it."""

    name: str
    address: str
    method: str
    path: str
    body: bytes = b""
    token: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return {"Content-Type": "application/json"} | bearer

    def call(self) -> float | None:
        """The seconds until the answer; None without one, or with another status than 200."""
        began = time.perf_counter()
        connection = HTTPConnection(self.address, timeout=PATIENCE_SECONDS)
        try:
            connection.request(self.method, self.path, self.body or None, self.headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()
        return time.perf_counter() - began if answer.status == 200 else None


# --- what one connection does until it is closed, after which another one takes its place


async def drip(streams: Streams, number: int) -> None:
    """A body, a byte each two seconds."""
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n"
    streams[1].write(f"{head}X-Forwarded-For: 203.0.{number // 250}.{number % 250}\r\n\r\n".encode())
    while not streams[0].at_eof():
        streams[1].write(b" ")
        await streams[1].drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(streams[0].read(1000), 2)


async def say_nothing(streams: Streams, number: int) -> None:
    await streams[0].read()


async def send_half_a_head(streams: Streams, number: int) -> None:
    streams[1].write(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    await streams[0].read()


async def ask_once_then_half(streams: Streams, number: int) -> None:
    streams[1].write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    await streams[0].readuntil(b"}")
    await send_half_a_head(streams, number)


async def read_nothing(streams: Streams, number: int) -> None:
    """Ask for more than any buffer holds, and don't read it."""
    streams[1].transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(5000):
        streams[1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await streams[1].drain()
    await asyncio.sleep(PATIENCE_SECONDS)


async def ask_for_much(streams: Streams, number: int) -> None:
    """Whole requests, as long as they may be; all from one address."""
    body = json.dumps({"text": ["पानी " * 1500] * 64}).encode()
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"X-Forwarded-For: 203.0.113.1\r\nContent-Length: {len(body)}\r\n\r\n"
    while True:
        streams[1].write(head.encode() + body)
        await streams[0].readuntil(b"}")


async def drip_from_one_address(streams: Streams, number: int) -> None:
    await drip(streams, 0)


async def send_wrong_tokens(streams: Streams, number: int) -> None:
    """As many as it takes."""
    body = b'{"text": "x"}'
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {number}\r\n"
    while True:
        streams[1].write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await streams[0].readuntil(b"}")


Attack = Callable[[Streams, int], Awaitable[None]]
NONE: tuple[Attack | None, int] = (None, 0)
OF_CONNECTIONS: list[tuple[Attack, int]] = [
    (say_nothing, 950),
    (send_half_a_head, 950),
    (ask_once_then_half, 450),
    (read_nothing, 450),
]
OF_BODIES: list[tuple[Attack, int]] = [(drip, 64), (drip_from_one_address, 64), (ask_for_much, 32)]
OF_TOKENS: list[tuple[Attack, int]] = [(send_wrong_tokens, 16)]


def attack(kind: Attack, address: str, connections: int, begun: Event) -> None:
    """Keep up so many connections, until this process is ended."""
    host, port = address.split(":")

    async def keep_up(number: int) -> None:
        while True:
            with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
                streams = await asyncio.open_connection(host, int(port))
                try:
                    await kind(streams, number)
                finally:
                    streams[1].transport.abort()
            await asyncio.sleep(0.1)

    async def keep_all_up() -> None:
        begun.set()
        await asyncio.gather(*map(keep_up, range(connections)))

    asyncio.run(keep_all_up())


@dataclass(frozen=True)
class Figures:
    """What the rightful caller saw. Latencies in milliseconds."""

    target: str
    attack: str
    connections: int
    calls: int
    answered: float
    median_ms: float | None
    longest_ms: float | None


def measure(target: Target, kind: Attack | None, connections: int, seconds: float) -> Figures:
    """Call for so many seconds, while it is attacked."""
    attacker = None
    if kind:
        spawn = multiprocessing.get_context("spawn")
        begun = spawn.Event()
        attacker = spawn.Process(target=attack, args=(kind, target.address, connections, begun), daemon=True)
        attacker.start()
        if not begun.wait(60):
            raise RuntimeError(f"{kind.__name__} has not begun")
        time.sleep(min(SETTLE_SECONDS, seconds))
    try:
        took, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            took.append(target.call())
            time.sleep(PAUSE_SECONDS)
    finally:
        if attacker:
            attacker.kill()
            attacker.join()
    answered = [each * 1000 for each in took if each is not None]
    return Figures(
        target.name,
        kind.__name__.replace("_", " ") if kind else "none",
        connections,
        len(took),
        len(answered) / len(took),
        round(statistics.median(answered), 1) if answered else None,
        round(max(answered), 1) if answered else None,
    )


@contextlib.contextmanager
def running_page(folder: Path) -> Iterator[str]:
    """The address of the page of a run that is under way."""
    journal = Journal.create(folder / "run")
    journal.write(Started("x", "urgency", {}))
    journal.write(Stage("train"))
    command = [sys.executable, "-c", SERVE, str(journal.folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def measure_page(seconds: float) -> Iterator[Figures]:
    """Every attack on the status page."""
    with tempfile.TemporaryDirectory() as folder, running_page(Path(folder)) as address:
        page = Target("status page", address, "GET", "/api/status")
        for kind, connections in [NONE, *OF_CONNECTIONS]:
            yield measure(page, kind, connections, seconds)


def measure_spaces(seconds: float) -> Iterator[Figures]:
    """Every attack on an open Space, and on one that requires a token."""
    texts = [row["grievance"] for row in make_grievances(300)]
    body = json.dumps({"text": texts[0]}).encode()
    with tempfile.TemporaryDirectory() as folder:
        for name, token in (("Space without a token", None), ("Space with a token", TOKEN)):
            variables = {"API_TOKEN": token} if token else {}
            root = Path(folder, name)
            root.mkdir()
            with running_space(root, texts, **variables) as (address, _):
                space = Target(name, address, "POST", "/predict", body, token)
                kinds = OF_CONNECTIONS + OF_BODIES if token is None else OF_BODIES[:2] + OF_TOKENS
                for kind, connections in [NONE, *kinds]:
                    yield measure(space, kind, connections, seconds)


def main() -> int:
    """Print the figures; returns 1 if too few calls were answered."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each attack")
    parser.add_argument("--page", action="store_true", help="attack only the status page")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    print("| attacked | attack | connections | calls | answered | median, ms | longest, ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    found = []
    spaces = () if options.page else measure_spaces(options.seconds)
    for each in chain(measure_page(options.seconds), spaces):
        found.append(each)
        print(
            f"| {each.target} | {each.attack} | {each.connections} | {each.calls} | {each.answered:.1%} "
            f"| {each.median_ms} | {each.longest_ms} |",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in found], indent=2) + "\n")
    return 1 if any(each.answered < ENOUGH for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
