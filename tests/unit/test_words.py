"""A run in the words of its readers."""

from dataclasses import replace

import pytest

from retrain.events import Tracking
from retrain.records import OUTCOMES, RowCounts, RuleResult, Verdict
from retrain.run_record import RunRecord
from retrain.words import in_words

VERDICT = Verdict(
    "accepted",
    ("The gate's own sentence.",),
    rows_asked=300,
    rows_compared=300,
    f1_macro_candidate=0.88,
    f1_macro_live=0.80,
    delta=0.08,
    interval=(0.02, 0.14),
    probability_of_gain=0.997,
    mcnemar_p=0.0001,
    counts=RowCounts(260, 242, 30, 12, 250),
    threshold=0.001,
)
RUN = RunRecord("accepted", ("The gate's own sentence.",), label="urgency", verdict=VERDICT)


def test_the_first_sentence_counts_what_officers_can_count() -> None:
    first, second = in_words(RUN).reasons
    assert first == (
        "Of 300 test grievances the new model labels 260 as the officers did, the live model 242."
    )
    assert "is 0.8800 for the new model and 0.8000 for the live one: +0.0800" in second


def test_statistics_stand_apart_from_the_reasons() -> None:
    sure = " ".join(in_words(RUN).how_sure)
    assert "In 99 of 100 resamplings" in sure, "99.7 is not all of them"
    assert "between +0.0200 and +0.1400" in sure
    assert "the new model on 30, the live one on 12 (McNemar's exact test: p < 0.001)" in sure
    assert "resamplings" not in " ".join(in_words(RUN).reasons)


def test_a_rejection_says_what_is_asked_for_and_which_other_rule_was_not_met() -> None:
    rules = (
        RuleResult("DECISION_THRESHOLD", False, "too little"),
        RuleResult("MIN_F1_MACRO", False, "Its macro F1 is below the floor."),
        RuleResult("MAX_CLASS_RECALL_DROP", True, "No class loses."),
    )
    verdict = replace(VERDICT, outcome="rejected", delta=0.0, f1_macro_candidate=0.8, rules=rules)
    reasons = in_words(replace(RUN, outcome="rejected", verdict=verdict)).reasons
    assert "and more than 0.0010 is asked for" in reasons[1]
    assert reasons[2:] == ("Its macro F1 is below the floor.",)


def test_models_that_answer_alike_are_said_to() -> None:
    verdict = replace(VERDICT, counts=RowCounts(260, 260, 0, 0, 300))
    assert (
        "Both models gave the same answer to every one of them."
        in in_words(replace(RUN, verdict=verdict)).reasons
    )
    assert len(in_words(RUN).reasons) == 2


def test_rows_without_an_answer_are_counted() -> None:
    verdict = replace(VERDICT, rows_asked=310)
    assert "The live model did not answer 10 of 310 test grievances; they do not count." in (
        in_words(replace(RUN, verdict=verdict)).reasons
    )


@pytest.mark.parametrize(
    "record",
    [
        replace(RUN, outcome="failed", reasons=("why",)),
        replace(RUN, reasons=("why",), verdict=replace(VERDICT, counts=None)),
        replace(RUN, reasons=("why",), verdict=None),
    ],
    ids=["it ended otherwise", "of an earlier program", "no comparison"],
)
def test_reasons_are_the_run_s_own_where_the_comparison_does_not_give_them(record: RunRecord) -> None:
    assert in_words(record).reasons == ("why",)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("language", ["en", "ne"])
def test_every_outcome_says_what_it_means_and_what_to_do(outcome: str, language: str) -> None:
    words = in_words(RunRecord(outcome, settings={"REPORT_LANGUAGE": language}))
    known = OUTCOMES[outcome]
    said = (words.outcome, words.headline, words.what_to_do)
    assert all(said)
    assert (said == (known.name, known.meaning, known.what_to_do)) == (language == "en")


def test_tracking_offline_is_a_note_and_no_warning() -> None:
    offline = in_words(replace(RUN, tracking=Tracking(None, "runs/x/wandb")))
    assert offline.notes
    assert not in_words(replace(RUN, tracking=Tracking("https://wandb.ai/x", "runs/x/wandb"))).notes


def test_a_run_is_read_in_the_language_of_its_settings() -> None:
    nepali = in_words(replace(RUN, settings={"REPORT_LANGUAGE": "ne"}))
    assert nepali.language == "ne"
    assert nepali.headline == "अब नयाँ मोडेल सेवामा छ।"
    assert "300" in nepali.reasons[0]
    assert "260" in nepali.reasons[0]
    assert in_words(RUN).language == "en"
