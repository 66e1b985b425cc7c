"""The mistakes that are worth a look: often the label is wrong, sometimes the text misleads."""

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
    """The wrong answers that the model was surest of, the surest first.

    test: grievance and label; probabilities: (rows, classes). A row is told by its number and a hash
    of its text, keyed so that a short text can't be guessed from it; the text itself only if `texts`.
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
    """Write confident_mistakes as JSON, beside the journal: what may hold texts is not in it."""
    mistakes = confident_mistakes(test, probabilities, id2label, key=key, texts=texts)
    file.write_text(json.dumps(mistakes, ensure_ascii=False), encoding="utf-8")
