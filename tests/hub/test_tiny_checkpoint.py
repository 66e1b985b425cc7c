"""The tiny checkpoint: made the same every time, and read by transformers as the real one is."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from rehearsal.sample_data import make_grievances
from rehearsal.tiny_checkpoint import make_checkpoint
from tests.conftest import SOURCE

PROGRAM = """
import sys
from pathlib import Path
from rehearsal.sample_data import make_grievances
from rehearsal.tiny_checkpoint import make_checkpoint
make_checkpoint(Path(sys.argv[1]), [row["grievance"] for row in make_grievances(600)])
"""


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [row["grievance"] for row in make_grievances(600)]


@pytest.fixture(scope="module")
def checkpoint(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("base") / "tiny", texts)


def test_the_same_texts_give_the_same_bytes_in_another_process(checkpoint: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], cwd=SOURCE, capture_output=True, check=True)
    ours = {file.name: file.read_bytes() for file in checkpoint.iterdir()}
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == ours


def test_another_seed_gives_other_weights(checkpoint: Path, texts: list[str], tmp_path: Path) -> None:
    other = make_checkpoint(tmp_path, texts, seed=1)
    name = "model.safetensors"
    assert (other / name).read_bytes() != (checkpoint / name).read_bytes()
    assert (other / "tokenizer.json").read_bytes() == (checkpoint / "tokenizer.json").read_bytes()


def test_it_loads_as_a_classifier_and_only_the_head_is_new(checkpoint: Path) -> None:
    model, report = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, num_labels=3, output_loading_info=True
    )
    assert model.config.model_type == "xlm-roberta"
    assert model.config.num_labels == 3
    assert sum(parameter.numel() for parameter in model.parameters()) < 500_000
    assert report["missing_keys"]
    assert all(key.startswith("classifier.") for key in report["missing_keys"])
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]


def test_the_tokenizer_has_the_layout_of_the_real_one_and_loads_without_a_warning(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    transformers_logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    transformers_logging.disable_propagation()
    assert caplog.records == []
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == ["<s>", "<pad>", "</s>", "<unk>"]
    assert tokenizer.mask_token_id == len(tokenizer) - 1
    assert tokenizer.model_max_length == 512
    encoded = tokenizer("पानी आएको छैन")
    assert list(encoded) == ["input_ids", "attention_mask"]
    assert (encoded["input_ids"][0], encoded["input_ids"][-1]) == (0, 2)


def test_devanagari_is_cut_into_known_pieces_and_comes_back(checkpoint: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    text = "खोला पारि तीन दिनदेखि खानेपानी आएको छैन"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert len(ids) < len(text)
    assert tokenizer.decode(ids) == text


def test_texts_are_cut_at_512_tokens(checkpoint: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert len(tokenizer("पानी " * 2000, truncation=True)["input_ids"]) == 512
