"""The checks of a data set, on data sets in memory."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import HfApi

from load_dataset import Splits, check_splits
from rehearsal.local_hub import LocalHub
from rehearsal.world import push_splits
from retrain.errors import DatasetError
from retrain.hub.dataset_repo import DatasetRepo
from tests.conftest import CITY, LABELS, SOURCE, USERS
from tests.hostile_texts import HOSTILE, control_characters

LABEL2ID = {"NORMAL": 0, "URGENT": 1, "HIGHLY URGENT": 2}


def split(texts: list[Any], labels: list[Any], **features: Any) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"grievance": texts, "label": labels} | features)


def good(name: str) -> datasets.Dataset:
    return split([f"{name} {word}" for word in "abc"], [0, 1, 2])


def check(**changed: datasets.Dataset) -> Splits:
    loaded = {name: good(name) for name in ("train", "eval", "test")} | changed
    return check_splits(loaded, LABEL2ID, repo_id="city/data", revision="0" * 40)


def test_names_and_ids_give_the_same_labels() -> None:
    by_name = check(train=split(["x", "y", "z"], ["NORMAL", "URGENT", "HIGHLY URGENT"]))
    assert by_name.train["label"] == check().train["label"] == [0, 1, 2]


def test_a_class_label_is_read_by_its_names_not_by_its_order() -> None:
    feature = datasets.ClassLabel(names=["HIGHLY URGENT", "NORMAL", "URGENT"])
    ordered = good("train").cast_column("label", feature)
    assert check(train=ordered).train["label"] == [2, 0, 1]


def test_texts_of_eval_and_test_leave_train_whatever_their_case_and_space() -> None:
    leaking = split(["Eval  A", "test b", "x", "y", "z"], [0, 1, 0, 1, 2])
    checked = check(train=leaking)
    assert list(checked.train["grievance"]) == ["x", "y", "z"]
    assert checked.info.removed_from_train == {"eval": 1, "test": 1}


def test_duplicates_within_a_split_are_counted_and_stay() -> None:
    checked = check(test=split(["a", "a", "A ", "b", "c"], [0, 0, 0, 1, 2]))
    assert checked.info.exact_duplicates["test"] == 1
    assert checked.info.normalised_duplicates["test"] == 2
    assert checked.info.split_sizes["test"] == 5


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (split(["a", None, "c"], [0, 1, 2]), r"train has 1 row \(number 1, from 0\) without a text"),
        (split(["a", "b", "  "], [0, 1, 2]), r"train has 1 row \(number 2, from 0\) without a text"),
        (split(["a", "b", "c"], [0, None, 2]), "train has 1 row .* with a null label"),
        (split(["a", "b", "c"], [0, 1, 7]), r"train has 1 row \(number 2.* unknown label \(7\)"),
        (
            split(["a", "\u200b\ufeff", "c"], [0, 1, 2]),
            r"train has 1 row \(number 1, from 0\) without a text",
        ),
        (split(["a", "b", "c"], ["NORMAL", "URGENT", "urgently"]), "unknown label .*'urgently'"),
        (split(["a", "b", "c"], [0.0, 1.0, 1.5]), "unknown label"),
        (split(["a", "b"], [0, 1]), "Split train .* has no row of HIGHLY URGENT"),
        (good("train").rename_column("label", "urgency"), "Split train has no column label"),
        (good("train").rename_column("grievance", "message"), "Split train has no column grievance"),
    ],
)
def test_what_cannot_be_repaired_is_told_with_split_row_and_remedy(
    train: datasets.Dataset, said: str
) -> None:
    with pytest.raises(DatasetError, match=said):
        check(train=train)


def test_a_class_that_only_leaking_rows_held_is_told_as_such() -> None:
    with pytest.raises(DatasetError, match="once the texts of eval and test are out"):
        check(train=split(["a", "b", "test c"], [0, 1, 2]))


def test_a_missing_split_is_named() -> None:
    with pytest.raises(DatasetError, match="no split test"):
        check_splits({"train": good("a"), "eval": good("b")}, LABEL2ID, repo_id="c/d", revision="0")


Rows = list[dict[str, Any]]


# --- labels and names


def fault_of(test: datasets.Dataset, rows: Rows) -> str:
    loaded = {name: datasets.Dataset.from_list(rows) for name in ("train", "eval")} | {"test": test}
    with pytest.raises(DatasetError) as told:
        check_splits(loaded, {n: i for i, n in enumerate(LABELS)}, repo_id="city/data", revision="0" * 40)
    return str(told.value)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_labels_and_columns_are_told_short_and_harmlessly(unique_grievances: Rows, name: str) -> None:
    rows = unique_grievances[:30]
    label = fault_of(datasets.Dataset.from_list([*rows, {"grievance": "x", "label": name}]), rows)
    columns = [name.replace("\0", ""), *map(str, range(50))]  # Arrow ends a name at NUL
    column = fault_of(datasets.Dataset.from_dict({each: ["x"] for each in columns}), rows)
    assert "has 1 row (number 30, from 0) with an unknown label" in label
    assert "has no column grievance or label (it has " in column
    for told in (label, column):
        assert control_characters(told) | set(told) & {"\n", "\u2028"} == set()
        assert len(told) < 400


# --- texts that are the same


def many(name: str, count: int = 20, **replaced: str) -> datasets.Dataset:
    """A split of different texts; `row_3="x"` puts another one into a row."""
    texts = [replaced.get(f"row_{i}", f"{name} {i}") for i in range(count)]
    return split(texts, [i % 3 for i in range(count)])


def test_texts_in_both_eval_and_test_are_counted_and_stay_and_warned_of() -> None:
    checked = check(eval=many("eval"), test=many("test", 40, row_0="EVAL  0", row_1="\ufeffeval 1"))
    assert checked.info.shared_by_eval_and_test == 2
    assert checked.info.split_sizes == {"train": 3, "eval": 20, "test": 40}
    (warning,) = checked.warnings
    assert warning.startswith("2 texts are in both eval and test of city/data:")
    assert (check().info.shared_by_eval_and_test, check().warnings) == (0, ())


@pytest.mark.parametrize("eval_rows", [20, 60])
def test_eval_and_test_that_share_more_than_a_tenth_of_the_smaller_are_refused(eval_rows: int) -> None:
    shared = {f"row_{i}": f"shared {i}" for i in range(3)}
    with pytest.raises(DatasetError) as caught:
        check(eval=many("eval", eval_rows, **shared), test=many("test", 25, **shared))
    smaller = "20 rows in split eval" if eval_rows == 20 else "25 rows in split test"
    assert str(caught.value).startswith(f"Of the {smaller} of city/data, 3 have a text that both")


def test_eval_that_is_the_test_split_is_refused() -> None:
    with pytest.raises(DatasetError, match="Of the 20 rows in split eval of city/data, 20 have"):
        check(eval=many("x"), test=many("x"))


def test_a_text_of_both_eval_and_test_leaves_train_once_and_counts_for_each() -> None:
    both = {"row_0": "x"}
    train = split(["X", "y", "z", "w"], [0, 0, 1, 2])
    checked = check(train=train, eval=many("eval", **both), test=many("test", **both))
    assert list(checked.train["grievance"]) == ["y", "z", "w"]
    assert checked.info.removed_from_train == {"eval": 1, "test": 1}
    assert checked.info.split_sizes["train"] == 3


def test_a_text_with_several_labels_is_listed_by_rows_without_the_text() -> None:
    train = split(["secret", "y", "z", "SECRET ", "test 4"], [0, 1, 2, 1, 2])
    checked = check(train=train, test=many("test"))
    assert checked.info.contradictory_texts == 2
    assert checked.info.contradictory_rows == {"train": (0, 3, 4), "test": (4,)}
    (warning,) = checked.warnings
    assert warning.startswith(
        "2 texts are in city/data with more than one label (train: 3 rows (number 0, 3, 4, from 0); "
        "test: 1 row (number 4, from 0))."
    )
    assert "secret" not in warning


def test_the_record_holds_twenty_rows_of_texts_with_several_labels() -> None:
    train = split([f"a {i // 2}" for i in range(60)], [i % 3 for i in range(60)])
    checked = check(train=train)
    assert checked.info.contradictory_texts == 30
    assert checked.info.contradictory_rows == {"train": tuple(range(20))}


def test_a_text_that_is_repeated_in_train_leaves_it_each_time() -> None:
    checked = check(train=split(["eval a", "EVAL A", "y", "z", "w"], [0, 0, 0, 1, 2]))
    assert list(checked.train["grievance"]) == ["y", "z", "w"]
    assert checked.info.removed_from_train == {"eval": 2, "test": 0}


# --- what is known of a data set


def test_what_was_found_is_recorded() -> None:
    loaded = {name: good(name) for name in ("train", "eval", "test")}
    train = split(["a", "a", "A", "b", "c"], [0, 0, 0, 1, 2])
    info = check_splits(
        loaded | {"train": train}, LABEL2ID, repo_id="city/data", revision="1" * 40, version_tag="v1"
    ).info
    assert (info.repo_id, info.revision, info.version_tag) == ("city/data", "1" * 40, "v1")
    assert info.split_sizes == {"train": 5, "eval": 3, "test": 3}
    assert info.label_counts["train"] == {"NORMAL": 3, "URGENT": 1, "HIGHLY URGENT": 1}
    assert info.exact_duplicates == {"train": 1, "eval": 0, "test": 0}
    assert info.normalised_duplicates == {"train": 2, "eval": 0, "test": 0}
    assert info.removed_from_train == {"eval": 0, "test": 0}


def test_labels_are_counted_once_the_texts_of_eval_and_test_are_out() -> None:
    checked = check(train=split(["eval a", "y", "z", "w"], [0, 0, 1, 2]))
    assert checked.info.label_counts["train"] == {"NORMAL": 1, "URGENT": 1, "HIGHLY URGENT": 1}


def test_other_columns_are_left_behind() -> None:
    checked = check(train=split(["a", "b", "c"], [0, 1, 2], name=["x", "y", "z"]))
    assert checked.train.column_names == ["grievance", "label"]


# --- labels


def test_the_names_of_a_class_label_are_kept_through_class_encode_column() -> None:
    """It sorts them: Highly urgent, Normal, Urgent."""
    texts = split(["x", "y", "z"], ["Normal", "Urgent", "Highly urgent"]).class_encode_column("label")
    assert texts["label"] == [1, 2, 0]
    assert check(train=texts).train["label"] == [0, 1, 2]


def test_labels_that_pandas_made_floats_are_ids() -> None:
    frame = split(["x", "y", "z"], [0, 1, 2]).to_pandas().astype({"label": float})
    assert check(train=datasets.Dataset.from_pandas(frame)).train["label"] == [0, 1, 2]


@pytest.mark.parametrize("name", ["train", "eval", "test"])
def test_every_split_needs_every_class(name: str) -> None:
    with pytest.raises(DatasetError) as told:
        check(**{name: split(["x", "y"], [0, 2])})
    assert str(told.value) == (
        f"Split {name} of city/data has no row of URGENT. Macro F1 needs every class in every split: add "
        "rows or split anew, stratified by label."
    )


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("no such label", "'no such label'"),
        ("one two three four", "'one two three four'"),
        ("a b c d e", "a text of 9 characters"),
        ("x" * 40, "'" + "x" * 40 + "'"),
        ("x" * 41, "a text of 41 characters"),
    ],
)
def test_a_label_that_could_be_a_citizens_text_is_not_shown(label: str, shown: str) -> None:
    with pytest.raises(DatasetError) as told:
        check(train=split(["a", "b", "c"], ["NORMAL", "URGENT", label]))
    assert f"an unknown label ({shown})." in str(told.value)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (1, "1 row (number 0, from 0) without"),
        (2, "2 rows (number 0, 1, from 0) without"),
        (5, "5 rows (number 0, 1, 2, 3, 4, from 0) without"),
        (6, "6 rows (number 0, 1, 2, 3, 4, …, from 0) without"),
    ],
)
def test_the_first_five_rows_at_fault_are_named(bad: int, said: str) -> None:
    with pytest.raises(DatasetError) as told:
        check(train=split([" "] * bad + ["a"], [0] * bad + [1]))
    assert said in str(told.value)


def test_five_unknown_labels_are_shown() -> None:
    with pytest.raises(DatasetError) as told:
        check(train=split([*"abcdefg"], [*"tuvwxyz"]))
    assert "7 rows (number 0, 1, 2, 3, 4, …, from 0)" in str(told.value)
    assert "('t', 'u', 'v', 'w', 'x')" in str(told.value)


@pytest.mark.parametrize(("columns", "more"), [(10, ""), (11, ", …")])
def test_ten_names_of_columns_are_shown(columns: int, more: str) -> None:
    wide = datasets.Dataset.from_dict({f"c{i:02}": ["x"] for i in range(columns)})
    with pytest.raises(DatasetError) as told:
        check(train=wide)
    shown = ", ".join(f"'c{i:02}'" for i in range(10))
    assert f"has no column grievance or label (it has {shown}{more})." in str(told.value)


def test_every_split_that_is_missing_is_named() -> None:
    with pytest.raises(DatasetError, match=r"no split eval or test \(it has 'train', 'x'\)"):
        check_splits({"train": good("a"), "x": good("b")}, LABEL2ID, repo_id="c/d", revision="0")


# --- from the Hub


def test_a_data_set_is_loaded_at_one_commit_and_named_by_its_newest_tag(
    tmp_path: Path, good_splits: dict[str, list[dict[str, Any]]]
) -> None:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        repo = DatasetRepo(api, "city/data")
        push_splits(api, "city/data", good_splits, "v20250101_000000")
        first = repo.revision()
        for tag in ("v20250301_000000", "v20250201_000000", "z-not-a-version"):
            api.create_tag("city/data", tag=tag, repo_type="dataset")
        api.upload_file(
            path_or_fileobj=b"x", path_in_repo="notes.txt", repo_id="city/data", repo_type="dataset"
        )
        newest = repo.revision()
        api.create_tag("city/data", tag="v20260101_000000", repo_type="dataset")
        assert repo.revision("v20250101_000000") == first != newest
        tags = api.list_repo_refs("city/data", repo_type="dataset").tags
        assert {tag.target_commit for tag in tags} == {first, newest}
        with pytest.raises(DatasetError, match="DATASET_REVISION=no-such-tag is no branch"):
            repo.revision("no-such-tag")
        loaded = load_in_another_process(hub.url, first, tmp_path / "cache")
        assert loaded == [first, "v20250301_000000", len(good_splits["train"])]


def load_in_another_process(url: str, revision: str, cache: Path) -> list[Any]:
    """The client of `datasets` reads where the Hub is when it is imported."""
    code = f"""
import json, sys; sys.path.insert(0, {str(SOURCE)!r})
from huggingface_hub import HfApi
from load_dataset import load_splits
from retrain.hub.dataset_repo import DatasetRepo
repo = DatasetRepo(HfApi(token={CITY!r}), "city/data")
splits = load_splits(repo, {LABEL2ID!r}, sys.argv[1])
print(json.dumps([splits.info.revision, splits.info.version_tag, len(splits.train)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, revision],
        env=os.environ | {"HF_ENDPOINT": url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(cache)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))
