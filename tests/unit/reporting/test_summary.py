"""The run in a few plain lines: what happened, why, and whether somebody has to look."""

from dataclasses import replace
from typing import Any

import pytest

from retrain.events import Archived, PauseFailed, Restored, Tracking, Warned
from retrain.records import OUTCOMES, DatasetInfo, PreparedDataset, Release, Scores, Verdict
from retrain.reporting.summary import is_good, message, summary, title
from retrain.run_record import RunRecord


def record_of(outcome: str | None, *reasons: str, **known: Any) -> RunRecord:
    return RunRecord(outcome, reasons, label="urgency", **known)


def lines(record: RunRecord) -> list[str]:
    return summary(record).split("\n")


NOT_PAUSED = PauseFailed("city/retrain", "The Hub refused it.")
RELEASE = Release("v1", "0" * 40, None, "http://hub/v1")
SCORES = Scores(60, 0.9, 0.8, 0.8, 0.81236, 0.8, 0.8, 0.8, {}, [])
DATASET = DatasetInfo(
    repo_id="city/data",
    revision="0123456789abcdef",
    version_tag="v20250101_000000",
    split_sizes={"train": 60, "eval": 30, "test": 60},
    label_counts={},
    exact_duplicates={},
    normalised_duplicates={},
    removed_from_train={"eval": 2, "test": 3},
    shared_by_eval_and_test=0,
)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_run_is_good_if_it_came_to_its_end_and_its_space_is_paused(outcome: str) -> None:
    assert is_good(record_of(outcome)) == (outcome in ("accepted", "rejected", "unchanged", "published"))
    assert not is_good(record_of(outcome, pause_failed=NOT_PAUSED))


def test_an_unfinished_run_is_not_good() -> None:
    assert not is_good(record_of(None))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (record_of("failed"), "Retraining the urgency model: failed"),
        (record_of("rolled_back"), "Retraining the urgency model: rolled back"),
        (record_of(None), "Retraining the urgency model: under way"),
        (RunRecord("failed"), "Retraining: failed"),
        (
            record_of("accepted", release=RELEASE, test_scores=SCORES),
            "New urgency model v1 serves, F1 0.812",
        ),
        (record_of("accepted"), "Retraining the urgency model: accepted"),
        (
            record_of("accepted", release=RELEASE, test_scores=SCORES, pause_failed=NOT_PAUSED),
            "NOT PAUSED, still billed: city/retrain",
        ),
        (
            record_of("failed", pause_failed=replace(NOT_PAUSED, space_id="c/" + "x" * 90)),
            "NOT PAUSED, still billed: c/" + "x" * 35,
        ),
    ],
)
def test_a_title_says_what_matters_most(record: RunRecord, said: str) -> None:
    assert title(record) == said
    assert len(said) < 64


def test_every_reason_and_every_warning_is_shown() -> None:
    shown = lines(record_of("rejected", "one", "two", warnings=(Warned("a"), Warned("b"))))
    assert shown[:4] == [
        "REJECTED: Nothing changes: the new model is not good enough to be released.",
        "  one",
        "  two",
        f"  What to do: {OUTCOMES['rejected'].what_to_do}",
    ]
    assert shown[-2:] == ["  Warning: a", "  Warning: b"]


def test_a_run_that_has_not_ended_says_so() -> None:
    assert lines(record_of(None)) == ["UNDER WAY: The run is under way."]


def test_a_space_that_is_still_billed_is_named_with_what_to_do() -> None:
    assert (
        "  city/retrain IS NOT PAUSED AND STILL BILLED. Pause it by hand in its settings. The Hub refused it."
        in lines(record_of("failed", "x", pause_failed=NOT_PAUSED))
    )


def test_the_data_set_is_named_with_what_was_left_out() -> None:
    shown = summary(record_of("failed", dataset=DATASET))
    assert "Data set: city/data at 0123456789ab (v20250101_000000); rows: train 60, eval 30, test 60" in shown
    assert "5 training rows were left out: their texts stand in eval or test" in shown
    clean = replace(DATASET, removed_from_train={"eval": 0, "test": 0}, version_tag=None)
    shown = summary(record_of("failed", dataset=clean))
    assert "Data set: city/data at 0123456789ab; rows" in shown
    assert "left out" not in shown


def test_figures_and_addresses_are_shown() -> None:
    shown = lines(
        record_of(
            "rolled_back",
            "why",
            test_scores=SCORES,
            release=RELEASE,
            restored=Restored("v2", "0" * 40, None, "http://hub/v2"),
            kept=Archived("http://hub/runs"),
            tracking=Tracking(None, "runs/x/wandb"),
            folder="runs/x",
        )
    )
    for line in (
        "  New model on the whole test set: macro F1 0.8124, accuracy 0.9000 (60 rows)",
        "  Released: v1, http://hub/v1",
        "  Restored: v2, http://hub/v2",
        "  Report: http://hub/runs",
        "  W&B: offline, runs/x/wandb",
        "  Everything about this run: runs/x",
    ):
        assert line in shown


@pytest.mark.parametrize(
    ("outcome", "apart"), [("accepted", False), ("rejected", False), ("failed", True), ("rolled_back", True)]
)
def test_the_comparison_stands_apart_where_it_is_not_the_reason(outcome: str, apart: bool) -> None:
    verdict = Verdict("accepted", ("It is better.", "Much."), delta=0.1)
    said = "  The comparison before: It is better."
    assert (said in lines(record_of(outcome, "why", verdict=verdict))) == apart
    assert said not in lines(record_of(outcome, "why", verdict=replace(verdict, delta=None)))


def test_a_preparation_says_what_became_of_each_data_set() -> None:
    made = PreparedDataset(
        "urgency",
        "city/data",
        "published",
        url="http://hub/v1",
        split_sizes={"train": 7, "test": 2},
        added=3,
        corrected=1,
        withdrawn={"forgotten": 2},
        groups=5,
        masked={"phone": 4},
        left_out={"no text": 1},
    )
    record = record_of("published", prepared=(made,), job="Preparing data sets")
    assert title(record) == "Preparing data sets: published"
    said = summary(record)
    assert "urgency: train 7, eval 0, test 2 rows in 5 groups of nearly equal texts" in said
    assert "3 new, 1 corrected, 2 forgotten" in said
    assert "masked: 4 phone" in said
    assert "left out: 1 no text" in said
    assert "http://hub/v1" in said


def test_a_message_ends_with_what_its_reader_can_open_and_names_no_place_in_a_container() -> None:
    said = message(
        record_of(
            "failed", "why", kept=Archived("http://hub/runs"), tracking=Tracking(None, "w"), folder="/runs/x"
        )
    )
    assert said.endswith("Report: http://hub/runs")
    assert "/runs/x" not in said
    assert "What to do: Ask the engineer" in said


def test_a_message_is_sent_in_the_language_that_is_asked_for() -> None:
    record = record_of("rejected", "why", settings={"REPORT_LANGUAGE": "ne"})
    assert message(record).startswith("अस्वीकृत: केही फेरिएन")
    assert title(record) == "urgency मोडेलको पुनः तालिम: अस्वीकृत"
