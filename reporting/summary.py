"""The run in a few plain lines, for the log and for people. A pure function of the run's record."""

from collections.abc import Mapping
from typing import Any

_HEADLINES = {
    "accepted": "The new model serves now.",
    "rejected": "The live model stays: the new one is not better.",
    "inconclusive": "Nothing was published: there is no comparison that holds.",
    "rolled_back": "The new model did not come up; the previous version serves again.",
    "failed": "The run failed.",
    "interrupted": "The run was interrupted.",
    "bug": "The run ended in an error of the program; please report it with the log.",
    "bad_settings": "The settings can't be used; nothing was started.",
}


def summary(record: Mapping[str, Any]) -> str:
    """What happened, why, the figures and where to look."""
    outcome = record.get("outcome") or "unfinished"
    lines = [f"{outcome.upper()}: {_HEADLINES.get(outcome, 'The run has not ended.')}"]
    lines += [f"  {reason}" for reason in record.get("reasons", ())]
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
    if tracking := record.get("tracking"):
        lines.append(f"  W&B: {tracking['url'] or 'offline, ' + tracking['folder']}")
    if folder := record.get("folder"):
        lines.append(f"  Everything about this run: {folder}")
    return "\n".join(lines)
