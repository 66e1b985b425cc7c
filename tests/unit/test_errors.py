"""What libraries raise, turned into errors that a person can act on."""

import errno
import signal

import pytest
import torch

from retrain.errors import (
    CheckpointError,
    ComparisonError,
    DatasetError,
    DeviceError,
    DiskFullError,
    HubError,
    Interrupted,
    NotTriedError,
    OutOfMemoryError,
    ReleaseError,
    RetrainError,
    RolledBackError,
    RolloutError,
    SettingsError,
    bug_reason,
    resource_errors,
)
from retrain.records import OUTCOMES


def test_memory_that_torch_can_not_have_is_an_expected_failure() -> None:
    with pytest.raises(OutOfMemoryError, match="Lower TRAIN_BATCH_SIZE"), resource_errors():
        torch.empty(2**60, dtype=torch.uint8)


def test_a_full_disk_is_told_whoever_reports_it() -> None:
    with pytest.raises(DiskFullError, match="more room"), resource_errors():
        raise RuntimeError("I/O error: No space left on device (os error 28)")


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
        (DeviceError, "failed"),
        (NotTriedError, "failed"),
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


# --- what a machine can lack


def wrapped(cause: Exception) -> Exception:
    """As `datasets` wraps whatever happens while it generates a data set."""
    try:
        raise ValueError("An error occurred while generating the dataset") from cause
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "x"), DiskFullError),
        (wrapped(OSError(errno.ENOSPC, "x")), DiskFullError),
        (wrapped(wrapped(MemoryError())), OutOfMemoryError),
        (RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 64 vs 0"), DiskFullError),
        (ValueError("Arrow: No space left on device"), DiskFullError),
        (MemoryError(), OutOfMemoryError),
        (RuntimeError("CUDA Out Of Memory"), OutOfMemoryError),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
            OutOfMemoryError,
        ),
        (RuntimeError("CUDA error: device-side assert triggered"), DeviceError),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceError),
        (OSError(errno.EACCES, "x"), OSError),
    ],
)
def test_a_full_disk_and_memory_have_many_names(error: Exception, raised: type[Exception]) -> None:
    with pytest.raises(Exception) as caught, resource_errors():  # noqa: PT011 (which one is the question)
        raise error
    assert type(caught.value) is (raised if raised is not OSError else type(error))
