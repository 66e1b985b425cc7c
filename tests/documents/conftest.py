"""What a reader of the documents has: a clone, a Hub, and files of their own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from rehearsal.sample_data import make_grievances
from tests.conftest import SOURCE
from tests.documents.reading import FILES

ACTIVATE, JOB_ENVIRONMENT = ". .venv/bin/activate", "set -a; . ./.env; set +a"
TOKEN = "hf_yours_" + "a" * 24
MODEL, SPACE = "your-name/grievance-urgency", "your-name/grievance-urgency-api"
RETRAIN_SPACE = "your-name/grievance-retrain"
WARDS = {"NORMAL": "North", "URGENT": "South", "HIGHLY URGENT": "Centre"}


class Clone:
    """What a reader has after `git clone` and a make target: the files and .venv; and a Hub to talk to."""

    patience = 280.0  # seconds for what is typed

    def __init__(self, folder: Path, hub: LocalHub) -> None:
        self.folder, self.hub = folder, hub
        for name in FILES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / name, folder / name)
        (folder / ".venv").mkdir()
        for part in Path(sys.prefix).iterdir():
            if part.name != "installed":
                (folder / ".venv" / part.name).symlink_to(part)
        (folder / ".venv" / "installed").touch()
        self.environment = {
            "PATH": os.defpath,
            "HOME": str(folder.parent),
            "PYTHONPATH": str(SOURCE / "tests" / "loopback_only"),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "OMP_NUM_THREADS": "1",
        }

    def type(self, *lines: str, **variables: str) -> str:
        """Type the lines into one shell; all must succeed. Returns what they print."""
        done = subprocess.run(
            ["sh", "-ec", "\n".join(lines)],
            cwd=self.folder,
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=self.patience,
        )
        assert done.returncode == 0, f"{lines} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def fill_env_file(self, **values: str) -> None:
        """Do as the README says: copy .env.example and fill it in."""
        text = (self.folder / ".env.example").read_text(encoding="utf-8")
        for name, value in values.items():
            text, replaced = re.subn(rf"(?m)^(# )?{name}=\S*", f"{name}={value}", text)
            assert replaced == 1, name
        (self.folder / ".env").write_text(text, encoding="utf-8")


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    user = {"name": "your-name", "fullname": "You", "orgs": []}
    with LocalHub(tmp_path / "hub", {TOKEN: user}) as hub:
        yield Clone(tmp_path / "clone", hub)


@pytest.fixture
def yours(clone: Clone) -> HfApi:
    return HfApi(endpoint=clone.hub.url, token=TOKEN)


@pytest.fixture
def placeholders(checkpoint: Path, tmp_path: Path) -> Callable[[str], str]:
    """Fills in what stands for a person's own files in a documented command."""
    rows = [row | {"ward": WARDS[row["urgency"]]} for row in make_grievances(300)]
    file = tmp_path / "grievances.csv"
    lines = [",".join(f'"{value}"' for value in row.values()) for row in rows]
    file.write_text("\n".join([",".join(rows[0]), *lines]), encoding="utf-8")
    names = {"FOLDER": checkpoint, "FILE.csv": file, "folder": checkpoint, "file.csv": file}
    return lambda text: re.sub(
        r"(?<=[ =])(FOLDER|FILE\.csv|folder|file\.csv)\b", lambda m: str(names[m[1]]), text
    )


def make_space(api: HfApi, name: str) -> None:
    api.create_repo(name, repo_type="space", space_sdk="docker")
    api.upload_file(path_or_fileobj=b"FROM x\n", path_in_repo="Dockerfile", repo_id=name, repo_type="space")
