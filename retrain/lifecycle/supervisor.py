"""Runs the training process and stays in charge: its output, its end, its silence, and signals to us.

Imports neither torch nor transformers, so that a light process outlives whatever happens to the heavy one.
"""

import contextlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from retrain.errors import OUT_OF_MEMORY, Interrupted
from retrain.events import Ended
from retrain.journal import Journal
from retrain.processes import end_child
from retrain.threads import thread_settings

POLL_SECONDS = 0.5
# W&B may take a minute to finish after the outcome; then the process has nothing left to do.
FAREWELL_SECONDS = 120.0
FULL_BYTES = 64 * 1024
# The Hub's client shows how far large files are, also where no terminal is: a line each ten seconds.
PROGRESS = {"TQDM_POSITION": "-1", "TQDM_MININTERVAL": "10"}
CURSOR_UP = "\x1b[A"  # what that leaves behind in a log


@dataclass(frozen=True)
class Limits:
    """How long a run may take, may show no sign of life, and may stay after its outcome."""

    max_run_minutes: float
    stall_minutes: float
    farewell_seconds: float = FAREWELL_SECONDS


def run_child(
    command: Sequence[str],
    environ: Mapping[str, str],
    journal: Journal,
    redact: Callable[[str], str],
    limits: Limits,
) -> None:
    """Run the training process to its end, by itself or by us, and see to it that the journal has an outcome.

    Its output goes to ours and to output.log, masked line by line: also what a crash prints. The outcome that
    is written first is the one that counts.

    Raises:
        Interrupted: a signal to us ended the wait; the child is ended too.
    """
    with contextlib.ExitStack() as ending:
        child = subprocess.Popen(  # noqa: S603 (our own command)
            command,
            env=PROGRESS | dict(environ) | thread_settings(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert child.stdout is not None
        log = journal.folder / "output.log"
        pump = threading.Thread(target=_pump, args=(child.stdout, log, redact), daemon=True)
        ending.callback(pump.join, timeout=5)
        ending.callback(end_child, child)
        pump.start()
        try:
            if reason := _watch(child, journal, limits):
                journal.write(Ended("failed", (reason,)))
        except Interrupted as error:  # before the child records the signal that it gets from us
            journal.write(Ended(error.outcome, (str(error),)))
            raise
    if journal.record().outcome is None:
        outcome, reason = explain_exit(child.returncode, shutil.disk_usage(journal.folder).free)
        journal.write(Ended(outcome, (reason,)))


def _watch(child: subprocess.Popen[str], journal: Journal, limits: Limits) -> str | None:
    """Wait for the child; returns why it has to be ended, None if it exited or only needs to be stopped."""
    began = last_sign = time.monotonic()
    version, record = journal.version, journal.record()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(POLL_SECONDS)
            return None
        now = time.monotonic()
        if journal.version != version:
            version, last_sign, record = journal.version, now, journal.record()
        where = f'in the stage "{record.stages[-1].name if record.stages else "start"}"'
        if record.outcome is not None:
            if now - last_sign > limits.farewell_seconds:
                return None
        elif now - last_sign > limits.stall_minutes * 60:
            return (
                f"Nothing happened for {limits.stall_minutes:g} minutes {where}, so the run was ended. "
                "Restart it; if that is how long such a step takes here, raise STALL_MINUTES."
            )
        elif now - began > limits.max_run_minutes * 60:
            return (
                f"The run took longer than {limits.max_run_minutes:g} minutes and was ended {where}. Raise "
                "MAX_RUN_MINUTES, train on fewer rows or epochs, or choose faster hardware."
            )


def explain_exit(returncode: int, free_bytes: int) -> tuple[str, str]:
    """Outcome and reason of a training process that ended without saying why."""
    if returncode == -signal.SIGKILL:
        return "failed", f"The training process was killed, most likely for its memory. {OUT_OF_MEMORY}"
    if returncode < 0:
        return (
            "failed",
            f"The training process died of {signal.Signals(-returncode).name}. See the end of output.log.",
        )
    if free_bytes < FULL_BYTES:
        return "failed", "The disk is full, so that the run could not say more. Give RUN_DIR more room."
    return "bug", f"The training process ended with exit code {returncode} and said nothing. See output.log."


def _pump(source: TextIO, log: Path, redact: Callable[[str], str]) -> None:
    """Copy lines, masked, to our standard output and to a file; a full disk only loses the file."""
    try:
        copy: TextIO | None = log.open("a", encoding="utf-8", buffering=1)
    except OSError:
        copy = None
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
    with contextlib.suppress(OSError):
        if copy:
            copy.close()
