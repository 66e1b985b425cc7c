"""What is asked again of the Hub, how long a rate limit is waited out, and what is left to the library."""

import io
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import httpx

from rehearsal.local_hub import LocalHub
from retrain.hub.client import connect
from retrain.hub.retries import RetryingClient, asked_wait
from retrain.journal import Journal
from tests.conftest import CITY


class Server:
    """Gives these answers one after the other, then 200; None in place of one drops the connection."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]] | None] = []
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
                outer.asked.append(f"{self.command} {self.path}")
                answer = outer.answers.pop(0) if outer.answers else (200, {})
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(answer[0])
                for name, value in answer[1].items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815 (the names are of http.server)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def ask(server: Server) -> Iterator[Callable[..., int]]:
    with RetryingClient() as client:
        yield lambda method="GET", path="/x": client.request(method, server.url + path).status_code


# --- failures

REPEATABLE = [
    ("GET", "/x"),
    ("HEAD", "/x"),
    ("POST", "/api/models/city/model/commit/main"),
    ("POST", "/api/models/city/model/tag/main"),
    ("POST", "/api/models/city/model/branch/runs"),
    ("POST", "/api/repos/create"),
    ("POST", "/api/spaces/city/space/restart"),
    ("POST", "/api/spaces/city/space/pause"),
    ("POST", "/api/spaces/city/space/variables"),
    ("DELETE", "/api/spaces/city/space/variables"),
]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_overloaded_hub_is_asked_again(server: Server, ask: Callable[..., int], status: int) -> None:
    server.answers = [(status, {})]
    assert ask() == 200
    assert len(server.asked) == 2


@pytest.mark.parametrize(("method", "path"), REPEATABLE)
def test_what_may_be_done_twice_is_asked_again_after_a_500(
    server: Server, ask: Callable[..., int], method: str, path: str
) -> None:
    server.answers = [(500, {})]
    assert ask(method, path) == 200
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_what_nobody_has_looked_at_is_not_done_twice(
    server: Server, ask: Callable[..., int], status: int
) -> None:
    server.answers = [(status, {})]
    assert ask("POST", "/api/models/city/model/discussions") == status
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 409])
def test_a_refusal_is_final(server: Server, ask: Callable[..., int], status: int) -> None:
    server.answers = [(status, {})] * 2
    assert ask() == status
    assert len(server.asked) == 1


def test_after_five_times_the_last_answer_stands(server: Server, ask: Callable[..., int]) -> None:
    server.answers = [(503, {})] * 9
    assert ask() == 503
    assert len(server.asked) == 5


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/models/city/model/preupload/main"),
        ("POST", "/city/model.git/info/lfs/objects/batch"),
        ("GET", "/api/models/city/model/tree/main"),
        ("GET", "/api/models/city/model/commits/main"),
        ("HEAD", "/city/model/resolve/main/config.json"),
    ],
)
def test_what_the_library_asks_again_by_itself_is_asked_once(
    server: Server, ask: Callable[..., int], method: str, path: str
) -> None:
    server.answers = [(503, {})]
    assert ask(method, path) == 503
    assert len(server.asked) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_dropped_connection_is_tried_again_where_nothing_can_happen_twice(
    server: Server, ask: Callable[..., int], method: str
) -> None:
    server.answers = [None]
    assert ask(method) == 200
    assert len(server.asked) == 2


def test_a_dropped_post_may_have_been_done_and_is_not_repeated(
    server: Server, ask: Callable[..., int]
) -> None:
    server.answers = [None]
    with pytest.raises(httpx.TransportError):
        ask("POST")
    assert len(server.asked) == 1


@pytest.mark.parametrize("answer", [(429, {"Retry-After": "0"}), (500, {}), (502, {}), (503, {}), None])
def test_a_stream_is_left_to_the_library_which_can_rewind_it(server: Server, answer: Any) -> None:
    server.answers = [answer]
    with RetryingClient() as client:
        try:
            status = client.put(server.url, content=io.BytesIO(b"weights")).status_code
        except httpx.TransportError:
            status = None
    assert status == (answer and answer[0])
    assert server.bodies == [b"weights"]


def test_a_client_that_the_library_has_closed_in_another_thread_is_replaced(server: Server) -> None:
    connect(None)
    client = RetryingClient()
    client.close()
    assert client.get(server.url).status_code == 200


# --- rate limits

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": "Thu, 01 Jan 2026 12:01:00 GMT"}, 60),
        ({"Retry-After": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0),
        ({"RateLimit": '"api";r=0;t=20', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}, 20),
        ({"ratelimit": '"api";r=0;t=20', "retry-after": "soon"}, 20),
        ({"RateLimit": '"api";r=7;t=20'}, None),
        ({"RateLimit": "api"}, None),
        ({"RateLimit": f'"api";r=0;t={"9" * 5000}'}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "१०"}, None),
    ],
)
def test_the_wait_that_the_hub_asks_for_is_read_in_each_of_its_forms(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert asked_wait(httpx.Headers(headers, encoding="utf-8"), NOW) == seconds


@pytest.mark.parametrize(
    ("status", "headers"),
    [(429, {"RateLimit": '"api";r=0;t=1'}), (429, {"Retry-After": "1"}), (503, {"Retry-After": "1"})],
)
def test_a_rate_limit_is_waited_out_for_any_call(
    server: Server,
    ask: Callable[..., int],
    status: int,
    headers: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.answers = [(status, headers)]
    assert ask("POST", "/x") == 200
    (record,) = caplog.records
    assert record.getMessage().startswith(f"The Hub limits the rate of calls: /x (status {status}) is asked")


def test_a_wait_is_shown_once_and_is_a_sign_of_life(server: Server, tmp_path: Path) -> None:
    journal = Watched(tmp_path)
    connect(None, journal)
    connect(None)  # as whoever knows no journal does later
    server.answers = [(429, {"Retry-After": "0"})] * 3
    with RetryingClient() as client:
        assert client.get(server.url).status_code == 200
    (warning,) = journal.record().warnings
    assert "The Hub limits the rate of calls" in warning.message
    assert journal.signs == 3


class Watched(Journal):
    """A journal that counts the signs of life."""

    signs = 0

    def alive(self) -> None:
        self.signs += 1
        super().alive()


def test_a_hub_that_asks_for_more_than_our_patience_is_not_waited_for(server: Server) -> None:
    server.answers = [(429, {"Retry-After": "3600"})] * 2
    with RetryingClient() as client:
        assert client.get(server.url).status_code == 429
    assert len(server.asked) == 1


def test_a_rate_limit_without_end_is_waited_out_until_our_patience_is_at_an_end(server: Server) -> None:
    server.answers = [(429, {"Retry-After": "1"})] * 9
    with RetryingClient(patience=2) as client:
        assert client.get(server.url).status_code == 429
        assert len(server.asked) == 2
        assert client.get(server.url).status_code == 429  # it is not begun anew with each call
    assert len(server.asked) == 3


# --- the official client against the Hub


@pytest.fixture
def api(hub: LocalHub) -> HfApi:
    connect(CITY)
    api = HfApi(endpoint=hub.url, token=CITY)
    api.create_repo("city/model")
    hub.requests.clear()
    return api


@pytest.mark.parametrize("status", [502, 503])
def test_an_upload_survives_an_answer_of_an_overloaded_store(hub: LocalHub, api: HfApi, status: int) -> None:
    hub.faults.add(method="PUT", path="/_lfs/", status=status)
    api.upload_file(path_or_fileobj=b"w" * 100, path_in_repo="model.safetensors", repo_id="city/model")
    file = Path(api.hf_hub_download("city/model", "model.safetensors"))
    assert file.read_bytes() == b"w" * 100
    assert sum(request.method == "PUT" for request in hub.requests) == 2


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/preupload/"),
        ("POST", "/info/lfs/"),
        ("PUT", "/_lfs/"),
        ("POST", "/commit/"),
        ("GET", "/tree/"),
        ("GET", "/commits/"),
        ("POST", "/tag/"),
        ("GET", "/api/whoami-v2"),
        ("HEAD", "/resolve/"),
        ("GET", "/resolve/"),
    ],
)
@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 429, "headers": {"RateLimit": '"api";r=0;t=1'}}]
)
def test_each_call_survives_one_failure_and_is_made_twice_not_more(
    hub: LocalHub, api: HfApi, method: str, path: str, fault: dict[str, Any], tmp_path: Path
) -> None:
    met = hub.faults.add(method=method, path=path, **fault)
    api.whoami()
    operation = CommitOperationAdd("model.safetensors", b"w" * 100)
    revision = api.create_commit("city/model", [operation], commit_message="x").oid
    api.create_tag("city/model", tag="v1", revision=revision)
    assert api.list_repo_commits("city/model")[0].commit_id == revision
    assert "model.safetensors" in api.list_repo_files("city/model")
    api.hf_hub_download("city/model", "model.safetensors", cache_dir=tmp_path)
    assert met.hits == 1
    made = [r for r in hub.requests if r.method == method and path in r.path]
    assert len(made) == 2


def test_a_hub_that_fails_for_ever_is_asked_as_often_as_one_policy_says(hub: LocalHub, api: HfApi) -> None:
    hub.faults.add(path="/api/models/city/model$", status=500, times=None)
    with pytest.raises(HfHubHTTPError):
        api.model_info("city/model")
    assert len(hub.requests) == 5
