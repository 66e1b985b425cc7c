"""A PostgreSQL of the city, and the program that prepares data sets from it, as processes."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi

from preparation.settings import PreparationSettings, get_settings
from rehearsal.local_hub import LocalHub
from rehearsal.sample_data import make_grievances
from retrain.hub.dataset_repo import DatasetRepo, parquet_name
from tests.conftest import CITY, COMMON, SOURCE, USERS, Run, free_port

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
KEY = "split_key_of_the_city_0123456789"
PROGRAM = SOURCE / "companion_spaces" / "prepare_dataset" / "prepare_dataset.py"


def settings_for(**given: str) -> PreparationSettings:
    """Settings, with what every preparation needs."""
    needed = {
        "HF_TOKEN": CITY,
        "LABEL": "urgency",
        "DATASET_REPO_ID": "city/grievances-{label}",
        "SPLIT_KEY": KEY,
    }
    if "DATABASE_URL" not in given:
        needed["SOURCE"] = "complaints.csv"
    return get_settings(needed | given)


def complaints(count: int, first: int = 0, days: float = 1.0, seed: int = 42) -> list[dict[str, Any]]:
    """Made-up complaints from a place in a row of them on, evenly over some days."""
    made = make_grievances(first + count, seed)[first:]
    return [
        {
            "id": first + i,
            "message": row["grievance"],
            "department": row["department"],
            "urgency": row["urgency"],
            "created_at": MONDAY + timedelta(days=days * (first + i) / max(1, count)),
        }
        for i, row in enumerate(made)
    ]


@dataclass
class Preparations:
    """A Hub, and the program with settings for it."""

    root: Path
    hub: LocalHub
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.api = HfApi(endpoint=self.hub.url, token=CITY)
        paths = (SOURCE / "tests" / "loopback_only", SOURCE, SOURCE / "companion_spaces")
        self.settings = {
            **COMMON,
            "PYTHONPATH": os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")]),
            "HOME": str(self.root),
            "HF_ENDPOINT": self.hub.url,
            "HF_TOKEN": CITY,
            "LABEL": "urgency",
            "DATASET_REPO_ID": "city/grievances-{label}",
            "SPLIT_KEY": KEY,
            "AUDIT_PROBABILITY": "1",
            "RUN_DIR": str(self.root / "runs"),
            "PORT": str(free_port()),
        } | self.settings

    def run(self, **settings: str) -> Run:
        """`python prepare_dataset.py` with exactly these settings as its environment."""
        return self.end(self.start(**settings))

    def start(self, **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            env=self.settings | settings,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def end(self, job: subprocess.Popen[str]) -> Run:
        output, _ = job.communicate(timeout=240)
        folders = sorted((self.root / "runs").glob("*"), key=lambda folder: folder.stat().st_mtime)
        return Run(job.returncode, output, folders[-1])

    def repo(self, label: str = "urgency") -> DatasetRepo:
        return DatasetRepo(self.api, f"city/grievances-{label}")

    def tags(self, label: str = "urgency") -> list[str]:
        refs = self.api.list_repo_refs(f"city/grievances-{label}", repo_type="dataset")
        return sorted(tag.name for tag in refs.tags)

    def metadata(self, label: str = "urgency") -> Mapping[str, Any]:
        repo = self.repo(label)
        return repo.metadata(repo.revision())

    def rows(self, label: str = "urgency", revision: str = "main") -> dict[str, list[dict[str, Any]]]:
        """The published rows by split."""
        found = {}
        for split in ("train", "eval", "test"):
            file = self.api.hf_hub_download(
                f"city/grievances-{label}",
                parquet_name(split),
                repo_type="dataset",
                revision=revision,
                cache_dir=self.root / "seen",
            )
            found[split] = pq.read_table(file).to_pylist()
        return found


@pytest.fixture
def preparations(tmp_path: Path) -> Iterator[Preparations]:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        yield Preparations(tmp_path, hub)
