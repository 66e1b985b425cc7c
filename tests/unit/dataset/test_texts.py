"""When two texts are the same, and what follows for labels."""

import pytest

from retrain.dataset.texts import contradictions, normalise, repeats, text_keys


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Eval a", "EVAL A"),
        ("Eval a", "  Eval\t a\n"),
        ("ﬁne ①", "fine 1"),  # NFKC: a ligature, a circled digit
        ("ＷＡＴＥＲ", "water"),  # full width
        ("e\u0301cole", "\u00e9cole"),  # composed or not
        ("Straße", "STRASSE"),
        ("सडक\u00a0मा", "सडक मा"),
        ("\ufeffwater", "water"),  # what Excel puts before the first cell
        ("wa\u00adter", "water"),
        ("wa\u200bter\u200e", "water"),
        ("\u2060wa\u2064ter", "water"),
        ("क्\u200dष", "क्ष"),
        ("क्\u200cष", "क्ष"),
        ("fire 🔥\ufe0f", "fire 🔥"),
        ("no\0water\x08", "nowater"),
        ("a \u202eb\u202c", "a b"),
    ],
)
def test_two_texts_are_the_same_but_for_form_case_space_and_what_is_not_seen(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


def test_other_texts_are_not_the_same() -> None:
    assert normalise("no water") != normalise("nowater")
    assert normalise("क्ष") != normalise("कष")


@pytest.mark.parametrize("text", ["", "  \n", "\ufeff", "\u200b \u200d\u00ad", "\u2800", "\u3164", None])
def test_a_text_of_nothing_that_is_seen_is_empty(text: str | None) -> None:
    assert text_keys(["a", text, "b"]).empty == [1]


def test_repeats_are_counted_to_the_letter_and_normalised() -> None:
    keys = text_keys(["a", "a", "A ", "\ufeffa", "b"])
    assert (repeats(keys.exact), repeats(keys.same)) == (1, 3)


def test_texts_with_several_labels_are_found_within_a_split_and_across() -> None:
    texts = {"train": ["a", "A", "b", "c", "c"], "eval": ["B", "d"], "test": ["d", "e"]}
    labels = {"train": [0, 1, 2, 0, 0], "eval": [0, 1], "test": [1, 2]}
    keys = {name: text_keys(each).same for name, each in texts.items()}
    assert contradictions(keys, labels) == (2, {"train": [0, 1, 2], "eval": [0]})
    assert contradictions({"train": keys["eval"]}, {"train": [0, 1]}) == (0, {})
