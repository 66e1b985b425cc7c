"""Training on several devices: a process for each, and the pipeline waits for the result.

The pipeline itself stays one process. The others run this module on the run's folder. They read what
`train_on_devices` has written there; only rank 0 writes to the journal and saves the result.
"""

import contextlib
import json
import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from safetensors.torch import load_model
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from configs import get_config
from retrain import errors
from retrain.errors import OUT_OF_MEMORY, DeviceError, OutOfMemoryError, RetrainError, resource_errors
from retrain.events import Environment
from retrain.journal import Journal
from retrain.processes import die_with_parent, end_child, free_port
from retrain.records import TrainingSummary
from retrain.redaction import Redactor, set_up_logging
from retrain.training.fine_tuning import fine_tune, training_summary
from retrain.training.progress import Heartbeat, ProgressCallback

# A folder inside the run's, during the training.
SHARED = "devices"
SOURCE = Path(__file__).parents[2]
POLL_SECONDS = 0.2
# Set for each process; one that is left in an environment would make a single process wait for others.
RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

logger = logging.getLogger(__name__)


def usable_devices(batch_size: int, available: int) -> int:
    """The largest number of devices that share a batch evenly: TRAIN_BATCH_SIZE keeps its meaning."""
    return max(count for count in range(1, max(available, 1) + 1) if batch_size % count == 0)


def gpus() -> int:
    """The GPUs that can be used; device_count() also counts those that no driver serves."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def train_on_devices(
    model: PreTrainedModel,
    train_set: datasets.Dataset,
    eval_set: datasets.Dataset,
    run_folder: Path,
    processes: int,
    environ: Mapping[str, str],
) -> TrainingSummary:
    """As fine_tune, in so many processes, TRAIN_BATCH_SIZE being that of all.

    Raises:
        RetrainError: the error of a process, such as OutOfMemoryError.
    """
    shared = run_folder / SHARED
    with resource_errors():
        model.save_pretrained(shared / "model")
        train_set.save_to_disk(shared / "train")
        eval_set.save_to_disk(shared / "eval")
    # Neither needs the name of this host, which a container's resolver may not know.
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(processes)}
    command = [sys.executable, "-m", "retrain.training.devices", str(run_folder)]
    path = os.pathsep.join([str(SOURCE), *environ.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(os.pathsep)
    try:
        with contextlib.ExitStack() as ending:
            children = []
            for rank in map(str, range(processes)):
                of_rank = {"RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": path} | group
                child = subprocess.Popen(command, env={**environ, **of_rank}, preexec_fn=die_with_parent)  # noqa: S603 (our own)
                ending.callback(end_child, child)
                children.append(child)
            failed = _wait(children)
        if failed is not None:
            raise failure(shared, failed)
        load_model(model, shared / "result" / "model.safetensors")
        summary = json.loads((shared / "result" / "training.json").read_text(encoding="utf-8"))
        return TrainingSummary(**summary)
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait until all have ended well (None), or one has not: its return code.

    The others wait for it in vain, or have failed because of it: a signal (a negative code) comes first.
    """
    while True:
        codes = [child.poll() for child in children]
        if failed := [code for code in codes if code]:
            return min(failed)
        if None not in codes:
            return None
        time.sleep(POLL_SECONDS)


def failure(shared: Path, returncode: int) -> Exception:
    """What to raise after a process has ended with this code, by what all of them have written.

    An error of the tree comes before others: a process whose neighbour has died only knows that its
    connection is closed.
    """
    kinds = []
    for file in sorted(shared.glob("failed-*.json")):
        name, message = json.loads(file.read_text(encoding="utf-8"))
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, RetrainError):
            return kind(message)
        kinds.append(name)
    if returncode == -signal.SIGKILL:
        return OutOfMemoryError(f"A training process was killed, most likely for memory. {OUT_OF_MEMORY}")
    if returncode < 0:
        name = signal.Signals(-returncode).name
        return DeviceError(
            f"A training process died of {name}. See the end of output.log, and restart the run."
        )
    return RuntimeError(f"a training process failed: {', '.join(kinds) or f'exit code {returncode}'}")


class DropoutOfRank(TrainerCallback):
    """Gives each process draws of its own: with one seed all would drop the same places of their texts."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if args.process_index:
            torch.manual_seed(args.seed + args.process_index)


def environment() -> Environment:
    """What a run runs on: versions of Python and the libraries, and the hardware."""
    libraries = ("torch", "transformers", "datasets", "huggingface_hub")
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    about = {"python": platform.python_version(), "hardware": hardware, "cpus": os.cpu_count()}
    about["threads"] = torch.get_num_threads()
    return Environment(about | {library: version(library) for library in libraries})


def idle_gpu_warning(environ: Mapping[str, str]) -> str | None:
    """A run that can't use the GPU of its Space goes on without an error: slowly, at the price of the GPU."""
    billed = environ.get("ACCELERATOR") or "none"  # set by the platform
    if billed == "none" or torch.cuda.is_available():
        return None
    remedy = "Build it with REQUIREMENTS=requirements-cuda.lock, or choose a CPU."
    if torch.version.cuda:
        remedy = f"Its driver does not serve the image's CUDA {torch.version.cuda}: choose other hardware."
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as error:  # a driver that is too old, or none
            remedy += f" ({str(error).splitlines()[0]})"
    return f"The Space's {billed} is paid for and not used: no CUDA device is seen. {remedy}"


def main(run_folder: Path, environ: Mapping[str, str]) -> int:
    """One of the processes."""
    config = get_config(environ)
    rank, shared = int(environ["RANK"]), run_folder / SHARED
    set_up_logging(Redactor(config.secrets))
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    callbacks: list[TrainerCallback] = [DropoutOfRank()]
    if rank == 0:
        journal = Journal(run_folder, Redactor(config.secrets))
        callbacks += [ProgressCallback(journal, lambda values, step: None), Heartbeat(journal, "validate")]
    try:
        with resource_errors():
            model = AutoModelForSequenceClassification.from_pretrained(shared / "model", dtype=torch.float32)
            train_set, eval_set = (datasets.load_from_disk(str(shared / name)) for name in ("train", "eval"))
            trainer = fine_tune(model, train_set, eval_set, config, run_folder / "checkpoints", callbacks)
            if rank == 0:
                model.save_pretrained(shared / "result")
                summary = json.dumps(asdict(training_summary(trainer)))
                (shared / "result" / "training.json").write_text(summary, encoding="utf-8")
    except Exception as error:
        logger.exception("Training on device %d failed", rank)
        failed = json.dumps([type(error).__name__, str(error) if isinstance(error, RetrainError) else ""])
        (shared / f"failed-{rank}.json").write_text(failed, encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(Path(sys.argv[1]), os.environ))
