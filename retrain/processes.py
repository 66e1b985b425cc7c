"""Signals to this process, the end of the processes that it has started, and a port for one."""

import contextlib
import ctypes
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from retrain.errors import Interrupted

GRACE_SECONDS = 7.0  # the platform gives ten between SIGTERM and SIGKILL
PR_SET_PDEATHSIG = 1  # of prctl(2)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside the block the first SIGTERM or SIGINT raises Interrupted in the main thread.

    Later ones are ignored: a second one would interrupt the end of the child that the first one asks for.
    After the block they are because a pause of our own Space ends in a SIGTERM to us, and the outcome stands.
    """

    def interrupt(signum: int, frame: FrameType | None) -> None:
        _handle(signal.SIG_IGN)
        raise Interrupted(signum)

    _handle(interrupt)
    try:
        yield
    finally:
        _handle(signal.SIG_IGN)


def _handle(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, handler)


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


def free_port() -> int:
    """A port of loopback on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
