"""Corrections and verdicts as files: CSV, Label Studio's JSON, and the export that prepare_dataset reads."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from common.feedback_store import LABEL_SETS

COLUMNS = ("feedback_id", "text", "correct_urgency", "correct_department", "verdict")
VERDICTS = ("accept", "reject", "relabel")


def as_csv(pending: Iterable[Mapping[str, Any]]) -> str:
    """Pending corrections with an empty column `verdict` to fill in; no cell is a spreadsheet's formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for item in pending:
        labels = [item["labels"].get(label, "") for label in LABEL_SETS]
        text = item["text"]
        writer.writerow([item["id"], f"'{text}" if text[:1] in "=+-@\t\r" else text, *labels, ""])
    return "\ufeff" + out.getvalue()  # without the mark Excel does not read Devanagari


def from_csv(content: bytes) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(feedback id, verdict, labels) of the rows whose verdict is filled in.

    Raises:
        ValueError: a row has no such columns, or another verdict; with its number.
    """
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    for number, row in enumerate(rows, 2):
        verdict = (row.get("verdict") or "").strip().casefold()
        if not verdict:
            continue
        if not row.get("feedback_id") or verdict not in VERDICTS:
            raise ValueError(
                f"line {number}: verdict should be one of {', '.join(VERDICTS)}, with a feedback_id"
            )
        labels = {
            label: name for label in LABEL_SETS if (name := (row.get(f"correct_{label}") or "").strip())
        }
        yield row["feedback_id"].strip(), verdict, labels


def as_label_studio(pending: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tasks for Label Studio, with what was reported as a prediction."""
    return [
        {
            "data": {"feedback_id": item["id"], "text": item["text"]},
            "predictions": [
                {
                    "model_version": "reported",
                    "result": [
                        {
                            "from_name": label,
                            "to_name": "text",
                            "type": "choices",
                            "value": {"choices": [name]},
                        }
                        for label, name in item["labels"].items()
                    ],
                }
            ],
        }
        for item in pending
    ]


def from_label_studio(content: bytes) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(feedback id, "relabel", labels) of the tasks that have an annotation.

    Raises:
        ValueError: it is no export of ours from Label Studio.
    """
    try:
        for task in json.loads(content):
            kept = [each for each in task.get("annotations", ()) if not each.get("was_cancelled")]
            labels = {
                part["from_name"]: part["value"]["choices"][0]
                for each in kept[-1:]
                for part in each["result"]
                if part["from_name"] in LABEL_SETS
            }
            if labels:
                yield task["data"]["feedback_id"], "relabel", labels
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError("it is no JSON that Label Studio exported from these tasks") from error


def export_lines(reviewed: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What was reviewed as JSON lines: see "What is read" in docs/dataset.md."""
    for row in reviewed:
        labels = {f"correct_{label}": row[f"correct_{label}"] for label in LABEL_SETS}
        drawn = {label: row[f"correct_{label}"] for label in LABEL_SETS} if row["drawn_by_chance"] else {}
        times = {name: row[name].isoformat() for name in ("created_at", "reviewed_at")}
        # What several people agreed on is nobody's own.
        reviewer = None if ", " in row["reviewed_by"] else row["reviewed_by"]
        line = {"message": row["message"], "reviewed": True, "reviewed_by": reviewer}
        yield json.dumps(line | labels | drawn | times, ensure_ascii=False) + "\n"
