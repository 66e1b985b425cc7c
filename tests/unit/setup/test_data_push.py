"""A file becomes a version of the data set: shown, checked, private, one commit with a tag."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from rehearsal.sample_data import make_grievances
from retrain.dataset.layout import SPLITS
from retrain.dataset.splitting import nearly
from retrain.errors import DatasetError
from retrain.hub.dataset_repo import DatasetRepo
from retrain.records import is_version_tag
from retrain.setup.data_push import prepare
from tests.conftest import CITY, SOURCE, USERS

LABEL2ID = {"NORMAL": 0, "URGENT": 1, "HIGHLY URGENT": 2}
ROWS = make_grievances(240)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[HfApi]:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        yield HfApi(endpoint=hub.url, token=CITY)


@pytest.fixture
def repo(api: HfApi) -> DatasetRepo:
    return DatasetRepo(api, "city/pushed")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.csv", ROWS)


def write(file: Path, rows: list[dict[str, str]]) -> Path:
    lines = [";".join(f'"{value}"' for value in row.values()) for row in rows]
    file.write_text("\n".join([";".join(rows[0]), *lines]), encoding="utf-8-sig")
    return file


def splits_on(api: HfApi) -> dict[str, str]:
    """The split of each text on the Hub."""
    found = {}
    for name in SPLITS:
        path = f"data/{name}-00000-of-00001.parquet"
        table = pq.read_table(api.hf_hub_download("city/pushed", path, repo_type="dataset"))
        found |= {nearly(text): name for text in table["grievance"].to_pylist()}
    return found


def push(api: HfApi, file: Path, *options: str, answer: str = "", code: int = 0) -> str:
    """The command, in a process of its own: `datasets` reads where the Hub is when it is imported."""
    done = subprocess.run(
        [sys.executable, "-m", "retrain", "push", str(file), "--to", "city/pushed", *options],
        cwd=SOURCE,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(file.parent),
            "HF_ENDPOINT": api.endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": CITY,
            "LABEL": "urgency",
            "PYTHONPATH": str(SOURCE / "tests" / "loopback_only"),
        },
        input=answer,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_what_was_found_is_shown_and_nothing_is_pushed(api: HfApi, repo: DatasetRepo, file: Path) -> None:
    said = "\n".join(prepare(repo, file, "urgency", LABEL2ID).lines)
    assert f"{file}: 240 rows, read as CSV with semicolons in UTF-8 (BOM)" in said
    assert "label is read from the column urgency\ncolumns that are not pushed: department" in said
    assert "labels: NORMAL " in said
    assert "repeated texts: " in said
    assert "\nlength: " in said
    assert "splits: the split is made anew, with a fixed seed\ntrain: " in said
    assert not api.repo_exists("city/pushed", repo_type="dataset")
    assert not [row["grievance"] for row in ROWS if row["grievance"] in said]


def test_a_push_is_private_and_one_tagged_commit_and_a_second_keeps_the_split_of_each_text(
    api: HfApi, file: Path, tmp_path: Path
) -> None:
    assert "has the version v2" in push(api, file, answer="y\n")
    assert api.dataset_info("city/pushed").private
    assert len(api.list_repo_commits("city/pushed", repo_type="dataset")) == 2  # with that of the creation
    (tag,) = api.list_repo_refs("city/pushed", repo_type="dataset").tags
    assert is_version_tag(tag.name)
    assert tag.target_commit == api.dataset_info("city/pushed").sha
    before = splits_on(api)

    more = write(tmp_path / "more.csv", [*make_grievances(60, seed=7), *reversed(ROWS)])
    told = push(api, more, "--yes")
    assert f"texts that {tag.name} has keep their split, so that the test stays what it was" in told
    tags = [each.name for each in api.list_repo_refs("city/pushed", repo_type="dataset").tags]
    assert len(tags) == 2
    assert max(tags) > tag.name
    after = splits_on(api)
    assert {text: after[text] for text in before} == before
    assert {after[text] for text in after.keys() - before.keys()} == {"train", "eval", "test"}


@pytest.mark.parametrize(("answer", "code"), [("n\n", 0), ("", 1)])
def test_without_a_yes_nothing_is_pushed(api: HfApi, file: Path, answer: str, code: int) -> None:
    told = push(api, file, answer=answer, code=code)
    assert "labels: NORMAL" in told
    assert "Push this to city/pushed, private? [y/N]:" in told
    assert not api.repo_exists("city/pushed", repo_type="dataset")


def test_what_others_pushed_before_is_replaced_together_with_what_the_card_says_of_it(
    api: HfApi, file: Path
) -> None:
    api.create_repo("city/pushed", repo_type="dataset", private=True)
    card = "---\nlicense: mit\nconfigs:\n- config_name: default\n  data_files: old.csv\n---\n# Ours\n"
    for name, content in (("README.md", card), ("old.csv", "a,b\n1,2\n")):
        api.upload_file(
            path_or_fileobj=content.encode(), path_in_repo=name, repo_id="city/pushed", repo_type="dataset"
        )
    push(api, file, "--yes")
    assert len(splits_on(api)) > 200
    files = api.list_repo_files("city/pushed", repo_type="dataset")
    assert "old.csv" not in files
    kept = Path(api.hf_hub_download("city/pushed", "README.md", repo_type="dataset")).read_text()
    assert "license: mit" in kept
    assert "# Ours" in kept
    assert "configs" not in kept


def test_a_public_repository_gets_no_grievances(api: HfApi, repo: DatasetRepo, file: Path) -> None:
    api.create_repo("city/pushed", repo_type="dataset", private=False)
    with pytest.raises(DatasetError, match="city/pushed is public, and grievances are personal"):
        prepare(repo, file, "urgency", LABEL2ID)


def test_the_column_split_decides_as_is_and_is_named_otherwise(repo: DatasetRepo, tmp_path: Path) -> None:
    names = ["train"] * 8 + ["validation", "test"]
    rows = [row | {"split": names[i % 10]} for i, row in enumerate(ROWS)]
    file = write(tmp_path / "split.csv", rows)
    prepared = prepare(repo, file, "urgency", LABEL2ID, as_is=True)
    assert {name: len(part) for name, part in prepared.splits.items()} == {
        "train": 192,
        "eval": 24,
        "test": 24,
    }
    said = "\n".join(prepare(repo, file, "urgency", LABEL2ID).lines)
    assert "not pushed: department, split (--as-is takes it)" in said


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (ROWS[:2], "No row is left for eval"),
        ([row for row in ROWS if row["urgency"] != "URGENT"], "has no row of URGENT"),
        ([ROWS[0] | {"urgency": "soon"}], "with an unknown label in column urgency"),
    ],
)
def test_what_a_run_would_refuse_is_not_pushed(
    repo: DatasetRepo, tmp_path: Path, rows: list[dict[str, str]], said: str
) -> None:
    with pytest.raises(DatasetError, match=said):
        prepare(repo, write(tmp_path / "few.csv", rows), "urgency", LABEL2ID)
