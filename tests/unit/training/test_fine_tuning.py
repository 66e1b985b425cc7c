"""The recipe: what the settings become, and predictions in the order of the rows."""

import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    EarlyStoppingCallback,
    PreTrainedModel,
    TrainerCallback,
    TrainerState,
)
from transformers.trainer_callback import PrinterCallback

from configs import UrgencyConfig
from retrain.errors import DivergedError
from retrain.records import TrainingSummary
from retrain.training.averaging import AVERAGED_WEIGHTS
from retrain.training.checkpoint import last_checkpoint
from retrain.training.checksums import CHECKSUMS, checksums, record_checksums, verified_checksums
from retrain.training.fine_tuning import (
    class_weights,
    epochs_of,
    f1_macro,
    fine_tune,
    half_precision,
    predict,
    tokens_of,
    training_arguments,
    training_summary,
)
from retrain.training.focal_loss import FocalLossTrainer
from tests.conftest import NEEDED
from tests.unit.training.conftest import padded_logits, rows_of


def test_balanced_weights_are_inverse_to_the_counts() -> None:
    config = UrgencyConfig.read(NEEDED | {"FOCAL_ALPHA": "balanced"})
    assert class_weights(config.focal_alpha, [0, 0, 0, 0, 1, 2], 3) == pytest.approx((0.5, 2.0, 2.0))


def test_predictions_come_back_in_the_order_of_the_rows(model: PreTrainedModel) -> None:
    rows = rows_of([40, 3, 512, 8, 21])
    expected = padded_logits(model, rows).softmax(-1).detach().numpy()
    config = UrgencyConfig.read(NEEDED | {"EVAL_BATCH_SIZE": "2"})
    assert predict(model, datasets.Dataset.from_list(rows), config.eval_batch_size) == pytest.approx(
        expected, abs=1e-5
    )


def test_a_validation_is_scored_by_the_most_probable_class() -> None:
    prediction = SimpleNamespace(
        predictions=np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]]), label_ids=np.array([0, 1])
    )
    assert f1_macro(prediction) == {"f1_macro": pytest.approx(1 / 3)}


# --- what the settings become

CHOSEN = {
    "NUM_TRAIN_EPOCHS": "2",
    "MIN_TRAIN_STEPS": "0",
    "TRAIN_BATCH_SIZE": "6",
    "EVAL_BATCH_SIZE": "5",
    "LEARNING_RATE": "0.003",
    "WEIGHT_DECAY": "0.07",
    "EVAL_STEPS": "10",
    "EARLY_STOPPING_PATIENCE": "3",
    "FOCAL_GAMMA": "1.5",
    "FOCAL_ALPHA": "0.1, 0.2, 0.7",
    "SEED": "7",
}


def config_of(**changed: str) -> UrgencyConfig:
    return UrgencyConfig.read(NEEDED | CHOSEN | changed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_train_epochs", 2),
        ("per_device_train_batch_size", 6),
        ("per_device_eval_batch_size", 5),
        ("learning_rate", 0.003),
        ("weight_decay", 0.07),
        ("eval_steps", 10),
        ("logging_steps", 2),
        ("seed", 7),
        ("lr_scheduler_type", "linear"),
        ("warmup_steps", 0.06),
        ("metric_for_best_model", "eval_loss"),
        ("greater_is_better", False),
        ("load_best_model_at_end", True),
        ("save_strategy", "best"),
        ("remove_unused_columns", False),
        ("label_names", ["labels"]),
        ("report_to", []),
        ("use_cpu", not torch.cuda.is_available()),
        ("n_gpu", min(torch.cuda.device_count(), 1)),
    ],
)
def test_a_setting_reaches_the_trainer(tmp_path: Path, name: str, value: object) -> None:
    assert getattr(training_arguments(config_of(), tmp_path, 12), name) == value


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU decides there")
@pytest.mark.parametrize(
    ("capabilities", "half"),
    [({}, None), ({"avx512_f": True}, None), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16")],
    ids=["unknown", "no bf16", "AVX-512", "AMX"],
)
def test_a_cpu_trains_in_half_precision_only_if_it_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capabilities: dict[str, bool], half: str | None
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    auto = training_arguments(config_of(), tmp_path, 12)
    assert (auto.bf16, auto.fp16) == (half == "bf16", False)
    fp32 = training_arguments(config_of(PRECISION="fp32"), tmp_path, 12)
    assert (fp32.bf16, fp32.fp16) == (False, False)


def test_the_trainer_logs_five_times_between_validations_or_at_each_step(tmp_path: Path) -> None:
    steps = [
        training_arguments(config_of(EVAL_STEPS=n), tmp_path, 12).logging_steps for n in ("50", "4", "1")
    ]
    assert steps == [10, 1, 1]


@pytest.mark.parametrize(
    ("alpha", "weights"),
    [("0.25", 0.25), ("0.1, 0.2, 0.7", (0.1, 0.2, 0.7)), ("balanced", (2.0, 1.0, 2 / 3))],
)
def test_class_weights_are_as_they_are_set(alpha: str, weights: float | tuple[float, ...]) -> None:
    found = class_weights(config_of(FOCAL_ALPHA=alpha).focal_alpha, [0, 1, 1, 2, 2, 2], 3)
    assert found == pytest.approx(weights)


# --- a training of a few steps


def trained(checkpoint: Path, folder: Path, *callbacks: TrainerCallback, **changed: str) -> FocalLossTrainer:
    """On twelve rows, two steps an epoch."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3)
    rows = datasets.Dataset.from_list(rows_of([9, 5, 7] * 4))
    config = config_of(**changed)
    return fine_tune(model, rows, rows.select(range(6)), config, folder, callbacks)


@pytest.fixture(scope="module")
def trainer(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> FocalLossTrainer:
    return trained(checkpoint, tmp_path_factory.mktemp("training"))


def test_the_focal_loss_is_as_it_is_set(trainer: FocalLossTrainer) -> None:
    assert trainer.focal_loss.gamma == 1.5
    assert trainer.focal_loss.alpha.tolist() == pytest.approx([0.1, 0.2, 0.7])


def test_patience_is_as_it_is_set(trainer: FocalLossTrainer) -> None:
    callbacks = trainer.callback_handler.callbacks
    (stopping,) = [each for each in callbacks if isinstance(each, EarlyStoppingCallback)]
    assert stopping.early_stopping_patience == 3
    assert not [each for each in callbacks if isinstance(each, PrinterCallback)]


def test_training_is_told_in_a_summary(trainer: FocalLossTrainer) -> None:
    summary = training_summary(trainer)
    assert summary.best_loss == trainer.state.best_metric
    assert summary.best_f1_macro == trainer.state.log_history[-2]["eval_f1_macro"]
    on_gpu = torch.cuda.is_available()
    assert replace(summary, best_f1_macro=None, best_loss=None) == TrainingSummary(
        steps=4,
        best_step=4,
        best_f1_macro=None,
        precision=half_precision() or "fp32",
        device="cuda" if on_gpu else "cpu",
        devices=1,
        epochs=2.0,
    )


def test_training_ends_after_as_many_validations_without_a_gain_as_set(
    checkpoint: Path, tmp_path: Path
) -> None:
    """With hardly any learning rate the first validation is the best: two more, and that was it."""
    changed = {"LEARNING_RATE": "1e-12", "EVAL_STEPS": "1", "EARLY_STOPPING_PATIENCE": "2"}
    trainer = trained(checkpoint, tmp_path, NUM_TRAIN_EPOCHS="20", **changed)
    assert (trainer.state.best_global_step, trainer.state.global_step) == (1, 3)


def test_no_validation_of_the_first_epoch_ends_the_training(checkpoint: Path, tmp_path: Path) -> None:
    changed = {"LEARNING_RATE": "1e-12", "EVAL_STEPS": "1", "EARLY_STOPPING_PATIENCE": "1"}
    trainer = trained(checkpoint, tmp_path, TRAIN_BATCH_SIZE="2", NUM_TRAIN_EPOCHS="20", **changed)
    assert trainer.state.global_step == 6, "the first validation that counts is that of the sixth step"


def test_the_learning_rate_rises_shortly_and_falls_evenly_to_zero(checkpoint: Path, tmp_path: Path) -> None:
    trainer = trained(checkpoint, tmp_path, EVAL_STEPS="5", EARLY_STOPPING_PATIENCE="9")
    rates = [logs["learning_rate"] for logs in trainer.state.log_history if "learning_rate" in logs]
    assert rates == pytest.approx([0, 0.003, 0.002, 0.001])


@pytest.mark.parametrize(
    ("rows", "epochs"),
    [(12, 50.0), (1200, 2.0), (594, 2.0), (300, 2.0), (6, 100.0), (294, 100 / 49)],
    ids=["few rows", "enough", "enough by one", "just enough", "one step an epoch", "one step too few"],
)
def test_a_small_train_split_gets_more_epochs_up_to_the_floor_of_steps(rows: int, epochs: float) -> None:
    assert epochs_of(config_of(MIN_TRAIN_STEPS="100"), rows) == pytest.approx(epochs)


def test_the_floor_of_steps_is_reached(checkpoint: Path, tmp_path: Path) -> None:
    trainer = trained(checkpoint, tmp_path, MIN_TRAIN_STEPS="7", EARLY_STOPPING_PATIENCE="9")
    assert trainer.state.global_step == 7


def test_what_is_kept_is_the_average_of_the_best_validation(checkpoint: Path, tmp_path: Path) -> None:
    trainer = trained(checkpoint, tmp_path, NUM_TRAIN_EPOCHS="20", EARLY_STOPPING_PATIENCE="9")
    best = Path(str(trainer.state.best_model_checkpoint))
    averaged, raw = load_file(best / AVERAGED_WEIGHTS), load_file(best / "model.safetensors")
    kept = dict(trainer.model.named_parameters())
    head = "model.classifier.out_proj.weight"
    assert torch.equal(kept[head], averaged[head])
    assert not torch.equal(averaged[head], raw[head])


def test_what_only_steps_need_is_gone_after_the_training(checkpoint: Path, tmp_path: Path) -> None:
    used: list[weakref.ref[object]] = []

    class Look(TrainerCallback):
        def on_step_end(self, *_: object, optimizer: object, **__: object) -> None:
            used.append(weakref.ref(optimizer))

    trainer = trained(checkpoint, tmp_path, Look())
    assert used
    assert used[0]() is None
    assert training_summary(trainer).steps == trainer.state.global_step, "the trainer itself is alive"


@pytest.mark.parametrize("where", ["train", "eval"])
def test_a_token_that_stands_in_one_split_only_is_in_the_vocabulary(
    checkpoint: Path, tmp_path: Path, where: str
) -> None:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3)
    rows = rows_of([9, 5, 7])
    rare = [rows[0] | {"input_ids": [0, 450, 2]}, *rows[1:]]
    train, evaluated = (
        datasets.Dataset.from_list(rare if each == where else rows) for each in ("train", "eval")
    )
    config = config_of(NUM_TRAIN_EPOCHS="1")
    trainer = fine_tune(model, train, evaluated, config, tmp_path)
    assert trainer.state.global_step == 1


# --- the tokens that occur


@pytest.mark.parametrize("row", [0, 9_999, 10_000, 20_000])
def test_tokens_of_every_row_are_found(row: int) -> None:
    """They are read 10,000 rows at a time."""
    ids = [[0, 5, 2]] * 20_001
    ids[row] = [0, 9, 7, 2]
    found = tokens_of(datasets.Dataset.from_dict({"input_ids": ids}))
    assert found.tolist() == [0, 2, 5, 7, 9]


def test_a_kill_while_the_average_is_saved_leaves_the_checkpoint_before_it(
    checkpoint: Path, tmp_path: Path
) -> None:
    class KilledInTheSecondSave(TrainerCallback):
        """The average can't be written from the second epoch on: there is a folder in its place."""

        def on_step_end(self, args: object, state: TrainerState, control: object, **_: object) -> None:
            if state.global_step == 4:
                (tmp_path / "checkpoint-4" / AVERAGED_WEIGHTS).mkdir(parents=True)

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3)
    rows = datasets.Dataset.from_list(rows_of([9, 5, 7] * 4))
    config = config_of(EVAL_STEPS="2", NUM_TRAIN_EPOCHS="3")
    with pytest.raises(Exception, match="directory"):
        fine_tune(model, rows, rows.select(range(6)), config, tmp_path, [KilledInTheSecondSave()])
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")


def test_a_checkpoint_is_saved_with_the_checksums_of_all_its_files_and_is_the_only_one(
    checkpoint: Path, tmp_path: Path
) -> None:
    trainer = trained(checkpoint, tmp_path, NUM_TRAIN_EPOCHS="5", EVAL_STEPS="2", EARLY_STOPPING_PATIENCE="9")
    assert [each.name for each in tmp_path.iterdir()] == [f"checkpoint-{trainer.state.best_global_step}"]
    saved = verified_checksums(Path(str(trainer.state.best_model_checkpoint))).keys()
    assert saved >= {
        "model.safetensors",
        AVERAGED_WEIGHTS,
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "trainer_state.json",
    }


def test_a_kill_before_the_checksums_leaves_the_checkpoint_before_it(
    checkpoint: Path, tmp_path: Path
) -> None:
    class KilledBeforeTheChecksums(TrainerCallback):
        """They can't be written from the second epoch on: there is a folder in their place."""

        def on_step_end(self, args: object, state: TrainerState, control: object, **_: object) -> None:
            if state.global_step == 4:
                (tmp_path / "checkpoint-4" / CHECKSUMS).mkdir(parents=True)

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3)
    rows = datasets.Dataset.from_list(rows_of([9, 5, 7] * 4))
    config = config_of(EVAL_STEPS="2", NUM_TRAIN_EPOCHS="3")
    with pytest.raises(IsADirectoryError):
        fine_tune(model, rows, rows.select(range(6)), config, tmp_path, [KilledBeforeTheChecksums()])
    (tmp_path / "checkpoint-4" / CHECKSUMS).rmdir()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there may be a scaler on a GPU")
def test_a_run_that_was_cut_short_in_fp16_goes_on_without_a_scaler(checkpoint: Path, tmp_path: Path) -> None:
    trained(checkpoint, tmp_path, NUM_TRAIN_EPOCHS="1")
    cut_short = Path(str(last_checkpoint(tmp_path)))
    torch.save({"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 3}, cut_short / "scaler.pt")
    record_checksums(cut_short, checksums(cut_short))
    trainer = trained(checkpoint, tmp_path, NUM_TRAIN_EPOCHS="3", EARLY_STOPPING_PATIENCE="9")
    assert trainer.state.global_step == 6
    assert trainer.state.log_history[0]["step"] <= 2, "it went on"


def diverging(checkpoint: Path, folder: Path, token: int, **changed: str) -> str:
    """What is said of a model in which one token means nothing finite; the eval split only has token 450."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3)
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = float("inf")
    rows = rows_of([9, 5, 7])
    held_out = [rows[0] | {"input_ids": [0, 450, 2]}, *rows[1:]]
    sets = (datasets.Dataset.from_list(each) for each in (rows, held_out))
    with pytest.raises(DivergedError) as caught:
        fine_tune(model, *sets, config_of(NUM_TRAIN_EPOCHS="1", **changed), folder)
    return str(caught.value)


def test_training_stops_at_the_first_loss_that_is_not_finite(checkpoint: Path, tmp_path: Path) -> None:
    said = diverging(checkpoint, tmp_path, token=2)
    assert said.startswith("The training diverged: the loss of step 1 is nan. Lower LEARNING_RATE=0.003, and")
    assert "FOCAL_GAMMA=1.5, WEIGHT_DECAY=0.07 and the base checkpoint." in said


def test_training_stops_at_the_first_validation_loss_that_is_not_finite(
    checkpoint: Path, tmp_path: Path
) -> None:
    said = diverging(checkpoint, tmp_path, token=450)
    assert said.startswith("The training diverged: the validation loss after step 1 is nan.")
    assert not list(tmp_path.glob("checkpoint-*")), "nothing is kept of it"


def test_a_loss_beyond_float32_stops_the_training(checkpoint: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3)
    rows = datasets.Dataset.from_list(rows_of([9, 5, 7]))
    config = config_of(NUM_TRAIN_EPOCHS="1").model_copy(update={"focal_alpha": 1e300})
    with pytest.raises(DivergedError, match=r"the loss of step 1 is inf\. .* FOCAL_ALPHA=inf"):
        fine_tune(model, rows, rows, config, tmp_path)
