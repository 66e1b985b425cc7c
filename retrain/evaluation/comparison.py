"""Both models' answers row by row, and the Parquet file that keeps them with the rules of the gate."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from retrain.errors import ComparisonError
from retrain.evaluation.paired_statistics import bootstrap_deltas, joint_counts
from retrain.evaluation.scores import reliability_of
from retrain.records import Answer, Comparison, ComparisonFigures, GateRules, Histogram

# Column of the file → field of Comparison. Labels are written as names, so that people can read them.
_NAMES = {"label": "labels", "candidate": "candidate", "live": "live"}
_VALUES = {
    "row": "rows",
    "candidate_confidence": "candidate_confidence",
    "live_confidence": "live_confidence",
    "latency_seconds": "latency",
    "error": "errors",
}


def answers_of(probabilities: NDArray[np.float64]) -> list[Answer]:
    """The answers of a model that the job scored itself, from its probabilities, (rows, classes)."""
    best = zip(probabilities.argmax(axis=1).tolist(), probabilities.max(axis=1).tolist(), strict=True)
    return [Answer(label, confidence) for label, confidence in best]


def pair_answers(
    label_names: Sequence[str],
    compared_with: str,
    rows: Sequence[int],
    labels: Sequence[int],
    candidate: NDArray[np.float64],
    live: Sequence[Answer],
) -> Comparison:
    """Put both models' answers to the same rows side by side.

    rows, labels, live: (rows,); candidate: its probabilities, (rows, classes).
    """
    return Comparison(
        label_names=tuple(label_names),
        compared_with=compared_with,
        rows=rows,
        labels=labels,
        candidate=candidate.argmax(axis=1).tolist(),
        candidate_confidence=candidate.max(axis=1).tolist(),
        live=[answer.label for answer in live],
        live_confidence=[answer.confidence for answer in live],
        latency=[answer.seconds for answer in live],
        errors=[answer.error for answer in live],
    )


def figures(comparison: Comparison, seed: int) -> ComparisonFigures:
    """What a picture of the comparison is drawn from; the resampled gains fall into forty bins."""
    answered = [i for i, answer in enumerate(comparison.live) if answer is not None]
    if not answered:
        return ComparisonFigures()
    labels, candidate, live = (
        np.array([column[i] for i in answered], dtype=np.intp)
        for column in (comparison.labels, comparison.candidate, comparison.live)
    )
    counts = joint_counts(labels, candidate, live, len(comparison.label_names))
    resampled, edges = np.histogram(bootstrap_deltas(counts, seed), bins=40)
    confidences = [comparison.live_confidence[i] for i in answered]
    known = [i for i, confidence in enumerate(confidences) if confidence is not None]
    sure = np.array([confidences[i] for i in known], dtype=float)
    return ComparisonFigures(
        confusion_candidate=counts.sum(axis=2).tolist(),
        confusion_live=counts.sum(axis=1).tolist(),
        reliability_live=tuple(reliability_of((labels == live)[known], sure)),
        gains=Histogram(edges.tolist(), resampled.tolist()),
    )


def save_comparison(file: Path, comparison: Comparison, rules: GateRules) -> None:
    """Write the rows; the file's metadata has everything else that the verdict depends on."""
    names = comparison.label_names
    columns = {
        column: [None if i is None else names[i] for i in getattr(comparison, field)]
        for column, field in _NAMES.items()
    }
    columns |= {column: getattr(comparison, field) for column, field in _VALUES.items()}
    about = {
        "label_names": names,
        "compared_with": comparison.compared_with,
        "confirmed": comparison.confirmed,
        "rules": asdict(rules),
    }
    pq.write_table(pa.table(columns).replace_schema_metadata({"comparison": json.dumps(about)}), file)


def load_comparison(file: Path) -> tuple[Comparison, GateRules]:
    """Read what save_comparison wrote.

    Raises:
        ComparisonError: the file is missing, truncated, or not from save_comparison.
    """
    try:
        table = pq.read_table(file)
        about = json.loads((table.schema.metadata or {})[b"comparison"])
        ids = {name: i for i, name in enumerate(about["label_names"])} | {None: None}
        columns: dict[str, Any] = {
            field: [ids[name] for name in table[column].to_pylist()] for column, field in _NAMES.items()
        }
        columns |= {field: table[column].to_pylist() for column, field in _VALUES.items()}
        if None in columns["labels"] or None in columns["candidate"]:
            raise ValueError("a row lacks its label or the candidate's answer")
        comparison = Comparison(
            label_names=tuple(about["label_names"]),
            compared_with=about["compared_with"],
            confirmed=bool(about.get("confirmed")),  # files of earlier versions lack it
            **columns,
        )
        return comparison, GateRules(**about["rules"])
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise ComparisonError(
            f"{file} is no whole file of a comparison ({type(error).__name__}: {str(error)[:200]}). "
            "Take comparison.parquet from the folder of a run that got as far as the comparison."
        ) from error
