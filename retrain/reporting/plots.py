"""The pictures of a report, as SVG. Knows the run's record and matplotlib."""

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retrain.events import Entry, Progress
from retrain.records import Histogram
from retrain.run_record import RunRecord

BLUE, GREY, RED = "#1f5fbf", "#8a929c", "#b42318"


def pictures(entries: Iterable[Entry], record: RunRecord) -> dict[str, Figure]:
    """Those that there is something to draw for."""
    figures = {}
    losses = [point for entry in entries if (point := loss_point(entry))]
    validations = [(each.step, each.f1_macro) for each in record.validations]
    if losses or validations:
        best_step = record.training.best_step if record.training else None
        figures["curves"] = curves(losses, validations, best_step)
    compared = record.compared
    if record.test_scores:
        names = list(record.test_scores.per_class)
        matrices: dict[str, Sequence[Sequence[int]]] = {
            "New model, whole test set": record.test_scores.confusion
        }
        if compared and compared.confusion_candidate:
            matrices = {
                "New model, compared rows": compared.confusion_candidate,
                "Live model, same rows": compared.confusion_live,
            }
        figures["confusion"] = confusions(matrices, names)
    if compared and compared.gains and record.verdict and record.settings:
        threshold = record.settings["DECISION_THRESHOLD"]
        figures["gains"] = gains(compared.gains, record.verdict.delta, threshold)
    if record.reliability:
        models = {
            "new model": record.reliability.bins,
            "live model": compared.reliability_live if compared else (),
        }
        figures["reliability"] = reliability(models)
    return figures


def loss_point(entry: Entry) -> tuple[int, float] | None:
    """Step and training loss, if the entry has them."""
    event = entry.event
    if isinstance(event, Progress) and event.loss is not None and event.done is not None:
        return event.done, event.loss
    return None


def curves(
    losses: Sequence[tuple[int, float]], validations: Sequence[tuple[int, float]], best_step: int | None
) -> Figure:
    """Training loss and validation macro F1 over the steps."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    for axes, points, title in zip(
        figure.subplots(1, 2), (losses, validations), ("Training loss", "Validation macro F1"), strict=True
    ):
        axes.plot(*zip(*points, strict=True), color=BLUE, marker="o", markersize=3) if points else None
        _plain(axes, title, "step", "")
    if best_step:
        axes.axvline(best_step, color=GREY, linestyle=":", label=f"kept: step {best_step}")
        axes.legend(frameon=False, fontsize=8)
    return figure


def confusions(matrices: Mapping[str, Sequence[Sequence[int]]], names: Sequence[str]) -> Figure:
    """Confusion matrices side by side: rows are labels, columns answers, shades shares of the label."""
    figure = Figure(figsize=(4.2 * len(matrices) + 0.8, 3.9), layout="constrained")
    short = [name if len(name) < 15 else name[:13] + "…" for name in names]
    all_axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (title, matrix) in zip(all_axes, matrices.items(), strict=True):
        shares = [[count / (sum(row) or 1) for count in row] for row in matrix]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, row in enumerate(matrix):
            for j, count in enumerate(row):
                dark = shares[i][j] > 0.6
                axes.text(j, i, str(count), ha="center", va="center", color="white" if dark else "black")
        axes.set_xticks(range(len(short)), short, rotation=30, ha="right")
        axes.set_yticks(range(len(short)), short)
        _plain(axes, title, "answered", "labelled")
    return figure


def gains(histogram: Histogram, gain: float | None, threshold: float) -> Figure:
    """How the gain in macro F1 spreads over the resamplings of the rows."""
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes, edges = figure.subplots(), histogram.edges
    widths = [right - left for left, right in pairwise(edges)]
    axes.bar(edges[:-1], histogram.counts, widths, align="edge", color=BLUE, alpha=0.35)
    if gain is not None:
        axes.axvline(gain, color=BLUE, label=f"the gain, {gain:+.4f}")
    axes.axvline(threshold, color=RED, linestyle=":", label=f"threshold, {threshold:+.4f}")
    axes.set_yticks([])
    axes.legend(frameon=False, fontsize=8)
    _plain(axes, "Gain in macro F1, resampled", "gain", "")
    return figure


def reliability(models: Mapping[str, Sequence[tuple[float, float, int]]]) -> Figure:
    """Share of right answers over confidence: on the diagonal a model is as sure as it is right."""
    figure = Figure(figsize=(4.2, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":")
    for (name, bins), colour in zip(models.items(), (BLUE, GREY), strict=True):
        if bins:
            sure, right, rows = zip(*bins, strict=True)
            axes.plot(sure, right, color=colour, label=name)
            axes.scatter(sure, right, [10 + 90 * n / max(rows) for n in rows], color=colour)
    axes.legend(frameon=False, fontsize=8)
    _plain(axes, "Confidence and right answers", "confidence", "share of right answers")
    return figure


def _plain(axes: Axes, title: str, below: str, beside: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(below, fontsize=9)
    axes.set_ylabel(beside, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def svg(figure: Figure) -> Markup:
    """The figure as an element to stand in a page; matplotlib escapes the texts in it."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return Markup(out.getvalue()[out.getvalue().index("<svg") :])  # noqa: S704 (made here, not read)
