"""What libraries raise, turned into errors that a person can act on."""

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from retrain.errors import DiskFullError, HubError, OutOfMemoryError, hub_errors, resource_errors


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
