"""Labels as data sets spell them, and what is no label."""

from typing import Any

import pytest

from retrain.dataset.labels import label_ids
from retrain.errors import DatasetError

LABEL2ID = {"NORMAL": 0, "URGENT": 1, "HIGHLY URGENT": 2}


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, 2],
        ["NORMAL", "URGENT", "HIGHLY URGENT"],
        ["normal", " Urgent", "Highly urgent\n"],
        [0.0, 1.0, 2.0],
        ["0", "1", "2"],
        ["0.0", " 1.0", "2."],
        ["NORMAL", "1", "2.0"],
    ],
    ids=["ids", "names", "case and blanks", "floats", "digits", "floats as text", "mixed"],
)
def test_a_label_is_read_by_its_name_or_its_id(labels: list[Any]) -> None:
    assert label_ids("train", labels, None, LABEL2ID) == [0, 1, 2]


@pytest.mark.parametrize(
    ("class_names", "ids"),
    [
        (["Highly urgent", "Normal", "Urgent"], [2, 0, 1]),
        (["HIGHLY URGENT", "NORMAL", "URGENT "], [2, 0, 1]),
        (["other", "NORMAL", "URGENT", "HIGHLY URGENT"], None),
        (["0", "1", "2"], [0, 1, 2]),
    ],
    ids=["in other case", "with a blank", "with one of no use", "numbers in order"],
)
def test_a_class_label_is_read_by_its_names_whatever_their_order(
    class_names: list[str], ids: list[int] | None
) -> None:
    values, expected = ([0, 1, 2], ids) if ids else ([1, 2, 3], [0, 1, 2])
    assert label_ids("train", values, class_names, LABEL2ID) == expected


@pytest.mark.parametrize(
    "class_names",
    [["1", "2", "3"], ["2", "1", "0"], ["0", "2", "1"], ["अति जरुरी", "जरुरी", "सामान्य"], ["a", "b", "c"]],
    ids=["from one", "backwards", "out of order", "Nepali", "others"],
)
def test_a_class_label_with_none_of_our_names_is_refused_with_both_lists(class_names: list[str]) -> None:
    with pytest.raises(DatasetError) as caught:
        label_ids("train", [0, 1, 2], class_names, LABEL2ID)
    said = str(caught.value)
    assert f"Split train names its labels {', '.join(map(repr, class_names))};" in said
    assert "the label set has 'NORMAL', 'URGENT', 'HIGHLY URGENT'." in said


@pytest.mark.parametrize("class_names", [["0", "1", "2"], ["NORMAL", "URGENT", "HIGHLY URGENT"]])
def test_a_class_label_without_a_label_is_named_by_its_row(class_names: list[str]) -> None:
    with pytest.raises(DatasetError) as caught:
        label_ids("train", [0, 1, 2, -1], class_names, LABEL2ID)
    assert (
        "Split train has 1 row (number 3, from 0) with an unknown label (-1). -1 stands for no label."
        in str(caught.value)
    )


def test_a_name_of_a_class_label_that_is_no_label_is_shown_where_it_is_used() -> None:
    names = ["NORMAL", "URGENT", "spam", "1"]
    with pytest.raises(
        DatasetError, match=r"2 rows \(number 1, 3, from 0\) with an unknown label \('1', 'sp"
    ):
        label_ids("train", [0, 2, 1, 3], names, LABEL2ID)


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        ([False, True, True], "False, True"),
        ([0.0, 1.5, float("nan")], "1.5, nan"),
        ([0.0, float("inf"), 2.0], "inf"),
        ([[0], [1], [2]], r"\[0\], \[1\], \[2\]"),
        ([{"a": 1}, 1, 2], "{'a': 1}"),
        ([-1, 1, 2], "-1"),
        (["-1", "1", "2"], "'-1'"),
        (["0.5", "१", ""], "'', '0.5', '१'"),
        ([0, 1, 3], "3"),
    ],
)
def test_a_label_that_is_no_id_and_no_name_is_unknown(labels: list[Any], shown: str) -> None:
    expected = rf"unknown label \({shown}\)\..* A label is an id from 0 to 2 or one of these names"
    with pytest.raises(DatasetError, match=expected):
        label_ids("train", labels, None, LABEL2ID)


@pytest.mark.parametrize("labels", [["1", "2", "3"], [1, 2, 3], [1.0, 2.0, 3.0]])
def test_where_the_names_of_a_label_set_are_numbers_a_number_is_a_name(labels: list[Any]) -> None:
    ward2id = {"1": 0, "2": 1, "3": 2}
    assert label_ids("train", labels, None, ward2id) == [0, 1, 2]
    with pytest.raises(DatasetError, match=r"unknown label \(0\)"):
        label_ids("train", [0, 1, 2], None, ward2id)
    assert label_ids("train", [2, 1, 0], ["3", "2", "1"], ward2id) == [0, 1, 2]
