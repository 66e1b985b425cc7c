"""Which texts are grouped as nearly the same."""

import random

import numpy as np
import pytest

from preparation.grouping import SIMILARITY, Groups, group_near_duplicates
from preparation.texts import grams, signature


def groups_of(*texts: str) -> list[int]:
    groups = Groups(len(texts))
    group_near_duplicates(groups, np.array([signature(text) for text in texts]), texts.__getitem__)
    return list(groups.roots())


def similarity(one: str, other: str) -> float:
    first, second = grams(one), grams(other)
    return len(first & second) / len(first | second)


PIPE = "खानेपानीको पाइप फुटेर वडा नम्बर ७ को मुख्य सडकमा तीन दिनदेखि पानी बगिरहेको छ, कृपया छिटो मर्मत गरिदिनुहोला"
SCHOOL = "The school roof in ward 4 leaks whenever it rains, and the children of two classes sit outside"


def test_texts_that_differ_in_a_place_are_one_group() -> None:
    other = PIPE.replace("७", "९")
    assert similarity(PIPE, other) >= SIMILARITY
    assert groups_of(PIPE, SCHOOL, other) == [0, 1, 0]


def test_case_white_space_and_what_is_not_seen_do_not_count() -> None:
    assert groups_of(SCHOOL, SCHOOL.upper(), SCHOOL.replace(" ", "  \u200b")) == [0, 0, 0]


def test_short_texts_are_the_same_only_to_the_letter() -> None:
    assert groups_of("no", "no", "yes") == [0, 0, 2]


def test_a_chain_is_one_group_whatever_the_order() -> None:
    words = [f"word{i}" for i in range(40)]
    chain = [" ".join(words[i : i + 30]) for i in range(0, 10, 2)]
    assert similarity(chain[0], chain[1]) >= SIMILARITY > similarity(chain[0], chain[-1])
    for seed in range(5):
        shuffled = random.Random(seed).sample(chain, len(chain))
        assert set(groups_of(*shuffled)) == {0}


def test_what_is_found_is_what_comparing_all_pairs_finds() -> None:
    rng = random.Random(4)
    vocabulary = [f"{rng.choice('abcdefgh')}{i}" for i in range(60)]
    texts = [" ".join(rng.choices(vocabulary, k=25)) for _ in range(60)]
    for text in texts[:40]:
        words = text.split()
        words[rng.randrange(25)] = rng.choice(vocabulary)
        texts.append(" ".join(words))
    expected = Groups(len(texts))
    for one in range(len(texts)):
        for other in range(one):
            if similarity(texts[one], texts[other]) >= SIMILARITY:
                expected.join(one, other)
    assert groups_of(*texts) == list(expected.roots())


def test_a_text_that_very_many_send_is_one_group() -> None:
    copies = [f"{PIPE} {i}" for i in range(300)]
    assert set(groups_of(*copies, SCHOOL)) == {0, 300}


@pytest.mark.parametrize("count", [0, 1])
def test_no_text_and_one_text_are_no_trouble(count: int) -> None:
    assert groups_of(*[SCHOOL] * count) if count else Groups(0).roots().tolist() == []
