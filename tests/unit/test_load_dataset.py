"""The checks of a data set, on data sets in memory."""

from typing import Any

import datasets
import pytest

from load_dataset import Splits, check_splits
from retrain.errors import DatasetError
from tests.conftest import LABELS
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
        (split(["a", "b", "c"], ["NORMAL", "URGENT", "urgent"]), "unknown label .*'urgent'"),
        (split(["a", "b", "c"], [0.0, 1.0, 2.0]), "unknown label"),
        (split(["a", "b"], [0, 1]), "Split train .* has no row of HIGHLY URGENT"),
        (good("train").rename_column("label", "urgency"), "Split train has no column label"),
        (good("train").rename_column("grievance", "text"), "Split train has no column grievance"),
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
