"""report.html and report.md: what a run did, for people. The first is one self-contained file; the second has
its pictures beside it, and is what the Hub shows.

Read from the journal, and from mistakes.json beside it: what is in them is shown as text, never as HTML.
"""

import json
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from retrain.journal import Journal
from retrain.language import templates
from retrain.records import READABLE_REPORT, DatasetInfo
from retrain.reporting.plots import OF_THE_PAGE, pictures, svg
from retrain.words import in_words

TEMPLATE = Path(__file__).with_suffix(".html")
HUB = "https://huggingface.co"


def write_report(folder: Path) -> Path:
    """Write the report of the run in `folder`, finished or not; returns the HTML file."""
    journal = Journal(folder)
    record = journal.record()
    words = in_words(record)
    mistakes = folder / "mistakes.json"
    figures = pictures(journal.read(), record)
    about = {
        "run": record,
        "words": words,
        "pictures": {name: svg(figure, OF_THE_PAGE) for name, figure in figures.items()},
        "mistakes": json.loads(mistakes.read_text(encoding="utf-8")) if mistakes.exists() else [],
        "viewer": viewer_of(record.dataset) if record.dataset else None,
    }
    for name, figure in figures.items():
        (folder / f"{name}.svg").write_text(svg(figure), encoding="utf-8")
    made = templates(TEMPLATE.parent, words.language, finalize=harmless)
    made.filters["cell"] = cell
    for name in (READABLE_REPORT, TEMPLATE.name):
        (folder / name).write_text(made.get_template(name).render(about), encoding="utf-8")
    return folder / TEMPLATE.name


def viewer_of(dataset: DatasetInfo) -> str:
    """Where the Hub shows the test split; a row's number is added to it. It knows main's rows only."""
    config, split = (
        quote(dataset.read_as.get(name, plain)) for name, plain in (("config", "default"), ("test", "test"))
    )
    return f"{HUB}/datasets/{dataset.repo_id}/viewer/{config}/{split}?row="


def harmless(value: Any) -> Any:
    """Text without control and formatting characters, which could hide or turn what stands beside it.

    The joiners of Devanagari are formatting characters too, and stay.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text, kept = value, "\u200c\u200d\n"
    return "".join(c if c in kept or unicodedata.category(c)[0] != "C" else "\ufffd" for c in text)


def cell(value: Any) -> str:
    """Text in a table of Markdown: on one line, and without the characters that mean something there."""
    line = " ".join(str(value).split())
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+!|~<>" else c for c in line)
