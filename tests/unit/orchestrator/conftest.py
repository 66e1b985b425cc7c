"""A city on a local Hub: a data set, a model, and the Spaces that make them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from configs import get_config
from rehearsal.local_hub import LocalHub
from retrain.hub.run_archive import RunArchive
from retrain.orchestrator.decision import Request, Rules
from retrain.orchestrator.turns import Waiting, Wheel, request_of
from tests.conftest import CITY, USERS

DATASET, MODEL, PREPARE, RETRAIN = "city/data", "city/model", "city/prepare", "city/retrain"
NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass
class Town:
    """What the orchestrator sees, and what people and Spaces do meanwhile."""

    hub: LocalHub
    api: HfApi
    folder: Path
    corrections: list[datetime] = field(default_factory=list)
    counted: int = 0  # times

    def wheel(self, holder: str = "one") -> Wheel:
        settings = {
            "LABEL": "urgency",
            "HF_TOKEN": CITY,
            "DATASET_REPO_ID": DATASET,
            "HUB_MODEL_ID": MODEL,
            "SPACE_REPO_ID": "city/api",
            "RETRAIN_SPACE_ID": RETRAIN,
        }
        return Wheel(get_config(settings), self.api, PREPARE, self.count, Rules(min_corrections=2), holder)

    def count(self, label: str, since: datetime | None) -> Waiting:
        self.counted += 1
        newer = [at for at in self.corrections if since is None or at > since]
        return Waiting(len(newer), max(newer, default=None))

    def make_version(self, until: datetime, tag: str = "v20260110_120100") -> str:
        """A version that holds the corrections until a time; returns its commit."""
        metadata = {"version_tag": tag, "watermark": {"corrections": until.isoformat()}}
        operations = [
            CommitOperationAdd("data/train.csv", f"grievance,label\n{tag},NORMAL\n".encode()),
            CommitOperationAdd("dataset_metadata.json", json.dumps(metadata).encode()),
        ]
        made = self.api.create_commit(DATASET, operations, commit_message=tag, repo_type="dataset")
        return str(made.oid)

    def end_run(self, outcome: str, version: str, began: datetime) -> None:
        """A retraining on a version of the data set that ended so, and paused its Space."""
        name = f"{began:%Y%m%d_%H%M%S}_urgency_{outcome[:4]}"
        counted = (
            "split_sizes",
            "label_counts",
            "exact_duplicates",
            "normalised_duplicates",
            "removed_from_train",
        )
        dataset: dict[str, Any] = {name: {} for name in counted}
        dataset |= {
            "repo_id": DATASET,
            "revision": version,
            "version_tag": None,
            "shared_by_eval_and_test": 0,
        }
        record = {"outcome": outcome, "reasons": [], "folder": name, "dataset": dataset}
        record |= {"started_at": began.isoformat(), "finished_at": (began + HOUR).isoformat()}
        folder = self.folder / name
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(record))
        RunArchive(self.api, MODEL).add(folder)
        self.api.pause_space(RETRAIN)

    def requests(self) -> list[Request]:
        entries = self.wheel().ledger.read()
        return [found for entry in entries if (found := request_of(entry))]

    def restarts(self, space: str) -> int:
        """How often a Space was restarted, as far as the Hub did it."""
        seen = [each for each in self.hub.requests if each.path.endswith(f"/{space}/restart")]
        return sum(each.status in (200, None) for each in seen)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        api.create_repo(DATASET, repo_type="dataset", private=True)
        api.create_repo(MODEL, private=True)
        api.create_tag(MODEL, tag="v20260109_000000")
        for space in (PREPARE, RETRAIN):
            api.create_repo(space, repo_type="space", space_sdk="docker")
            for name in ("Dockerfile", "README.md"):
                api.upload_file(
                    path_or_fileobj=b"---\nsdk: docker\n---\n",
                    path_in_repo=name,
                    repo_id=space,
                    repo_type="space",
                )
            api.pause_space(space)
        town = Town(hub, api, tmp_path)
        first = town.make_version(NOW - 48 * HOUR, "v20260108_000000")
        town.end_run("accepted", first, NOW - 36 * HOUR)
        yield town
