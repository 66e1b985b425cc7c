"""Reviewing on a terminal: the same corrections, in the same order, by the same keys as on the page.

python terminal.py NAME, with DATABASE_URL or FEEDBACK_DIR and FEEDBACK_LABELS in the environment.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from common.feedback_store import ConflictError, FeedbackStore, StoreError, Verdict
from queues import corrections_in_order

KEYS: Mapping[str, Verdict] = {"a": "accept", "r": "reject"}
HELP = "a right, r wrong, l another label, s skip, u undo the last one, q quit"


def review(
    store: FeedbackStore, names: Mapping[str, list[str]], reviewer: str, keys: Iterable[str], out: TextIO
) -> int:
    """Show one correction after another, and do what is typed; returns how many were decided."""
    decided, skipped, last, typed = 0, set[str](), "", iter(keys)
    while True:
        waiting = [
            each for each in corrections_in_order(store.pending(), reviewer) if each["id"] not in skipped
        ]
        if not waiting:
            print("Nothing waits to be reviewed.", file=out)
            return decided
        item = waiting[0]
        show(item, len(waiting), out)
        key = next(typed, "q").strip().lower()
        if key == "q":
            return decided
        if key == "s":
            skipped.add(item["id"])
        elif key == "u" and last:
            store.review(last, "undo", reviewer)
            decided, last = decided - 1, ""
        elif key in KEYS or key == "l":
            labels = choose(item, names, typed, out) if key == "l" else {}
            if key == "l" and not labels:
                continue
            try:
                store.review(item["id"], KEYS.get(key, "relabel"), reviewer, labels)
            except ConflictError as error:
                print(f"  This can't be done: {error}.", file=out)
                skipped.add(item["id"])
                continue
            decided, last = decided + 1, item["id"]
        else:
            print(f"  {HELP}", file=out)


def show(item: Mapping[str, Any], left: int, out: TextIO) -> None:
    """Print a correction."""
    print(f"\n{left} to decide; {HELP}\n  {item['text']}", file=out)
    if item["label"]:
        print(f"  the model said {item['label']}", file=out)
    print(f"  the correction says {', '.join(item['labels'].values())}", file=out)
    if item["by"]:
        print(f"  reviewed by {', '.join(item['by'])}: a second person has to agree", file=out)


def choose(
    item: Mapping[str, Any], names: Mapping[str, list[str]], typed: Iterable[str], out: TextIO
) -> dict[str, str]:
    """Ask for the right label of each label set of a correction; {} if what is typed is none."""
    chosen = {}
    answers = iter(typed)
    for label in item["labels"]:
        known = names.get(label, [])
        print("  " + "  ".join(f"{place} {name}" for place, name in enumerate(known, 1)), file=out)
        answer = next(answers, "").strip()
        if not answer.isdecimal() or not 1 <= int(answer) <= len(known):
            return {}
        chosen[label] = known[int(answer) - 1]
    return chosen


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Review until nothing waits; returns 1 if the store is away, 2 if the call is wrong."""
    if len(arguments) != 1 or not arguments[0].strip():
        print(__doc__, file=sys.stderr)
        return 2
    try:
        names = json.loads(environ.get("FEEDBACK_LABELS") or "{}")
        folder = Path(environ.get("FEEDBACK_DIR") or "feedback")
        store = FeedbackStore.open(environ.get("DATABASE_URL") or None, folder)
        print(f"{review(store, names, arguments[0], sys.stdin, sys.stdout)} decided.")
    except StoreError as error:
        print(f"{error}; what was decided is kept. Try again later.", file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
