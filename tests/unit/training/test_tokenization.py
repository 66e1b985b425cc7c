"""Texts as the model reads them."""

from pathlib import Path

import datasets
import pytest
from transformers import PreTrainedTokenizerBase

from retrain.training.checkpoint import load_classifier
from retrain.training.tokenization import cut_texts, tokenize


def test_a_text_is_cut_where_training_stops_reading_it(checkpoint: Path) -> None:
    _, tokenizer = load_classifier(checkpoint, "MODEL_CHECKPOINT=x")
    long, short = "सडकमा ठूलो खाल्डो परेको छ । " * 40, "no water"
    cut_long, cut_short = cut_texts(tokenizer, [long, short], 16)
    assert cut_short == short
    assert long.startswith(cut_long)
    assert len(cut_long) < len(long) / 10
    read = [tokenizer(t, truncation=True, max_length=16)["input_ids"] for t in (cut_long, long)]
    assert read[0] == read[1]


@pytest.fixture
def tokenizer(checkpoint: Path) -> PreTrainedTokenizerBase:
    return load_classifier(checkpoint, "MODEL_CHECKPOINT=x")[1]


def test_texts_become_tokens_and_are_cut_at_the_longest_length(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = datasets.Dataset.from_dict({"grievance": ["no water", "no water " * 100], "label": [1, 0]})
    tokenized = tokenize(tokenizer, rows, 16)
    assert sorted(tokenized.column_names) == ["attention_mask", "input_ids", "label"]
    assert list(tokenized["label"]) == [1, 0]
    assert tokenized["input_ids"][0] == tokenizer("no water")["input_ids"]
    assert len(tokenized["input_ids"][1]) == 16


def test_the_same_rows_and_length_are_tokenised_once(checkpoint: Path) -> None:
    rows = datasets.Dataset.from_dict({"grievance": ["no water", "no light"], "label": [1, 0]})

    def key(rows: datasets.Dataset, max_length: int) -> str:
        _, tokenizer = load_classifier(checkpoint, "MODEL_CHECKPOINT=x")
        return str(tokenize(tokenizer, rows, max_length)._fingerprint)

    assert key(rows, 16) == key(rows, 16) != key(rows, 8)
    assert key(rows.select([0]), 16) != key(rows, 16)


def test_of_a_text_without_end_the_beginning_is_read(tokenizer: PreTrainedTokenizerBase) -> None:
    beginning, rest = "x" * 100_000, "y" * 1000
    rows = datasets.Dataset.from_dict({"grievance": [beginning + rest]})
    (ids,) = tokenize(tokenizer, rows, 512)["input_ids"]
    assert ids == tokenizer(beginning, truncation=True, max_length=512)["input_ids"]
    (cut,) = cut_texts(tokenizer, ["hm" + " " * 99_998 + "tail"], 512)
    assert len(cut) <= 100_000
    assert "tail" not in cut


@pytest.mark.parametrize("words", [1, 13, 14, 15, 40])
def test_a_cut_text_has_the_tokens_of_the_whole(tokenizer: PreTrainedTokenizerBase, words: int) -> None:
    text = " ".join(["no", "water"] * words)[: 3 * words]
    (cut,) = cut_texts(tokenizer, [text], 16)
    assert text.startswith(cut)
    read = [tokenizer(each, truncation=True, max_length=16)["input_ids"] for each in (cut, text)]
    assert read[0] == read[1]
    assert cut == text or len(read[0]) == 16
