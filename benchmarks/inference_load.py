"""Many clients ask the inference Space for a minute: is every answer the one that a single client got?

    python -m benchmarks.inference_load [--clients 16] [--seconds 60] [--json FILE]

A tiny model is released on a local Hub, the Space's app serves it in a separate process, and threads here ask
it over loopback. Clients and Space share the machine, so the figures are what both achieve together.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path

import torch
from huggingface_hub import HfApi
from transformers import AutoModelForSequenceClassification

from rehearsal.local_hub import LocalHub
from rehearsal.sample_data import URGENCY_SHARES, make_grievances
from rehearsal.tiny_checkpoint import make_checkpoint

APP = Path(__file__).parent.parent / "companion_spaces" / "inference"
TOKEN, REPO, TAG = "hf_benchmark", "city/urgency", "v20260801_093000"
PACKAGES = ("torch", "transformers", "tokenizers", "fastapi", "starlette", "uvicorn")
HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Load:
    """What the clients saw. Latencies in milliseconds; `differing` answers are not those of one client."""

    clients: int
    seconds: float
    requests: int
    texts: int
    errors: int
    differing: int
    latency_p50: float
    latency_p95: float
    latency_max: float

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds


def make_bodies(texts: Sequence[str]) -> list[bytes]:
    """Three single texts for every list of 16, and one full list of 64."""
    bodies: list[bytes] = []
    for start in range(0, len(texts) - 64, 16):
        asked = [*texts[start : start + 3], list(texts[start : start + 16])]
        bodies += [json.dumps({"text": text}).encode() for text in asked]
    return [*bodies, json.dumps({"text": list(texts[-64:])}).encode()]


def ask(connection: HTTPConnection, body: bytes) -> tuple[int, bytes]:
    """The status and the bytes of an answer."""
    connection.request("POST", "/predict", body, HEADERS)
    answer = connection.getresponse()
    return answer.status, answer.read()


def answers_of_one_client(address: str, bodies: Sequence[bytes]) -> dict[bytes, bytes]:
    """The answer to each body, asked one after the other."""
    connection = HTTPConnection(address, timeout=60)
    answers = {}
    for body in bodies:
        status, answers[body] = ask(connection, body)
        if status != 200:
            raise RuntimeError(f"a single client was answered {status}")
    return answers


def drive(address: str, expected: dict[bytes, bytes], clients: int, seconds: float) -> Load:
    """Ask with this many clients at the same time, each in its own order, and compare every answer."""
    latencies: list[float] = []
    texts = errors = differing = 0
    lock = threading.Lock()
    begin = threading.Barrier(clients + 1)
    sizes = {body: answer.count(b'"label"') for body, answer in expected.items()}

    def client(place: int) -> None:
        nonlocal texts, errors, differing
        connection = HTTPConnection(address, timeout=60)
        first = place * len(expected) // clients
        begin.wait()
        for body in islice(cycle(expected), first, None):
            before = time.perf_counter()
            if before > deadline:
                return
            try:
                status, answer = ask(connection, body)
            except (OSError, HTTPException):
                connection.close()
                status, answer = 0, b""
            with lock:
                latencies.append((time.perf_counter() - before) * 1000)
                texts += sizes[body]
                errors += status != 200
                differing += status == 200 and answer != expected[body]

    threads = [threading.Thread(target=client, args=(place,)) for place in range(clients)]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    deadline = began + seconds
    begin.wait()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    hundredths = statistics.quantiles(latencies, n=100)
    p50, p95, longest = (round(ms, 1) for ms in (hundredths[49], hundredths[94], max(latencies)))
    return Load(clients, round(took, 1), len(latencies), texts, errors, differing, p50, p95, longest)


def resident_megabytes(pid: int) -> float:
    """The resident set of a process, as Linux reports it."""
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in each]
    return round(int(line.split()[1]) / 1024, 1)


def make_classifier(folder: Path, texts: list[str]) -> Path:
    """A tiny, untrained classifier with the urgency labels."""
    make_checkpoint(folder, texts)
    names = dict(enumerate(URGENCY_SHARES))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, id2label=names, label2id={name: i for i, name in names.items()}
        )
    model.save_pretrained(folder)
    return folder


@contextmanager
def running_space(root: Path, texts: list[str], **settings: str) -> Iterator[tuple[str, int]]:
    """The address and the process id of a Space that serves the tiny model; settings: more variables."""
    with LocalHub(root / "hub", {TOKEN: {"name": "city", "fullname": "City", "orgs": []}}) as hub:
        api = HfApi(endpoint=hub.url, token=TOKEN)
        api.create_repo(REPO, private=True)
        api.upload_folder(repo_id=REPO, folder_path=make_classifier(root / "model", texts))
        api.create_tag(REPO, tag=TAG)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        inherited = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS") if name in os.environ}
        variables = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(root / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": TOKEN,
            "MODEL_REPO": REPO,
            "PORT": str(port),
            "PYTHONPATH": str(APP.parent),  # on a Space `common` lies beside app.py
            **settings,
        }
        log = root / "space.log"
        with log.open("wb") as output:
            command = [sys.executable, "app.py"]
            process = subprocess.Popen(
                command, cwd=APP, env=inherited | variables, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            wait_until_ready(f"127.0.0.1:{port}", process, log)
            yield f"127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            process.wait(20)


def wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        connection = HTTPConnection(address, timeout=10)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:  # the port isn't open yet
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise RuntimeError(f"the Space did not come up:\n{log.read_text()}")


def measure(clients: int, seconds: float) -> dict[str, object]:
    """All figures of one run, by name."""
    texts = [row["grievance"] for row in make_grievances(300)]
    with (
        tempfile.TemporaryDirectory() as root,
        running_space(Path(root), texts) as (address, pid),
    ):
        memory = {"start": resident_megabytes(pid)}
        expected = answers_of_one_client(address, make_bodies(texts))
        memory["after one client"] = resident_megabytes(pid)
        drive(address, expected, clients, seconds / 6)
        memory["after warm-up"] = resident_megabytes(pid)
        load = drive(address, expected, clients, seconds)
        memory["end"] = resident_megabytes(pid)
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        **asdict(load),
        "requests_per_second": round(load.requests_per_second, 1),
        **{f"rss_mb {when}": megabytes for when, megabytes in memory.items()},
    }


def main() -> int:
    """Print the figures; returns 1 if a request failed or an answer differed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference_load", description=__doc__)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    figures = measure(options.clients, options.seconds)
    print("| what | figure |\n| --- | --- |")
    for name, figure in figures.items():
        print(f"| {name} | {figure} |")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if figures["errors"] or figures["differing"] else 0


if __name__ == "__main__":
    sys.exit(main())
