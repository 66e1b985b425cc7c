"""Runs the local Hub's Jobs as real processes, much as their containers would run.

A Job is a command in a checkout of a Space, or in a folder that stands for an image, with exactly the
environment that the platform gives it. It ends with its process, if it is cancelled, or when its time is up.
This module knows nothing of HTTP, of schedules or of webhooks.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .hub_storage import HubStorage, iso
from .space_host import POLL_SECONDS, bare_environment, parse_dockerfile

Spec = dict[str, Any]  # as the client sends it; `extra` is what the platform adds to its environment

TIMEOUT_SECONDS = 30 * 60  # what a Job gets that asks for none
KEEP_ALIVE_SECONDS = 30.0
OVER = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
LogLine = tuple[str, str]  # when, and what


class HostedJob:
    """One Job: what was asked for, its stage, and its log. A thread of its own runs and ends the process."""

    def __init__(self, namespace: str, spec: Spec, initiator: dict[str, str]) -> None:
        self.id = new_id()
        self.namespace, self.spec, self.initiator = namespace, spec, initiator
        self.created_at = time.time()
        self.started_at: float | None = None
        self.finished_at: float | None = None
        self.stage, self.message = "SCHEDULING", ""
        self.exit_code: int | None = None
        self._lines: list[LogLine] = []
        self._changed = threading.Condition()
        self._cancelled = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, storage: HubStorage, images: dict[str, Path], folder: Path, grace_seconds: float) -> None:
        """Run it, without waiting."""
        arguments = (storage, images, folder, grace_seconds)
        self._thread = threading.Thread(target=self._run, args=arguments, daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Ask for its end; without a process it ends at once."""
        self._cancelled.set()
        if self._thread is None and self.stage not in OVER:
            self._arrive("CANCELED")

    def join(self) -> None:
        """Wait until its process is gone."""
        if self._thread:
            self._thread.join()

    def wait(self, timeout: float = 60.0) -> str:
        """Wait until it is over, and return its stage; or raise TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.stage in OVER, timeout):
                raise TimeoutError(f"{self.id} is {self.stage}")
        return self.stage

    @property
    def log(self) -> str:
        """What it has printed so far."""
        return "".join(f"{line}\n" for _, line in list(self._lines))

    def lines(self, tail: int | None = None) -> Iterator[LogLine | None]:
        """Its lines, old and new, until it is over; None where nothing happened for a while."""
        place = 0 if tail is None else max(0, len(self._lines) - tail)

        def has_news(known: int) -> bool:
            return len(self._lines) > known or self.stage in OVER

        while True:
            with self._changed:
                idle = not self._changed.wait_for(partial(has_news, place), KEEP_ALIVE_SECONDS)
                new, over = self._lines[place:], self.stage in OVER
            yield from new
            place += len(new)
            if idle:
                yield None
            elif over:
                return

    # --- in the Job's own thread

    def _run(self, storage: HubStorage, images: dict[str, Path], folder: Path, grace_seconds: float) -> None:
        try:
            where, environment = self._prepare(storage, images, folder)
        except (ValueError, OSError) as error:
            self._arrive("ERROR", str(error))
            return
        self._print(f"===== Job started at {iso(time.time())} =====")
        deadline = time.monotonic() + self.spec.get("timeoutSeconds", TIMEOUT_SECONDS)
        for _ in range(self.spec.get("attempts") or 1):
            self._attempt(where, environment, deadline, grace_seconds)
            if self.exit_code == 0 or self._cancelled.is_set() or time.monotonic() >= deadline:
                break
        if self._cancelled.is_set():
            self._arrive("CANCELED")
        elif self.exit_code == 0:
            self._arrive("COMPLETED")
        elif time.monotonic() >= deadline:
            self._arrive("ERROR", "Job timeout")
        else:
            self._arrive("ERROR", f"Job failed with exit code: {self.exit_code}. Reason: Error")

    def _prepare(
        self, storage: HubStorage, images: dict[str, Path], folder: Path
    ) -> tuple[Path, dict[str, str]]:
        """Make its folders; returns where to run and the environment. ValueError without such a Space."""
        checkout, home = folder / "checkout", folder / "home"
        home.mkdir(parents=True)
        if space := self.spec.get("spaceId"):
            repository = storage.find("spaces", space)
            if repository is None:
                raise ValueError(f"There is no Space {space}")
            repository.export(repository.resolve("main"), checkout)
        elif source := images.get(self.spec["dockerImage"]):
            checkout = source
        else:
            checkout.mkdir()
        dockerfile = checkout / "Dockerfile"
        _, image = parse_dockerfile(dockerfile.read_text()) if dockerfile.exists() else ([], [])
        given: dict[str, str] = (
            self.spec.get("environment", {}) | self.spec.get("secrets", {}) | self.spec.get("extra", {})
        )
        flavor = self.spec["flavor"]
        gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
        added = {
            "JOB_ID": self.id,
            "ACCELERATOR": "none" if flavor.startswith("cpu") else flavor,
            "CPU_CORES": str(os.cpu_count()),
            "MEMORY": f"{gibibytes}Gi",
        }
        return checkout, bare_environment(image, home) | given | added

    def _attempt(
        self, where: Path, environment: dict[str, str], deadline: float, grace_seconds: float
    ) -> None:
        try:
            process = subprocess.Popen(
                [*self.spec["command"], *self.spec.get("arguments", [])],
                cwd=where,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:  # as a container's runtime says it
            self._print(str(error))
            self.exit_code = 127
            return
        assert process.stdout is not None
        pump = threading.Thread(target=self._pump, args=(process.stdout,), daemon=True)
        pump.start()
        self._arrive("RUNNING")
        while process.poll() is None and time.monotonic() < deadline and not self._cancelled.is_set():
            self._cancelled.wait(POLL_SECONDS)
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_seconds)
        with contextlib.suppress(ProcessLookupError):  # and what it has started along with it
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        pump.join()
        process.stdout.close()
        self.exit_code = code

    def _pump(self, source: Any) -> None:
        for line in source:
            self._print(line.rstrip("\n"))

    def _print(self, line: str) -> None:
        with self._changed:
            self._lines.append((iso(time.time()), line))
            self._changed.notify_all()

    def _arrive(self, stage: str, message: str = "") -> None:
        with self._changed:
            self.stage, self.message = stage, message
            if stage == "RUNNING":
                self.started_at = self.started_at or time.time()
            else:
                self.finished_at = time.time()
            self._changed.notify_all()


class JobHost:
    """The Jobs of a Hub, newest last. They are gone when the Hub is closed.

    Without `runs_processes` a Job does nothing: it is RUNNING until it is cancelled. An image whose name is
    in `images` is that folder, with the ENV of its Dockerfile; any other is an empty one.
    """

    def __init__(
        self, storage: HubStorage, root: Path, grace_seconds: float, *, runs_processes: bool
    ) -> None:
        self.jobs: dict[str, HostedJob] = {}
        self.images: dict[str, Path] = {}
        self._storage, self._root, self._grace_seconds = storage, root, grace_seconds
        self._runs_processes = runs_processes

    def start(self, namespace: str, spec: Spec, initiator: dict[str, str]) -> HostedJob:
        """A new Job."""
        job = self.jobs.setdefault((made := HostedJob(namespace, spec, initiator)).id, made)
        if self._runs_processes:
            job.start(self._storage, self.images, self._root / job.id, self._grace_seconds)
        else:
            job.stage, job.started_at = "RUNNING", time.time()
        return job

    def close(self) -> None:
        """End every process that this host started, and wait until they are gone."""
        for job in list(self.jobs.values()):
            job.cancel()
        for job in list(self.jobs.values()):
            job.join()


def new_id() -> str:
    """An id such as the Hub's: 24 hexadecimal digits, later ones sort later."""
    return f"{int(time.time()):08x}{secrets.token_hex(8)}"
