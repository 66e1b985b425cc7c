"""A run in the words of its readers: officers, a manager, an engineer. Pure functions of its record.

Figures become sentences here, in the language of REPORT_LANGUAGE; causes of failures stay English.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from retrain.language import catalogue, language_of
from retrain.records import FINISHED, OUTCOMES, RowCounts, Verdict
from retrain.run_record import RunRecord


@dataclass(frozen=True)
class Words:
    """What people read of a run, the plainest first.

    reasons: why it ended so; how_sure: statistics of the comparison, for those who want to know.
    """

    language: str
    title: str
    outcome: str
    headline: str
    reasons: tuple[str, ...]
    what_to_do: str
    how_sure: tuple[str, ...]
    notes: tuple[str, ...]


def in_words(record: RunRecord) -> Words:
    """The run in the language of its readers, finished or not."""
    language = language_of(record.settings)
    _ = catalogue(language).gettext
    known = OUTCOMES.get(record.outcome or "")
    verdict = record.verdict
    is_plain = record.outcome in FINISHED and verdict is not None and verdict.counts is not None
    offline = record.tracking is not None and record.tracking.url is None
    return Words(
        language,
        title=_title(record, language),
        outcome=_(known.name) if known else _("Under way"),
        headline=_(known.meaning) if known else _("The run is under way."),
        reasons=tuple(plain_reasons(verdict, language)) if verdict and is_plain else record.reasons,
        what_to_do=_(known.what_to_do) if known else "",
        how_sure=tuple(how_sure(verdict, language)) if verdict else (),
        notes=(_("This run is not shown on Weights & Biases; its curves are in the report."),)
        if offline
        else (),
    )


def _title(record: RunRecord, language: str) -> str:
    _ = catalogue(language).gettext
    if record.job:
        return _(record.job)
    if record.label:
        return _("Retraining the {label} model").format(label=record.label)
    return _("Retraining")


def plain_reasons(verdict: Verdict, language: str) -> Iterator[str]:
    """Why the gate decided so: first how many rows each model gets right, then the measure that decides."""
    _ = catalogue(language).gettext
    counts, rows = verdict.counts, verdict.rows_compared
    if counts is None or verdict.f1_macro_candidate is None or verdict.f1_macro_live is None:
        return
    yield _(
        "Of {rows} test grievances the new model labels {new} as the officers did, the live model {live}."
    ).format(rows=rows, new=counts.right_candidate, live=counts.right_live)
    if counts.answered_alike == rows:
        yield _("Both models gave the same answer to every one of them.")
    yield _measure(verdict, language)
    yield from (
        rule.reason for rule in verdict.rules if not rule.passed and rule.name != "DECISION_THRESHOLD"
    )
    if lost := verdict.rows_asked - rows:
        yield _("The live model did not answer {lost} of {asked} test grievances; they do not count.").format(
            lost=lost, asked=verdict.rows_asked
        )


def _measure(verdict: Verdict, language: str) -> str:
    _ = catalogue(language).gettext
    is_better = verdict.delta is not None and verdict.delta > (verdict.threshold or 0)
    sentence = (
        _(
            "Macro F1, in which every class counts alike however rare it is (1 is perfect), is {new:.4f} for "
            "the new model and {live:.4f} for the live one: {gain:+.4f}, more than the {threshold:.4f} that "
            "is asked for."
        )
        if is_better
        else _(
            "Macro F1, in which every class counts alike however rare it is (1 is perfect), is {new:.4f} for "
            "the new model and {live:.4f} for the live one: {gain:+.4f}, and more than {threshold:.4f} is "
            "asked for."
        )
    )
    return sentence.format(
        new=verdict.f1_macro_candidate,
        live=verdict.f1_macro_live,
        gain=verdict.delta,
        threshold=verdict.threshold or 0,
    )


def how_sure(verdict: Verdict, language: str) -> Iterator[str]:
    """What chance may have done to the comparison."""
    _ = catalogue(language).gettext
    if verdict.probability_of_gain is not None and verdict.interval:
        low, high = verdict.interval
        yield _(
            "In {times} of 100 resamplings of these rows the new model is better by more than the threshold; "
            "the gain is between {low:+.4f} and {high:+.4f} in 95 of 100."
        ).format(times=int(verdict.probability_of_gain * 100), low=low, high=high)  # 99.7 is not all of 100
    if verdict.counts and verdict.mcnemar_p is not None:
        yield _one_sided(verdict.counts, verdict.mcnemar_p, language)


def _one_sided(counts: RowCounts, p: float, language: str) -> str:
    _ = catalogue(language).gettext
    only_one = counts.only_candidate_right + counts.only_live_right
    return _(
        "On {rows} rows only one of the two is right: the new model on {new}, the live one on {live} "
        "(McNemar's exact test: {p})."
    ).format(
        rows=only_one,
        new=counts.only_candidate_right,
        live=counts.only_live_right,
        p="p < 0.001" if p < 0.001 else f"p = {p:.3f}",
    )
