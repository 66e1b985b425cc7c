"""Which checkpoints are loaded and how, what they must not be able to do, and which one is gone on from."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification
from transformers.trainer_callback import TrainerState

from retrain.errors import (
    CheckpointError,
    DiskFullError,
    OutOfMemoryError,
    RetrainError,
    resource_errors,
)
from retrain.events import Resumed
from retrain.journal import Journal
from retrain.training.checkpoint import (
    last_checkpoint,
    load_classifier,
    loading_errors,
    take_over_checkpoint,
)
from retrain.training.checksums import CHECKSUMS, checksums, record_checksums, verified_checksums

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
        load_classifier(copy, "MODEL_CHECKPOINT=x", LABELS)
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
            load_classifier(copy, "MODEL_CHECKPOINT=x", LABELS)
    else:
        load_classifier(copy, "MODEL_CHECKPOINT=x", LABELS)  # the file with the vocabulary will do
    assert not ran.exists()


# --- what is loaded


def test_weights_are_float32_in_memory_whatever_they_are_in_the_file(copy: Path, tmp_path: Path) -> None:
    model, tokenizer = load_classifier(copy, "MODEL_CHECKPOINT=x", LABELS)
    for kept in (model.half(), tokenizer):
        kept.save_pretrained(tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "float16"
    again, _ = load_classifier(tmp_path / "half", "MODEL_CHECKPOINT=x")
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}


def test_a_head_is_made_for_the_labels_that_are_named_or_taken_as_it_is(copy: Path, tmp_path: Path) -> None:
    labels = {0: "a", 1: "b", 2: "c", 3: "d"}
    model, tokenizer = load_classifier(copy, "MODEL_CHECKPOINT=x", labels)
    assert (model.config.id2label, model.config.num_labels) == (labels, 4)
    assert model.config.label2id == {"a": 0, "b": 1, "c": 2, "d": 3}
    for kept in (model, tokenizer):
        kept.save_pretrained(tmp_path / "released")
    again, _ = load_classifier(tmp_path / "released", "MODEL_CHECKPOINT=x")
    assert again.config.id2label == labels


def test_a_model_that_is_no_xlm_roberta_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertForSequenceClassification(BertConfig(vocab_size=600, **tiny)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="HUB_MODEL_ID=city/model is a bert model"):
        load_classifier(tmp_path, "HUB_MODEL_ID=city/model")


def test_a_base_checkpoint_with_weights_that_are_not_finite_is_refused(copy: Path, tmp_path: Path) -> None:
    model, tokenizer = load_classifier(copy, "MODEL_CHECKPOINT=x", LABELS)
    with torch.no_grad():
        model.get_input_embeddings().weight[7, 0] = float("nan")
    for kept in (model, tokenizer):
        kept.save_pretrained(tmp_path / "broken")
    with pytest.raises(
        CheckpointError, match=r"MODEL_CHECKPOINT=x has weights that are not finite, in roberta"
    ):
        load_classifier(tmp_path / "broken", "MODEL_CHECKPOINT=x", LABELS)


# --- the checkpoints of a training run


def save(folder: Path, step: int, state: str | None = None) -> Path:
    """What matters here of a checkpoint; `state` in place of a whole trainer_state.json."""
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "optimizer.pt").write_bytes(b"momenta")
    if state is None:
        TrainerState(global_step=step, best_model_checkpoint="elsewhere").save_to_json(
            str(checkpoint / "trainer_state.json")
        )
    else:
        (checkpoint / "trainer_state.json").write_text(state)
    record_checksums(checkpoint, checksums(checkpoint))
    return checkpoint


def test_the_newest_checkpoint_is_that_of_the_greatest_step(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step in (99, 100, 20):
        save(tmp_path, step)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")


def test_a_checkpoint_without_checksums_is_passed_over(tmp_path: Path) -> None:
    """It was cut short, or an earlier version of the program has made it."""
    save(tmp_path, 5)
    (save(tmp_path, 10) / CHECKSUMS).unlink()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-5")


@pytest.mark.parametrize(
    "state",
    ["", "{", "[]", "{}", '{"global_step": 0}', '{"global_step": -1}', '{"global_step": "10"}', "null"],
)
def test_a_checkpoint_whose_state_is_not_whole_is_passed_over(tmp_path: Path, state: str) -> None:
    save(tmp_path, 5)
    save(tmp_path, 10, state)
    (tmp_path / "checkpoint-15").mkdir()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-5")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.create(tmp_path / "run")


def test_a_checkpoint_that_is_taken_over_stands_in_its_new_place_as_the_best(
    tmp_path: Path, journal: Journal
) -> None:
    earlier = tmp_path / "earlier"
    save(earlier / "checkpoints", 5)
    newest = save(earlier / "checkpoints", 10)
    (newest / "model.safetensors").write_bytes(b"weights")
    record_checksums(newest, checksums(newest))
    take_over_checkpoint(earlier, tmp_path / "mine", journal)
    copy = tmp_path / "mine" / "checkpoint-10"
    assert [each.name for each in copy.parent.iterdir()] == ["checkpoint-10"]
    assert (copy / "model.safetensors").read_bytes() == b"weights"
    state = TrainerState.load_from_json(str(copy / "trainer_state.json"))
    assert (state.best_model_checkpoint, state.global_step) == (str(copy), 10)
    assert journal.record().resumed == Resumed(10, str(earlier))
    assert verified_checksums(copy).keys() == {"model.safetensors", "optimizer.pt", "trainer_state.json"}


def test_without_a_checkpoint_nothing_is_taken_over_and_nothing_said(
    tmp_path: Path, journal: Journal
) -> None:
    take_over_checkpoint(tmp_path / "earlier", tmp_path / "mine", journal)
    assert not (tmp_path / "mine").exists()
    assert list(journal.read()) == []


def test_a_checkpoint_that_can_not_be_taken_over_is_a_warning_and_leaves_nothing(
    tmp_path: Path, journal: Journal
) -> None:
    save(tmp_path / "earlier" / "checkpoints", 10, '{"global_step": 10, "a field of another version": 1}')
    take_over_checkpoint(tmp_path / "earlier", tmp_path / "mine", journal)
    assert not (tmp_path / "mine").exists()
    record = journal.record()
    assert "The checkpoint of earlier can't be taken over" in record.warnings[0].message
    assert record.resumed is None


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("optimizer.pt", flip_a_bit),
        ("optimizer.pt", lambda file: file.write_bytes(file.read_bytes()[:-3])),
        ("optimizer.pt", Path.unlink),
        ("scaler.pt", Path.touch),
        ("trainer_state.json", lambda file: file.write_text('{"global_step": 999999999}')),
        (CHECKSUMS, lambda file: file.write_text("{")),
        (CHECKSUMS, lambda file: file.write_text("[]")),
        (CHECKSUMS, lambda file: file.write_text('{"optimizer.pt": 5}')),
        (CHECKSUMS, Path.unlink),
    ],
    ids=["flipped", "cut", "missing", "added", "absurd", "no json", "list", "other", "no checksums"],
)
def test_a_damaged_checkpoint_is_a_warning_and_training_begins_anew(
    tmp_path: Path, journal: Journal, file: str, damage: Callable[[Path], object]
) -> None:
    damage(save(tmp_path / "earlier" / "checkpoints", 10) / file)
    take_over_checkpoint(tmp_path / "earlier", tmp_path / "mine", journal)
    assert not (tmp_path / "mine").exists()
    record = journal.record()
    assert record.resumed is None
    (warning,) = record.warnings
    assert warning.message.endswith("trained anew.")
    if file != CHECKSUMS:
        assert f"not as it was saved: {file}" in warning.message


# --- what a checkpoint can cause


@pytest.mark.parametrize(
    "error",
    [
        OSError("no file"),
        ValueError("no file"),
        KeyError("no file"),
        RuntimeError("no file"),
        SafetensorError("no file"),
    ],
)
def test_a_checkpoint_that_can_not_be_loaded_is_named_by_its_variable(error: Exception) -> None:
    with pytest.raises(CheckpointError) as caught, loading_errors("MODEL_CHECKPOINT=city/base"):
        raise error
    assert str(caught.value).startswith("MODEL_CHECKPOINT=city/base can't be loaded (")
    assert "no file" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("first\nsecond"), "(first)"),
        (ValueError("  "), "(ValueError)"),
        (OSError("x" * 300), f"({'x' * 200})"),
    ],
)
def test_the_first_line_of_a_librarys_reason_is_told(error: Exception, reason: str) -> None:
    with pytest.raises(CheckpointError) as caught, loading_errors("MODEL_CHECKPOINT=city/base"):
        raise error
    assert f"can't be loaded {reason}." in str(caught.value)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFullError),
        (RuntimeError("CUDA out of memory. Tried"), OutOfMemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), OutOfMemoryError),
    ],
)
def test_a_machine_that_is_full_is_no_fault_of_the_checkpoint(
    error: Exception, raised: type[RetrainError]
) -> None:
    with pytest.raises(raised), resource_errors(), loading_errors("MODEL_CHECKPOINT=city/base"):
        raise error


def test_what_is_called_like_a_checkpoint_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 5)
    save(tmp_path, 7).rename(tmp_path / "checkpoint-old")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-5")
