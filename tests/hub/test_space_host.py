"""Spaces as real processes, started and paused through the official client."""

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from rehearsal.local_hub import LocalHub
from rehearsal.space_host import SpaceHost

SPACE = "ann/job"
USERS = {"hf_ann": {"name": "ann", "fullname": "Ann", "orgs": []}}
DOCKERFILE = b"""
FROM python:3.11-slim
WORKDIR /app
ENV MODE=image \\
    GREETING="good day"
ENV HOME=/home/user PATH=/home/user/bin:$PATH
COPY . .
CMD ["python", "old.py"]
CMD ["python", "app.py"]
"""
SERVE = b"""
import http.server, json, os

class Show(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        seen = {"env": dict(os.environ), "pid": os.getpid(), "cwd": sorted(os.listdir("."))}
        self.wfile.write(json.dumps(seen).encode())

    def log_message(self, *args):
        pass

print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Show).serve_forever()
"""
IGNORES_SIGTERM = b"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVE


@pytest.fixture
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalHub]:
    # Long by default: on a busy machine a process that obeys SIGTERM may still take a while to end.
    grace_seconds = getattr(request, "param", 60.0)
    with LocalHub(tmp_path / "hub", USERS, host_spaces=True, space_grace_seconds=grace_seconds) as running:
        yield running


@pytest.fixture
def ann(hub: LocalHub) -> HfApi:
    api = HfApi(endpoint=hub.url, token="hf_ann")
    api.create_repo(SPACE, repo_type="space", space_sdk="docker")
    return api


@pytest.fixture
def host(hub: LocalHub) -> SpaceHost:
    assert hub.space_host is not None
    return hub.space_host


def push(api: HfApi, app: bytes | None, dockerfile: bytes = DOCKERFILE) -> str:
    """Commit the Space's files in one go; return the commit's id."""
    files = {"Dockerfile": dockerfile} | ({"app.py": app} if app is not None else {})
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    return api.create_commit(SPACE, operations, commit_message="app", repo_type="space").oid


def ask(api: HfApi) -> dict:
    """What the running app says of itself, asked at the domain that the Hub names."""
    domain = api.get_space_runtime(SPACE).raw["domains"][0]["domain"]
    with urllib.request.urlopen(f"http://{domain}/") as answer:
        return json.load(answer)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_commit_builds_and_starts_the_last_cmd_in_a_checkout(ann: HfApi, host: SpaceHost) -> None:
    sha = push(ann, SERVE)
    host.wait_stage(SPACE, {"RUNNING"})
    assert ann.get_space_runtime(SPACE).raw["sha"] == sha
    assert ask(ann)["cwd"] == [".gitattributes", "Dockerfile", "app.py"]
    assert host.log_path(SPACE).read_text() == "serving\n"


def test_the_environment_is_what_was_set_and_nothing_of_ours(
    ann: HfApi, host: SpaceHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS_ALONE", "leaked")
    ann.pause_space(SPACE)
    ann.add_space_variable(SPACE, "MODE", "variable")
    ann.add_space_secret(SPACE, "HF_TOKEN", "a secret")
    push(ann, SERVE)
    ann.restart_space(SPACE)
    host.wait_stage(SPACE, {"RUNNING"})
    environment = ask(ann)["env"]
    environment.pop("LC_CTYPE", None)  # CPython adds it to itself in some locales
    assert environment.pop("PATH").startswith("/home/user/bin:")
    assert environment.pop("HOME") not in ("/home/user", os.environ["HOME"])
    assert environment.pop("CPU_CORES").isdigit()
    port = environment.pop("PORT")
    assert environment == {
        "MODE": "variable",
        "GREETING": "good day",
        "HF_TOKEN": "a secret",
        "LANG": "C.UTF-8",
        "SPACE_ID": SPACE,
        "SPACE_HOST": f"127.0.0.1:{port}",
        "SPACE_AUTHOR_NAME": "ann",
        "SPACE_REPO_NAME": "job",
        "ACCELERATOR": "none",
    }


def test_a_restart_replaces_the_process_and_keeps_the_port(ann: HfApi, host: SpaceHost) -> None:
    push(ann, SERVE)
    host.wait_stage(SPACE, {"RUNNING"})
    before = ask(ann)
    ann.restart_space(SPACE)
    host.wait_stage(SPACE, {"RUNNING"})
    after = ask(ann)
    assert before["pid"] != after["pid"]
    assert not is_alive(before["pid"])
    assert before["env"]["PORT"] == after["env"]["PORT"]


@pytest.mark.parametrize("hub", [0.5], indirect=True, ids=["half a second"])
def test_a_pause_kills_even_a_process_that_ignores_sigterm(ann: HfApi, host: SpaceHost) -> None:
    push(ann, IGNORES_SIGTERM)
    host.wait_stage(SPACE, {"RUNNING"})
    pid = ask(ann)["pid"]
    assert ann.pause_space(SPACE).stage == "PAUSED"
    assert host.wait_exit(SPACE) == -9
    assert not is_alive(pid)
    assert ann.get_space_runtime(SPACE).stage == "PAUSED"


def test_a_process_that_exits_is_a_runtime_error_whatever_its_code(ann: HfApi, host: SpaceHost) -> None:
    for code in (0, 3):
        push(ann, f"raise SystemExit({code})".encode())
        host.wait_stage(SPACE, {"RUNTIME_ERROR"})
        assert host.exit_code(SPACE) == code


def test_an_import_of_a_file_that_was_not_uploaded_really_fails(ann: HfApi, host: SpaceHost) -> None:
    push(ann, b"import forgotten_module")
    host.wait_stage(SPACE, {"RUNTIME_ERROR"})
    assert host.exit_code(SPACE) == 1
    assert "No module named 'forgotten_module'" in host.log_path(SPACE).read_text()


def test_a_space_without_a_dockerfile_or_command_says_so(ann: HfApi, host: SpaceHost) -> None:
    host.wait_stage(SPACE, {"NO_APP_FILE"})
    push(ann, SERVE, dockerfile=b"FROM python:3.11-slim\n")
    host.wait_stage(SPACE, {"CONFIG_ERROR"})


def test_a_command_that_does_not_exist_is_a_build_error(ann: HfApi, host: SpaceHost) -> None:
    push(ann, SERVE, dockerfile=b'CMD ["no-such-program"]')
    host.wait_stage(SPACE, {"BUILD_ERROR"})


def test_a_space_that_pauses_itself_gets_its_answer_and_then_ends(ann: HfApi, host: SpaceHost) -> None:
    ann.add_space_variable(SPACE, "HUB", ann.endpoint)
    ann.add_space_secret(SPACE, "HF_TOKEN", "hf_ann")
    push(
        ann,
        b"""
import os, signal, urllib.request
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # a busy machine may print the answer late
request = urllib.request.Request(
    os.environ["HUB"] + "/api/spaces/" + os.environ["SPACE_ID"] + "/pause",
    method="POST",
    headers={"Authorization": "Bearer " + os.environ["HF_TOKEN"]},
)
print(urllib.request.urlopen(request).status, flush=True)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
signal.pause()
""",
    )
    host.wait_stage(SPACE, {"PAUSED"})
    assert host.wait_exit(SPACE) == -15
    assert host.log_path(SPACE).read_text() == "200\n"
    assert ann.get_space_runtime(SPACE).stage == "PAUSED"


def test_a_paused_space_stays_paused_through_commits_and_settings(ann: HfApi, host: SpaceHost) -> None:
    ann.pause_space(SPACE)
    push(ann, SERVE)
    ann.add_space_variable(SPACE, "MODE", "x")
    assert ann.get_space_runtime(SPACE).stage == "PAUSED"
    with pytest.raises(FileNotFoundError):
        host.log_path(SPACE)


def test_a_new_secret_restarts_a_running_space(ann: HfApi, host: SpaceHost) -> None:
    push(ann, SERVE)
    host.wait_stage(SPACE, {"RUNNING"})
    ann.add_space_secret(SPACE, "NEW", "value")
    host.wait_stage(SPACE, {"RUNNING"})
    assert ask(ann)["env"]["NEW"] == "value"


def test_closing_the_host_ends_the_processes_and_their_children(tmp_path: Path) -> None:
    start_a_child = b"""
import os, subprocess, sys
held = os.open(os.environ["HELD"], os.O_WRONLY)
subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], pass_fds=[held])
"""
    os.mkfifo(tmp_path / "held")
    reading_end = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    with LocalHub(tmp_path / "hub", USERS, host_spaces=True) as hub:
        api = HfApi(endpoint=hub.url, token="hf_ann")
        held = [{"key": "HELD", "value": str(tmp_path / "held")}]
        api.create_repo(SPACE, repo_type="space", space_sdk="docker", space_variables=held)
        push(api, start_a_child + SERVE)
        assert hub.space_host is not None
        hub.space_host.wait_stage(SPACE, {"RUNNING"})
    os.set_blocking(reading_end, True)
    assert os.read(reading_end, 1) == b""  # waits until the last process that holds the other end is gone
    os.close(reading_end)


def test_a_pause_outlasts_a_restart_of_the_server(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub", USERS, host_spaces=True) as hub:
        api = HfApi(endpoint=hub.url, token="hf_ann")
        api.create_repo(SPACE, repo_type="space", space_sdk="docker")
        api.pause_space(SPACE)
        port = api.get_space_runtime(SPACE).raw["domains"][0]["domain"]
    with LocalHub(tmp_path / "hub", USERS, host_spaces=True) as hub:
        api = HfApi(endpoint=hub.url, token="hf_ann")
        runtime = api.get_space_runtime(SPACE)
        assert (runtime.stage, runtime.raw["domains"][0]["domain"]) == ("PAUSED", port)
