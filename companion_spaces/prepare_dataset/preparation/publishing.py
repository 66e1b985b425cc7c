"""A draft as files of a version: Parquet, metadata and card. The same draft gives the same Parquet."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, FileSystemLoader

from preparation.corpus import Draft, Row, label_counts
from preparation.gates import margin
from preparation.grouping import SIMILARITY
from preparation.previous import Previous
from preparation.texts import StoredTexts
from retrain.dataset.layout import SPLITS

ROWS_WRITTEN = 10_000
HISTORY_KEPT = 50
_TEMPLATES = Environment(  # noqa: S701  Markdown, in which nothing is escaped as in HTML
    loader=FileSystemLoader(Path(__file__).parent),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
OWN_BEGINS = "<!-- What you write below this line is kept. -->"
SCHEMA = pa.schema(
    [
        ("grievance", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("source", pa.string()),
        ("probability", pa.float32()),
    ]
)


@dataclass(frozen=True)
class Facts:
    """What is said of a version beside its rows.

    watermark: up to which time complaints and corrections are in it; key_check: says whether the next version
    has the same SPLIT_KEY; masked, left_out: how many of what.
    """

    label: str
    label2id: Mapping[str, int]
    version_tag: str
    created_at: datetime
    watermark: Mapping[str, str | None]
    audit_probability: float
    key_check: str
    masked: Mapping[str, int]
    left_out: Mapping[str, int]
    own_card: str = ""


def write_parquet(rows: Sequence[Row], texts: StoredTexts, names: Sequence[str], file: Path) -> None:
    """Write the rows of a split, some at a time."""
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for first in range(0, len(rows), ROWS_WRITTEN):
            part = rows[first : first + ROWS_WRITTEN]
            columns = [
                texts.take([row.place for row in part]),
                pa.array([names[row.label] for row in part], pa.string()),
                pa.array([row.group for row in part], pa.string()),
                pa.array([row.source for row in part], pa.string()),
                pa.array([row.probability for row in part], pa.float32()),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))


def metadata(draft: Draft, facts: Facts, previous: Previous) -> dict[str, Any]:
    """The content of dataset_metadata.json."""
    counts = label_counts(draft.rows, facts.label2id)
    this = {
        "version_tag": facts.version_tag,
        "num_samples": len(draft.rows),
        "added": draft.added.total(),
        "corrected": draft.corrected,
        "withdrawn": draft.withdrawn.total(),
    }
    earlier = previous.metadata.get("history")
    return {
        "version_tag": facts.version_tag,
        "label_set": facts.label,
        "num_samples": len(draft.rows),
        "splits": {split: sum(counts[split].values()) for split in SPLITS},
        "label_counts": counts,
        "created_at": facts.created_at.isoformat(timespec="seconds"),
        "watermark": dict(facts.watermark),
        "previous_version": previous.version_tag,
        "previous_revision": previous.revision,
        "audit_probability": facts.audit_probability,
        "split_key_check": facts.key_check,
        "groups": draft.groups,
        "masked": dict(facts.masked),
        "left_out": dict(facts.left_out),
        "difference": {
            "added": dict(draft.added),
            "corrected": draft.corrected,
            "withdrawn": dict(draft.withdrawn),
            "contradictory_texts": len(draft.contradictions),
        },
        "history": [*(earlier if isinstance(earlier, list) else []), this][-HISTORY_KEPT:],
    }


def card(content: Mapping[str, Any], facts: Facts) -> str:
    """The data set card: a datasheet from the metadata, and below it what people have written."""
    test_rows = content["splits"]["test"]
    return _TEMPLATES.get_template("card.md").render(
        content,
        label=facts.label,
        names=list(facts.label2id),
        similarity=SIMILARITY,
        contradictions=content["difference"]["contradictory_texts"],
        points=100 * margin(test_rows),
        own_begins=OWN_BEGINS,
        own=facts.own_card,
    )


def own_part(earlier_card: str) -> str:
    """What people have written into a card: all of one that no program made, but its front matter."""
    if OWN_BEGINS in earlier_card:
        return earlier_card.partition(OWN_BEGINS)[2].strip()
    return re.sub(r"\A---\n.*?\n---\n", "", earlier_card, flags=re.DOTALL).strip()


def listed(counts: Mapping[str, int]) -> str:
    """Counts in words, the largest first."""
    in_order = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{count} {name}" for name, count in in_order if count) or "nothing"


_TEMPLATES.filters["listed"] = listed
