"""report.html: one self-contained file for each run, for people.

Read from the journal, and from mistakes.json beside it: what is in them is shown as text, never as HTML.
"""

import json
import unicodedata
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from retrain.journal import Journal
from retrain.records import OUTCOMES
from retrain.reporting.plots import pictures, svg

TEMPLATE = Path(__file__).with_suffix(".html")


def write_report(folder: Path) -> Path:
    """Write the report of the run in `folder`, finished or not; returns the file."""
    journal = Journal(folder)
    record = journal.record()
    mistakes = folder / "mistakes.json"
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent), finalize=harmless, autoescape=True, trim_blocks=True
    )
    page = environment.get_template(TEMPLATE.name).render(
        run=record,
        known=OUTCOMES.get(record.outcome or ""),
        pictures={name: svg(figure) for name, figure in pictures(journal.read(), record).items()},
        mistakes=json.loads(mistakes.read_text(encoding="utf-8")) if mistakes.exists() else [],
    )
    file = folder / "report.html"
    file.write_text(page, encoding="utf-8")
    return file


def harmless(value: Any) -> Any:
    """Text without control and formatting characters, which could hide or turn what stands beside it.

    The joiners of Devanagari are formatting characters too, and stay.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text, kept = value, "\u200c\u200d\n"
    return "".join(c if c in kept or unicodedata.category(c)[0] != "C" else "\ufffd" for c in text)
