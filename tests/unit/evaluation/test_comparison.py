"""Both models' answers row by row, and their file."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrain.errors import ComparisonError
from retrain.evaluation.comparison import answers_of, figures, load_comparison, pair_answers, save_comparison
from retrain.evaluation.decision_gate import decide
from retrain.records import Answer, ComparisonFigures, GateRules
from tests.conftest import SOURCE
from tests.unit.evaluation.conftest import BETTER, LABELS, NAMES, WORSE, rows_of


def test_the_verdict_can_be_computed_anew_from_the_file_alone(tmp_path: Path) -> None:
    live = [None if i < 3 else answer for i, answer in enumerate(WORSE)]
    comparison, rules = rows_of(LABELS, BETTER, live), GateRules(confidence=0.9, max_class_recall_drop=0.1)
    file = tmp_path / "comparison.parquet"
    save_comparison(file, comparison, rules)
    assert decide(*load_comparison(file)) == decide(comparison, rules)
    told = subprocess.run(
        [sys.executable, "-m", "retrain", "verdict", str(file)],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.startswith("ACCEPTED\n  The new model's macro F1 is")


def test_a_file_that_is_cut_off_is_told_and_gives_no_verdict(tmp_path: Path) -> None:
    file = tmp_path / "comparison.parquet"
    save_comparison(file, rows_of(LABELS, BETTER, [*WORSE]), GateRules())
    whole = file.read_bytes()
    for length in (0, 100, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(ComparisonError, match="no whole file of a comparison"):
            load_comparison(file)
    told = subprocess.run(
        [sys.executable, "-m", "retrain", "verdict", str(file)],
        cwd=SOURCE,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert "no whole file of a comparison" in told.stderr


# --- the columns


def test_the_answers_of_a_model_scored_here_are_its_most_probable_classes() -> None:
    answers = answers_of(np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]]))
    assert answers == [Answer(1, 0.5), Answer(0, 0.6)]


def test_each_column_comes_from_the_model_that_it_names() -> None:
    candidate = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    live = [Answer(1, 0.6, 0.25, (0.1, 0.6, 0.3)), Answer(error="status 500")]
    paired = pair_answers(NAMES, "api", [4, 9], [0, 2], candidate, live)
    assert (paired.label_names, paired.compared_with) == (NAMES, "api")
    assert (paired.rows, paired.labels) == ([4, 9], [0, 2])
    assert (paired.candidate, paired.candidate_confidence) == ([0, 2], [0.7, 0.8])
    assert (paired.live, paired.live_confidence) == ([1, None], [0.6, None])
    assert (paired.latency, paired.errors) == ([0.25, None], [None, "status 500"])


# --- the figures of the report


def seen() -> ComparisonFigures:
    """Four rows; the third was not answered, and to the fourth the API tells no confidence."""
    live = [0, 0, None, 2]
    comparison = rows_of([0, 1, 2, 2], [0, 1, 2, 1], live)
    return figures(replace(comparison, live_confidence=[0.9, 0.3, None, None]), seed=3)


def test_both_confusions_are_of_the_rows_that_both_answered() -> None:
    assert seen().confusion_candidate == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert seen().confusion_live == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_reliability_is_the_live_models_where_it_tells_its_confidence() -> None:
    assert seen().reliability_live == ((0.3, 0.0, 1), (0.9, 1.0, 1))


def test_the_gains_fall_into_forty_bins_that_hold_every_resampling() -> None:
    gains = seen().gains
    assert gains is not None
    assert (len(gains.counts), len(gains.edges), sum(gains.counts)) == (40, 41, 10_000)
    assert gains.edges == sorted(gains.edges)


def test_without_an_answer_there_is_nothing_to_draw() -> None:
    assert figures(rows_of([0, 1], [0, 1], [None, None]), seed=3) == ComparisonFigures()


# --- what the file holds


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    live = [None if i < 3 else answer for i, answer in enumerate(WORSE)]
    saved = replace(
        rows_of(LABELS, BETTER, live, "hub"),
        rows=list(range(5, 305)),
        candidate_confidence=[i / 300 for i in range(300)],
        live_confidence=[None, *(i / 400 for i in range(299))],
        latency=[None, *(i / 100 for i in range(299))],
    )
    rules = GateRules(0.01, 0.9, 0.8, 0.7, 0.05, 7)
    save_comparison(tmp_path / "file", saved, rules)
    assert load_comparison(tmp_path / "file") == (saved, rules)
    loaded, _ = load_comparison(tmp_path / "file")
    assert loaded.label_names == NAMES


def test_labels_and_answers_stand_in_the_file_as_names(tmp_path: Path) -> None:
    save_comparison(tmp_path / "file", rows_of([0, 1], [1, 1], [None, 2]), GateRules())
    table = pq.read_table(tmp_path / "file").to_pydict()
    assert table["label"] == ["NORMAL", "URGENT"]
    assert table["candidate"] == ["URGENT", "URGENT"]
    assert table["live"] == [None, "HIGHLY URGENT"]


@pytest.mark.parametrize("column", ["label", "candidate"])
def test_a_file_in_which_a_label_or_an_answer_of_the_candidate_is_missing_is_refused(
    tmp_path: Path, column: str
) -> None:
    file = tmp_path / "file"
    save_comparison(file, rows_of([0, 1], [1, 1], [0, 2]), GateRules())
    table = pq.read_table(file)
    names = [None, *table[column].to_pylist()[1:]]
    pq.write_table(table.set_column(table.column_names.index(column), column, pa.array(names)), file)
    with pytest.raises(ComparisonError, match="lacks its label or the candidate's answer"):
        load_comparison(file)


@pytest.mark.parametrize("spoil", ["no metadata", "no such name", "a rule too many", "no column"])
def test_a_parquet_file_that_is_no_comparison_is_refused(tmp_path: Path, spoil: str) -> None:
    file = tmp_path / "file"
    save_comparison(file, rows_of([0, 1], [1, 1], [0, 2]), GateRules())
    table = pq.read_table(file)
    about = json.loads(table.schema.metadata[b"comparison"])
    if spoil == "no such name":
        about["label_names"] = ["a", "b", "c"]
    elif spoil == "a rule too many":
        about["rules"]["max_age"] = 3
    elif spoil == "no column":
        table = table.drop(["latency_seconds"])
    metadata = None if spoil == "no metadata" else {"comparison": json.dumps(about)}
    pq.write_table(table.replace_schema_metadata(metadata), file)
    with pytest.raises(ComparisonError, match=r"Take comparison\.parquet from the folder of a run"):
        load_comparison(file)
