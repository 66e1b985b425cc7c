"""The client of the Hub: what it asks again, and what its refusals become for a person to act on."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx

from retrain.errors import CheckpointError, HubError, ReleaseError
from retrain.hub.client import RetryingTransport, hub_errors

# --- what is asked again


class Server:
    """Gives these answers one after the other, then 200; None in place of one drops the connection."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]] | None] = []
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
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

            do_POST = do_HEAD = do_GET  # noqa: N815 (the names are of http.server)

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
    with httpx.Client(transport=RetryingTransport()) as client:
        yield lambda method="GET", path="/x": client.request(method, server.url + path).status_code


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_overloaded_hub_is_asked_again(server: Server, ask: Callable[..., int], status: int) -> None:
    server.answers = [(status, {})]
    assert ask() == 200
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 409, 500])
def test_a_refusal_is_final(server: Server, ask: Callable[..., int], status: int) -> None:
    server.answers = [(status, {})] * 2
    assert ask() == status
    assert len(server.asked) == 1


def test_after_four_times_the_last_answer_stands(server: Server, ask: Callable[..., int]) -> None:
    server.answers = [(503, {})] * 9
    assert ask("POST") == 503
    assert len(server.asked) == 4


@pytest.mark.parametrize("path", ["/preupload/main", "/info/lfs/objects", "/tree/main"])
def test_what_the_library_asks_again_by_itself_is_asked_once(
    server: Server, ask: Callable[..., int], path: str
) -> None:
    server.answers = [(503, {})]
    assert ask(path=path) == 503
    assert len(server.asked) == 1


@pytest.mark.parametrize(("method", "asked"), [("GET", 2), ("HEAD", 2)])
def test_a_dropped_connection_is_tried_again_where_nothing_can_happen_twice(
    server: Server, ask: Callable[..., int], method: str, asked: int
) -> None:
    server.answers = [None]
    assert ask(method) == 200
    assert len(server.asked) == asked


def test_a_dropped_post_may_have_been_done_and_is_not_repeated(
    server: Server, ask: Callable[..., int]
) -> None:
    server.answers = [None]
    with pytest.raises(httpx.TransportError):
        ask("POST")
    assert len(server.asked) == 1


def test_a_wait_that_the_hub_asks_for_is_granted(
    server: Server, ask: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [(429, {"Retry-After": "0"}), (429, {"Retry-After": "soon"})]
    with caplog.at_level("INFO", "retrain.hub.client"):
        assert ask() == 200
    first, second = (record.getMessage() for record in caplog.records)
    assert first == "The Hub: status 429 at /x; once more in 0.0 s"
    assert second != first


# --- refusals


def test_a_download_that_found_no_hub_is_an_expected_failure() -> None:
    with pytest.raises(HubError, match="can't be reached"), hub_errors("read", "city/model"):
        raise LocalEntryNotFoundError("not in the cache, and no connection")


def answer(status: int, said: str | None = None) -> HfHubHTTPError:
    response = httpx.Response(status, request=httpx.Request("GET", "http://127.0.0.1/api"))
    return HfHubHTTPError(f"status {status}", response=response, server_message=said)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "HF_TOKEN is not accepted or lacks the permission"),
        (403, "HF_TOKEN is not accepted or lacks the permission"),
        (404, "it does not exist, or HF_TOKEN may not see it"),
        (429, "the Hub is overloaded or down"),
        (500, "the Hub is overloaded or down"),
        (503, "the Hub is overloaded or down"),
        (400, "the Hub refused it (status 400)."),
        (409, "the Hub refused it (status 409)."),
        (499, "the Hub refused it (status 499)."),
    ],
)
def test_a_refusal_of_the_hub_says_what_to_do_about_it(status: int, said: str) -> None:
    with pytest.raises(HubError) as caught, hub_errors("read", "city/model"):
        raise answer(status)
    assert str(caught.value).startswith("Could not read city/model: ")
    assert said in str(caught.value)
    assert f"(status {status})" in str(caught.value)


def test_of_what_the_hub_says_the_first_line_is_told_and_not_without_end() -> None:
    with pytest.raises(HubError) as caught, hub_errors("read", "city/model"):
        raise answer(400, "x" * 300 + "\nsecond line")
    assert str(caught.value).endswith(f"(status 400: {'x' * 200}).")


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), ConnectionResetError(), TimeoutError()]
)
def test_a_connection_that_fails_is_an_expected_failure(error: Exception) -> None:
    with pytest.raises(ReleaseError) as caught, hub_errors("publish to", "city/model", ReleaseError):
        raise error
    assert "can't be reached or dropped the connection" in str(caught.value)
    assert type(error).__name__ in str(caught.value)


def test_a_name_that_is_none_is_an_expected_failure() -> None:
    with pytest.raises(HubError, match="Could not read a//b: "), hub_errors("read", "a//b"):
        raise HFValidationError("no name")


def test_what_is_no_fault_of_the_hub_stays_what_it_is() -> None:
    with pytest.raises(KeyError), hub_errors("read", "city/model"):
        raise KeyError


def test_a_checkpoint_that_the_hub_refuses_is_told_as_that() -> None:
    with (
        pytest.raises(CheckpointError, match="Could not load MODEL_CHECKPOINT city/base: it does not"),
        hub_errors("load MODEL_CHECKPOINT", "city/base", CheckpointError),
    ):
        raise answer(404)
