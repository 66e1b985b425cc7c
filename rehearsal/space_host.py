"""Runs the local Hub's Spaces as real processes, much as their containers would run.

A (re)start checks out the repository's main into a fresh folder and starts the CMD of its Dockerfile with an
environment of its own. Nothing is built: the packages are those of this interpreter. The Dockerfile's HOME
is replaced by a fresh folder, because the image's home isn't on this machine. A Space may also be given a
container to run in. This module knows nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import re
import shlex
import shutil
import signal
import socket
import string
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from .hub_storage import HubStorage, Repository, iso

PORTS = range(20_000, 32_000)  # below the ports that the system uses for outgoing connections
POLL_SECONDS = 0.05
ANSWER_SECONDS = 0.2  # a Space that pauses itself gets its answer before the SIGTERM
# From a Space's variables to the command that starts a container with them.
Container = Callable[[Mapping[str, str]], list[str]]
START_FILES = {"docker": "Dockerfile", "static": "index.html"}


class Space:
    """One Space: its desired state, and its actual one.

    Any thread may `wish` for a stage, without waiting. One worker thread carries out the latest wish; only it
    starts, watches and ends the process.
    """

    def __init__(
        self,
        repository: Repository,
        pretended_build: float | None,
        grace_seconds: float,
        container: Container | None,
    ) -> None:
        self.repository = repository
        self.settings: dict[str, Any] = repository.meta["space"]
        self.stage = "PAUSED" if self.settings["paused"] else "STOPPED"
        self.exit_code: int | None = None
        self.log: Path | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self._pretended_build = pretended_build
        self._grace_seconds = grace_seconds
        self._container = container
        self._wished_at = time.monotonic()
        self._error = ""
        self._sha: str | None = None
        self._lock = threading.Lock()
        self._wishes: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.worker = threading.Thread(target=self._work, daemon=True)
        self.worker.start()

    def runtime(self) -> dict[str, Any]:
        """The runtime in the form of the Hub's API."""
        hardware = self.settings["hardware"] or "cpu-basic"
        return {
            "stage": self.stage,
            "errorMessage": self._error,
            "hardware": {"current": hardware if self.stage == "RUNNING" else None, "requested": hardware},
            "storage": None,
            "gcTimeout": self.settings["sleep"],
            "sha": self._sha,
            "domains": [{"domain": f"127.0.0.1:{self.settings['port']}", "stage": "READY"}],
        }

    def wish(self, stage: str) -> None:
        """From now on the Space should be PAUSED; or, with BUILDING, be (re)built and run."""
        with self._lock:
            self.settings["paused"] = stage == "PAUSED"
            self.repository.save()
            self.stage, self._error, self._wished_at = stage, "", time.monotonic()
            sdk, main = self.repository.meta["sdk"], self.repository.resolve("main")
            if stage == "BUILDING" and START_FILES.get(sdk, "app.py") not in self.repository.entries(main):
                self.stage = "NO_APP_FILE"
            elif stage == "BUILDING" and (sdk == "static" or self._pretended_build == 0):
                self.stage = "RUNNING"
            self._wishes.put(self.stage)

    def changed(self) -> None:
        """After a commit or a changed setting: save, and restart unless the Space is paused."""
        self.wish("PAUSED" if self.settings["paused"] else "BUILDING")

    def stop(self) -> None:
        """The last wish: end the process and the worker, and leave everything else as it is."""
        self._wishes.put("STOPPED")

    # --- carrying it out, in the worker's thread

    def _work(self) -> None:
        wish = None
        while wish != "STOPPED":
            try:
                wish = self._wishes.get(timeout=POLL_SECONDS)
            except queue.Empty:
                self._watch()
                continue
            self._end_process()
            if wish == "BUILDING" and self._wishes.empty() and self._pretended_build is None:
                self._start()

    def _arrive(self, stage: str, error: str = "") -> None:
        """Show the result of the latest wish, unless there is a newer one."""
        with self._lock:
            if self._wishes.empty():
                self.stage, self._error = stage, error

    def _start(self) -> None:
        checkout, home, logs = (self.repository.folder / name for name in ("checkout", "home", "logs"))
        for folder in (checkout, home):
            shutil.rmtree(folder, ignore_errors=True)
        home.mkdir()
        logs.mkdir(exist_ok=True)
        commit = self.repository.resolve("main")
        self.repository.export(commit, checkout)
        self._sha = commit.id.decode()
        self.log = logs / f"{len(list(logs.iterdir())) + 1:03d}.log"
        try:
            command, image = parse_dockerfile((checkout / "Dockerfile").read_text())
            environment = self._given()
            if self._container:
                command = self._container(environment)
            else:
                environment = bare_environment(image, home) | environment
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    command,
                    cwd=checkout,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._arrive("APP_STARTING")
        except ValueError as error:
            self._arrive("CONFIG_ERROR", str(error))
        except OSError as error:
            self._arrive("BUILD_ERROR", str(error))

    def _given(self) -> dict[str, str]:
        """The Space's variables and secrets, and what the platform adds."""
        owner, name = self.repository.id.split("/")
        set_there = self.settings["variables"] | self.settings["secrets"]
        return {key: each["value"] for key, each in set_there.items()} | {
            "SPACE_ID": self.repository.id,
            "SPACE_AUTHOR_NAME": owner,
            "SPACE_REPO_NAME": name,
            "SPACE_HOST": f"127.0.0.1:{self.settings['port']}",
            "PORT": str(self.settings["port"]),
            "ACCELERATOR": "none",
            "CPU_CORES": str(os.cpu_count()),
        }

    def _watch(self) -> None:
        """Check on the process, or advance the simulated one."""
        if self._pretended_build is not None:
            if self.stage == "BUILDING" and time.monotonic() - self._wished_at > self._pretended_build:
                self._arrive("RUNNING")
        elif self.process and self.process.poll() is not None:
            self._reap(self.process)
            self._arrive("RUNTIME_ERROR", f"Exit code: {self.exit_code}")
        elif self.stage == "APP_STARTING" and answers(self.settings["port"]):
            self._arrive("RUNNING")

    def _end_process(self) -> None:
        """SIGTERM to the process, and after the grace period SIGKILL to its whole group."""
        if self.process is None:
            return
        time.sleep(ANSWER_SECONDS)
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(self._grace_seconds)
        self._reap(self.process)

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        """End everything that the process started along with it, as a container does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        self.exit_code = process.wait()
        self.process = None


class SpaceHost:
    """The Spaces of a storage. `grace_seconds` is the time between SIGTERM and SIGKILL.

    With a `pretended_build` no process is started: a Space seems to build for that many seconds, then to run.
    A Space whose id is in `containers` before its first start runs in that container.
    """

    def __init__(self, storage: HubStorage, pretended_build: float | None, grace_seconds: float) -> None:
        self._storage = storage
        self._how = (pretended_build, grace_seconds)
        self.containers: dict[str, Container] = {}
        self._spaces: dict[Repository, Space] = {}
        self._lock = threading.Lock()

    def space(self, space_id: str) -> Space:
        """A Space by its id; KeyError if there is none."""
        repository = self._storage.find("spaces", space_id)
        if repository is None:
            raise KeyError(space_id)
        with self._lock:
            if repository not in self._spaces:
                self._spaces[repository] = Space(repository, *self._how, self.containers.get(space_id))
            return self._spaces[repository]

    def forget(self, space_id: str) -> None:
        """End the process of a Space that is to be deleted."""
        space = self.space(space_id)
        del self._spaces[space.repository]
        space.stop()
        space.worker.join()

    def close(self) -> None:
        """End every process that this host started, and wait until they are gone."""
        for space in self._spaces.values():
            space.stop()
        for space in self._spaces.values():
            space.worker.join()

    def exit_code(self, space_id: str) -> int | None:
        """The exit code of the last process that ended (negative: a signal); None if none has."""
        return self.space(space_id).exit_code

    def log_path(self, space_id: str) -> Path:
        """The file with stdout and stderr of the latest process."""
        log = self.space(space_id).log
        if log is None:
            raise FileNotFoundError(f"{space_id} has not been started yet")
        return log

    def wait_stage(self, space_id: str, stages: Collection[str], timeout: float = 60.0) -> str:
        """Wait until a Space is in one of the stages, and return it; or raise TimeoutError."""
        space, deadline = self.space(space_id), time.monotonic() + timeout
        while (stage := space.stage) not in stages:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{space_id} is {stage}, not in {sorted(stages)}")
            time.sleep(0.01)
        return stage

    def wait_exit(self, space_id: str, timeout: float = 60.0) -> int | None:
        """Wait until a Space has no process, and return the exit code of the last."""
        space, deadline = self.space(space_id), time.monotonic() + timeout
        while space.process is not None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{space_id} still runs")
            time.sleep(0.01)
        return space.exit_code


def new_space_settings(payload: dict[str, Any]) -> dict[str, Any]:
    """The settings of a new Space, from the request that creates it. Its port never changes."""
    values = {
        kind: {each["key"]: {**each, "updatedAt": iso(time.time())} for each in payload.get(kind) or []}
        for kind in ("secrets", "variables")
    }
    port = next(port for port in random.sample(PORTS, 200) if not answers(port))
    asked = {"hardware": payload.get("hardware"), "sleep": payload.get("sleepTimeSeconds")}
    return values | asked | {"paused": False, "port": port}


def parse_dockerfile(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The last CMD (JSON exec form) and the ENV KEY=VALUE pairs of a Dockerfile; ValueError without a CMD."""
    text = re.sub(r"\\[ \t]*\n", " ", re.sub(r"(?m)^\s*#.*\n?", "", text))
    commands = re.findall(r"(?mi)^\s*CMD\s+(\[.+\])\s*$", text)
    if not commands:
        raise ValueError('No CMD in JSON form, such as: CMD ["python", "app.py"]')
    words = [word for line in re.findall(r"(?mi)^\s*ENV\s+(.+)$", text) for word in shlex.split(line)]
    pairs = [word.partition("=") for word in words]
    return json.loads(commands[-1]), [(key, value) for key, equals, value in pairs if equals]


def bare_environment(image: list[tuple[str, str]], home: Path) -> dict[str, str]:
    """The environment that the image would give a process, without anything from this machine's."""
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    environment = {"PATH": path, "LANG": "C.UTF-8", "HOME": str(home)}
    for key, value in image:
        if key != "HOME":
            environment[key] = string.Template(value).safe_substitute(environment)
    return environment


def answers(port: int) -> bool:
    """Whether a process listens on this port of the machine."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
