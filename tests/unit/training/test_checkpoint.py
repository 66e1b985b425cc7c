"""What a checkpoint must not be able to do: run its own code, or be read from a pickle."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from retrain.errors import CheckpointError
from retrain.training.checkpoint import load_classifier

LABELS = {0: "NORMAL", 1: "URGENT", 2: "HIGHLY URGENT"}


class Planted:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.file,)


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))


def test_a_pickle_in_place_of_safetensors_is_refused_and_not_opened(copy: Path, tmp_path: Path) -> None:
    (copy / "model.safetensors").unlink()
    torch.save(Planted(tmp_path / "opened"), copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="MODEL_CHECKPOINT"):
        load_classifier(str(copy), None, id2label=LABELS)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_in_a_checkpoint_is_not_run(copy: Path, tmp_path: Path, file: str) -> None:
    ran = tmp_path / "ran"
    (copy / "planted.py").write_text(
        f"from pathlib import Path\nPath({str(ran)!r}).touch()\n"
        "from transformers import XLMRobertaConfig, XLMRobertaTokenizer\n"
        "class Planted(XLMRobertaConfig): model_type = 'planted'\n"
        "class PlantedTokenizer(XLMRobertaTokenizer): pass\n"
    )
    about = json.loads((copy / file).read_text()) if (copy / file).exists() else {}
    if file == "config.json":
        about |= {"model_type": "planted", "auto_map": {"AutoConfig": "planted.Planted"}}
    else:
        about |= {
            "tokenizer_class": "PlantedTokenizer",
            "auto_map": {"AutoTokenizer": ["planted.PlantedTokenizer", "planted.PlantedTokenizer"]},
        }
    (copy / file).write_text(json.dumps(about))
    if file == "config.json":
        with pytest.raises(CheckpointError):
            load_classifier(str(copy), None, id2label=LABELS)
    else:
        load_classifier(str(copy), None, id2label=LABELS)  # the file with the vocabulary will do
    assert not ran.exists()
