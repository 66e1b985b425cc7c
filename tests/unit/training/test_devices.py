"""Training in several processes: how many, what their deaths mean, and what an environment may hold."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import datasets
import psutil
import pytest
import torch
from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments

from retrain.errors import DatasetError, DeviceError, OutOfMemoryError, RetrainError
from retrain.training.devices import (
    RANKS,
    DropoutOfRank,
    failure,
    idle_gpu_warning,
    train_on_devices,
    usable_devices,
)
from tests.conftest import NEEDED, SOURCE
from tests.unit.training.conftest import rows_of


@pytest.mark.parametrize(
    ("batch_size", "available", "used"),
    [(16, 0, 1), (16, 1, 1), (16, 2, 2), (16, 3, 2), (16, 4, 4), (18, 4, 3), (17, 4, 1), (2, 8, 2)],
)
def test_as_many_gpus_are_used_as_share_a_batch_evenly(batch_size: int, available: int, used: int) -> None:
    assert usable_devices(batch_size, available) == used


def write(shared: Path, *failures: tuple[str, str]) -> None:
    for rank, (name, message) in enumerate(failures):
        (shared / f"failed-{rank}.json").write_text(json.dumps([name, message]))


CLOSED = ("RuntimeError", "Connection closed by peer")


@pytest.mark.parametrize(
    ("failures", "returncode", "raised", "said"),
    [
        ([CLOSED, ("OutOfMemoryError", "Memory ran out.")], 1, OutOfMemoryError, "Memory ran out."),
        ([CLOSED, ("DatasetError", "No rows.")], 1, DatasetError, "No rows."),
        ([CLOSED], -signal.SIGKILL, OutOfMemoryError, "killed, most likely for memory"),
        ([CLOSED], -signal.SIGSEGV, DeviceError, "died of SIGSEGV"),
        ([CLOSED], -signal.SIGBUS, DeviceError, "died of SIGBUS"),
        ([CLOSED], 1, RuntimeError, "a training process failed: RuntimeError"),
        ([], 3, RuntimeError, "a training process failed: exit code 3"),
        ([("signal", "no error of the tree")], 1, RuntimeError, "a training process failed: signal"),
    ],
)
def test_what_a_process_died_of_is_what_is_raised(
    tmp_path: Path,
    failures: list[tuple[str, str]],
    returncode: int,
    raised: type[Exception],
    said: str,
) -> None:
    write(tmp_path, *failures)
    error = failure(tmp_path, returncode)
    assert type(error) is raised
    assert said in str(error)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV])
def test_a_rank_that_is_killed_ends_the_training_and_the_other_rank(
    model: PreTrainedModel, tmp_path: Path, signum: signal.Signals
) -> None:
    rows = datasets.Dataset.from_list(rows_of([30] * 64))
    environ = {**os.environ, **NEEDED, "MIN_TRAIN_STEPS": "5000", "OMP_NUM_THREADS": "1"}
    found: list[psutil.Process] = []

    def kill_one() -> None:
        mine = psutil.Process()
        while len(found) < 2:
            named = (each for each in mine.children() if "retrain.training.devices" in each.cmdline())
            found[:] = list(named)
        found[1].send_signal(signum)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(RetrainError, match=r"most likely for memory|SIGSEGV") as caught:
        train_on_devices(model, rows, rows.select(range(8)), tmp_path, 2, environ)
    killer.join()
    assert isinstance(caught.value, OutOfMemoryError if signum == signal.SIGKILL else DeviceError)
    assert not [each for each in found if each.is_running()]
    assert not (tmp_path / "devices").exists()


def test_each_process_drops_places_of_its_own(tmp_path: Path) -> None:
    draws = []
    for rank in (0, 1):
        arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
        arguments.distributed_state._shared_state["process_index"] = rank  # type: ignore[union-attr]
        torch.manual_seed(arguments.seed)
        DropoutOfRank().on_train_begin(arguments, TrainerState(), TrainerControl())
        draws.append(torch.rand(4))
        arguments.distributed_state._shared_state["process_index"] = 0  # type: ignore[union-attr]
    assert not torch.equal(*draws)


def test_ranks_and_precision_that_an_environment_was_left_with_do_not_reach_the_training_process() -> None:
    """torchrun's and accelerate's variables, as a shell or a platform may hold them: waiting for others would
    be for ever.
    """
    stale = dict.fromkeys((*RANKS, "ACCELERATE_MIXED_PRECISION"), "3")
    code = (
        "import os, runpy, sys; sys.argv = ['model_pipeline.py', 'nowhere']\n"
        "import retrain.processes; retrain.processes.die_with_parent = lambda: sys.exit(str(sorted("
        f"set({[*stale]!r}) & set(os.environ))))\n"
        "runpy.run_path('model_pipeline.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SOURCE, env=os.environ | stale, capture_output=True, text=True
    )
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("accelerator", ["", "none"])
def test_a_space_without_a_gpu_is_not_warned(accelerator: str) -> None:
    assert idle_gpu_warning({"ACCELERATOR": accelerator}) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_paid_for_and_not_used_is_said() -> None:
    warning: Any = idle_gpu_warning({"ACCELERATOR": "t4"})
    assert "The Space's t4 is paid for and not used" in warning


@pytest.mark.skipif(os.geteuid() != 0, reason="a host name of its own needs root")
def test_a_host_name_that_does_not_resolve_holds_nothing_up(model: PreTrainedModel, tmp_path: Path) -> None:
    """As in a container without an entry in /etc/hosts."""
    rows = datasets.Dataset.from_list(rows_of([30] * 32))
    model.save_pretrained(tmp_path / "model")
    rows.save_to_disk(tmp_path / "rows")
    code = (
        "import datasets, os, socket, sys; from pathlib import Path\n"
        "from transformers import AutoModelForSequenceClassification as Model\n"
        "from retrain.training.devices import train_on_devices\n"
        "socket.sethostname('nowhere-to-be-found')\n"
        "folder = Path(sys.argv[1]); rows = datasets.load_from_disk(folder / 'rows')\n"
        "model = Model.from_pretrained(folder / 'model')\n"
        "print(train_on_devices(model, rows, rows, folder, 2, os.environ).devices)"
    )
    few = {"NUM_TRAIN_EPOCHS": "1", "MIN_TRAIN_STEPS": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["unshare", "--uts", sys.executable, "-c", code, str(tmp_path)],
        cwd=SOURCE,
        env=os.environ | NEEDED | few,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.stdout.strip().endswith("2"), done.stderr
