"""Scores on one set of rows, always over the full label set, and their plots.

scikit-learn is imported where it is used, as is SciPy in this package: they take most of a second, and the
first stages of a run do without.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrain.records import ClassScores, Scores


def compute_scores(labels: Sequence[int], predictions: Sequence[int], id2label: Mapping[int, str]) -> Scores:
    """Score predictions, each (rows,) of class ids. A class without rows counts as 0."""
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    ids = sorted(id2label)
    every_class = precision_recall_fscore_support(labels, predictions, labels=ids, zero_division=0)
    macro = [float(np.mean(values)) for values in every_class[:3]]
    weighted = precision_recall_fscore_support(
        labels, predictions, labels=ids, average="weighted", zero_division=0
    )
    return Scores(
        rows=len(labels),
        accuracy=float(accuracy_score(labels, predictions)),
        precision_macro=macro[0],
        recall_macro=macro[1],
        f1_macro=macro[2],
        precision_weighted=float(weighted[0]),
        recall_weighted=float(weighted[1]),
        f1_weighted=float(weighted[2]),
        per_class={
            id2label[i]: ClassScores(float(p), float(r), float(f), int(n))
            for i, p, r, f, n in zip(ids, *every_class, strict=True)
        },
        confusion=confusion_matrix(labels, predictions, labels=ids).tolist(),
    )


def write_reports(
    folder: Path, labels: Sequence[int], predictions: Sequence[int], id2label: Mapping[int, str]
) -> None:
    """Write classification_report.txt and confusion_matrix.png into `folder`."""
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay, classification_report, confusion_matrix

    folder.mkdir(parents=True, exist_ok=True)
    ids = sorted(id2label)
    names = [id2label[i] for i in ids]
    text = classification_report(
        labels, predictions, labels=ids, target_names=names, digits=4, zero_division=0
    )
    (folder / "classification_report.txt").write_text(text, encoding="utf-8")
    figure = Figure(figsize=(7, 6), layout="constrained")
    wrapped = [name.replace(" & ", " &\n").replace(", ", ",\n") for name in names]
    matrix = confusion_matrix(labels, predictions, labels=ids)
    display = ConfusionMatrixDisplay(matrix, display_labels=wrapped)
    display.plot(ax=figure.subplots(), cmap="Blues", colorbar=False)
    display.ax_.set(title=f"Test set, {len(labels)} rows", xlabel="predicted", ylabel="labelled")
    figure.savefig(folder / "confusion_matrix.png", dpi=110)


def reliability(labels: Sequence[int], probabilities: NDArray[np.float64]) -> list[tuple[float, float, int]]:
    """How far confidence can be trusted: reliability_of the most probable class. Shape (rows, classes)."""
    return reliability_of(np.asarray(labels) == probabilities.argmax(axis=1), probabilities.max(axis=1))


def reliability_of(
    right: NDArray[np.bool_], confidence: NDArray[np.float64]
) -> list[tuple[float, float, int]]:
    """Ten bins of confidence, the empty ones left out: mean confidence, share of right answers, rows.

    The points of a reliability diagram: Guo et al., "On Calibration of Modern Neural Networks" (2017), 2.
    """
    bins = np.minimum((confidence * 10).astype(int), 9)
    return [
        (float(confidence[bins == b].mean()), float(right[bins == b].mean()), int((bins == b).sum()))
        for b in np.unique(bins)
    ]


def stratified_sample(labels: Sequence[int], size: int, seed: int) -> list[int]:
    """Sorted indices of `size` rows: each class in its share of the whole, and at least once.

    All rows if there are no more than `size`.
    """
    labels_array = np.asarray(labels)
    if size >= len(labels_array):
        return list(range(len(labels_array)))
    classes, counts = np.unique(labels_array, return_counts=True)
    shares = counts * size / len(labels_array)
    quota = np.maximum(np.floor(shares).astype(int), 1)
    for i in np.argsort(np.floor(shares) - shares):  # the largest remainders are rounded up
        if quota.sum() >= size:
            break
        quota[i] += 1
    generator = np.random.default_rng(seed)
    chosen = [
        generator.choice(np.flatnonzero(labels_array == c), n, replace=False)
        for c, n in zip(classes, quota, strict=True)
    ]
    return sorted(int(i) for i in np.concatenate(chosen))
