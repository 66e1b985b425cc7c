"""Rows into three splits: the same every time, each label in each, and no text in two."""

import pytest

from retrain.dataset.splitting import nearly, split_rows

TEXTS = [f"grievance number {i}" for i in range(200)]
LABELS = ["NORMAL" if i % 4 else "URGENT" for i in range(200)]


def split_of(splits: dict[str, list[int]]) -> dict[int, str]:
    return {row: name for name, rows in splits.items() for row in rows}


def test_the_split_is_80_10_10_of_every_label_and_loses_no_row() -> None:
    splits = split_rows(TEXTS, LABELS)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 160, "eval": 20, "test": 20}
    assert sorted(row for rows in splits.values() for row in rows) == list(range(200))
    for name in ("eval", "test"):
        assert sum(LABELS[row] == "URGENT" for row in splits[name]) == 5


def test_the_same_seed_gives_the_same_split_and_another_gives_another() -> None:
    assert split_rows(TEXTS, LABELS) == split_rows(TEXTS, LABELS)
    assert split_rows(TEXTS, LABELS) != split_rows(TEXTS, LABELS, seed=1)


@pytest.mark.parametrize("again", ["{}", "  {}!! ", "«{}»", "{}\u200b …"])
def test_equal_and_nearly_equal_texts_stay_together(again: str) -> None:
    texts = [*TEXTS, *(again.format(text.upper()) for text in TEXTS)]
    found = split_of(split_rows(texts, LABELS * 2))
    assert all(found[row] == found[row + 200] for row in range(200))


def test_texts_of_nothing_but_signs_are_not_all_nearly_the_same() -> None:
    assert nearly("?!") != nearly("…")
    assert nearly("सडक बत्ती।") == nearly("सडक  बत्ती !")
    assert nearly("की") != nearly("का")  # vowel signs are marks, and make words


def test_a_rare_label_is_in_every_split_as_far_as_it_has_texts() -> None:
    labels = ["RARE" if i < 3 else "NORMAL" for i in range(200)]
    for seed in range(20):
        splits = split_rows(TEXTS, labels, seed)
        assert all("RARE" in {labels[row] for row in rows} for rows in splits.values())


def test_known_texts_keep_their_split_and_the_others_are_split_anew() -> None:
    before = split_of(split_rows(TEXTS[:100], LABELS[:100]))
    known = {nearly(TEXTS[row]): name for row, name in before.items()}
    after = split_of(split_rows(TEXTS, LABELS, seed=7, known=known))
    assert {row: after[row] for row in before} == before
    assert sorted(after.values()).count("test") == 20
