"""Texts as the model reads them."""

from pathlib import Path

from retrain.training.checkpoint import load_classifier
from retrain.training.tokenization import cut_texts


def test_a_text_is_cut_where_training_stops_reading_it(checkpoint: Path) -> None:
    _, tokenizer = load_classifier(str(checkpoint), None)
    long, short = "सडकमा ठूलो खाल्डो परेको छ । " * 40, "no water"
    cut_long, cut_short = cut_texts(tokenizer, [long, short], 16)
    assert cut_short == short
    assert long.startswith(cut_long)
    assert len(cut_long) < len(long) / 10
    read = [tokenizer(t, truncation=True, max_length=16)["input_ids"] for t in (cut_long, long)]
    assert read[0] == read[1]
