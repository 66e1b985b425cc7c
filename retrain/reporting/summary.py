"""The run in a few plain lines: for people, and with what an engineer needs for the log. Pure functions."""

from collections.abc import Iterator, Mapping

from retrain.language import catalogue
from retrain.records import FINISHED, PreparedDataset
from retrain.run_record import RunRecord
from retrain.words import in_words

TITLE_LENGTH = 63  # W&B takes no longer one


def is_good(record: RunRecord) -> bool:
    """Whether nobody has to look: the run came to its end, and its Space is paused."""
    return record.outcome in (*FINISHED, "unchanged", "published") and record.pause_failed is None


def title(record: RunRecord) -> str:
    """The subject of a message about the run, under 64 characters."""
    words = in_words(record)
    _ = catalogue(words.language).gettext
    if record.pause_failed:
        said = _("NOT PAUSED, still billed: {space}").format(space=record.pause_failed.space_id)
    elif record.outcome == "accepted" and record.release and record.test_scores:
        said = _("New {label} model {version} serves, F1 {f1:.3f}").format(
            label=record.label, version=record.release.version_tag, f1=record.test_scores.f1_macro
        )
    else:
        said = f"{words.title}: {words.outcome.lower()}"
    return said[:TITLE_LENGTH]


def message(record: RunRecord) -> str:
    """What people are sent: what happened, why, what to do, and where to look."""
    words = in_words(record)
    _ = catalogue(words.language).gettext
    lines = [f"{words.outcome.upper()}: {words.headline}", *words.reasons]
    if words.what_to_do:
        lines.append(_("What to do: {advice}").format(advice=words.what_to_do))
    if failed := record.pause_failed:
        lines.append(
            _("{space} IS NOT PAUSED AND STILL BILLED. Pause it by hand in its settings. {cause}").format(
                space=failed.space_id, cause=failed.message
            )
        )
    for each in record.prepared:
        lines += _prepared(each)
    verdict = record.verdict
    if verdict and verdict.delta is not None and record.outcome not in FINISHED:
        lines.append(_("The comparison before: {reason}").format(reason=verdict.reasons[0]))
    lines += [_("Warning: {warning}").format(warning=warning.message) for warning in record.warnings]
    if words.how_sure:
        lines += [_("How sure is this?"), *(f"  {sentence}" for sentence in words.how_sure)]
    if record.release:
        version = record.release
        lines.append(_("Released: {version}, {url}").format(version=version.version_tag, url=version.url))
    if record.restored:
        version = record.restored
        lines.append(_("Restored: {version}, {url}").format(version=version.version_tag, url=version.url))
    if record.kept:
        lines.append(_("Report: {url}").format(url=record.kept.url))
    if record.tracking and record.tracking.url:
        lines.append(f"Weights & Biases: {record.tracking.url}")
    return "\n  ".join(lines)


def summary(record: RunRecord) -> str:
    """The message, and what is for the log: data set, figures and the places on this machine."""
    lines = [message(record)]
    if dataset := record.dataset:
        tag = f" ({dataset.version_tag})" if dataset.version_tag else ""
        sizes = ", ".join(f"{name} {size}" for name, size in dataset.split_sizes.items())
        lines.append(f"Data set: {dataset.repo_id} at {dataset.revision[:12]}{tag}; rows: {sizes}")
        if removed := sum(dataset.removed_from_train.values()):
            lines.append(f"{removed} training rows were left out: their texts stand in eval or test")
    if scores := record.test_scores:
        figures = f"macro F1 {scores.f1_macro:.4f}, accuracy {scores.accuracy:.4f}"
        lines.append(f"New model on the whole test set: {figures} ({scores.rows} rows)")
    if record.tracking and not record.tracking.url:
        lines.append(f"W&B: offline, {record.tracking.folder}")
    if record.folder:
        lines.append(f"Everything about this run: {record.folder}")
    return "\n  ".join(lines)


def _prepared(made: PreparedDataset) -> Iterator[str]:
    """What became of a data set; its reasons stand with the outcome."""
    if not made.split_sizes:
        return
    sizes = ", ".join(f"{name} {made.split_sizes.get(name, 0)}" for name in ("train", "eval", "test"))
    yield f"{made.label}: {sizes} rows in {made.groups} groups of nearly equal texts"
    changes = [f"{made.added} new", f"{made.corrected} corrected", *_counted(made.withdrawn)]
    yield f"  {', '.join(changes)}"
    for what, counts in (("masked", made.masked), ("left out", made.left_out)):
        if counts:
            yield f"  {what}: {', '.join(_counted(counts))}"
    if made.url:
        yield f"  {made.url}"


def _counted(counts: Mapping[str, int]) -> list[str]:
    return [f"{count} {name}" for name, count in sorted(counts.items())]
