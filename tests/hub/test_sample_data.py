"""The made-up grievances: the same every time, and as awkward as real ones."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from rehearsal.sample_data import (
    DEPARTMENT_SHARES,
    URGENCY_SHARES,
    make_grievances,
    split_grievances,
)
from retrain.dataset.texts import normalise
from tests.conftest import SOURCE


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return make_grievances()


def test_the_same_seed_gives_the_same_rows_in_another_process_with_other_hashes(rows: list[dict]) -> None:
    program = "from rehearsal.sample_data import *; print(ascii(make_grievances()))"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", program]
    other = subprocess.run(command, cwd=SOURCE, env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == ascii(rows)


def test_another_seed_gives_other_rows_and_count_is_kept(rows: list[dict]) -> None:
    assert make_grievances(50, seed=1) != rows[:50]
    assert len(make_grievances(50, seed=1)) == 50
    assert len(rows) == 2400


@pytest.mark.parametrize(
    ("column", "shares"), [("urgency", URGENCY_SHARES), ("department", DEPARTMENT_SHARES)]
)
def test_every_label_occurs_about_as_often_as_meant(rows: list[dict], column: str, shares: dict) -> None:
    counted = Counter(row[column] for row in rows)
    assert list(counted.keys() - shares.keys()) == []
    assert {name: counted[name] / len(rows) for name in shares} == {
        name: pytest.approx(share / 100, abs=0.04) for name, share in shares.items()
    }


def test_texts_come_in_devanagari_romanised_nepali_and_english(rows: list[dict]) -> None:
    words = [set(row["grievance"].casefold().split()) for row in rows]
    assert sum(any("ऀ" <= letter <= "ॿ" for letter in row["grievance"]) for row in rows) > 0.4 * len(rows)
    assert sum(bool(text & {"chha", "dekhi", "chhan", "najik"}) for text in words) > 0.1 * len(rows)
    assert sum(bool(text & {"the", "since", "for"}) for text in words) > 0.15 * len(rows)


def test_a_few_texts_are_repeats_and_some_of_them_differ_in_case_and_spacing_alone(rows: list[dict]) -> None:
    texts = [row["grievance"] for row in rows]
    exact = len(texts) - len(set(texts))
    normalised = len(texts) - len({normalise(text) for text in texts})
    assert 0 < exact < normalised
    assert 0.005 < normalised / len(texts) < 0.03


def test_most_texts_are_short_and_a_few_are_very_long(rows: list[dict]) -> None:
    lengths = sorted(len(row["grievance"]) for row in rows)
    assert lengths[0] > 20
    assert lengths[len(lengths) // 2] < 250
    assert 3 <= sum(length > 1500 for length in lengths) <= 40


def test_no_text_is_in_two_splits_and_none_is_lost(rows: list[dict]) -> None:
    splits = split_grievances(rows)
    texts = {name: {normalise(row["grievance"]) for row in split} for name, split in splits.items()}
    assert not texts["train"] & texts["eval"]
    assert not texts["train"] & texts["test"]
    assert not texts["eval"] & texts["test"]
    assert sum(map(len, splits.values())) == len(rows)


def test_the_splits_are_80_10_10_of_every_urgency_and_department(rows: list[dict]) -> None:
    splits = split_grievances(rows)
    assert [len(splits[name]) / len(rows) for name in ("train", "eval", "test")] == pytest.approx(
        [0.8, 0.1, 0.1], abs=0.01
    )
    strata = Counter((row["urgency"], row["department"]) for row in rows)
    for name in ("eval", "test"):
        part = Counter((row["urgency"], row["department"]) for row in splits[name])
        assert all(abs(part[stratum] - count / 10) <= 3 for stratum, count in strata.items())
