"""A process that has the heavy libraries imported, and forks for each process of a job that needs them.

Most of the time of a short job goes into importing torch, transformers and the like. `City.start` names this
server's socket in the environment of the job, and loopback_only/forked_start.py then asks the server for a
process in place of the training process and of the one that makes the report. A forked process has its own
arguments, environment, folder, output and exit code, and imports the project from where it runs: nothing of
the project is imported here.

Libraries read two variables at import that differ from job to job: HF_ENDPOINT and HOME. They are imported
with placeholders, which each forked process replaces. `City.start` makes sure that all other variables which
a library may read are those that the server has.
"""

import builtins
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

VARIABLE = "FORK_SERVER_OF_TESTS"
LIBRARIES = (
    "torch",
    "torch.utils.data",
    "torch.optim.lr_scheduler",
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "pyarrow.compute",
    "scipy.special",
    "scipy.stats",
    "scipy.optimize",
    "scipy.io",
    "sklearn.metrics",
    "huggingface_hub.hf_api",
    "huggingface_hub.file_download",
    "datasets",
    "transformers.trainer",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.xlm_roberta.modeling_xlm_roberta",
    "accelerate",
    "safetensors.torch",
    "wandb",
    "wandb.apis.public",
    "matplotlib.figure",
    "matplotlib.font_manager",
    "matplotlib.pyplot",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "jinja2",
    "markupsafe",
    "pydantic",
    "pydantic_settings",
    "dotenv",
    "requests",
    "apprise",
)
PER_JOB = ("HF_ENDPOINT", "HOME")
# The supervisor sets it for the training process, and tqdm reads it at import.
PROGRESS = {"TQDM_POSITION": "-1", "TQDM_MININTERVAL": "10"}
LARGEST_REQUEST = 2**17
PR_SET_PDEATHSIG = 1  # of prctl(2)


class ForkServer:
    """The server as a child of the test run, which ends with it. It imports nothing until a job asks.

    environ: what all jobs have in common.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fork-server-"))
        self.address = str(self.folder / "socket")
        own = {
            "HF_ENDPOINT": f"http://127.0.0.1:1{self.folder}/endpoint",
            "HOME": str(self.folder / "home"),
            "MPLCONFIGDIR": str(self.folder / "matplotlib"),
        }
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self.address)
            listener.listen(128)
            self.process = subprocess.Popen(
                [sys.executable, "-u", __file__, str(listener.fileno())],
                env={**environ, **PROGRESS, **own},
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C is for the test run
            )

    def close(self) -> None:
        """End it, and what it has forked."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Placeholders:
    """Where libraries keep the server's own HF_ENDPOINT and HOME.

    Raises:
        RuntimeError: a placeholder is where it can't be replaced.
    """

    def __init__(self) -> None:
        self.values = {name: os.environ[name] for name in PER_JOB}
        self.places: list[tuple[Any, Any, Any]] = []  # a dictionary or list, the key, the value
        for holder in gc.get_objects():
            if holder is self.values or not any(map(self.is_in, gc.get_referents(holder))):
                continue
            if isinstance(holder, PurePath):
                continue  # what holds the path is found, too
            container = holder if isinstance(holder, dict | list) else getattr(holder, "__dict__", None)
            if not isinstance(container, dict | list) or "__module__" in container:  # that of a class
                raise RuntimeError(f"{type(holder)} {holder!r:.200} holds what differs from job to job")
            items = container.items() if isinstance(container, dict) else enumerate(container)
            self.places += [(container, key, value) for key, value in items if self.is_in(value)]

    def is_in(self, value: Any) -> bool:
        # Not isinstance: some objects warn when they are asked for their __class__.
        return issubclass(type(value), str | PurePath) and any(
            each in str(value) for each in self.values.values()
        )

    def replace(self, environ: Mapping[str, str]) -> None:
        """Put a job's values in their place."""
        for container, key, value in self.places:
            text = str(value)
            for name, placeholder in self.values.items():
                text = text.replace(placeholder, environ[name])
            container[key] = type(value)(text)


class Server:
    """One thread, which forks: each connection is a process that asks for another one in its place.

    The first message of a connection is the request; then each byte is a signal to pass on. The answer is the
    exit code, negative for a signal. If the connection is closed before that, the forked process is killed.
    """

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.processes: dict[socket.socket, int] = {}
        self.placeholders: Placeholders | None = None
        self.selector = selectors.DefaultSelector()
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self.end)
        self.selector.register(listener, selectors.EVENT_READ, self.accept)

    def serve(self) -> dict[str, Any]:
        """Until the test run ends; returns in each forked process, with its request."""
        while True:
            key, _ = self.selector.select()[0]  # one at a time: it may make others void
            request: dict[str, Any] | None = key.data(key.fileobj)
            if request:
                return request

    def end(self, _: int) -> None:
        for pid in self.processes.values():
            os.kill(pid, signal.SIGKILL)
        sys.exit()

    def accept(self, listener: socket.socket) -> None:
        self.selector.register(listener.accept()[0], selectors.EVENT_READ, self.fork)

    def fork(self, connection: socket.socket) -> dict[str, Any] | None:
        self.selector.unregister(connection)
        request, files = receive(connection)
        if request is None:
            connection.close()
            return None
        if self.placeholders is None:
            self.placeholders = import_libraries()
        if (pid := os.fork()) == 0:
            for key in list(self.selector.get_map().values()):
                if key.data != self.end:  # standard input is replaced
                    key.fileobj.close() if isinstance(key.fileobj, socket.socket) else os.close(key.fd)
            self.selector.close()
            connection.close()
            become(request, files)
            self.placeholders.replace(os.environ)
            return request
        for file in files:
            os.close(file)
        self.processes[connection] = pid
        self.selector.register(connection, selectors.EVENT_READ, self.pass_signals_on)
        bury = functools.partial(self.bury, connection)
        self.selector.register(os.pidfd_open(pid), selectors.EVENT_READ, bury)
        return None

    def pass_signals_on(self, connection: socket.socket) -> None:
        signals = connection.recv(64)
        for signum in signals or [signal.SIGKILL]:
            os.kill(self.processes[connection], signum)
        if not signals:
            self.selector.unregister(connection)

    def bury(self, connection: socket.socket, pidfd: int) -> None:
        _, status = os.waitpid(self.processes.pop(connection), 0)
        self.selector.unregister(pidfd)
        os.close(pidfd)
        if connection in self.selector.get_map():
            self.selector.unregister(connection)
            with contextlib.suppress(OSError):  # it was killed just now
                connection.send(str(os.waitstatus_to_exitcode(status)).encode())
        connection.close()


def import_libraries() -> Placeholders:
    """Import what is heavy.

    Raises:
        RuntimeError: a fork would lose threads, or could not replace a placeholder.
    """
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    placeholders = Placeholders()
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(10)  # matplotlib's, which would have said that the search for fonts takes long
    threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()][1:]
    if others := set(threads) - {"jemalloc_bg_thd"}:  # pyarrow's, which sees to forks
        raise RuntimeError(f"A library has started threads at its import: {others}")
    gc.freeze()  # a collection in a forked process would copy the page of each object
    return placeholders


def receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """A request, and the files that came with it."""
    message, files, *_ = socket.recv_fds(connection, LARGEST_REQUEST, 3)
    return json.loads(message) if message else None, files


def become(request: Mapping[str, Any], files: Sequence[int]) -> None:
    """In a forked process: take over all that a process has from the one that starts it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environ"])
    for signum in request["ignored"]:
        signal.signal(signum, signal.SIG_IGN)
    sys.argv, sys.orig_argv = [*request["arguments"]], [sys.executable, *request["arguments"]]
    sys.modules["numpy"].random.seed()
    # wandb has a folder from its import on, which the first process to end would remove.
    media = sys.modules["wandb.sdk.data_types._private"].MEDIA_TMP
    media.name = tempfile.mkdtemp(prefix="wandb-media")


def run(arguments: Sequence[str]) -> None:
    """As `python SCRIPT ...` or `python -m MODULE ...` does, in a new __main__."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    if arguments[0] == "-m":
        sys.path[0], sys.argv = str(Path.cwd()), ["-m", *arguments[2:]]
        runpy._run_module_as_main(arguments[1])  # type: ignore[attr-defined]
    else:
        script = Path(arguments[0])
        sys.path[0] = str(script.resolve().parent)
        main.__dict__.update(__file__=str(script), __builtins__=builtins)
        exec(compile(script.read_bytes(), script, "exec"), main.__dict__)


if __name__ == "__main__":
    run(Server(socket.socket(fileno=int(sys.argv[1]))).serve()["arguments"])
