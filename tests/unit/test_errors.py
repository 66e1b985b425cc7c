"""What libraries raise, turned into errors that a person can act on."""

import errno
import signal

import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx
from safetensors import SafetensorError

from retrain.errors import (
    CheckpointError,
    ComparisonError,
    DatasetError,
    DiskFullError,
    HubError,
    Interrupted,
    OutOfMemoryError,
    ReleaseError,
    RetrainError,
    RolledBackError,
    RolloutError,
    SettingsError,
    bug_reason,
    hub_errors,
    loading_errors,
    resource_errors,
)
from retrain.records import OUTCOMES


def test_memory_that_torch_can_not_have_is_an_expected_failure() -> None:
    with pytest.raises(OutOfMemoryError, match="Lower TRAIN_BATCH_SIZE"), resource_errors():
        torch.empty(2**60, dtype=torch.uint8)


def test_a_full_disk_is_told_whoever_reports_it() -> None:
    with pytest.raises(DiskFullError, match="more room"), resource_errors():
        raise RuntimeError("I/O error: No space left on device (os error 28)")


def test_a_download_that_found_no_hub_is_an_expected_failure() -> None:
    with pytest.raises(HubError, match="can't be reached"), hub_errors("read", "city/model"):
        raise LocalEntryNotFoundError("not in the cache, and no connection")


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ZeroDivisionError), resource_errors():
        raise ZeroDivisionError


# --- the tree


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (RetrainError, "failed"),
        (SettingsError, "bad_settings"),
        (HubError, "failed"),
        (DatasetError, "failed"),
        (CheckpointError, "failed"),
        (DiskFullError, "failed"),
        (OutOfMemoryError, "failed"),
        (ComparisonError, "inconclusive"),
        (ReleaseError, "failed"),
        (RolloutError, "failed"),
        (RolledBackError, "rolled_back"),
    ],
)
def test_an_expected_failure_has_an_outcome_that_is_known(kind: type[RetrainError], outcome: str) -> None:
    assert kind("x").outcome == outcome
    assert outcome in OUTCOMES


def test_a_signal_is_no_failure_that_somebody_may_catch_by_mistake() -> None:
    interrupted = Interrupted(signal.SIGTERM)
    assert not isinstance(interrupted, Exception)
    assert (interrupted.outcome, interrupted.signum) == ("interrupted", signal.SIGTERM)
    assert "SIGTERM was received" in str(interrupted)


def test_of_a_bug_its_kind_and_place_are_told_and_not_its_text() -> None:
    def fail() -> None:
        raise LookupError("a secret")

    with pytest.raises(LookupError) as caught:
        fail()
    line = fail.__code__.co_firstlineno + 1
    assert bug_reason(caught.value) == f"LookupError in test_errors.py, line {line}."


# --- what the Hub says


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


# --- what a checkpoint can cause


@pytest.mark.parametrize(
    "error",
    [
        OSError("no file"),
        ValueError("no file"),
        KeyError("no file"),
        RuntimeError("no file"),
        SafetensorError("no file"),
    ],
)
def test_a_checkpoint_that_can_not_be_loaded_is_named_by_its_variable(error: Exception) -> None:
    with pytest.raises(CheckpointError) as caught, loading_errors("MODEL_CHECKPOINT", "city/base"):
        raise error
    assert str(caught.value).startswith("MODEL_CHECKPOINT=city/base can't be loaded (")
    assert "no file" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("first\nsecond"), "(first)"),
        (ValueError("  "), "(ValueError)"),
        (OSError("x" * 300), f"({'x' * 200})"),
    ],
)
def test_the_first_line_of_a_librarys_reason_is_told(error: Exception, reason: str) -> None:
    with pytest.raises(CheckpointError) as caught, loading_errors("MODEL_CHECKPOINT", "city/base"):
        raise error
    assert f"can't be loaded {reason}." in str(caught.value)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFullError),
        (RuntimeError("CUDA out of memory. Tried"), OutOfMemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), OutOfMemoryError),
    ],
)
def test_a_machine_that_is_full_is_no_fault_of_the_checkpoint(
    error: Exception, raised: type[RetrainError]
) -> None:
    with pytest.raises(raised), resource_errors(), loading_errors("MODEL_CHECKPOINT", "city/base"):
        raise error


def test_a_checkpoint_that_the_hub_refuses_is_told_as_that() -> None:
    with (
        pytest.raises(CheckpointError, match="Could not load MODEL_CHECKPOINT city/base: it does not"),
        loading_errors("MODEL_CHECKPOINT", "city/base"),
    ):
        raise answer(404)


# --- what a machine can lack


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "x"), DiskFullError),
        (RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 64 vs 0"), DiskFullError),
        (ValueError("Arrow: No space left on device"), DiskFullError),
        (MemoryError(), OutOfMemoryError),
        (RuntimeError("CUDA Out Of Memory"), OutOfMemoryError),
        (OSError(errno.EACCES, "x"), OSError),
    ],
)
def test_a_full_disk_and_memory_have_many_names(error: Exception, raised: type[Exception]) -> None:
    with pytest.raises(Exception) as caught, resource_errors():  # noqa: PT011 (which one is the question)
        raise error
    assert type(caught.value) is (raised if raised is not OSError else type(error))
