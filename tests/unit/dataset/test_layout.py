"""What is taken for what in the layouts that people use."""

import pytest

from retrain.dataset.layout import choose_columns, choose_config, choose_splits, part_eval_from_test


@pytest.mark.parametrize(
    ("names", "default", "chosen"),
    [
        (["default"], "default", "default"),
        (["urgency"], "urgency", "urgency"),
        (["urgency", "department"], None, "urgency"),
        (["Urgency", "department"], None, "Urgency"),
        (["default", "urgency"], "default", "default"),
        (["ward", "department"], None, None),
        (["Urgency", "URGENCY"], None, None),
    ],
)
def test_the_config_is_the_only_one_the_default_or_that_of_the_label_set(
    names: list[str], default: str | None, chosen: str | None
) -> None:
    assert choose_config(names, default, "urgency") == chosen


@pytest.mark.parametrize(
    ("names", "held_out"),
    [
        (["eval", "validation"], "eval"),
        (["Eval", "validation"], "Eval"),
        (["validation"], "validation"),
        (["validation", "dev"], "validation"),
        (["val"], "val"),
        (["dev"], "dev"),
        (["valid"], "valid"),
        (["val", "dev"], None),
        (["unsupervised"], None),
    ],
)
def test_a_validation_split_stands_in_for_eval(names: list[str], held_out: str | None) -> None:
    found = choose_splits(["train", "test", *names])
    assert found == {"train": "train", "test": "test"} | ({"eval": held_out} if held_out else {})


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["grievance", "label"], {"grievance": "grievance", "label": "label"}),
        (["Grievance", " label "], {"grievance": "Grievance", "label": " label "}),
        (["id", "urgency", "grievance", "department"], {"grievance": "grievance", "label": "urgency"}),
        (["text", "label", "urgency"], {"grievance": "text", "label": "label"}),
        (["grievance", "text", "Urgency"], {"grievance": "grievance", "label": "Urgency"}),
        (["message", "department"], {}),
        (["Label", "LABEL", "text"], {"grievance": "text"}),
    ],
)
def test_the_columns_are_ours_or_text_and_the_one_named_as_the_label_set(
    names: list[str], found: dict[str, str]
) -> None:
    assert choose_columns(names, "urgency") == found


@pytest.mark.parametrize(
    ("test", "parted"),
    [
        (["eval.csv", "test.csv"], {"eval": ["eval.csv"], "test": ["test.csv"]}),
        (["my/Eval_1.csv", "my/eval_2.csv", "my/test.csv"], {"eval": 2, "test": 1}),
        (["eval/a.csv", "test/b.csv"], {"eval": ["eval/a.csv"], "test": ["test/b.csv"]}),
        (["data/grievances-evaluation.json", "data/grievances-testing.json"], {"eval": 1, "test": 1}),
        (["test.csv"], None),
        (["eval.csv"], None),
        (["test_eval.csv", "test.csv"], None),
        (["eval.csv", "test.csv", "other.csv"], None),
    ],
)
def test_eval_is_parted_from_test_where_the_names_of_the_files_say_so(
    test: list[str], parted: dict[str, list[str] | int] | None
) -> None:
    found = part_eval_from_test({"train": ["train.csv"], "test": test})
    if parted is None:
        assert found is None
        return
    assert found is not None
    assert found["train"] == ["train.csv"]
    for name, files in parted.items():
        assert (len(found[name]) if isinstance(files, int) else found[name]) == files


def test_files_that_are_named_as_eval_already_are_left_as_they_are() -> None:
    assert part_eval_from_test({"eval": ["a"], "test": ["eval.csv", "test.csv"]}) is None
