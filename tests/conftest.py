"""The ground that the tests stand on: a Hub, a tiny checkpoint, a live API that misbehaves, the job."""

import os
import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parent / "loopback_only" / "sitecustomize.py"))
# Each test worker computes with one thread: of several that share two cores, each waits for the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import rehearsal  # noqa: E402, F401, I001 (sets the client's switches before the client is imported)
import contextlib  # noqa: E402
import fcntl  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # noqa: E402
from typing import Any  # noqa: E402

import pytest  # noqa: E402
from playwright.sync_api import Browser, sync_playwright  # noqa: E402
from huggingface_hub import HfApi, set_client_factory  # noqa: E402
from huggingface_hub.utils._http import default_client_factory  # noqa: E402

from retrain.events import Progress, Stage, Started, Validation  # noqa: E402
from configs import BaseConfig  # noqa: E402
from retrain.journal import Journal  # noqa: E402
from rehearsal.city_database import Cluster  # noqa: E402
from rehearsal.local_hub import LocalHub  # noqa: E402
from rehearsal.sample_data import make_grievances  # noqa: E402
from rehearsal.tiny_checkpoint import make_checkpoint  # noqa: E402
from rehearsal.world import push_splits  # noqa: E402
from retrain.hub.model_repo import ModelRepo  # noqa: E402
from retrain.hub.retries import RetryingClient  # noqa: E402
from retrain.processes import free_port  # noqa: E402
from retrain.records import Version, is_version_tag  # noqa: E402
from tests import fork_server  # noqa: E402
from transformers import pipeline  # noqa: E402

SOURCE = Path(__file__).parent.parent
CITY, READER, STRANGER = "hf_city_" + "a" * 24, "hf_reader_" + "b" * 24, "hf_stranger_" + "c" * 24
USERS = {
    CITY: {"name": "city", "fullname": "City", "orgs": []},
    READER: {"name": "city", "fullname": "City", "orgs": [], "role": "read"},
    STRANGER: {"name": "stranger", "fullname": "Stranger", "orgs": []},
}
LABELS = ("NORMAL", "URGENT", "HIGHLY URGENT")
# The settings that a run can't do without.
NEEDED = {
    "HF_TOKEN": "hf_secret_of_the_city_0123456789",
    "LABEL": "urgency",
    "DATASET_REPO_ID": "city/data",
    "HUB_MODEL_ID": "city/model",
    "API_ENDPOINT": "https://city-inference.hf.space/predict",
    "SPACE_REPO_ID": "city/inference",
}
# What all jobs have in common of what libraries read when they are imported.
COMMON = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": str(SOURCE / "tests" / "loopback_only"),
    "HF_HUB_DISABLE_XET": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "OMP_NUM_THREADS": "1",  # two workers share two cores
}


# With these the tiny checkpoint learns a little from the good splits: enough for a first release.
LEARNING = {"NUM_TRAIN_EPOCHS": "12", "LEARNING_RATE": "0.002", "EARLY_STOPPING_PATIENCE": "9"}
FIRST = LEARNING | {"ALLOW_FIRST_RELEASE": "true"}


def pytest_configure(config: pytest.Config) -> None:
    """One fork server for all workers; a worker is given its address."""
    if (given := getattr(config, "workerinput", None)) is not None:
        City.fork_server = given["fork_server"]
    else:
        server = fork_server.ForkServer(COMMON)
        City.fork_server = server.address
        config.add_cleanup(server.close)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["fork_server"] = City.fork_server


# They take half a minute or more: a worker that began with one at the end would run it while others are idle.
LONGEST = (
    "test_an_api_that_hangs_is_inconclusive",
    "test_a_version_that_crashes_the_space_is_rolled_back_and_the_one_before_serves_again",
    "test_a_release_that_the_earlier_program_left_half_done_is_finished",
    "test_a_training_that_the_earlier_program_was_interrupted_in_is_begun_anew",
    "test_the_training_benchmark_compares_both_recipes_on_the_same_batches",
    "test_a_benchmark_runs_as_its_document_says",
    "test_a_new_version_is_released_by_the_job_of_a_webhook_and_the_daily_one_finds_nothing_to_do",
    "test_a_run_that_is_killed_goes_on_at_the_restart_to_the_same_end",
    "test_a_restart_while_it_runs_ends_the_first_run_and_finishes_the_second",
    "test_the_rehearsal_ends_with_what_the_readme_shows",
    "test_two_processes_learn_what_one_learns_from_the_same_batches",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest tests first: each worker begins with an equal part of the list, at its head."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    names = {name: place for place, name in enumerate(LONGEST)}
    names_of = {item: item.name.partition("[")[0] for item in items}
    long = sorted((item for item in items if names_of[item] in names), key=lambda item: names[names_of[item]])
    others = [item for item in items if names_of[item] not in names]
    total = len(items)
    items.clear()
    for worker in range(workers):
        first = long[worker::workers]
        count = (worker + 1) * total // workers - worker * total // workers - len(first)
        items += first + others[: max(count, 0)]
        others = others[max(count, 0) :]
    items += others


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """`interruptible` leaves signals ignored, and the processes of the next tests would inherit that."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture(autouse=True)
def hub_client_as_before() -> Iterator[None]:
    """`connect` gives the whole process its client, and the next tests may count on the library's own."""
    yield
    RetryingClient.watcher = None
    set_client_factory(default_client_factory)


@pytest.fixture(scope="session")
def grievances() -> list[dict[str, str]]:
    return make_grievances(300)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, grievances: list[dict[str, str]]) -> Path:
    """A tiny XLM-R as a folder."""
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), [r["grievance"] for r in grievances])


class LiveAPI:
    """An inference API on loopback. `answer` maps a text or a list to (status, body[, headers]);
    `about` and `about_status` are what GET / tells. All may be swapped.
    """

    def __init__(self) -> None:
        self.answer: Callable[[Any], tuple[Any, ...]] = self.constant
        self.about: Callable[[], dict[str, Any]] = lambda: {"status": "ok"}
        self.about_status: Callable[[], int] = lambda: 200
        self.asked: list[Any] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(outer.about_status(), outer.about())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body["text"])
                outer.headers.append(dict(self.headers))
                self.reply(*outer.answer(body["text"]))

            def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
                is_text = isinstance(body, str)
                data = body.encode() if is_text else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if is_text else "application/json")
                self.send_header("Content-Length", str(len(data)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/predict"
        # It looks this often whether it is to end, which each test waits for.
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def constant(self, text: str | list[str]) -> tuple[int, Any]:
        """A poor model: NORMAL, whatever it is asked."""
        one = {"label": "NORMAL", "confidence": 0.9, "scores": {"NORMAL": 0.9}}
        return 200, one if isinstance(text, str) else [one] * len(text)

    def serve_newest(self, hub: LocalHub, repo_id: str, space_id: str) -> None:
        """From now on be the inference Space, which loads the newest version at each of its restarts."""
        api = HfApi(endpoint=hub.url, token=CITY)
        restart = ("POST", f"/api/spaces/{space_id}/restart", 200)
        loaded: dict[int, tuple[Version, Any]] = {}
        lock = threading.Lock()

        def current() -> tuple[Version, Any] | None:
            with lock:
                restarts = sum((r.method, r.path, r.status) == restart for r in list(hub.requests))
                if restarts not in loaded and (versions := ModelRepo(api, repo_id).versions()):
                    folder = api.snapshot_download(repo_id, revision=versions[0].revision)
                    loaded[restarts] = versions[0], pipeline("text-classification", folder, top_k=None)
                return loaded.get(restarts)

        def about() -> dict[str, Any]:
            served = current()
            return {"model_version": served[0].tag, "model_revision": served[0].revision} if served else {}

        def answer(text: str | list[str]) -> tuple[int, Any]:
            served = current()
            if served is None:
                return 503, {}
            texts = [text] if isinstance(text, str) else text
            with lock:
                scored = [
                    {each["label"]: each["score"] for each in one}
                    for one in served[1](texts, truncation=True)
                ]
            answers = [{"label": max(s, key=lambda name: s[name]), "scores": s} for s in scored]
            answers = [a | {"confidence": a["scores"][a["label"]]} for a in answers]
            return 200, answers if isinstance(text, list) else answers[0]

        self.about, self.answer = about, answer
        current()  # what is released already is loaded

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def live_api() -> Iterator[LiveAPI]:
    api = LiveAPI()
    yield api
    api.close()


@dataclass
class Run:
    """What a run of the job left behind."""

    exit_code: int
    output: str
    folder: Path

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.folder / "run.json").read_text(encoding="utf-8"))


class City:
    """A Hub with a data set, an empty model repository and two Spaces; and the settings of a job for them."""

    fork_server: str  # its address

    def __init__(self, root: Path, hub: LocalHub, live_api: LiveAPI, checkpoint: Path) -> None:
        self.root, self.hub, self.live_api = root, hub, live_api
        self.jobs: list[subprocess.Popen[str]] = []
        self.api = HfApi(endpoint=hub.url, token=CITY)
        self.api.create_repo("city/model", private=True, exist_ok=True)
        self.head = self.api.model_info("city/model").sha
        for space in ("city/inference", "city/retrain"):
            self.api.create_repo(space, repo_type="space", space_sdk="docker", exist_ok=True, private=True)
            self.api.upload_file(
                path_or_fileobj=b"FROM scratch\n", path_in_repo="Dockerfile", repo_id=space, repo_type="space"
            )
            self.api.restart_space(space)
        self.settings = {
            **COMMON,
            "HOME": str(root),
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": CITY,
            "LABEL": "urgency",
            "DATASET_REPO_ID": "city/data",
            "HUB_MODEL_ID": "city/model",
            "MODEL_CHECKPOINT": str(checkpoint),
            "API_ENDPOINT": live_api.url,
            "SPACE_REPO_ID": "city/inference",
            "RETRAIN_SPACE_ID": "city/retrain",
            "NUM_TRAIN_EPOCHS": "1",
            "MIN_TRAIN_STEPS": "0",
            "LEARNING_RATE": "0.001",
            "PRECISION": "fp32",  # the same on every machine, and faster for a tiny model
            "RUN_DIR": str(root / "runs"),
            "PORT": str(free_port()),
        }

    def push(self, splits: dict[str, list[dict[str, Any]]], columns: dict[str, Any] | None = None) -> None:
        push_splits(self.api, "city/data", splits, "v20250101_000000", columns)

    def publish_a_model(self) -> None:
        """Something to compare with: the job only looks whether a model is there."""
        self.api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="city/model")
        self.api.upload_file(path_or_fileobj=b"0", path_in_repo="model.safetensors", repo_id="city/model")
        self.head = self.api.model_info("city/model").sha

    def run(
        self, timeout: float = 240, runs: str = "runs", *, real_start: bool = False, **settings: str
    ) -> Run:
        """`python train_model.py` with exactly these settings as its environment."""
        return self.end(self.start(real_start=real_start, **settings), timeout, runs)

    def start(
        self, *, real_start: bool = False, source: Path = SOURCE, **settings: str
    ) -> subprocess.Popen[str]:
        """The same, without waiting for it; in a process group of its own, to be killed as a whole.

        real_start: no process of the job comes from the fork server; for tests of what happens to processes.
        A job with a variable that is not one of our settings starts like this, too, because a library of the
        server may have read it at import. source: where the program is.
        """
        environ = self.settings | settings
        known = COMMON | {name: environ[name] for name in fork_server.PER_JOB}
        others = {name.lower() for name, value in environ.items() if known.get(name) != value}
        if not real_start and others <= BaseConfig.model_fields.keys():
            environ[fork_server.VARIABLE] = self.fork_server
        job = subprocess.Popen(
            [sys.executable, str(source / "train_model.py")],
            env=environ,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.jobs.append(job)
        return job

    def wait_for(self, job: subprocess.Popen[str], event: str, **fields: Any) -> Path:
        """Wait until a started job has journalled an event with these fields; returns its folder."""
        for _ in range(1800):
            for file in (self.root / "runs").glob("*/events.jsonl"):
                for entry in Journal(file.parent).read():
                    seen = entry.as_json()
                    if seen["event"] == event and fields.items() <= seen.items():
                        return file.parent
            assert job.poll() is None, job.communicate()[0]
            time.sleep(0.1)  # a file that another process writes has no event to wait for
        raise AssertionError(f"{event} {fields} did not come")

    def close(self) -> None:
        """End what a failed test has left running."""
        for job in self.jobs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
            job.communicate()

    def end(self, job: subprocess.Popen[str], timeout: float = 240, runs: str = "runs") -> Run:
        """Wait for a started job."""
        output, _ = job.communicate(timeout=timeout)
        folders = sorted((self.root / runs).glob("*"), key=lambda folder: folder.stat().st_mtime)
        return Run(job.returncode, output, folders[-1])

    def serve_newest(self) -> None:
        """The live API serves what is released, as the inference Space does after its restart."""
        self.live_api.serve_newest(self.hub, "city/model", "city/inference")

    @property
    def paused(self) -> bool:
        return self.api.get_space_runtime("city/retrain").stage == "PAUSED"

    @property
    def version_tags(self) -> list[Any]:
        return [tag for tag in self.api.list_repo_refs("city/model").tags if is_version_tag(tag.name)]

    @property
    def nothing_published(self) -> bool:
        refs = self.api.list_repo_refs("city/model")
        return not refs.tags and self.api.model_info("city/model").sha == self.head


@contextlib.contextmanager
def meanwhile(*looks: Callable[[], object], every: float = 0.1) -> Iterator[None]:
    """While the block runs, look again and again, each in a thread of its own."""
    over = threading.Event()

    def keep(look: Callable[[], object]) -> None:
        while not over.wait(every):
            look()

    threads = [threading.Thread(target=keep, args=(look,)) for look in looks]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def city(tmp_path: Path, live_api: LiveAPI, checkpoint: Path) -> Iterator[City]:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        city = City(tmp_path, hub, live_api, checkpoint)
        yield city
        city.close()


@pytest.fixture(scope="session")
def first_release(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, unique_grievances: list[dict[str, Any]]
) -> Path:
    """The folder of a Hub on which a first version, trained a little, is released and verified.

    The first worker that needs it makes it, for all of them.
    """
    root = tmp_path_factory.getbasetemp()
    root = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "first"
    with Path(f"{root}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "released").exists():
            release_first(root, checkpoint, split_rows(unique_grievances))
            (root / "released").touch()
    return root / "hub"


def release_first(root: Path, checkpoint: Path, splits: dict[str, list[dict[str, Any]]]) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    live_api = LiveAPI()
    with LocalHub(root / "hub", USERS) as hub:
        city = City(root, hub, live_api, checkpoint)
        city.push(splits)
        city.serve_newest()
        run = city.run(**FIRST)
        assert run.exit_code == 0, run.output
    live_api.close()


@pytest.fixture
def served_city(tmp_path: Path, live_api: LiveAPI, checkpoint: Path, first_release: Path) -> Iterator[City]:
    """A city whose first version is served, and whose next candidate is better."""
    shutil.copytree(first_release, tmp_path / "hub")
    with LocalHub(tmp_path / "hub", USERS) as hub:
        city = City(tmp_path, hub, live_api, checkpoint)
        city.serve_newest()
        better = LEARNING | {"NUM_TRAIN_EPOCHS": "24"}
        city.settings |= better | {"COMPARE_WITH": "hub", "ROLLOUT_TIMEOUT_MINUTES": "0.3"}
        yield city
        city.close()


@pytest.fixture(scope="session")
def unique_grievances(grievances: list[dict[str, str]]) -> list[dict[str, Any]]:
    unique = {row["grievance"].casefold(): row for row in grievances}.values()
    return [{"grievance": row["grievance"], "label": row["urgency"]} for row in unique]


def tiny_splits() -> dict[str, list[dict[str, Any]]]:
    """A row of each label in each split, no text twice."""
    return {
        split: [{"grievance": f"{split} {label}", "label": label} for label in LABELS]
        for split in ("train", "eval", "test")
    }


def split_rows(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {"train": rows[:60], "eval": rows[60:90], "test": rows[90:150]}


@pytest.fixture
def good_splits(unique_grievances: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Sixty rows to train on, thirty to validate, sixty to test, every class in each, no text twice."""
    return split_rows(unique_grievances)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """The journal of a run that has failed, with hostile text in it."""
    journal = Journal.create(tmp_path / "run")
    journal.write(Started("x", "urgency", {}))
    journal.write(Stage("train"))
    for step in range(1, 6):
        journal.write(Progress("train", step, 10, 1 / step))
        journal.write(Validation(step, 10, step / 10, 1.0))
    return journal


@pytest.fixture
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        assert not os.environ.get("CI"), "the browser tests need Debian's chromium"
        pytest.skip("Debian's chromium is not installed")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=quiet)
        yield browser
        browser.close()


_names = itertools.count()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The server that all tests share that leave it running."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def database(cluster: Cluster) -> str:
    """The URL of a database of the test's own, with the city's tables."""
    return cluster.create(f"city_{next(_names)}")
