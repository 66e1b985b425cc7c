"""metadata.json: what a version tells of itself. The mission's fields, and the lineage. Knows only values."""

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

from configs import BaseConfig
from retrain.records import DatasetInfo, Scores, Verdict


def commit_message(config: BaseConfig, verdict: Verdict) -> str:
    """The title of the release's commit."""
    first = " (first release)" if verdict.delta is None else ""
    return f"Auto-deploy: ΔF1 >= {config.decision_threshold:.4f}{first}"


def version_metadata(
    config: BaseConfig, dataset: DatasetInfo, scores: Scores, verdict: Verdict, about: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of metadata.json, as plain JSON values.

    about: version_tag, author, and where the version comes from.
    """
    return {
        "model_name": config.hub_model_id,
        "commit_message": commit_message(config, verdict),
        "timestamp_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "training_args": config.public_values(),
        "eval_metrics": asdict(scores),
        "comparison": asdict(verdict),
        "dataset": asdict(dataset),
        "base_checkpoint": config.model_checkpoint,
        "environment": environment(),
    } | dict(about)


def environment() -> dict[str, Any]:
    """What a run ran on: versions of Python and the libraries, and the hardware."""
    libraries = ("torch", "transformers", "datasets", "huggingface_hub")
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    about = {"python": platform.python_version(), "hardware": hardware, "cpus": os.cpu_count()}
    return about | {library: version(library) for library in libraries}
