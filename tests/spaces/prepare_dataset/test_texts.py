"""Texts made fit for a data set, and kept on disk."""

from pathlib import Path

import pytest

from preparation import texts as module
from preparation.texts import LONGEST, Raw, TextStore, prepare

KEY = b"key"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (None, "no text"),
        ("", "empty once it is cleaned"),
        (" \u200b\ufeff\n", "empty once it is cleaned"),
        ("<p>&nbsp;</p>", "empty once it is cleaned"),
        (b"sadak \xff", "not UTF-8"),
        ("half a pair \ud83d", "not UTF-8"),
        ("x" * (LONGEST + 1), f"longer than {LONGEST:,} characters"),
    ],
)
def test_what_can_not_be_used_is_left_out_with_its_reason(raw: Raw, why: str) -> None:
    found = prepare([raw, "a hole in the road"], KEY)
    assert found.texts == [None, "a hole in the road"]
    assert found.left_out == {why: 1}


def test_bytes_that_are_utf_8_are_a_text() -> None:
    assert prepare(["सडक".encode()], KEY).texts == ["सडक"]


def test_equal_texts_have_one_hash_and_the_key_counts() -> None:
    one, other, third = prepare(["A  Hole", "a hole\u200b", "another"], KEY).hashes
    assert one == other != third
    assert prepare(["a hole"], b"other").hashes != [one]


def test_a_store_gives_back_what_was_kept_with_what_came_with_it(tmp_path: Path) -> None:
    with TextStore(tmp_path, KEY) as store:
        kept = list(store.add([("one", 1), (None, 2), ("two", 3)]))
        kept += store.add([("three", 4)])
        texts = store.read()
    assert kept == [(0, 1), (1, 3), (2, 4)]
    assert [texts.text(place) for place, _ in kept] == ["one", "two", "three"]
    assert texts.take([2, 0]).to_pylist() == ["three", "one"]
    assert store.left_out == {"no text": 1}
    assert texts.signatures.shape == (3, module.PERMUTATIONS)


def test_an_empty_store_can_be_read(tmp_path: Path) -> None:
    with TextStore(tmp_path, KEY) as store:
        assert len(store.read().hashes) == 0


def test_several_processes_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_PROCESSES", 0)
    items = [(f"text {i}", i) for i in range(2 * module.BATCH + 7)]
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        with TextStore(folder, KEY, processes) as store:
            kept = list(store.add(items))
            texts = store.read()
        found.append((kept, texts.hashes, texts.texts.to_pylist(), texts.signatures.tolist()))
    assert found[0] == found[1]
