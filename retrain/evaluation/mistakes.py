"""The mistakes worth looking at: often the label is wrong, sometimes the text is misleading."""

import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

MISTAKES_SHOWN = 20
TEXT_SHOWN = 1000


def confident_mistakes(
    test: datasets.Dataset,
    probabilities: NDArray[np.float64],
    id2label: Mapping[int, str],
    *,
    key: bytes,
    texts: bool,
) -> list[dict[str, Any]]:
    """The wrong answers with the highest confidence, highest first.

    test: grievance and label; probabilities: (rows, classes). A row is identified by its number
    and a keyed hash of its text, from which even a short text can't be guessed. `texts` adds the text itself.
    """
    labels, answers = np.asarray(test["label"]), probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(labels != answers)
    found = []
    for row in wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES_SHOWN].tolist():
        text = test[row]["grievance"]
        mistake = {
            "row": row,
            "hash": hmac.digest(key, text.encode(), "sha256").hex()[:16],
            "label": id2label[int(labels[row])],
            "answer": id2label[int(answers[row])],
            "confidence": float(confidence[row]),
        }
        found.append(mistake | ({"text": text[:TEXT_SHOWN]} if texts else {}))
    return found


def write_mistakes(
    file: Path,
    test: datasets.Dataset,
    probabilities: NDArray[np.float64],
    id2label: Mapping[int, str],
    *,
    key: bytes,
    texts: bool,
) -> None:
    """Write confident_mistakes as JSON to a file of its own: the journal must not contain texts."""
    mistakes = confident_mistakes(test, probabilities, id2label, key=key, texts=texts)
    file.write_text(json.dumps(mistakes, ensure_ascii=False), encoding="utf-8")
