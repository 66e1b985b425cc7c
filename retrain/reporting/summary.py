"""The run in a few plain lines, for the log and for people. A pure function of the run's record."""

from collections.abc import Iterator, Mapping

from retrain.records import FINISHED, OUTCOMES, PreparedDataset
from retrain.run_record import RunRecord

TITLE_LENGTH = 63  # W&B takes no longer one


def is_good(record: RunRecord) -> bool:
    """Whether nobody has to look: the run came to its end, and its Space is paused."""
    return record.outcome in (*FINISHED, "unchanged", "published") and record.pause_failed is None


def title(record: RunRecord) -> str:
    """The subject of a message about the run, under 64 characters."""
    label, outcome = record.label or "model", record.outcome or "unfinished"
    if record.pause_failed:
        return f"NOT PAUSED, still billed: {record.pause_failed.space_id}"[:TITLE_LENGTH]
    if outcome == "accepted" and record.release and record.test_scores:
        f1_macro = record.test_scores.f1_macro
        return f"New {label} model {record.release.version_tag} serves, F1 {f1_macro:.3f}"[:TITLE_LENGTH]
    what = record.job or f"Retraining the {label} model"
    return f"{what}: {outcome.replace('_', ' ')}"[:TITLE_LENGTH]


def summary(record: RunRecord) -> str:
    """What happened, why, the figures and where to look."""
    outcome = record.outcome or "unfinished"
    known = OUTCOMES.get(outcome)
    lines = [f"{outcome.upper()}: {known.meaning if known else 'The run has not ended.'}"]
    lines += [f"  {reason}" for reason in record.reasons]
    if known and known.what_to_do:
        lines.append(f"  {known.what_to_do}")
    if failed := record.pause_failed:
        lines.append(
            f"  {failed.space_id} IS NOT PAUSED AND STILL BILLED. Pause it by hand in its settings. "
            f"{failed.message}"
        )
    for each in record.prepared:
        lines += _prepared(each)
    if dataset := record.dataset:
        tag = f" ({dataset.version_tag})" if dataset.version_tag else ""
        sizes = ", ".join(f"{name} {size}" for name, size in dataset.split_sizes.items())
        lines.append(f"  Data set: {dataset.repo_id} at {dataset.revision[:12]}{tag}; rows: {sizes}")
        if removed := sum(dataset.removed_from_train.values()):
            lines.append(f"  {removed} training rows were left out: their texts stand in eval or test")
    if scores := record.test_scores:
        figures = f"macro F1 {scores.f1_macro:.4f}, accuracy {scores.accuracy:.4f}"
        lines.append(f"  New model on the whole test set: {figures} ({scores.rows} rows)")
    verdict = record.verdict
    if verdict and verdict.delta is not None and outcome not in ("accepted", "rejected"):
        lines.append(f"  The comparison before: {verdict.reasons[0]}")
    for version, what in ((record.release, "Released"), (record.restored, "Restored")):
        if version:
            lines.append(f"  {what}: {version.version_tag}, {version.url}")
    lines += [f"  Warning: {warning.message}" for warning in record.warnings]
    if record.kept:
        lines.append(f"  Report and record: {record.kept.url}")
    if record.tracking:
        lines.append(f"  W&B: {record.tracking.url or 'offline, ' + record.tracking.folder}")
    if record.folder:
        lines.append(f"  Everything about this run: {record.folder}")
    return "\n".join(lines)


def _prepared(made: PreparedDataset) -> Iterator[str]:
    """What became of a data set; its reasons stand with the outcome."""
    if not made.split_sizes:
        return
    sizes = ", ".join(f"{name} {made.split_sizes.get(name, 0)}" for name in ("train", "eval", "test"))
    yield f"  {made.label}: {sizes} rows in {made.groups} groups of nearly equal texts"
    changes = [f"{made.added} new", f"{made.corrected} corrected", *_counted(made.withdrawn)]
    yield f"    {', '.join(changes)}"
    for what, counts in (("masked", made.masked), ("left out", made.left_out)):
        if counts:
            yield f"    {what}: {', '.join(_counted(counts))}"
    if made.url:
        yield f"    {made.url}"


def _counted(counts: Mapping[str, int]) -> list[str]:
    return [f"{count} {name}" for name, count in sorted(counts.items())]
