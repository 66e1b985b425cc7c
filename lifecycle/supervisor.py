"""Runs the training process and stays in charge: its output, its end, and signals to us.

Imports neither torch nor transformers, so that a light process outlives whatever happens to the heavy one.
"""

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TextIO

from errors import OUT_OF_MEMORY, Interrupted
from run_record import Journal

GRACE_SECONDS = 7.0  # the platform gives ten between SIGTERM and SIGKILL
# The Hub's client shows how far large files are, also where no terminal is: a line each ten seconds.
PROGRESS = {"TQDM_POSITION": "-1", "TQDM_MININTERVAL": "10"}
CURSOR_UP = "\x1b[A"  # what that leaves behind in a log


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


def run_child(
    command: Sequence[str], environ: Mapping[str, str], journal: Journal, redact: Callable[[str], str]
) -> None:
    """Run the training process to its end and see to it that the journal has an outcome.

    Its output goes to ours and to output.log, masked line by line: also what a crash prints. When a signal to
    us ends the wait, the child is ended first.
    """
    child = subprocess.Popen(  # noqa: S603 (our own command)
        command,
        env=PROGRESS | dict(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert child.stdout is not None
    pump = threading.Thread(
        target=_pump, args=(child.stdout, journal.folder / "output.log", redact), daemon=True
    )
    pump.start()
    try:
        child.wait()
    finally:
        if child.poll() is None:
            end_child(child)
        pump.join(timeout=5)
    if not any(event["event"] == "outcome" for event in journal.read()):
        outcome, reason = explain_exit(child.returncode)
        journal.write("outcome", outcome=outcome, reasons=[reason])


def end_child(child: subprocess.Popen[str]) -> None:
    """SIGTERM, and after a grace SIGKILL."""
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def explain_exit(returncode: int) -> tuple[str, str]:
    """Outcome and reason of a training process that ended without saying why."""
    if returncode == -signal.SIGKILL:
        return "failed", f"The training process was killed, most likely for its memory. {OUT_OF_MEMORY}"
    if returncode < 0:
        return (
            "failed",
            f"The training process died of {signal.Signals(-returncode).name}. See the end of output.log.",
        )
    return "bug", f"The training process ended with exit code {returncode} and said nothing. See output.log."


def _pump(source: TextIO, log: Path, redact: Callable[[str], str]) -> None:
    """Copy lines, masked, to our standard output and to a file; a full disk only loses the file."""
    with contextlib.ExitStack() as stack:
        copy: TextIO | None = stack.enter_context(log.open("a", encoding="utf-8", buffering=1))
        for line in source:
            masked = redact(line).replace(CURSOR_UP, "")
            if not masked.strip():
                continue
            sys.stdout.write(masked)
            sys.stdout.flush()
            try:
                if copy:
                    copy.write(masked)
            except OSError:
                copy = None
