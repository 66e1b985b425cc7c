"""One accepted run of the whole job, watched from outside: its secrets are nowhere but where they belong."""

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
from dulwich.repo import Repo
from wandb.proto.wandb_internal_pb2 import RunRecord

from rehearsal.local_hub import LocalHub
from tests.conftest import (
    CITY,
    FIRST,
    READER,
    SOURCE,
    USERS,
    City,
    LiveAPI,
    Run,
    free_port,
    meanwhile,
    split_rows,
)
from tests.spaces.test_setup_spaces import SetUp

# None of them looks like a token: what hides them must know them. They read otherwise in JSON and in a URL.
TOKEN, API_TOKEN = "hf_the.city's\\own-token", 'open "sesame" \\ & 100%'
WANDB_KEY, PASSWORD, HOOK = "wandb/key+of=the.city", "pass-word-of-the-hook", "path-of-the-hook"
PAGES = ("/", "/api/status", "/metrics", "/health", "/nothing", "/assets/page.js")


def forms(secret: str) -> dict[str, bytes]:
    """A secret as it may be written."""
    return {
        "plain": secret.encode(),
        "in JSON": json.dumps(secret)[1:-1].encode(),
        "in a repr": repr(secret)[1:-1].encode(),
        "in a URL": quote(secret, safe="").encode(),
        "in a path": quote(secret).encode(),
        "base64": base64.b64encode(secret.encode()).rstrip(b"="),
    }


def secrets_in(content: bytes) -> list[str]:
    """Which secrets are in it, and how."""
    secrets = (TOKEN, API_TOKEN, WANDB_KEY, PASSWORD, HOOK, f"hook:{PASSWORD}")
    return [f"{secret} {how}" for secret in secrets for how, form in forms(secret).items() if form in content]


@dataclass
class Watched:
    """A run, and what was seen of it while it ran."""

    root: Path
    run: Run
    calls: list[dict[str, str]] = field(default_factory=list)  # headers of requests to the live API
    arguments: set[tuple[str, ...]] = field(default_factory=set)
    pages: dict[str, set[bytes]] = field(default_factory=lambda: {path: set() for path in PAGES})
    messages: list[bytes] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # paths of requests to the Hub


def look_at_processes(pid: int, seen: Watched) -> None:
    """Once at the arguments of all processes below `pid`."""
    with contextlib.suppress(psutil.Error):  # it has just ended
        for process in [(job := psutil.Process(pid)), *job.children(recursive=True)]:
            seen.arguments.add(tuple(process.cmdline()))


def look_at_pages(port: str, seen: Watched) -> None:
    """Once at every page."""
    for path in PAGES:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                seen.pages[path].add(answer.read())
        except urllib.error.HTTPError as answer:
            seen.pages[path].add(str(answer.headers).encode() + answer.read())
        except (OSError, HTTPException):
            pass  # the port is not open yet, or no more


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, unique_grievances: list[dict[str, Any]]
) -> Iterator[Watched]:
    root, live_api, messages = tmp_path_factory.mktemp("watched"), LiveAPI(), []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    hook = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    users = USERS | {TOKEN: {"name": "city", "fullname": "City", "orgs": []}}
    (root / "temporary").mkdir()
    with LocalHub(root / "hub", users) as hub:
        city = City(root, hub, live_api, checkpoint)
        city.push(split_rows(unique_grievances))
        city.serve_newest()
        job = city.start(
            real_start=True,
            HF_TOKEN=TOKEN,
            API_TOKEN=API_TOKEN,
            WANDB_API_KEY=WANDB_KEY,
            WANDB_BASE_URL="http://127.0.0.1:9",
            NOTIFY_URLS=f"json://hook:{PASSWORD}@127.0.0.1:{hook.server_port}/{HOOK}",
            **FIRST,
            TMPDIR=str(root / "temporary"),
        )
        seen = Watched(root, Run(0, "", root))
        looks = (
            lambda: look_at_processes(job.pid, seen),
            lambda: look_at_pages(city.settings["PORT"], seen),
        )
        with contextlib.closing(city), meanwhile(*looks, every=0.05):
            seen.run = city.end(job)
        seen.calls, seen.messages, seen.asked = live_api.headers, messages, [r.path for r in hub.requests]
        assert seen.run.exit_code == 0, seen.run.output
        yield seen
    hook.shutdown()
    hook.server_close()
    live_api.close()


def test_no_secret_is_in_an_argument_of_a_process(watched: Watched) -> None:
    started = [" ".join(arguments) for arguments in watched.arguments]
    for name in ("train_model.py", "model_pipeline.py", "wandb-core", "retrain report"):
        assert any(name in command for command in started), started
    assert secrets_in("\n".join(started).encode()) == []


def test_no_secret_is_in_the_log(watched: Watched) -> None:
    for told in ("LABEL = urgency (environment)", "SEED = 42 (default)"):
        assert told in watched.run.output
    assert secrets_in(watched.run.output.encode()) == []


def test_no_secret_is_in_a_file_that_the_run_leaves_on_its_machine(watched: Watched) -> None:
    """The run's folder, caches, settings of libraries, temporary files; and the Hub's folder, too."""
    files = [file for file in watched.root.rglob("*") if file.is_file()]
    names = {file.name for file in files}
    assert {"run.json", "report.html", "events.jsonl", "output.log", "model.safetensors"} <= names
    assert any(name.endswith(".wandb") for name in names)
    told = {file.name: found for file in files if (found := secrets_in(file.read_bytes()))}
    assert told == {}


def test_no_secret_is_on_the_page(watched: Watched) -> None:
    for path, answers in watched.pages.items():
        assert answers, f"{path} was never answered"
        assert secrets_in(b"\n".join(answers)) == []


def test_no_secret_is_in_what_is_put_on_the_hub(watched: Watched) -> None:
    """In no file and no message of any commit."""
    objects = [
        repo[sha].as_raw_string()
        for git in watched.root.glob("hub/*/*/git")
        for repo in [Repo(str(git))]
        for sha in repo.object_store
    ]
    assert any(b"Auto-deploy" in content for content in objects)
    assert any(b"run.json" in content for content in objects)
    assert secrets_in(b"\n".join(objects)) == []
    assert secrets_in("\n".join(watched.asked).encode()) == []


def test_neither_a_secret_nor_a_text_is_in_a_message(
    watched: Watched, unique_grievances: list[dict[str, Any]]
) -> None:
    (message,) = watched.messages
    assert b"serves, F1" in message
    assert secrets_in(message) == []
    said = json.loads(message)["message"]
    assert not [row for row in unique_grievances if row["grievance"] in said]


def test_the_live_api_is_shown_its_own_token_and_no_other(watched: Watched) -> None:
    assert {headers["Authorization"] for headers in watched.calls} == {f"Bearer {API_TOKEN}"}
    others = [{k: v for k, v in headers.items() if k != "Authorization"} for headers in watched.calls]
    assert secrets_in(json.dumps(others).encode()) == []


def test_wandb_is_given_neither_output_nor_code_nor_machine_nor_environment(
    watched: Watched, unique_grievances: list[dict[str, Any]]
) -> None:
    (told,) = [file.read_bytes() for file in watched.run.folder.glob("wandb/offline-*/*.wandb")]
    assert b"f1_macro" in told
    host = RunRecord(host=socket.gethostname()).SerializeToString()
    for kept in (host, b"model_pipeline.py", b"HF_ENDPOINT", b"PYTHONPATH", b"loopback_only"):
        assert kept not in told
    assert not [row for row in unique_grievances if row["grievance"].encode() in told]
    files = {file.name for file in watched.run.folder.glob("wandb/offline-*/files/**/*") if file.is_file()}
    assert not files & {"output.log", "wandb-metadata.json", "requirements.txt"}


def test_a_crash_that_prints_the_environment_shows_no_secret(tmp_path: Path) -> None:
    """A library that is broken where it is installed ends the training process at its first line."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text(
        "import os\nprint(os.environ)\nraise RuntimeError(f'broken in {dict(os.environ)}')\n"
    )
    done = subprocess.run(
        [sys.executable, str(SOURCE / "train_model.py")],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(SOURCE / "tests" / "loopback_only")]),
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "LABEL": "urgency",
            "DATASET_REPO_ID": "city/data",
            "HUB_MODEL_ID": "city/model",
            "API_ENDPOINT": "http://127.0.0.1:9/predict",
            "SPACE_REPO_ID": "city/inference",
            "HF_TOKEN": TOKEN,
            "API_TOKEN": API_TOKEN,
            "WANDB_API_KEY": WANDB_KEY,
            "NOTIFY_URLS": f"json://hook:{PASSWORD}@127.0.0.1:9/{HOOK}",
            "RUN_DIR": str(tmp_path / "runs"),
            "PORT": str(free_port()),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=100,
    )
    assert b"RuntimeError: broken in {" in done.stdout
    assert b"[secret]" in done.stdout
    assert secrets_in(done.stdout) == []
    for file in tmp_path.rglob("runs/*/*"):
        assert secrets_in(file.read_bytes()) == [], file.name


def test_secrets_are_renewed_and_the_inference_space_holds_a_token_that_reads(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        set_up = SetUp(tmp_path, hub)

        def secrets_of(space: str) -> dict[str, str]:
            about = json.loads(
                (tmp_path / "hub" / "spaces" / f"city__urgency-{space}" / "meta.json").read_text()
            )
            return {name: secret["value"] for name, secret in about["space"]["secrets"].items()}

        old = {"LABEL": "urgency", "INFERENCE_HF_TOKEN": READER, "API_TOKEN": "the old one"}
        assert set_up("--yes", **old).returncode == 0
        assert secrets_of("api")["HF_TOKEN"] == READER
        assert secrets_of("retrain")["HF_TOKEN"] == CITY
        done = set_up("--yes", "--renew-secrets", **old | {"API_TOKEN": "the new one"})
        assert secrets_of("api")["API_TOKEN"] == secrets_of("retrain")["API_TOKEN"] == "the new one"
        assert not [told for told in (CITY, READER, "the new one") if told in done.stdout + done.stderr]
        without = set_up(**{"LABEL": "urgency"})
        assert "without INFERENCE_HF_TOKEN the inference Space holds a token that may write" in without.stdout
