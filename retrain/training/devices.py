"""Training on several devices: torchrun starts a process for each, and the pipeline waits for the result.

The pipeline itself stays one process. The others run this module on the run's folder. They read what
`train_on_devices` has written there; only rank 0 writes to the journal and saves the result.
"""

import json
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import datasets
import torch
import transformers
from safetensors.torch import load_model
from transformers import AutoModelForSequenceClassification, PreTrainedModel, TrainerCallback

from configs import get_config
from retrain import errors
from retrain.errors import OUT_OF_MEMORY, OutOfMemoryError, resource_errors
from retrain.events import Environment
from retrain.journal import Journal
from retrain.processes import die_with_parent, end_child
from retrain.records import TrainingSummary
from retrain.redaction import Redactor, set_up_logging
from retrain.training.fine_tuning import fine_tune, training_summary
from retrain.training.progress import Heartbeat, ProgressCallback

# A folder inside the run's, during the training.
SHARED = "devices"
SOURCE = Path(__file__).parents[2]

logger = logging.getLogger(__name__)


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
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *torchrun, "-m", "retrain.training.devices", str(run_folder)]
    path = os.pathsep.join([str(SOURCE), *environ.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(os.pathsep)
    child = subprocess.Popen(command, env={**environ, "PYTHONPATH": path}, preexec_fn=die_with_parent)  # noqa: S603 (our own)
    try:
        if child.wait() != 0:
            for failure in shared.glob("failed-*.json"):
                name, message = json.loads(failure.read_text(encoding="utf-8"))
                raise getattr(errors, name, RuntimeError)(message)
            raise OutOfMemoryError(f"A training process was killed, most likely for memory. {OUT_OF_MEMORY}")
        load_model(model, shared / "result" / "model.safetensors")
        summary = json.loads((shared / "result" / "training.json").read_text(encoding="utf-8"))
        return TrainingSummary(**summary)
    finally:
        end_child(child)
        shutil.rmtree(shared, ignore_errors=True)


def environment() -> Environment:
    """What a run runs on: versions of Python and the libraries, and the hardware."""
    libraries = ("torch", "transformers", "datasets", "huggingface_hub")
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    about = {"python": platform.python_version(), "hardware": hardware, "cpus": os.cpu_count()}
    about["threads"] = torch.get_num_threads()
    return Environment(about | {library: version(library) for library in libraries})


def idle_gpu_warning(environ: Mapping[str, str]) -> str | None:
    """An image built for the CPU trains on a GPU Space without an error: slowly, at the price of the GPU."""
    billed = environ.get("ACCELERATOR") or "none"  # set by the platform
    if billed == "none" or torch.cuda.is_available():
        return None
    return (
        f"The Space's {billed} is paid for and not used: no CUDA device is seen. "
        "Build it with REQUIREMENTS=requirements-cuda.lock, or choose a CPU."
    )


def main(run_folder: Path, environ: Mapping[str, str]) -> int:
    """One of the processes."""
    config = get_config(environ)
    rank, shared = int(environ["RANK"]), run_folder / SHARED
    set_up_logging(Redactor(config.secrets))
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    callbacks: list[TrainerCallback] = []
    if rank == 0:
        journal = Journal(run_folder, Redactor(config.secrets))
        callbacks = [ProgressCallback(journal, lambda values, step: None), Heartbeat(journal, "validate")]
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
        failure = json.dumps([type(error).__name__, str(error)])
        (shared / f"failed-{rank}.json").write_text(failure, encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(Path(sys.argv[1]), os.environ))
