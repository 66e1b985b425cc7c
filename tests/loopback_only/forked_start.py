"""Asks the fork server of the tests to start a heavy process of a job in place of this one.

This process stays as the one that the supervisor has started: it passes signals on and ends as the forked one
ends. If it is killed, the server kills the forked one. See fork_server.py.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

VARIABLE = "FORK_SERVER_OF_TESTS"
TRAINING = "model_pipeline.py"
OTHERS = (["-m", "retrain", "report"], ["-m", "retrain.reporting.tracking"])
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PR_SET_PDEATHSIG = 1  # of prctl(2)


def start_in_fork_server() -> None:
    """Does not return in a process that the server has imported the libraries for."""
    arguments = [each for each in sys.orig_argv[1:] if each != "-u"]  # nothing is buffered there
    is_training = bool(arguments) and Path(arguments[0]).name == TRAINING
    if not is_training and arguments[:3] not in OTHERS and arguments[:2] not in OTHERS:
        return
    try:
        answer = start(arguments, is_training=is_training)
    except OSError as error:  # which Python would print and pass over, to start the process here
        end(70, f"the fork server of the tests can't be reached: {error}")
    if not answer:
        end(70, "the fork server of the tests has died")
    end(int(answer))


def start(arguments: list[str], *, is_training: bool) -> bytes:
    """Have a process forked, and wait until it ends; returns its exit code, or nothing if the server died."""
    umask = os.umask(0)
    os.umask(umask)
    ignored = [each for each in PASSED_ON if signal.getsignal(each) is signal.SIG_IGN]
    request = {
        "arguments": arguments,
        "environ": dict(os.environ),
        "cwd": str(Path.cwd()),
        "umask": umask,
        "ignored": ignored,
    }
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.connect(os.environ[VARIABLE])
    socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])

    def pass_on(signum: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):  # it has just ended
            server.send(bytes([signum]))

    for signum in PASSED_ON:
        if signum not in ignored:
            signal.signal(signum, pass_on)
    if is_training:  # as the training process does, which has the server for its parent
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    return server.recv(64)


def end(exit_code: int, message: str = "") -> NoReturn:
    """At once, with an exit code or, where it is negative, by a signal."""
    if message:
        sys.stderr.write(f"{message}\n")
    if exit_code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if exit_code != -signal.SIGKILL:
            signal.signal(-exit_code, signal.SIG_DFL)
        os.kill(os.getpid(), -exit_code)
    os._exit(exit_code)
