"""The pictures of a report, as SVG without words: what they show stands beside them, in any language.

Each is as wide as a phone, so that its figures stay legible there. Knows the run's record and matplotlib.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retrain.events import Entry, Progress
from retrain.records import Histogram
from retrain.run_record import RunRecord

INK, BLUE, GREY, RED = "#1b1f24", "#1f5fbf", "#57606a", "#b42318"
# In a page they are the page's own, in light and dark.
OF_THE_PAGE = {INK: "currentColor", BLUE: "var(--blue)", GREY: "var(--quiet)", RED: "var(--bad)"}
WIDTH = 3.55  # inches: 341 CSS pixels
POINTS = 9  # 12 CSS pixels


def pictures(entries: Iterable[Entry], record: RunRecord) -> dict[str, Figure]:
    """Those that there is something to draw for."""
    figures = {}
    losses = [point for entry in entries if (point := loss_point(entry))]
    validations = [(each.step, each.f1_macro) for each in record.validations]
    kept = record.training.best_step if record.training else None
    steps = max([step for step, _ in (*losses, *validations)], default=0)
    for name, points in (("loss", losses), ("validation", validations)):
        if points:
            figures[name] = curve(points, steps, kept)
    compared = record.compared
    if compared and compared.gains and record.verdict and record.settings:
        figures["gains"] = gains(compared.gains, record.verdict.delta, record.settings["DECISION_THRESHOLD"])
    if record.reliability:
        figures["reliability"] = reliability(
            record.reliability.bins, compared.reliability_live if compared else ()
        )
    return figures


def loss_point(entry: Entry) -> tuple[int, float] | None:
    """Step and training loss, if the entry has them."""
    event = entry.event
    if isinstance(event, Progress) and event.loss is not None and event.done is not None:
        return event.done, event.loss
    return None


def curve(points: Sequence[tuple[int, float]], steps: int, kept: int | None) -> Figure:
    """Values over the steps of a training, with a dotted line at the step whose weights were kept."""
    figure, axes = _figure(2.1)
    axes.plot(*zip(*points, strict=True), color=BLUE, marker="o", markersize=3)
    axes.set_xlim(0, steps * 1.03)
    if kept:
        axes.axvline(kept, color=GREY, linestyle=":")
    return figure


def gains(histogram: Histogram, gain: float | None, threshold: float) -> Figure:
    """How the gain in macro F1 spreads over the resamplings of the rows; the threshold is dotted."""
    (figure, axes), edges = _figure(1.8), histogram.edges
    widths = [right - left for left, right in pairwise(edges)]
    axes.bar(edges[:-1], histogram.counts, widths, align="edge", color=BLUE, alpha=0.35)
    if gain is not None:
        axes.axvline(gain, color=BLUE)
    axes.axvline(threshold, color=RED, linestyle=":")
    axes.set_yticks([])
    axes.locator_params("x", nbins=5)
    return figure


def reliability(new: Sequence[tuple[float, float, int]], live: Sequence[tuple[float, float, int]]) -> Figure:
    """Share of right answers over confidence: on the diagonal a model is as sure as it is right."""
    figure, axes = _figure(2.8)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":")
    for bins, colour in ((new, BLUE), (live, GREY)):
        if bins:
            sure, right, rows = zip(*bins, strict=True)
            axes.plot(sure, right, color=colour)
            axes.scatter(sure, right, [10 + 90 * n / max(rows) for n in rows], color=colour)
    return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.tick_params(labelsize=POINTS, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(GREY)
    return figure, axes


def svg(figure: Figure, colours: Mapping[str, str] | None = None) -> Markup:
    """The figure as an SVG element; colours: what stands in a page for ours. Its numbers stay text."""
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=colours is not None)
    text = out.getvalue()[out.getvalue().index("<svg") :]
    for ours, theirs in (colours or {}).items():
        text = text.replace(ours, theirs)
    return Markup(text)  # noqa: S704 (made here, not read)
