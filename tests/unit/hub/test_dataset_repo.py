"""Data sets on the Hub as people push them: what is read in place of what, and why others can't be read."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from rehearsal.local_hub import LocalHub
from retrain.errors import DatasetError
from retrain.hub.dataset_repo import DatasetRepo
from tests.conftest import CITY, LABELS, SOURCE, USERS

Files = Mapping[str, bytes]
SECRET = "a secret of a citizen"


def rows_of(split: str) -> list[tuple[str, str]]:
    return [(f"{split} {i}", label) for i, label in enumerate(LABELS)]


def as_csv(split: str, head: str = "grievance,label", more: bytes = b"") -> bytes:
    lines = [head, *(",".join(row) for row in rows_of(split))]
    return "\n".join([*lines, ""]).encode() + more


def as_jsonl(split: str, more: bytes = b"") -> bytes:
    rows = ({"grievance": text, "label": label} for text, label in rows_of(split))
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode() + more


def as_parquet(split: str, texts: Any = None, labels: Any = None) -> bytes:
    rows, file = rows_of(split), io.BytesIO()
    columns = {
        "grievance": [row[0] for row in rows] if texts is None else texts,
        "label": [row[1] for row in rows] if labels is None else labels,
    }
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def csv_files(**changed: bytes) -> dict[str, bytes]:
    """As they are uploaded in the browser, with a name for eval that `datasets` reads as it is meant."""
    files = {f"{name}.csv": as_csv(name) for name in ("train", "validation", "test")}
    return files | {f"{name}.csv": content for name, content in changed.items()}


def parquet_files(**changed: bytes) -> dict[str, bytes]:
    """As push_to_hub lays them out."""
    files = {name: as_parquet(name) for name in ("train", "eval", "test")} | changed
    return {f"data/{name}-00000-of-00001.parquet": content for name, content in files.items()}


def configs(*names: str, default: bool = False) -> bytes:
    """A card in which each config has a folder."""
    lines = ["---", "configs:"]
    for place, name in enumerate(names):
        lines += [f"- config_name: {name}", *(["  default: true"] if default and not place else [])]
        lines += ["  data_files:"]
        for split in ("train", "eval", "test"):
            lines += [f"  - split: {split}", f"    path: {name}/{split}.csv"]
    return "\n".join([*lines, "---", ""]).encode()


def folders(*names: str, **card: Any) -> dict[str, bytes]:
    files = {f"{name}/{split}.csv": as_csv(split) for name in names for split in ("train", "eval", "test")}
    return files | {"README.md": configs(*names, **card)}


def card(said: str, **replaced: str) -> bytes:
    """A card with sizes, types and files; `said` in it is replaced."""
    text = (
        "---\ndataset_info:\n  features:\n  - name: grievance\n    dtype: string\n  - name: label\n"
        "    dtype: string\n  splits:\n"
    )
    for split in ("train", "validation", "test"):
        text += f"  - name: {split}\n    num_bytes: 100\n    num_examples: 3\n"
    text += "configs:\n- config_name: default\n  data_files:\n"
    for split in ("train", "validation", "test"):
        text += f"  - split: {split}\n    path: {split}.csv\n"
    assert said in text
    return (text.replace(said, replaced["by"], 1) + "---\n").encode()


READ: dict[str, tuple[Files, dict[str, str]]] = {
    "push-to-hub": (parquet_files(), {}),
    "browser": (
        {f"{name}.csv": as_csv(name) for name in ("train", "eval", "test")},
        {"eval": "'eval.csv'", "test": "'test.csv'"},
    ),
    "folders": (
        {f"{name}/part.csv": as_csv(name) for name in ("train", "eval", "test")},
        {"eval": "'eval/part.csv'", "test": "'test/part.csv'"},
    ),
    "validation": (csv_files(), {"eval": "validation"}),
    "dev": (
        {f"{name}.csv": as_csv(name) for name in ("train", "dev", "test")},
        {"eval": "validation"},
    ),
    "val": (
        {
            f"data/{name}-00000-of-00001.parquet": content
            for name, content in zip(
                ("train", "val", "test"), map(as_parquet, ("train", "val", "test")), strict=True
            )
        },
        {"eval": "val"},
    ),
    "configs": (folders("urgency", "department"), {"config": "urgency"}),
    "default-config": (folders("main", "urgency", default=True), {}),
    "columns": (
        csv_files(
            **{
                name: f"id,urgency,grievance,department\n1,NORMAL,{name} a,x\n2,URGENT,{name} b,y\n"
                f"3,HIGHLY URGENT,{name} c,z\n".encode()
                for name in ("train", "validation", "test")
            }
        ),
        {"eval": "validation", "label": "urgency"},
    ),
    "text": (
        csv_files(**{name: as_csv(name, "text,label") for name in ("train", "validation", "test")}),
        {"eval": "validation", "grievance": "text"},
    ),
    "bom": (csv_files(train=b"\xef\xbb\xbf" + as_csv("train")), {"eval": "validation"}),
    "categories": (parquet_files(train=as_parquet("train", labels=pa.array(LABELS).dictionary_encode())), {}),
}

REFUSED: dict[str, tuple[Files, str]] = {
    "fields": (
        csv_files(train=as_csv("train", more=f"{SECRET},b,c,d\n".encode())),
        "train.csv: Expected 2 fields in line 5, saw 4",
    ),
    "quote": (
        csv_files(train=as_csv("train", more=f'"{SECRET},NORMAL\n'.encode())),
        "train.csv: line 5: a quotation mark is opened and never closed",
    ),
    "latin-1": (
        csv_files(test=as_csv("test", more=f"{SECRET} é,NORMAL\n".encode("latin-1"))),
        "test.csv: line 5: it is not UTF-8",
    ),
    "utf-16": (csv_files(test=as_csv("test").decode().encode("utf-16")), "test.csv: line 1: it is not UTF-8"),
    "empty": (csv_files(test=b""), "test.csv: No columns to parse from file"),
    "no-row": (csv_files(test=b"grievance,label\n"), "the split 'test' has no row"),
    "no-row-parquet": (
        parquet_files(eval=as_parquet("eval", pa.array([], pa.string()), pa.array([], pa.string()))),
        "data/eval-00000-of-00001.parquet: it has no row",
    ),
    "other-columns": (
        csv_files(test=as_csv("test", f"{SECRET} that is the first line,label")),
        "test.csv: it has the columns a text of 44 characters, 'label', where 'grievance', 'label' are",
    ),
    "jsonl": (
        {"train.jsonl": as_jsonl("train", f'{{"grievance" "{SECRET}"}}\n'.encode())}
        | {f"{name}.jsonl": as_jsonl(name) for name in ("validation", "test")},
        "train.jsonl: line 4: it is no JSON",
    ),
    "jsonl-utf-8": (
        {
            "train.jsonl": as_jsonl(
                "train", f'{{"grievance": "{SECRET} '.encode() + b'\xff", "label": "URGENT"}\n'
            )
        }
        | {f"{name}.jsonl": as_jsonl(name) for name in ("validation", "test")},
        "Split train has 1 row (number 3, from 0) that can't be read as UTF-8",
    ),
    "parquet-utf-8": (
        parquet_files(
            eval=as_parquet("eval", pa.array([b"eval", b"\xff", b"x"]).cast(pa.string(), safe=False))
        ),
        "Split eval has 1 row (number 1, from 0) that can't be read as UTF-8",
    ),
    "cut-parquet": (
        parquet_files(train=as_parquet("train")[:-40]),
        "Parquet magic bytes not found in footer",
    ),
    "numbers": (
        parquet_files(**{name: as_parquet(name, [1, 2, 3]) for name in ("train", "eval", "test")}),
        "Column grievance of split train holds int64, not text",
    ),
    "some-numbers": (
        parquet_files(train=as_parquet("train", [1, 2, 3])),
        "a value is no int64, the type in the first file or in dataset_info of README.md",
    ),
    "rows": (
        csv_files() | {"README.md": card("num_examples: 3", by="num_examples: 9")},
        "the card says 9 rows of 'train', the files have 3. Remove dataset_info from README.md",
    ),
    "splits": (
        csv_files() | {"README.md": card("- name: test", by="- name: tast")},
        "the card names splits that the files do not have: 'tast'",
    ),
    "types": (
        csv_files() | {"README.md": card("label\n    dtype: string", by="label\n    dtype: int64")},
        "a value is no int64, the type in the first file or in dataset_info of README.md",
    ),
    "absent": (
        csv_files() | {"README.md": card("path: test.csv", by="path: tests.csv")},
        "its card names 'tests.csv', which is not there",
    ),
    "elsewhere": (
        csv_files() | {"README.md": card("path: test.csv", by="path: s3://bucket/test.csv")},
        "its card names files outside the repository, which are not fetched (Install s3fs",
    ),
    "local": (
        csv_files() | {"README.md": card("path: test.csv", by="path: /etc/passwd")},
        "its card names '/etc/passwd', which is not there",
    ),
    "others": (
        csv_files() | {"README.md": card("path: test.csv", by="path: hf://datasets/city/no/test.csv")},
        "its card names files outside the repository, which are not fetched. Upload",
    ),
    "formats": (
        {"train.csv": as_csv("train"), "validation.csv": as_csv("v"), "test.jsonl": as_jsonl("test")},
        "its files are of several formats. Give all splits one",
    ),
    "no-zip": (
        {"train.zip": b"PK", "validation.csv": as_csv("v"), "test.csv": as_csv("test")},
        "can't be read: `datasets` can't load it (ValueError). Push it anew with DatasetDict.push_to_hub.",
    ),
    "no-file": ({"notes.md": b"x"}, "it has no data file"),
    "only-eval": (
        {f"{name}.csv": as_csv(name) for name in ("train", "eval")},
        "has no split eval (it has 'train', 'test'). Push it with the splits train, eval (or validation) and "
        "test. `datasets` reads files named eval* as the split test",
    ),
    "no-config": (
        folders("ward", "department"),
        "has several configs, 'ward', 'department', and none is the default one or named as LABEL=urgency",
    ),
}

LOAD = f"""
import json, sys; sys.path.insert(0, {str(SOURCE)!r})
from huggingface_hub import HfApi
from load_dataset import load_splits
from retrain.errors import RetrainError
from retrain.hub.dataset_repo import DatasetRepo
found = {{}}
for name in sys.argv[1:]:
    repo = DatasetRepo(HfApi(token={CITY!r}), "city/" + name)
    try:
        splits = load_splits(repo, {{n: i for i, n in enumerate({LABELS!r})}}, repo.revision(), "urgency")
        found[name] = [splits.info.read_as, splits.eval["grievance"][:], splits.test["label"][:]]
    except RetrainError as error:
        found[name] = f"{{type(error).__name__}}: {{error}}"
print(json.dumps(found))
"""


def load(names: list[str], hub: LocalHub, home: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Load data sets in a process with this HF_HOME and this working directory."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *names],
        cwd=folder,
        env=os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What load_splits made of each data set, in a process for all of them, and what that process logged.

    The client of `datasets` reads where the Hub is when it is imported. In the working directory are folders
    with the names of the data sets.
    """
    root = tmp_path_factory.mktemp("layouts")
    with LocalHub(root / "hub", USERS) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        for name, (files, _) in (READ | REFUSED).items():
            api.create_repo(f"city/{name}", repo_type="dataset", private=True)
            operations = [CommitOperationAdd(path, content) for path, content in files.items()]
            api.create_commit(f"city/{name}", operations, commit_message="x", repo_type="dataset")
            (root / "city" / name).mkdir(parents=True)
            (root / "city" / name / "train.csv").write_text("grievance,label\nanother one,0\n")
        done = load([*READ, *REFUSED], hub, root / "home", root)
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("name", READ)
def test_a_data_set_is_read_as_it_is_meant_and_what_was_taken_is_recorded(
    loaded: tuple[dict[str, Any], str], name: str
) -> None:
    read_as, eval_texts, test_labels = loaded[0][name]
    assert read_as == READ[name][1]
    assert len(eval_texts) == 3
    assert all(text.partition(" ")[0] in ("eval", "validation", "dev", "val") for text in eval_texts)
    assert test_labels == [0, 1, 2]


@pytest.mark.parametrize("name", REFUSED)
def test_a_data_set_that_can_not_be_read_is_explained_down_to_its_cause(
    loaded: tuple[dict[str, Any], str], name: str
) -> None:
    said = loaded[0][name]
    assert said.startswith("DatasetError: ")
    assert REFUSED[name][1] in said
    assert len(said) < 500
    for ugly in ("()", "SplitInfo", "..", SECRET):
        assert ugly not in said


def test_no_text_of_a_data_set_is_logged_while_it_is_loaded(loaded: tuple[dict[str, Any], str]) -> None:
    assert SECRET not in loaded[1]
    assert "Failed to read" not in loaded[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_disk_that_is_full_while_a_data_set_is_loaded_is_no_fault_of_it(tmp_path: Path) -> None:
    (small := tmp_path / "home").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)], check=True)
    try:
        with LocalHub(tmp_path / "hub", USERS) as hub:
            api = HfApi(endpoint=hub.url, token=CITY)
            api.create_repo("city/large", repo_type="dataset")
            texts = [os.urandom(50_000).hex() for _ in range(4)]
            files = parquet_files(train=as_parquet("train", texts, ["URGENT"] * 4))
            operations = [CommitOperationAdd(path, content) for path, content in files.items()]
            api.create_commit("city/large", operations, commit_message="x", repo_type="dataset")
            done = load(["large"], hub, small, tmp_path)
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
    assert json.loads(done.stdout)["large"].startswith("DiskFullError: The disk is full."), done.stderr


def test_an_unknown_revision_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        api.create_repo("city/data", repo_type="dataset")
        api.create_tag("city/data", tag="v20250101_000000", repo_type="dataset")
        with pytest.raises(DatasetError) as caught:
            DatasetRepo(api, "city/data").revision("v20250102_000000")
    assert str(caught.value) == (
        "DATASET_REVISION=v20250102_000000 is no branch, tag or commit of city/data. It has 'main', "
        "'v20250101_000000'."
    )
