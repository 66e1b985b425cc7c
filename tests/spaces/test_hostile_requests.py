"""What comes in at the port of the job, and at the inference API, from people who mean harm.

Raw bytes on sockets, and requests that schemathesis makes up; both servers are processes of their own.
"""

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from huggingface_hub import HfApi
from hypothesis import given, settings
from schemathesis import GenerationMode
from schemathesis.checks import max_response_time

from benchmarks.inference_load import make_classifier, resident_megabytes
from rehearsal.local_hub import LocalHub
from retrain.events import Progress, Stage, Started, Validation
from retrain.journal import Journal
from retrain.lifecycle.status_page import MAX_CONNECTIONS, MAX_WATCHERS, PATIENCE_SECONDS
from tests.conftest import CITY, SOURCE, USERS, free_port

FEW_FILES = 256
MOST_OF_THE_API = 400  # its MAX_CONNECTIONS
SERVE = f"""
import resource, signal, sys; sys.path.insert(0, {str(SOURCE)!r})
resource.setrlimit(resource.RLIMIT_NOFILE, ({FEW_FILES}, {FEW_FILES}))
from pathlib import Path; from retrain.journal import Journal
from retrain.lifecycle.status_page import open_port, serve
listener = open_port(0); serve(listener, Journal(Path(sys.argv[1])))
print(listener.getsockname()[1], flush=True)
signal.pause()
"""


@dataclass
class Server:
    """A process that answers on loopback."""

    name: str
    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def send(self, request: bytes) -> bytes:
        """The whole answer to some bytes; empty where the connection is closed without one."""
        with self.connect() as connection, contextlib.suppress(ConnectionError):
            with contextlib.suppress(ConnectionError):  # it may answer before it has read all
                connection.sendall(request)
            with connection.makefile("rb") as answer:
                return answer.read()
        return b""

    def get(self, path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers]
        return self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    @property
    def serves(self) -> bool:
        return status_of(self.get("/health")) == 200


def status_of(answer: bytes) -> int:
    """Of an answer; 0 for none."""
    return int(answer.split(None, 2)[1]) if answer else 0


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The page of a run that is under way, in a process that may open few files."""
    journal = Journal.create(tmp_path_factory.mktemp("page") / "run")
    journal.write(Started("x", "urgency", {}))
    journal.write(Stage("train"))
    for step in range(1, 6):
        journal.write(Progress("train", step, 10, 1 / step))
        journal.write(Validation(step, 10, step / 10, 1.0))
    command = [sys.executable, "-c", SERVE, str(journal.folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield Server("page", int(process.stdout.readline()), process.pid)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, grievances: list[dict[str, str]]) -> Iterator[Server]:
    """The inference API, with a model; a retraining needs a token that nobody here has."""
    root, port = tmp_path_factory.mktemp("api"), free_port()
    model = make_classifier(root / "model", [row["grievance"] for row in grievances])
    with LocalHub(root / "hub", USERS) as hub:
        client = HfApi(endpoint=hub.url, token=CITY)
        client.create_repo("city/model", private=True)
        client.upload_folder(repo_id="city/model", folder_path=model)
        environment = {
            "PATH": os.environ["PATH"],
            "HF_HOME": str(root / "home"),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": CITY,
            "MODEL_REPO": "city/model",
            "MODEL_REVISION": "main",
            "RETRAIN_SPACE_ID": "city/retrain",
            "RETRAIN_TRIGGER_TOKEN": "nobody knows it",
            "PORT": str(port),
            "PYTHONPATH": str(SOURCE / "companion_spaces"),
            "OMP_NUM_THREADS": "1",
        }
        with (root / "log.txt").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "app.py"],
                cwd=SOURCE / "companion_spaces" / "inference",
                env=environment,
                stdout=log,
                stderr=log,
            )
        try:
            server = Server("api", port, process.pid)
            for _ in range(600):
                with contextlib.suppress(ConnectionError):
                    if server.serves:
                        break
                assert process.poll() is None, (root / "log.txt").read_text()
                time.sleep(0.1)  # another process opens its port, and then loads a model
            yield server
        finally:
            process.kill()
            process.wait()


@pytest.fixture(params=["page", "api"])
def server(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue(request.param)


PATHS = [
    "/../../../../etc/passwd",
    "//etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2fetc%2fpasswd",
    "/assets/..%2f..%2fstatus_page.py",
    "/assets/..%2fpage.html",
    "/assets/%2fetc%2fpasswd",
    "/assets/..%5c..%5cpage.html",
    "/assets/page.js%00.html",
    "/assets/%c0%ae%c0%ae/page.html",
    "/assets/" + "a/" * 5000,
    "/runs/../events.jsonl",
    "/app.py",
    "/..%2fapp.py",
    "/health%00",
    "/%0d%0aSet-Cookie:%20a=b",
    "http://example.org/",
]


def test_no_path_leads_to_a_file_that_is_not_meant(server: Server) -> None:
    answers = {path: server.get(path) for path in PATHS}
    assert {path: answer for path, answer in answers.items() if status_of(answer) != 404} == {}
    assert not [answer for answer in answers.values() if b"Set-Cookie" in answer]


def post(body: bytes, *framing: str) -> bytes:
    """A request for a prediction; `framing`: the headers that tell where the body ends."""
    lines = ["POST /predict HTTP/1.1", "Host: x", "Connection: close", "Content-Type: application/json"]
    return "\r\n".join([*lines, *(framing or [f"Content-Length: {len(body)}"])]).encode() + b"\r\n\r\n" + body


MALFORMED = {
    "a NUL in the path": b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a method that is none": b"FOO / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "no HTTP": bytes(range(256)) + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x00\xa5\x01\r\n\r\n",
    "a path without end": b"GET /" + b"a" * 500_000 + b" HTTP/1.1\r\n\r\n",
    "a header without end": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 500_000 + b"\r\n\r\n",
    "headers without end": b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 50_000 + b"\r\n",
    "a length below zero": post(b"{}", "Content-Length: -2"),
    "two lengths": post(b"{}", "Content-Length: 2", "Content-Length: 3"),
    "a chunk of no size": post(b"zz\r\nhello\r\n", "Transfer-Encoding: chunked"),
    "a chunk and a length": post(b"2\r\n[]\r\n0\r\n\r\n", "Transfer-Encoding: chunked", "Content-Length: 3"),
    "a body of fifty megabytes": post(b" " * (50 * 2**20)),
    "no body": post(b""),
    "no JSON": post(b'{"text": '),
    "no UTF-8": post(b'{"text": "\xff\xfe"}'),
    "a number without end": post(b"9" * 1_000_000),
    "lists in lists": post(b"[" * 1_000_000),
    "objects in objects": post(b'{"text":' * 200_000),
    "half a surrogate pair": post(b'{"text": "\\ud83d"}'),
    "not a number": post(b'{"text": NaN}'),
}


def test_what_is_malformed_or_oversized_is_refused_and_others_are_served(server: Server) -> None:
    before, taken = resident_megabytes(server.pid), {}
    for what, request in MALFORMED.items():
        status = status_of(server.send(request))
        if not (status == 0 or 400 <= status < 500) or not server.serves:
            taken[what] = status
        assert resident_megabytes(server.pid) < before + 100, what
    assert taken == {}


def test_the_page_changes_nothing_for_anybody(page: Server) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"):
        for path in ("/", "/events", "/health", "/api/status", "/metrics", "/assets/page.js"):
            assert status_of(page.get(path, method=method)) == 405


@pytest.mark.parametrize("path", ["/", "/health"])
def test_a_head_is_answered_like_a_get_without_its_body(server: Server, path: str) -> None:
    head, get = (server.get(path, method=method) for method in ("HEAD", "GET"))
    assert status_of(head) == status_of(get) == 200
    assert get.startswith(head.split(b"\r\ndate:")[0])
    assert head.endswith(b"\r\n\r\n")


def test_a_head_of_the_events_ends(page: Server) -> None:
    assert b"content-type: text/event-stream" in page.get("/events", method="HEAD")


def test_who_sends_half_a_request_and_falls_silent_keeps_nobody_waiting(server: Server) -> None:
    halves = (b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n", post(b"")[:-4] + b"\r\nX", post(b" ")[:-1])
    with contextlib.ExitStack() as silent:
        for half in halves * 8:
            silent.enter_context(server.connect()).sendall(half)
        assert server.serves


HALF = b"GET / HTTP/1.1\r\nHost: x\r\n"
WHOLE = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


def ask_once_then_half(connection: socket.socket) -> None:
    connection.sendall(WHOLE)
    answer = b""
    while not answer.endswith(b"}"):
        answer += connection.recv(10_000)
    connection.sendall(HALF)


def ask_and_read_nothing(connection: socket.socket) -> None:
    """Ask for so much that it fits into no buffer."""
    connection.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        connection.sendall(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000)


@pytest.mark.parametrize(
    "occupy",
    [
        lambda connection: None,
        lambda connection: connection.sendall(HALF),
        ask_once_then_half,
        lambda connection: connection.sendall(WHOLE[:-2] + b"Content-Length: 9\r\n\r\n"),
    ],
    ids=["nothing", "half a request", "a request and half of one", "half a body"],
)
def test_more_connections_than_it_keeps_leave_room_for_who_asks(
    server: Server, occupy: Callable[[socket.socket], None]
) -> None:
    """Whoever has kept it waiting for longest is sent away."""
    most = {"page": MAX_CONNECTIONS, "api": MOST_OF_THE_API}[server.name]
    with contextlib.ExitStack() as silent:
        first = silent.enter_context(server.connect())
        occupy(first)
        for number in range(most + 50):
            occupy(silent.enter_context(server.connect()))
            if number % 50 == 0:
                assert server.serves
        assert server.serves
        assert len(list(Path(f"/proc/{server.pid}/fd").iterdir())) < most + 50
        with contextlib.suppress(ConnectionError):
            while first.recv(10_000):
                pass


@pytest.mark.parametrize("occupy", [lambda connection: None, ask_once_then_half, ask_and_read_nothing])
def test_who_keeps_it_waiting_for_long_is_sent_away(
    server: Server, occupy: Callable[[socket.socket], None]
) -> None:
    with server.connect() as connection:
        occupy(connection)
        end = select.poll()
        end.register(connection, select.POLLRDHUP)  # the server's end is closed, whatever is left unread
        assert end.poll((PATIENCE_SECONDS + 30) * 1000)


def test_of_too_many_who_watch_some_are_sent_away_and_the_process_can_open_files(page: Server) -> None:
    """It may open 256: as many watchers would keep it from writing down and telling how the run ended."""

    def watch(watching: contextlib.ExitStack) -> bool:
        """Whether one more, who stays, is shown the run."""
        watcher = watching.enter_context(page.connect())
        watcher.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        stream = watching.enter_context(watcher.makefile("rb"))
        first = next((line for line in stream if line.startswith((b"data: ", b"retry: "))), b"")
        return first.startswith(b"data: ")

    with contextlib.ExitStack() as watching:
        assert sum([watch(watching) for _ in range(FEW_FILES + 50)]) == MAX_WATCHERS
        assert page.serves
        assert len(list(Path(f"/proc/{page.pid}/fd").iterdir())) < MAX_WATCHERS + 50
    for _ in range(1000):  # until it has seen that they are gone
        with contextlib.ExitStack() as watching:
            if watch(watching):
                return
    raise AssertionError("nobody can watch any more")


# --- made up by schemathesis

MADE_UP = settings(max_examples=30, derandomize=True, deadline=None, database=None)
ANYTHING = [
    {"name": "anything", "in": place, "schema": {"type": "string"}} for place in ("query", "header", "cookie")
]
STATUS = {
    "type": "object",
    "required": [
        "label",
        "outcome",
        "headline",
        "reasons",
        "warnings",
        "stages",
        "bars",
        "curves",
        "log",
    ],
    "properties": {
        "label": {"enum": ["urgency", "department", None]},
        "outcome": {"type": ["string", "null"]},
        "headline": {"type": "string"},
        "reasons": {"type": "array", "items": {"type": "string"}},
        "warnings": {"type": "array", "items": {"type": "string"}},
        "stages": {
            "type": "array",
            "items": {"type": "object", "required": ["name", "started_at", "seconds", "state"]},
        },
        "bars": {
            "type": "array",
            "items": {"type": "object", "required": ["stage", "done", "total", "share", "seconds_left"]},
        },
        "curves": {"type": "object", "required": ["loss", "f1_macro"]},
        "log": {"type": "array", "items": {"type": "string"}},
    },
}


def answers(kind: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"200": {"description": "", "content": {kind: {"schema": schema or {"type": "string"}}}}}


PAGE = {
    "openapi": "3.1.0",
    "info": {"title": "The page of a run", "version": "1"},
    "paths": {
        path: {"parameters": ANYTHING, "get": {"responses": responses}}
        for path, responses in {
            "/": answers("text/html"),
            "/health": answers("application/json", {"const": {"status": "ok"}}),
            "/api/status": answers("application/json", STATUS),
            "/metrics": answers("text/plain"),
            "/assets/page.js": answers("text/javascript"),
        }.items()
    },
}
for place in ("/{path}", "/assets/{path}", "/api/{path}"):
    PAGE["paths"][place] = {
        "parameters": [{"name": "path", "in": "path", "required": True, "schema": {"type": "string"}}],
        "get": {"responses": {status: {"description": ""} for status in ("200", "307", "404")}},
    }
page_schema = schemathesis.openapi.from_dict(PAGE)


@page_schema.parametrize()
@MADE_UP
def test_the_page_answers_whatever_is_asked_as_it_says_it_does(case: schemathesis.Case, page: Server) -> None:
    case.call_and_validate(base_url=page.url, excluded_checks=[max_response_time])


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [
        ("/", "GET", GenerationMode.POSITIVE),
        ("/health", "GET", GenerationMode.POSITIVE),
        ("/predict", "POST", GenerationMode.POSITIVE),
        ("/predict", "POST", GenerationMode.NEGATIVE),
        ("/retrain", "POST", GenerationMode.POSITIVE),
        ("/retrain", "POST", GenerationMode.NEGATIVE),
    ],
)
def test_the_api_answers_whatever_is_asked_as_its_openapi_says(
    api: Server, path: str, method: str, mode: GenerationMode
) -> None:
    operation = schemathesis.openapi.from_url(f"{api.url}/openapi.json")[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @MADE_UP
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(excluded_checks=[max_response_time])

    ask()
