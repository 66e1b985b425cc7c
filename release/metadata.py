"""metadata.json: what a version tells of itself. The mission's fields, and the lineage. Knows only values."""

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from configs import BaseConfig
from run_record import DatasetInfo, Scores, ServedVersion, Verdict


def version_metadata(
    config: BaseConfig,
    dataset: DatasetInfo,
    scores: Scores,
    verdict: Verdict,
    *,
    version_tag: str,
    author: str,
    checkpoint_revision: str | None,
    previous: ServedVersion | None,
    device: str,
) -> dict[str, Any]:
    """The fields of metadata.json, as plain JSON values."""
    first = " (first release)" if verdict.delta is None else ""
    libraries = ("torch", "transformers", "datasets", "huggingface_hub")
    return {
        "model_name": config.hub_model_id,
        "version_tag": version_tag,
        "commit_message": f"Auto-deploy: ΔF1 >= {config.decision_threshold:.4f}{first}",
        "timestamp_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "author": author,
        "training_args": config.public_values(),
        "eval_metrics": asdict(scores),
        "comparison": asdict(verdict),
        "dataset": asdict(dataset),
        "base_checkpoint": config.model_checkpoint,
        "base_checkpoint_revision": checkpoint_revision,
        "previous_version": previous and previous.tag,
        "previous_revision": previous and previous.revision,
        "environment": {"python": platform.python_version(), "device": device}
        | {library: version(library) for library in libraries},
    }
