"""report.html: one self-contained file a run, for people. `python -m retrain.reporting.report RUN_FOLDER`.

Read from the journal, and from mistakes.json beside it: what stands there is shown as text, never as HTML.
"""

import io
import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retrain.journal import Journal, run_record
from retrain.records import OUTCOMES

TEMPLATE = Path(__file__).with_suffix(".html")
BLUE, GREY, RED = "#1f5fbf", "#8a929c", "#b42318"

Event = Mapping[str, Any]


def write_report(folder: Path) -> Path:
    """Write the report of the run in `folder`, finished or not; returns the file."""
    events = list(Journal(folder).read())
    record = run_record(events)
    mistakes = folder / "mistakes.json"
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent), finalize=harmless, autoescape=True, trim_blocks=True
    )
    page = environment.get_template(TEMPLATE.name).render(
        run=record,
        known=OUTCOMES.get(record["outcome"] or ""),
        pictures={name: svg(figure) for name, figure in pictures(events, record).items()},
        mistakes=json.loads(mistakes.read_text(encoding="utf-8")) if mistakes.exists() else [],
    )
    file = folder / "report.html"
    file.write_text(page, encoding="utf-8")
    return file


def pictures(events: Sequence[Event], record: Mapping[str, Any]) -> dict[str, Figure]:
    """Those that there is something to draw for."""
    figures = {}
    losses = [(event["done"], event["loss"]) for event in events if "loss" in event and "done" in event]
    validations = [(each["step"], each["f1_macro"]) for each in record.get("validations", ())]
    if losses or validations:
        figures["curves"] = curves(losses, validations, record.get("training", {}).get("best_step"))
    compared = record.get("compared", {})
    if "test_scores" in record:
        names = list(record["test_scores"]["per_class"])
        matrices = {"New model, whole test set": record["test_scores"]["confusion"]}
        if compared:
            matrices = {
                "New model, compared rows": compared["confusion_candidate"],
                "Live model, same rows": compared["confusion_live"],
            }
        figures["confusion"] = confusions(matrices, names)
    if compared:
        figures["gains"] = gains(compared["gains"], record["verdict"], record["settings"])
    if "reliability" in record:
        models = {
            "new model": record["reliability"]["bins"],
            "live model": compared.get("reliability_live", []),
        }
        figures["reliability"] = reliability(models)
    return figures


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
        axes.axvline(best_step, color=GREY, linestyle=":", label=f"best, step {best_step}")
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


def gains(histogram: Mapping[str, Sequence[float]], verdict: Event, settings: Event) -> Figure:
    """How the gain in macro F1 spreads over the resamplings of the rows."""
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes, edges = figure.subplots(), histogram["edges"]
    widths = [right - left for left, right in pairwise(edges)]
    axes.bar(edges[:-1], histogram["counts"], widths, align="edge", color=BLUE, alpha=0.35)
    if verdict.get("delta") is not None:
        axes.axvline(verdict["delta"], color=BLUE, label=f"the gain, {verdict['delta']:+.4f}")
    threshold = settings["DECISION_THRESHOLD"]
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


def harmless(value: Any) -> Any:
    """Text without control and formatting characters, which could hide or turn what stands beside it.

    The joiners of Devanagari are formatting characters too, and stay.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text, kept = value, "\u200c\u200d\n"
    return "".join(c if c in kept or unicodedata.category(c)[0] != "C" else "\ufffd" for c in text)


if __name__ == "__main__":
    print(write_report(Path(sys.argv[1])))
