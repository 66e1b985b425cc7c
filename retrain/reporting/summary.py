"""The run in a few plain lines, for the log and for people. A pure function of the run's record."""

from collections.abc import Mapping
from typing import Any

from retrain.records import FINISHED, OUTCOMES

TITLE_LENGTH = 63  # W&B takes no longer one


def is_good(record: Mapping[str, Any]) -> bool:
    """Whether nobody has to look: the run came to its end, and its Space is paused."""
    return record["outcome"] in (*FINISHED, "unchanged") and "pause_failed" not in record


def title(record: Mapping[str, Any]) -> str:
    """The subject of a message about the run, under 64 characters."""
    label, outcome = record.get("label", "model"), record.get("outcome") or "unfinished"
    if "pause_failed" in record:
        return f"NOT PAUSED, still billed: {record['pause_failed']['space_id']}"[:TITLE_LENGTH]
    if outcome == "accepted" and (release := record.get("release")):
        f1_macro = record["test_scores"]["f1_macro"]
        return f"New {label} model {release['version_tag']} serves, F1 {f1_macro:.3f}"[:TITLE_LENGTH]
    return f"Retraining the {label} model: {outcome.replace('_', ' ')}"


def summary(record: Mapping[str, Any]) -> str:
    """What happened, why, the figures and where to look."""
    outcome = record.get("outcome") or "unfinished"
    known = OUTCOMES.get(outcome)
    lines = [f"{outcome.upper()}: {known.meaning if known else 'The run has not ended.'}"]
    lines += [f"  {reason}" for reason in record.get("reasons", ())]
    if known and known.what_to_do:
        lines.append(f"  {known.what_to_do}")
    if failed := record.get("pause_failed"):
        lines.append(
            f"  {failed['space_id']} IS NOT PAUSED AND STILL BILLED. Pause it by hand in its settings. "
            f"{failed['message']}"
        )
    if dataset := record.get("dataset"):
        tag = f" ({dataset['version_tag']})" if dataset["version_tag"] else ""
        sizes = ", ".join(f"{name} {size}" for name, size in dataset["split_sizes"].items())
        lines.append(f"  Data set: {dataset['repo_id']} at {dataset['revision'][:12]}{tag}; rows: {sizes}")
        removed = sum(dataset["removed_from_train"].values())
        if removed:
            lines.append(f"  {removed} training rows were left out: their texts stand in eval or test")
    if scores := record.get("test_scores"):
        figures = f"macro F1 {scores['f1_macro']:.4f}, accuracy {scores['accuracy']:.4f}"
        lines.append(f"  New model on the whole test set: {figures} ({scores['rows']} rows)")
    verdict = record.get("verdict") or {}
    if verdict.get("delta") is not None and outcome not in ("accepted", "rejected"):
        lines += [f"  The comparison before: {verdict['reasons'][0]}"]
    for event, what in (("release", "Released"), ("restored", "Restored")):
        if version := record.get(event):
            lines.append(f"  {what}: {version['version_tag']}, {version['url']}")
    lines += [f"  Warning: {warning['message']}" for warning in record.get("warnings", ())]
    if kept := record.get("kept"):
        lines.append(f"  Report and record: {kept['url']}")
    if tracking := record.get("tracking"):
        lines.append(f"  W&B: {tracking['url'] or 'offline, ' + tracking['folder']}")
    if folder := record.get("folder"):
        lines.append(f"  Everything about this run: {folder}")
    return "\n".join(lines)
