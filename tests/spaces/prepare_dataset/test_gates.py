"""What keeps a draft from being published, and what does not."""

from collections import Counter

import pytest

from preparation.corpus import Draft, Labelled, Row
from preparation.gates import nothing_new, refusals, stability_index

LABELS = {"NORMAL": 0, "URGENT": 1}


def draft(train: tuple[int, int] = (500, 500), held_out: tuple[int, int] = (60, 60)) -> Draft:
    """Rows of NORMAL and URGENT in train, and in each of eval and test."""
    sizes = {"train": train, "eval": held_out, "test": held_out}
    rows = [
        Row(0, label, split, "g", "audit")
        for split, counts in sizes.items()
        for label, count in enumerate(counts)
        for _ in range(count)
    ]
    return Draft(rows, added=Counter(train=10))


def corrections(*reviewers: str | None, label: int = 1) -> list[Labelled]:
    return [Labelled(0, label, None, is_correction=True, reviewer=name) for name in reviewers]


def refused(found: Draft, given: list[Labelled] | None = None, before: tuple[int, int] | None = None) -> str:
    was = {"train": dict(zip(LABELS, before, strict=True))} if before else None
    return "\n".join(refusals(found, LABELS, was, given or [], 0.25))


def test_a_good_draft_passes() -> None:
    assert refused(draft(), corrections("a", "b"), before=(480, 520)) == ""


@pytest.mark.parametrize("held_out", [(120, 0), (0, 120)])
def test_a_class_that_is_gone_is_named(held_out: tuple[int, int]) -> None:
    name = "URGENT" if held_out[1] == 0 else "NORMAL"
    assert f"Split test would have no row of {name}" in refused(draft(held_out=held_out))


def test_a_split_too_small_to_judge_by_says_how_many_rows_it_takes() -> None:
    said = refused(draft(held_out=(40, 40)))
    assert "Split test would have 80 rows" in said
    assert "865 give macro F1 to ±2 points" in said


def test_labels_that_are_spread_otherwise_than_before_are_shown() -> None:
    said = refused(draft(train=(900, 100)), before=(200, 800))
    assert "NORMAL 20% → 82%, URGENT 80% → 18%" in said


def test_the_stability_index_is_none_where_nothing_moved_and_finite_where_a_class_is_new() -> None:
    assert stability_index({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}) == 0
    assert 0.25 < stability_index({"a": 1.0, "b": 0.0}, {"a": 0.5, "b": 0.5}) < 10


@pytest.mark.parametrize(("contradictory", "passes"), [(5, True), (6, False)])
def test_corrections_that_contradict_each_other_are_bounded(contradictory: int, passes: bool) -> None:
    found = draft()
    found.corrected_texts, found.contradictions = 100, list(range(contradictory))
    assert (refused(found) == "") == passes


@pytest.mark.parametrize(
    ("reviewers", "passes"),
    [
        (("a",) * 6 + ("b",) * 5, False),
        (("a",) * 5 + ("b",) * 5, True),
        (("a",) * 9, True),  # too few to judge by
        ((None,) * 30, True),  # nobody says who it was
        (("a",) * 6 + (None,) * 5, False),
    ],
)
def test_one_reviewer_must_not_make_a_class(reviewers: tuple[str | None, ...], passes: bool) -> None:
    assert (refused(draft(), corrections(*reviewers)) == "") == passes


def test_too_few_new_rows_wait_but_what_is_to_be_forgotten_does_not() -> None:
    found = draft()
    assert "10 rows are new or corrected" in str(nothing_new(found, 11, is_first=False))
    assert nothing_new(found, 10, is_first=False) is None
    assert nothing_new(found, 11, is_first=True) is None
    found.withdrawn["forgotten"] = 1
    assert nothing_new(found, 11, is_first=False) is None
