"""What tests of Spaces share: the inference Space as a process, and its modules in this one."""

import importlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from huggingface_hub import HfApi

from benchmarks.inference_load import make_classifier
from rehearsal.local_hub import LocalHub
from rehearsal.sample_data import make_grievances
from tests.conftest import SOURCE

FOLDER = SOURCE / "companion_spaces" / "inference"
JSON = {"Content-Type": "application/json"}
TEXTS = [row["grievance"] for row in make_grievances(300)]
# What the Hub of these tests holds: who owns it, a model, and the name of its newest version.
USERS = {"hf_owner": {"name": "city", "fullname": "The City", "orgs": []}}
REPO, NEWEST = "city/urgency", "v20260801_093000"


@dataclass
class Space:
    """A running app.py: its address, its process, and the files of its standard error and output."""

    url: str
    process: subprocess.Popen
    log: Path
    audit: Path

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")

    @property
    def audited(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit.read_text().splitlines()]

    def ask(self, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
        """The status and the JSON of an answer; a body makes it a POST."""
        data = None if body is None else json.dumps(body).encode()
        headers = JSON | ({"Authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def health(self, wanted: int = 200) -> dict[str, Any]:
        """Poll until /health answers with the status wanted."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                status, answer = self.ask("/health")
                if status == wanted:
                    return answer
            except OSError:  # the port isn't open yet
                pass
            time.sleep(0.05)
        raise AssertionError(f"/health never answered {wanted}:\n{self.log.read_text()}")

    def waits(self) -> dict[str, Any]:
        """Poll until /health says that there is something to wait for, and nothing to serve."""
        while (about := self.health(wanted=503))["status"] == "starting":
            time.sleep(0.05)
        return about

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Space]]:
    """Start an app with an environment of its own; what was started ends with the module."""
    started: list[Space] = []

    def start_app(**variables: str) -> Space:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        home = tmp_path_factory.mktemp("space")
        platform = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        hub = {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        # On a Space `common` lies beside app.py; here it is one folder up.
        own = {"PORT": str(port), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(FOLDER.parent)}
        environment = platform | hub | own | variables
        log, audit = home / "log.txt", home / "audit.jsonl"
        with log.open("w") as errors, audit.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "app.py"], cwd=FOLDER, env=environment, stdout=output, stderr=errors
            )
        started.append(Space(f"http://127.0.0.1:{port}", process, log, audit))
        return started[-1]

    yield start_app
    for space in started:
        space.stop()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("classifier"), TEXTS)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, classifier: Path) -> Iterator[LocalHub]:
    """A Hub that holds a model with a version, and a repository without one."""
    with LocalHub(tmp_path_factory.mktemp("hub"), USERS) as running:
        api = HfApi(endpoint=running.url, token="hf_owner")
        api.create_repo(REPO)
        api.upload_folder(repo_id=REPO, folder_path=classifier)
        api.create_tag(REPO, tag=NEWEST)
        api.create_repo("city/empty")
        yield running


@pytest.fixture(scope="module")
def space_module() -> Iterator[Callable[[str], ModuleType]]:
    """Import one by its name: the Space has no package, its modules are found beside app.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module
    for file in FOLDER.glob("*.py"):
        sys.modules.pop(file.stem, None)
