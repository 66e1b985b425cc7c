"""Which text a reviewer is shown next. Pure functions of what is in the store.

Corrections come by how sure the model was against them: there either the model or the label is wrong. Texts
worth a label come half by the smallest margin between the two best labels, a fifth by suspected label errors,
and the rest by chance; that draw knows no answer, so it is what eval, test and monitoring may be made of.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

MARGIN, ERROR, CHANCE = "margin", "label_error", "chance"
# Ten texts in a row: five by margin, two by suspected errors, three by chance.
PATTERN = (MARGIN, CHANCE, MARGIN, ERROR, MARGIN, CHANCE, MARGIN, ERROR, MARGIN, CHANCE)
ALIKE = 0.8  # Jaccard similarity from which texts are one group, as in prepare_dataset
SHINGLE = 5

Item = Mapping[str, Any]


def corrections_in_order(pending: Sequence[Item], reviewer: str) -> list[Item]:
    """Those that this reviewer can decide, the most doubtful first. Each needs a decision, equal ones too."""
    return sorted((item for item in pending if reviewer not in item["by"]), key=lambda item: -doubt(item))


def doubt(item: Item) -> float:
    """How sure the model was of another label than the reported one, 0..1."""
    scores = item["scores"]
    reported = [scores[name] for name in item["labels"].values() if name in scores]
    return max(scores.values()) - reported[0] if reported else 0.0


def next_text(texts: Sequence[Item], place: int, reviewed: Mapping[str, str]) -> tuple[Item, str] | None:
    """The text at a place in the sequence, and why it was chosen; None if there is none.

    reviewed: the label that people gave to a text, by its `key`. Where the model contradicts it, either is
    wrong; what is nearly equal to one of them is not asked for again.
    """
    wanted = PATTERN[place % len(PATTERN)]
    if wanted == ERROR:
        for item in texts:
            if reviewed.get(key(item["text"]), item["label"]) != item["label"]:
                return item, ERROR
        wanted = MARGIN
    if wanted == CHANCE:
        order = sorted(texts, key=lambda item: hashlib.sha256(item["id"].encode()).digest())
    else:
        order = sorted(texts, key=lambda item: item["margin"])
    labelled = [shingles(text) for text in reviewed]
    for item in order:
        grams = shingles(item["text"])
        if not any(len(grams & other) >= ALIKE * len(grams | other) for other in labelled):
            return item, wanted
    return None


def shingles(text: str) -> frozenset[str]:
    """Its runs of five characters, white space folded."""
    plain = key(text)
    return frozenset(plain[i : i + SHINGLE] for i in range(max(1, len(plain) - SHINGLE + 1)))


def key(text: str) -> str:
    """A text without case and extra white space."""
    return re.sub(r"\s+", " ", text).strip().casefold()
