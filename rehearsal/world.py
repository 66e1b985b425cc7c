"""A small city on one machine: a Hub with a data set, a base checkpoint, an inference and a retrain Space.

Everything is created with the official client, as on the real Hub.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from huggingface_hub import HfApi

from configs import LABEL_SETS
from retrain.dataset.rows import read_rows
from retrain.hub.dataset_repo import DatasetRepo
from retrain.setup.plan import plan

from .local_hub import LocalHub
from .sample_data import make_grievances, split_grievances

TOKEN = "hf_rehearsal_token_of_the_city"
USERS = {TOKEN: {"name": "city", "fullname": "The City", "orgs": []}}
DATASET, MODEL, CHECKPOINT = "city/grievances", "city/grievance-model", "city/xlm-roberta-tiny"
INFERENCE_SPACE, RETRAIN_SPACE = "city/grievance-inference", "city/grievance-retrain"


class World:
    """The city's repositories and Spaces, as a context manager that shuts them down."""

    def __init__(self, root: Path, label: str, labels: str = "") -> None:
        self.root, self.label, self.labels = root, label, labels
        self.hub = LocalHub(root / "hub", USERS, host_spaces=True)
        self.host = self.hub.space_host
        self.api = HfApi(endpoint=self.hub.url, token=TOKEN)
        # The local Hub has no Xet storage; everything else is what the real Hub needs too.
        self.client = {
            "HF_ENDPOINT": self.hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        }

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        self.hub.close()

    def push_data(self, splits: Mapping[str, list[dict[str, str]]], version_tag: str) -> None:
        """A new version of the data set, with the label that this city is about."""
        labelled = {
            name: [{"grievance": row["grievance"], "label": row[self.label]} for row in rows]
            for name, rows in splits.items()
        }
        push_splits(self.api, DATASET, labelled, version_tag)

    def push_checkpoint(self, folder: Path) -> None:
        """Put a base checkpoint on the Hub."""
        self.api.create_repo(CHECKPOINT, exist_ok=True)
        self.api.upload_folder(repo_id=CHECKPOINT, folder_path=folder)

    def create_spaces(self, settings: Mapping[str, str]) -> None:
        """Create both Spaces, paused; `settings` are further variables of the retrain Space."""
        # Its address must be known before the retrain Space is set up.
        self.api.create_repo(INFERENCE_SPACE, repo_type="space", space_sdk="docker", private=True)
        self.api.pause_space(INFERENCE_SPACE)
        for step in plan(self.api, self.retrain_settings() | {"HF_TOKEN": TOKEN} | dict(settings)):
            step.do()

    def retrain_settings(self) -> dict[str, str]:
        """What the env file of the city would hold, but for the token."""
        own_labels = {"LABELS": self.labels} if self.labels else {}
        return (
            self.client
            | own_labels
            | {
                "LABEL": self.label,
                "DATASET_REPO_ID": DATASET,
                "HUB_MODEL_ID": MODEL,
                "MODEL_CHECKPOINT": CHECKPOINT,
                "API_ENDPOINT": f"http://{self.domain(INFERENCE_SPACE)}/predict",
                "SPACE_REPO_ID": INFERENCE_SPACE,
                "RETRAIN_SPACE_ID": RETRAIN_SPACE,
                "RUN_DIR": str(self.root / "runs"),
            }
        )

    def domain(self, space_id: str) -> str:
        """The address of a Space, as the Hub reports it."""
        return str(self.api.get_space_runtime(space_id).raw["domains"][0]["domain"])


def push_splits(
    api: HfApi,
    repo_id: str,
    splits: Mapping[str, list[dict[str, Any]]],
    version_tag: str,
    types: Mapping[str, pa.DataType] | None = None,
) -> None:
    """Commit the splits as Parquet and tag the commit; `types` overrides the types that pyarrow infers."""
    DatasetRepo(api, repo_id).publish(splits, version_tag, types)


def read_grievances(
    file: Path | None, label: str = "urgency", label2id: Mapping[str, int] | None = None
) -> list[dict[str, str]]:
    """The rows of a file with a text and a label; our own sample without a file.

    Raises:
        DatasetError: see retrain.dataset.rows.
    """
    if file is None:
        return make_grievances()
    rows = read_rows(file, label, label2id or LABEL_SETS[label], f"DATA={file}")
    for line in rows.dropped_lines():
        print(f"DATA={file}: {line} left out")
    return [{"grievance": text, label: name} for text, name in zip(rows.texts, rows.labels, strict=True)]


def first_and_second_version(
    rows: list[dict[str, str]], first_rows: int, label: str = "urgency"
) -> tuple[dict[str, list[dict[str, str]]], dict[str, list[dict[str, str]]]]:
    """Two versions of the data set: train begins small and grows; eval and test stay what they were."""
    splits = split_grievances(rows, label=label)
    return splits | {"train": splits["train"][:first_rows]}, splits


def chosen_settings(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The training and decision settings of the retrain Space that the environment may change."""
    names = (
        "NUM_TRAIN_EPOCHS MIN_TRAIN_STEPS TRAIN_BATCH_SIZE EVAL_BATCH_SIZE LEARNING_RATE WEIGHT_DECAY "
        "EVAL_STEPS FOCAL_GAMMA EARLY_STOPPING_PATIENCE FOCAL_ALPHA MAX_LENGTH SEED DEPLOYED_SAMPLE_SIZE "
        "DECISION_THRESHOLD MIN_COVERAGE DECISION_CONFIDENCE MIN_F1_MACRO MAX_CLASS_RECALL_DROP COMPARE_WITH "
        "ROLLOUT_TIMEOUT_MINUTES PRECISION OMP_NUM_THREADS"
    )
    return {name: environ[name] for name in names.split() if environ.get(name)}
