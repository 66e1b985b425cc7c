"""What keeps a draft from being published. Pure functions; a refusal is a sentence for people."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from preparation.corpus import Draft, Labelled, label_counts
from retrain.dataset.layout import SPLITS

# Below so many rows, F1 of a split says next to nothing.
LEAST_ROWS = 100
MOST_CONTRADICTIONS = 0.05
MOST_BY_ONE = 0.5
# Fewer corrections than these are judged by nobody's share of them.
LEAST_CORRECTIONS = 10
# Half the width of the 95 % interval of a share near 0.9, on one row: a model is right nine times of ten.
_MARGIN = 1.96 * math.sqrt(0.9 * 0.1)
_FOR_TWO_POINTS = math.ceil((_MARGIN / 0.02) ** 2)  # rows
_LITTLE = 1e-4  # in place of a share of 0, whose logarithm is infinite

Counts = Mapping[str, Mapping[str, int]]


def nothing_new(draft: Draft, min_new_rows: int, *, is_first: bool) -> str | None:
    """Why a draft is not worth a version; None if it is. What is to be forgotten always is."""
    if is_first or draft.changes >= min_new_rows or draft.withdrawn["forgotten"]:
        return None
    return (
        f"{draft.changes} rows are new or corrected since the last version, and MIN_NEW_ROWS={min_new_rows}. "
        "They wait for the next run."
    )


def refusals(
    draft: Draft,
    label2id: Mapping[str, int],
    before: Counts | None,
    corrections: Sequence[Labelled],
    max_label_shift: float,
) -> Iterator[str]:
    """Why a draft must not be published.

    before: rows by split and label of the version before, if any; max_label_shift: see stability_index.
    """
    counts = label_counts(draft.rows, label2id)
    for split in SPLITS:
        if gone := [name for name, count in counts[split].items() if not count]:
            yield (
                f"Split {split} would have no row of {', '.join(gone)}, and macro F1 needs every class in "
                "every split. Label more complaints of it."
            )
    for split in ("eval", "test"):
        if (rows := sum(counts[split].values())) < LEAST_ROWS:
            yield (
                f"Split {split} would have {rows} rows, and {LEAST_ROWS} are the least to judge a model by; "
                f"{_FOR_TWO_POINTS} give macro F1 to ±2 points. Raise AUDIT_PROBABILITY before the first "
                "version, or push a data set with larger splits and build on it."
            )
    if before and (shift := stability_index(_shares(before), _shares(counts))) > max_label_shift:
        yield (
            f"The labels are spread otherwise than before (population stability index {shift:.2f}, at most "
            f"{max_label_shift}): {_compared(before, counts)}. If that is right, raise MAX_LABEL_SHIFT once."
        )
    share = len(draft.contradictions) / draft.corrected_texts if draft.corrected_texts else 0.0
    if share > MOST_CONTRADICTIONS:
        yield (
            f"{len(draft.contradictions)} of {draft.corrected_texts} corrected texts were given several "
            f"labels ({share:.0%}, at most {MOST_CONTRADICTIONS:.0%}). Have the officers agree on what the "
            "labels mean, and review these anew."
        )
    yield from _by_one(corrections, {i: name for name, i in label2id.items()})


def margin(rows: int) -> float:
    """Half the width of the 95 % interval of a share near 0.9 on so many rows."""
    return _MARGIN / math.sqrt(rows) if rows else 1.0


def stability_index(before: Mapping[str, float], now: Mapping[str, float]) -> float:
    """How far shares have moved: the sum of (now - before) · ln(now / before); 0 where nothing has."""
    pairs = [(max(before[name], _LITTLE), max(now[name], _LITTLE)) for name in now]
    return sum((new - old) * math.log(new / old) for old, new in pairs)


def _shares(counts: Counts) -> dict[str, float]:
    total: Counter[str] = Counter()
    for of_split in counts.values():
        total.update(of_split)
    rows = total.total() or 1
    return {name: count / rows for name, count in total.items()}


def _compared(before: Counts, now: Counts) -> str:
    old, new = _shares(before), _shares(now)
    return ", ".join(f"{name} {old.get(name, 0):.0%} → {share:.0%}" for name, share in new.items())


def _by_one(corrections: Sequence[Labelled], id2label: Mapping[int, str]) -> Iterator[str]:
    """One person's opinion must not become a class."""
    by_class: dict[int, Counter[str | None]] = {}
    for each in corrections:
        by_class.setdefault(each.label, Counter())[each.reviewer] += 1
    for label, reviewers in sorted(by_class.items()):
        named = [(count, name) for name, count in reviewers.items() if name is not None]
        total = reviewers.total()
        if not named or total < LEAST_CORRECTIONS:
            continue
        most, _ = max(named)
        if most > MOST_BY_ONE * total:
            yield (
                f"One reviewer is responsible for {most} of {total} corrections to {id2label[label]}; half "
                "is the limit. Have somebody else review some of them."
            )
