"""Signals to this process, and the end of the processes that it has started."""

import contextlib
import ctypes
import signal
import subprocess
from collections.abc import Iterator
from types import FrameType
from typing import Any

from retrain.errors import Interrupted

GRACE_SECONDS = 7.0  # the platform gives ten between SIGTERM and SIGKILL
PR_SET_PDEATHSIG = 1  # of prctl(2)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside the block SIGTERM and SIGINT raise Interrupted in the main thread; after it they are ignored.

    They are ignored then because a pause of our own Space ends in a SIGTERM to us, and the outcome stands.
    """

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise Interrupted(signum)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, interrupt)
    try:
        yield
    finally:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_IGN)


def die_with_parent() -> None:
    """Have the system send this process a SIGTERM when its parent has died."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def end_child(child: subprocess.Popen[Any]) -> None:
    """SIGTERM to a child that has not ended, and after a grace SIGKILL."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
