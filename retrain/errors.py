"""What can go wrong, as one tree.

    RetrainError                  expected; ends the run as `outcome` with a message to act on
    ├── SettingsError             the environment            (exit 2, nothing was started)
    ├── HubError                  the Hub refused or did not answer
    ├── DatasetError              the data set is not there or can't be trained on
    ├── CheckpointError           the checkpoint is not there or is no XLM-R
    ├── DivergedError             a loss, probability or weight is not finite
    ├── DiskFullError             the disk filled up
    ├── OutOfMemoryError          RAM or GPU memory ran out
    ├── DeviceError               the GPU or one of its processes failed
    ├── ComparisonError           the comparison could not be made, or no longer holds  (inconclusive)
    ├── ReleaseError              nothing, or not all of it, was published
    ├── RolloutError              published, but the inference Space does not serve it
    │   └── NotTriedError         published, but the inference Space could not try it
    └── RolledBackError           the first, and the previous version serves again    (rolled_back)

    Interrupted (no Exception)    a signal asked us to end

A message says what is wrong, which value, and what to do. It never holds a secret or a citizen's text.
Anything outside the tree is a bug of ours.
"""

import errno
import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class RetrainError(Exception):
    """An expected failure; its text is for people. transient: it may pass by itself."""

    outcome = "failed"

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class SettingsError(RetrainError):
    """One or more environment variables are missing or malformed."""

    outcome = "bad_settings"


class HubError(RetrainError):
    """The Hub refused a call or could not be reached, after retries."""


class DatasetError(RetrainError):
    """The data set can't be loaded or fails a check that can't be repaired."""


class CheckpointError(RetrainError):
    """The base checkpoint can't be loaded."""


class DivergedError(RetrainError):
    """A loss, a probability or a weight is not finite."""


class DiskFullError(RetrainError):
    """No space is left for checkpoints or the cache."""


class OutOfMemoryError(RetrainError):
    """Memory ran out, and the process outlived it."""


class DeviceError(RetrainError):
    """The GPU failed in a way that only a new process can get over."""


class ComparisonError(RetrainError):
    """Too few rows could be compared with the live model, or its model has changed since."""

    outcome = "inconclusive"


class ReleaseError(RetrainError):
    """Publishing failed; the message says what, if anything, is on the Hub and where the weights are."""


class RolloutError(RetrainError):
    """The inference Space does not serve the released version."""


class NotTriedError(RolloutError):
    """The released version could not be tried, for a reason that is not its own."""


class RolledBackError(RetrainError):
    """The released version did not come up; the previous one serves again."""

    outcome = "rolled_back"


class Interrupted(BaseException):
    """SIGTERM or Ctrl-C was received."""

    outcome = "interrupted"

    def __init__(self, signum: int) -> None:
        super().__init__(f"{signal.Signals(signum).name} was received before the run had ended.")
        self.signum = signum


def bug_reason(error: Exception) -> str:
    """What people read about an error outside the tree: its kind and place; its text may hold anything."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}."


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from, down to the root."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


@contextmanager
def resource_errors() -> Iterator[None]:
    """Turn a full disk, exhausted memory and a failed GPU, worded by each library in its way, into ours.

    Some libraries wrap them: `datasets` says only that an error occurred.
    """
    try:
        yield
    except Exception as error:
        if any(map(_is_disk_full, causes(error))):
            raise DiskFullError(
                "The disk is full. Give RUN_DIR and HF_HOME more room: three times the checkpoint's size "
                "will do."
            ) from error
        if any(map(_is_out_of_memory, causes(error))):
            raise OutOfMemoryError(OUT_OF_MEMORY) from error
        if said := next((words for words in _POISONED if words in str(error)), None):
            raise DeviceError(
                f"The GPU failed ({said}). Restart the run; if it fails again, choose other hardware."
            ) from error
        raise


OUT_OF_MEMORY = (
    "Memory ran out. Lower TRAIN_BATCH_SIZE, EVAL_BATCH_SIZE or MAX_LENGTH, or choose hardware with more "
    "memory."
)


# After these no call to the GPU succeeds in the same process.
_POISONED = (
    "device-side assert",
    "illegal memory access",
    "unspecified launch failure",
    "uncorrectable ECC error",
    "CUDA error: unknown error",
)
_MEMORY = ("out of memory", "can't allocate memory", "status_alloc_failed")


def _is_disk_full(error: BaseException) -> bool:
    """As the system says it, and torch's archive writer, which knows only that bytes are missing."""
    known = (os.strerror(errno.ENOSPC), "inline_container.cc")
    return getattr(error, "errno", None) == errno.ENOSPC or any(words in str(error) for words in known)


def _is_out_of_memory(error: BaseException) -> bool:
    """As Python, CUDA and torch's allocator for the CPU say it."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in _MEMORY)
