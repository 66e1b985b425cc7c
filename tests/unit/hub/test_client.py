"""The client of the Hub: proxies, certificates, and what its refusals become for a person to act on."""

import pytest
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx

from retrain.errors import CheckpointError, HubError, ReleaseError
from retrain.hub.client import hub_errors

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
