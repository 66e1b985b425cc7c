"""Runs the Spaces of the local Hub as real processes, the way a container of them would run.

A (re)start checks the repository's main out into a fresh folder and starts the CMD of its Dockerfile with an
environment of its own. Nothing is built: the image's packages are those of this interpreter. The Dockerfile's
HOME is replaced by a fresh folder, as the image's home isn't on this machine. It knows nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import json
import os
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
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .hub_storage import HubStorage, Repository
from .space_runtime import runtime_json

PORTS = range(20_000, 32_000)  # below the ports that the system hands to outgoing connections
LIVE_STAGES = {"BUILDING", "APP_STARTING", "RUNNING"}


class _CannotStartError(Exception):
    """There is nothing to start; `stage` is what the Space then shows."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


@dataclass
class _Running:
    """One Space's present: what it is meant to do (`generation` counts the requests) and what it does."""

    stage: str = "STOPPED"
    generation: int = 0
    sha: str | None = None
    error: str | None = None
    process: subprocess.Popen[bytes] | None = None
    exit_code: int | None = None
    runs: int = 0
    log: Path | None = None
    turn: threading.Lock = field(default_factory=threading.Lock)


class SpaceHost:
    """Starts, watches and ends the processes of Spaces.

    `grace_seconds` lie between SIGTERM and SIGKILL; `answer_seconds` pass before the SIGTERM of a pause or
    restart, so that a Space that asks for it itself gets its answer first.
    """

    def __init__(
        self, storage: HubStorage, *, grace_seconds: float = 10.0, answer_seconds: float = 0.2
    ) -> None:
        self.storage = storage
        self._grace_seconds = grace_seconds
        self._answer_seconds = answer_seconds
        self._changed = threading.Condition()
        self._spaces: dict[str, _Running] = {}
        self._threads: list[threading.Thread] = []
        self._closing = False

    # --- what the routes ask

    def runtime(self, space: Repository) -> dict[str, Any]:
        """The runtime as the Hub's API shows it."""
        with self._changed:
            state = self._state(space)
            return runtime_json(space, state.stage, sha=state.sha, error=state.error, port=self._port(space))

    def restart(self, space: Repository) -> None:
        """Build and start anew, whatever runs now. Also ends a pause."""
        self._request(space, "BUILDING")

    def pause(self, space: Repository) -> None:
        """End the process and stay paused until somebody restarts the Space."""
        self._request(space, "PAUSED")

    def committed(self, space: Repository) -> None:
        """A commit to main builds a Space anew, unless it is paused."""
        if self._state(space).stage != "PAUSED":
            self._request(space, "BUILDING")

    def configured(self, space: Repository) -> None:
        """A new secret, variable or hardware restarts what runs."""
        if self._state(space).stage in LIVE_STAGES:
            self._request(space, "BUILDING")

    def deleted(self, space: Repository) -> None:
        """End the process of a Space that is no more."""
        self._request(space, "DELETING")

    # --- what tests ask

    def exit_code(self, space_id: str) -> int | None:
        """The exit code of the latest run that ended (negative: the signal), None before the first end."""
        with self._changed:
            return self._by_id(space_id).exit_code

    def log_path(self, space_id: str) -> Path:
        """The file that the latest run writes stdout and stderr to."""
        with self._changed:
            log = self._by_id(space_id).log
        if log is None:
            raise FileNotFoundError(f"{space_id} has not been started yet")
        return log

    def wait_stage(self, space_id: str, stages: Collection[str], timeout: float = 60.0) -> str:
        """Wait until a Space is in one of the stages, and return it; TimeoutError otherwise."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._by_id(space_id).stage in stages, timeout):
                raise TimeoutError(f"{space_id} is {self._by_id(space_id).stage}, not in {sorted(stages)}")
            return self._by_id(space_id).stage

    def wait_exit(self, space_id: str, timeout: float = 60.0) -> int | None:
        """Wait until no process of a Space is left, and return the exit code of the last."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._by_id(space_id).process is None, timeout):
                raise TimeoutError(f"{space_id} still runs")
            return self._by_id(space_id).exit_code

    def close(self) -> None:
        """End every process that this host started, and wait for that."""
        with self._changed:
            self._closing = True
            for state in self._spaces.values():
                state.generation += 1
            self._changed.notify_all()
        for state in list(self._spaces.values()):
            with state.turn:
                self._end_process(state)
        for thread in self._threads:
            thread.join()

    # --- carrying it out

    def _by_id(self, space_id: str) -> _Running:
        return self._spaces.setdefault(space_id.lower(), _Running())

    def _state(self, space: Repository) -> _Running:
        with self._changed:
            if space.id.lower() not in self._spaces and space.meta["space"].get("paused"):
                self._by_id(space.id).stage = "PAUSED"
            return self._by_id(space.id)

    def _port(self, space: Repository) -> int:
        settings = space.meta["space"]
        if "port" not in settings:
            taken = {other.meta["space"].get("port") for other in self.storage.all("spaces")}
            free = [port for port in random.sample(PORTS, 200) if port not in taken]
            settings["port"] = next(port for port in free if not _answers(port))
            space.save()
        return int(settings["port"])

    def _request(self, space: Repository, stage: str) -> None:
        with self._changed:
            if self._closing:
                return
            state = self._state(space)
            state.generation += 1
            state.stage, state.error = stage, None
            space.meta["space"]["paused"] = stage == "PAUSED"
            if stage != "DELETING":
                self._port(space)
                space.save()
            if stage == "BUILDING" and space.meta["sdk"] == "static":
                state.stage = "RUNNING"
            self._changed.notify_all()
            if state.stage == "RUNNING":
                return
            work = threading.Thread(
                target=self._carry_out, args=(space, state, state.generation, stage), daemon=True
            )
            self._threads = [thread for thread in self._threads if thread.is_alive()] + [work]
            work.start()

    def _carry_out(self, space: Repository, state: _Running, generation: int, stage: str) -> None:
        with state.turn:
            with self._changed:
                if state.process is not None:
                    self._changed.wait_for(lambda: self._closing, self._answer_seconds)
            self._end_process(state)
            if stage != "BUILDING" or state.generation != generation:
                return
            try:
                process = self._start(space, state)
            except _CannotStartError as error:
                self._set_stage(state, generation, error.stage, str(error))
                return
            except OSError as error:
                self._set_stage(state, generation, "BUILD_ERROR", str(error))
                return
            self._set_stage(state, generation, "APP_STARTING")
            reaper = threading.Thread(target=self._reap, args=(state, generation, process), daemon=True)
            self._threads.append(reaper)
            reaper.start()
        while not _answers(self._port(space)):
            with self._changed:
                if state.process is not process or state.generation != generation:
                    return
                self._changed.wait(0.05)
        self._set_stage(state, generation, "RUNNING")

    def _start(self, space: Repository, state: _Running) -> subprocess.Popen[bytes]:
        commit = space.resolve("main")
        dockerfile = space.read(commit, "Dockerfile")
        if dockerfile is None:
            raise _CannotStartError("NO_APP_FILE", "The repository has no Dockerfile")
        command, image_environment = parse_dockerfile(dockerfile.decode())
        folder = space.folder
        checkout, home = folder / "checkout", folder / "home"
        for stale in (checkout, home):
            shutil.rmtree(stale, ignore_errors=True)
        home.mkdir(parents=True)
        (folder / "logs").mkdir(exist_ok=True)
        space.export(commit, checkout)
        environment = self._environment(space, image_environment, home)
        with self._changed:
            state.runs = len(list((folder / "logs").iterdir())) + 1
            state.log = folder / "logs" / f"{state.runs:03d}.log"
            state.sha = commit.id.decode()
            if self._closing:
                raise _CannotStartError("STOPPED", "The host is closing")
            with state.log.open("wb") as log:
                state.process = subprocess.Popen(
                    command,
                    cwd=checkout,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            return state.process

    def _environment(self, space: Repository, image: list[tuple[str, str]], home: Path) -> dict[str, str]:
        """The whole environment of a Space's process; nothing of the host's own is in it."""
        python = str(Path(sys.executable).parent)
        path = f"{python}:/usr/local/bin:/usr/bin:/bin"
        environment = {"PATH": path, "LANG": "C.UTF-8", "HOME": str(home)}
        for key, value in image:
            if key != "HOME":
                environment[key] = string.Template(value).safe_substitute(environment)
        settings = space.meta["space"]
        for kind in ("variables", "secrets"):
            environment |= {key: each["value"] for key, each in settings[kind].items()}
        owner, name = space.id.split("/")
        port = str(self._port(space))
        environment |= {
            "SPACE_ID": space.id,
            "SPACE_AUTHOR_NAME": owner,
            "SPACE_REPO_NAME": name,
            "PORT": port,
        }
        return environment | {
            "SPACE_HOST": f"127.0.0.1:{port}",
            "ACCELERATOR": "none",
            "CPU_CORES": str(os.cpu_count()),
        }

    def _reap(self, state: _Running, generation: int, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end of a process; as with a container, whatever it started ends with it."""
        # WNOWAIT: as long as the process isn't reaped, its group id can't be given to another
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._changed:
            _signal_group(process.pid)
            state.exit_code = process.wait()
            state.process = None
            if state.generation == generation and not self._closing:
                state.stage, state.error = "RUNTIME_ERROR", f"Exit code: {state.exit_code}"
            self._changed.notify_all()

    def _end_process(self, state: _Running) -> None:
        """SIGTERM to the process, and after the grace period SIGKILL to its whole group."""
        with self._changed:
            if state.process is None:
                return
            os.kill(state.process.pid, signal.SIGTERM)
            if not self._changed.wait_for(lambda: state.process is None, self._grace_seconds):
                _signal_group(state.process.pid)
                self._changed.wait_for(lambda: state.process is None)

    def _set_stage(self, state: _Running, generation: int, stage: str, error: str | None = None) -> None:
        with self._changed:
            over = stage in LIVE_STAGES and state.process is None
            if state.generation == generation and not over:
                state.stage, state.error = stage, error
                self._changed.notify_all()


def parse_dockerfile(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The last CMD (JSON exec form) and the ENV KEY=VALUE pairs of a Dockerfile.

    Raises `_CannotStartError` (CONFIG_ERROR) without such a CMD.
    """
    text = re.sub(r"\\[ \t]*\n", " ", re.sub(r"(?m)^\s*#.*\n?", "", text))
    command: list[str] | None = None
    environment: list[tuple[str, str]] = []
    for instruction, arguments in re.findall(r"(?mi)^\s*(CMD|ENV)\s+(.+)$", text):
        if instruction.upper() == "ENV":
            pairs = (word.partition("=") for word in shlex.split(arguments))
            environment += [(key, value) for key, equals, value in pairs if equals]
            continue
        try:
            command = json.loads(arguments)
        except json.JSONDecodeError:
            command = None
    if not command or not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        raise _CannotStartError("CONFIG_ERROR", 'No CMD in JSON form, such as: CMD ["python", "app.py"]')
    return command, environment


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _signal_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
