"""The next version of a data set: who is in it, with which label, in which split."""

import hashlib
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sklearn.metrics import f1_score

from preparation.corpus import Draft, Draw, Labelled, Row, Texts, assemble
from preparation.previous import PreviousRow

KEY = b"a key that nobody guesses"
MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
ALL, NONE = Draw(KEY, 1.0), Draw(KEY, 0.0)


def hash_of(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class Source:
    """Texts with places, and the entries and rows that name them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.entries: list[Labelled] = []
        self.rows: list[tuple[int, PreviousRow]] = []
        self.near: dict[str, str] = {}

    def place(self, text: str) -> int:
        self.texts.append(text)
        return len(self.texts) - 1

    def complain(self, text: str, label: int, day: int = 0) -> None:
        at = MONDAY + timedelta(days=day)
        self.entries.append(Labelled(self.place(text), label, at, is_correction=False, reviewer=None))

    def correct(self, text: str, label: int, day: int | None = 0) -> None:
        at = None if day is None else MONDAY + timedelta(days=day)
        self.entries.append(Labelled(self.place(text), label, at, is_correction=True, reviewer="r1"))

    def had(self, text: str, label: int, split: str, group: str | None = None) -> None:
        source = "audit" if group else None
        self.rows.append((self.place(text), PreviousRow(text, label, split, group, source, None)))

    def draft(self, draw: Draw = ALL, forgotten: Iterable[str] = ()) -> Draft:
        """near: of a text, the one that it is nearly equal to."""
        first: dict[str, int] = {}
        for place, text in enumerate(self.texts):
            first.setdefault(text, place)
        roots = [first[self.near.get(text, text)] for text in self.texts]
        texts = Texts([hash_of(text) for text in self.texts], roots)
        return assemble(self.rows, self.entries, texts, draw, frozenset(map(hash_of, forgotten)))

    def by_text(self, draft: Draft) -> dict[str, Row]:
        return {self.texts[row.place]: row for row in draft.rows}


@pytest.fixture
def source() -> Source:
    return Source()


def texts_drawn_for(split: str | None, draw: Draw, count: int = 1) -> list[str]:
    """Texts whose group is drawn for this split."""
    names = (f"text {i}" for i in range(100_000))
    found = (text for text in names if draw.split(hash_of(text).hex()[:16]) == split)
    return [next(found) for _ in range(count)]


def test_a_complaint_that_is_drawn_goes_where_its_group_is_drawn_to(source: Source) -> None:
    wanted = {split: texts_drawn_for(split, ALL)[0] for split in ("train", "eval", "test")}
    for text in wanted.values():
        source.complain(text, 1)
    rows = source.by_text(source.draft())
    assert {split: rows[text].split for split, text in wanted.items()} == {s: s for s in wanted}
    assert {(row.source, row.probability) for row in rows.values()} == {("audit", 1.0)}


def test_a_complaint_that_is_not_drawn_stays_out(source: Source) -> None:
    source.complain("a hole in the road", 1)
    assert source.draft(NONE).rows == []


def test_a_correction_of_what_was_not_drawn_is_for_train(source: Source) -> None:
    source.complain("a hole in the road", 1)
    source.correct("a hole in the road", 2)
    (row,) = source.draft(NONE).rows
    assert (row.split, row.label, row.source, row.probability) == ("train", 2, "correction", None)


@pytest.mark.parametrize("split", ["eval", "test"])
def test_a_correction_of_what_was_drawn_corrects_it_where_it_stands(source: Source, split: str) -> None:
    (text,) = texts_drawn_for(split, ALL)
    source.complain(text, 1)
    source.correct(text, 2)
    (row,) = source.draft().rows
    assert (row.split, row.label, row.probability) == (split, 2, 1.0)


def test_a_correction_without_its_complaint_is_never_in_eval_or_test(source: Source) -> None:
    for text in (*texts_drawn_for("test", ALL, 20), *texts_drawn_for("eval", ALL, 20)):
        source.correct(text, 2)
    assert {row.split for row in source.draft().rows} == {"train"}


def test_a_correction_overrides_the_label_of_the_version_before(source: Source) -> None:
    source.had("a hole in the road", 0, "test", "g1")
    source.correct("a hole in the road", 2)
    draft = source.draft()
    (row,) = draft.rows
    assert (row.split, row.label, row.group) == ("test", 2, "g1")
    assert (draft.corrected, draft.added.total()) == (1, 0)


@pytest.mark.parametrize("days", [(0, 5), (5, 0), (None, 1), (1, None)])
def test_of_two_corrections_the_later_wins(source: Source, days: Sequence[int | None]) -> None:
    later = max(days, key=lambda day: -1 if day is None else day)
    for day in days:
        source.correct("a hole in the road", 2 if day == later else 1, day)
    draft = source.draft(NONE)
    assert [row.label for row in draft.rows] == [2]
    assert len(draft.contradictions) == 1


def test_two_corrections_that_agree_are_no_contradiction(source: Source) -> None:
    source.correct("a hole in the road", 1)
    source.correct("a hole in the road", 1)
    draft = source.draft(NONE)
    assert (draft.contradictions, draft.corrected_texts, len(draft.rows)) == ([], 1, 1)


def test_what_is_there_already_is_not_added_again(source: Source) -> None:
    source.had("a hole in the road", 1, "train", "g1")
    source.complain("a hole in the road", 1)
    draft = source.draft()
    assert (len(draft.rows), draft.changes) == (1, 0)


def test_rows_pushed_by_hand_keep_their_splits_and_repeats(source: Source) -> None:
    for split in ("train", "eval", "test"):
        source.had(f"of {split}", 1, split)
        source.had(f"of {split}", 1, split)
    draft = source.draft()
    assert [row.split for row in draft.rows] == ["train", "train", "eval", "eval", "test", "test"]
    assert {row.source for row in draft.rows} == {"adopted"}


def test_a_text_like_one_of_test_joins_it_there_whatever_is_drawn(source: Source) -> None:
    (text,) = texts_drawn_for("train", ALL)
    source.near[text] = "known"
    source.had("known", 1, "test", "g1")
    source.complain(text, 1)
    rows = source.by_text(source.draft())
    assert (rows[text].split, rows[text].group) == ("test", "g1")


def test_a_text_that_joins_groups_of_train_and_test_takes_the_one_of_train_out(source: Source) -> None:
    source.had("of train", 1, "train", "a")
    source.had("of test", 1, "test", "b")
    source.near |= {"between": "of train", "of test": "of train"}
    source.complain("between", 1)
    draft = source.draft()
    rows = source.by_text(draft)
    assert {text: row.split for text, row in rows.items()} == {"of test": "test", "between": "test"}
    assert {row.group for row in rows.values()} == {"b"}
    assert draft.withdrawn == {"nearly equal to a text of test": 1}


def test_rows_of_one_group_stay_together_though_no_text_between_them_is_left(source: Source) -> None:
    source.had("one", 1, "train", "a")
    source.had("other", 1, "train", "a")
    source.near["new"] = "other"
    source.correct("new", 1)
    assert {row.group for row in source.draft(NONE).rows} == {"a"}


def test_what_is_to_be_forgotten_leaves_and_does_not_come_back(source: Source) -> None:
    source.had("forget me", 1, "test", "g1")
    source.correct("forget me", 2)
    source.complain("forget me, too", 1)
    draft = source.draft(forgotten=["forget me", "forget me, too"])
    assert (draft.rows, draft.withdrawn) == ([], {"forgotten": 1})


def test_the_order_of_the_source_changes_nothing(source: Source) -> None:
    rng = random.Random(1)
    for i in range(200):
        source.complain(f"text {i % 150}", i % 3, i % 7)
        if i % 9 == 0:
            source.correct(f"text {i}", (i + 1) % 3, i % 5)
    expected = [(source.texts[row.place], row.label, row.split) for row in source.draft().rows]
    rng.shuffle(source.entries)
    assert [(source.texts[row.place], row.label, row.split) for row in source.draft().rows] == expected


def test_splits_are_never_changed_by_later_versions(source: Source) -> None:
    seen: dict[str, str] = {}
    rng, draw = random.Random(3), Draw(KEY, 0.5)
    for version in range(4):
        now = Source()
        for text, split in seen.items():
            now.had(text, 1, split, hash_of(text).hex()[:16])
        for i in rng.sample(range(1000), 200):
            now.complain(f"text {i}", 1, version)
            if i % 4 == 0:
                now.correct(f"text {i}", 2, version)
        found = {text: row.split for text, row in now.by_text(now.draft(draw)).items()}
        assert seen.items() <= found.items()
        seen = found
    assert {"train", "eval", "test"} == set(seen.values())


def test_a_draw_takes_the_share_of_groups_that_it_says() -> None:
    draw = Draw(KEY, 0.4)
    drawn = [draw.split(f"group {i}") for i in range(20_000)]
    shares = {split: drawn.count(split) / len(drawn) for split in ("train", "eval", "test")}
    assert shares == pytest.approx({"train": 0.2, "eval": 0.1, "test": 0.1}, abs=0.01)
    assert drawn != [Draw(b"another key", 0.4).split(f"group {i}") for i in range(20_000)]


def test_scores_on_this_test_set_are_those_on_all_complaints(source: Source) -> None:
    """Officers correct half of the model's mistakes; a test set of mistakes says nothing of the model."""
    rng, draw, labels = random.Random(5), Draw(KEY, 0.8), (0, 1, 2)
    truth = {f"complaint {i}": rng.choices(labels, (60, 30, 10))[0] for i in range(8000)}
    answer = {text: label if rng.random() < 0.88 else rng.choice(labels) for text, label in truth.items()}
    for day, (text, label) in enumerate(truth.items()):
        source.complain(text, label, day % 30)
        if answer[text] != label and rng.random() < 0.5:
            source.correct(text, label, day % 30)
    in_test = [source.texts[row.place] for row in source.draft(draw).rows if row.split == "test"]
    on_all = score(truth, answer, truth)
    on_test = score(truth, answer, in_test)
    resampled = sorted(score(truth, answer, rng.choices(in_test, k=len(in_test))) for _ in range(300))
    assert resampled[4] <= on_all <= resampled[-5]
    assert abs(on_test - on_all) < 0.03
    wrong = [text for text in truth if answer[text] != truth[text]]
    some_right = rng.sample([text for text in truth if answer[text] == truth[text]], len(wrong) // 4)
    assert score(truth, answer, [*wrong, *some_right]) < on_all - 0.5


def score(truth: dict[str, int], answer: dict[str, int], texts: Iterable[str]) -> float:
    texts = list(texts)
    return float(f1_score([truth[t] for t in texts], [answer[t] for t in texts], average="macro"))
