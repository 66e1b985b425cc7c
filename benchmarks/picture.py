"""`python -m benchmarks.picture FIGURES.json PICTURE.svg`: the figures of benchmarks.training as bars."""

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

BARS = {
    "rows_per_second": ("Training, rows a second", 1.0),
    "peak_bytes": ("Peak memory, GB", 1e9),
    "share_of_sgemm": ("Share of sgemm speed on real tokens", 1.0),
    "evaluation_rows_per_second": ("Evaluation, rows a second", 1.0),
}
NAMES, COLOURS = {"plain": "plain recipe", "ours": "here"}, {"plain": "#8a929c", "ours": "#1f5fbf"}


def main(figures: Path, picture: Path) -> None:
    """Draw a pair of bars for each figure, each pair on its own scale."""
    result = json.loads(figures.read_text(encoding="utf-8"))
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    for axes, (name, (title, scale)) in zip(figure.subplots(1, len(BARS)), BARS.items(), strict=True):
        values = {NAMES[recipe]: result["figures"][recipe][name] / scale for recipe in NAMES}
        bars = axes.bar(values.keys(), values.values(), color=COLOURS.values(), width=0.6)
        axes.bar_label(bars, fmt="%.3g", fontsize=9)
        axes.set_title(title, fontsize=9, wrap=True)
        axes.set_yticks([])
        axes.margins(y=0.15)
        axes.tick_params(labelsize=9)
        axes.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(picture, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
