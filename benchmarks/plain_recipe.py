"""The plain recipe: XLM-R fine-tuned with focal loss in the usual way, by transformers' own Trainer.

Random batches padded to their longest row, the whole embedding trained, everything else at its default. It
imports nothing from the job.
"""

import tempfile
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)


class FocalTrainer(Trainer):
    """A Trainer with focal loss, gamma 2 and alpha 0.25."""

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        log_pt = torch.log_softmax(outputs.logits, dim=-1).gather(1, labels.unsqueeze(1)).squeeze(1)
        loss = (-0.25 * (1 - log_pt.exp()) ** 2 * log_pt).mean()
        return (loss, outputs) if return_outputs else loss


def f1_macro(prediction: EvalPrediction) -> dict[str, float]:
    """Macro F1 over all classes, from logits (rows, classes)."""
    logits = np.asarray(prediction.predictions)
    every_class, answers = range(logits.shape[1]), logits.argmax(axis=1)
    f1 = f1_score(prediction.label_ids, answers, labels=every_class, average="macro", zero_division=0)
    return {"f1_macro": float(f1)}


class PlainRecipe:
    """Load, train, predict; data sets have the columns grievance and label (id)."""

    def __init__(self, checkpoint: str, labels: int, seed: int) -> None:
        set_seed(seed)
        self.seed = seed
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.model = AutoModelForSequenceClassification.from_pretrained(
            checkpoint, num_labels=labels, dtype=torch.float32
        )

    def train(
        self,
        train: datasets.Dataset,
        evaluation: datasets.Dataset,
        callbacks: list[TrainerCallback],
        *,
        epochs: float,
        eval_steps: int,
    ) -> None:
        """Train all epochs; afterwards the model holds the best weights."""
        with tempfile.TemporaryDirectory() as folder:
            self.trainer = FocalTrainer(
                self.model,
                TrainingArguments(
                    folder,
                    num_train_epochs=epochs,
                    per_device_train_batch_size=16,
                    per_device_eval_batch_size=32,
                    learning_rate=2e-5,
                    weight_decay=0.01,
                    eval_strategy="steps",
                    eval_steps=eval_steps,
                    save_strategy="best",
                    save_total_limit=1,
                    save_only_model=True,
                    load_best_model_at_end=True,
                    metric_for_best_model="f1_macro",
                    seed=self.seed,
                    report_to="none",
                    disable_tqdm=True,
                    dataloader_pin_memory=False,
                ),
                data_collator=DataCollatorWithPadding(self.tokenizer),
                train_dataset=self._tokenize(train),
                eval_dataset=self._tokenize(evaluation),
                compute_metrics=f1_macro,
                callbacks=callbacks,
            )
            self.trainer.train()

    def predict(self, rows: datasets.Dataset) -> NDArray[np.float64]:
        """The logits of each row, (rows, classes)."""
        return np.asarray(self.trainer.predict(self._tokenize(rows)).predictions)

    def _tokenize(self, rows: datasets.Dataset) -> datasets.Dataset:
        # map() hashes what encode refers to: with self, that would include the trainer and the whole model.
        tokenizer = self.tokenizer

        def encode(batch: dict[str, list[Any]]) -> Any:
            return tokenizer(batch["grievance"], truncation=True, max_length=512)

        return rows.map(encode, batched=True, remove_columns=["grievance"])
