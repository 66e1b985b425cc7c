"""The mistakes that are worth a look: which, in which order, and what is told of them."""

import hmac
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from retrain.evaluation.mistakes import confident_mistakes, write_mistakes

ID2LABEL = {0: "NORMAL", 1: "URGENT"}
TEXTS = ["right", "sure", "surer", "as sure", "long " * 400]
LABELS = [0, 1, 0, 1, 1]
PROBABILITIES = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]])


def found(**options: Any) -> list[dict[str, Any]]:
    test = datasets.Dataset.from_dict({"grievance": TEXTS, "label": LABELS})
    return confident_mistakes(test, PROBABILITIES, ID2LABEL, **({"key": b"k", "texts": False} | options))


def test_wrong_answers_come_the_surest_first_and_equals_in_their_order() -> None:
    assert [mistake["row"] for mistake in found()] == [2, 1, 3, 4]
    assert found()[0] == {
        "row": 2,
        "hash": hmac.digest(b"k", b"surer", "sha256").hex()[:16],
        "label": "NORMAL",
        "answer": "URGENT",
        "confidence": 0.8,
    }


def test_texts_are_there_only_if_asked_for_and_not_without_end() -> None:
    assert not [mistake for mistake in found() if "text" in mistake]
    assert [len(mistake["text"]) for mistake in found(texts=True)] == [5, 4, 7, 1000]


def test_another_key_gives_other_hashes() -> None:
    assert found(key=b"other")[0]["hash"] != found()[0]["hash"]


@pytest.mark.parametrize(("wrong", "shown"), [(20, 20), (21, 20)])
def test_twenty_mistakes_are_enough(wrong: int, shown: int) -> None:
    test = datasets.Dataset.from_dict({"grievance": ["x"] * wrong, "label": [1] * wrong})
    confidence = np.linspace(0.6, 0.9, wrong)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    mistakes = confident_mistakes(test, probabilities, ID2LABEL, key=b"k", texts=False)
    assert [mistake["row"] for mistake in mistakes] == list(range(wrong))[::-1][:shown]


def test_the_file_holds_the_same_and_devanagari_as_it_is(tmp_path: Path) -> None:
    test = datasets.Dataset.from_dict({"grievance": ["सडक"], "label": [1]})
    options = {"key": b"k", "texts": True}
    write_mistakes(tmp_path / "file", test, PROBABILITIES[:1], ID2LABEL, **options)
    content = (tmp_path / "file").read_text(encoding="utf-8")
    assert json.loads(content) == confident_mistakes(test, PROBABILITIES[:1], ID2LABEL, **options)
    assert "सडक" in content
