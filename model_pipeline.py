"""GrievanceClassifier: the stages of a retraining run, and `train_pipeline`, which runs them in order.

`python model_pipeline.py RUN_FOLDER` is the training process that train_model.py starts and watches.
"""

import logging
import os
import platform
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from huggingface_hub import HfApi, ModelCard
from transformers import AutoModelForSequenceClassification, AutoTokenizer, EvalPrediction, set_seed

from configs import BaseConfig, get_config
from errors import (
    CheckpointError,
    ComparisonError,
    HubError,
    Interrupted,
    RetrainError,
    disk_errors,
    hub_errors,
    loading_errors,
)
from evaluation.decision_gate import decide
from evaluation.live_model import ask_live_model, make_session
from evaluation.scores import compute_scores, stratified_sample, write_reports
from lifecycle.hub_client import configure_hub_client
from lifecycle.supervisor import interruptible
from load_dataset import Splits, load_splits
from release.model_card import model_card
from release.model_release import free_version_tag, published_head, release_model, write_metadata
from release.rollout import restart_space, wait_until_served
from reporting.redaction import Redactor, set_up_logging
from reporting.summary import summary
from reporting.tracking import Tracker
from run_record import EXIT_CODES, Comparison, Journal, Release, Scores, Verdict, run_record
from training.fine_tuning import fine_tune
from training.focal_loss import FocalLossTrainer
from training.progress import ProgressCallback

logger = logging.getLogger(__name__)


class GrievanceClassifier:
    """An XLM-RoBERTa with a classification head, from its base checkpoint to the released version.

    model_checkpoint: a repository on the Hub or a folder; the new head is made with `seed`.

    Raises:
        CheckpointError: the checkpoint can't be loaded or is no XLM-R.
    """

    def __init__(
        self,
        model_checkpoint: str,
        num_labels: int,
        id2label: Mapping[int, str],
        label2id: Mapping[str, int],
        hf_token: str | None = None,
        wandb_api_key: str | None = None,
        wandb_project_name: str = "grievance-retrain",
        *,
        seed: int = 42,
        max_length: int = 512,
    ) -> None:
        self.model_checkpoint = model_checkpoint
        self.id2label, self.label2id = dict(id2label), dict(label2id)
        self.wandb_api_key, self.wandb_project_name = wandb_api_key, wandb_project_name
        self.max_length = max_length
        self.api = HfApi(token=hf_token)
        self.trainer: FocalLossTrainer | None = None
        set_seed(seed)  # before the head is made: it is random
        with disk_errors(), loading_errors(model_checkpoint):
            self.tokenizer = AutoTokenizer.from_pretrained(model_checkpoint, token=hf_token)
            self.model = AutoModelForSequenceClassification.from_pretrained(
                model_checkpoint,
                num_labels=num_labels,
                id2label=self.id2label,
                label2id=self.label2id,
                token=hf_token,
                use_safetensors=True,
                dtype=torch.float32,
            )
        if self.model.config.model_type != "xlm-roberta":
            raise CheckpointError(
                f"MODEL_CHECKPOINT={model_checkpoint} is a {self.model.config.model_type} model. "
                "Name an XLM-RoBERTa checkpoint, such as xlm-roberta-base."
            )
        # Known where the checkpoint came from the Hub.
        self.checkpoint_revision: str | None = getattr(self.model.config, "_commit_hash", None)

    def tokenize_dataset(self, split: datasets.Dataset) -> datasets.Dataset:
        """Columns input_ids, attention_mask and label; texts are cut at max_length tokens."""

        def tokenize(batch: dict[str, list[Any]]) -> Mapping[str, Any]:
            return self.tokenizer(batch["grievance"], truncation=True, max_length=self.max_length)

        with disk_errors():
            return split.map(
                tokenize,
                batched=True,
                remove_columns=["grievance"],
                # Otherwise datasets pickles the whole classifier for a cache key: a minute for a tiny one.
                new_fingerprint=uuid.uuid4().hex,
            )

    def train(
        self,
        train_set: datasets.Dataset,
        eval_set: datasets.Dataset,
        config: BaseConfig,
        journal: Journal,
        tracker: Tracker,
    ) -> None:
        """Fine-tune on tokenised sets; afterwards the model holds the weights with the best validation F1."""

        def metrics(prediction: EvalPrediction) -> dict[str, float]:
            predicted = prediction.predictions.argmax(axis=-1)
            return {"f1_macro": compute_scores(prediction.label_ids, predicted, self.id2label).f1_macro}

        callback = ProgressCallback(journal, tracker.log)
        checkpoints = journal.folder / "checkpoints"
        with disk_errors():
            self.trainer = fine_tune(
                self.model, self.tokenizer, train_set, eval_set, config, checkpoints, metrics, [callback]
            )
        state, arguments = self.trainer.state, self.trainer.args
        journal.write(
            "training",
            steps=state.global_step,
            best_step=state.best_global_step,
            best_f1_macro=state.best_metric,
            precision=next((name for name in ("bf16", "fp16") if getattr(arguments, name)), "fp32"),
            device=str(arguments.device),
        )

    def evaluate(self, test_set: datasets.Dataset) -> tuple[Scores, list[int]]:
        """Score a tokenised set; returns the scores and the predicted id of each row."""
        assert self.trainer is not None, "train first"
        predictions = self.trainer.predict(test_set).predictions.argmax(axis=-1).tolist()
        return compute_scores(test_set["label"], predictions, self.id2label), predictions

    def log_wandb_eval_metrics(self, tracker: Tracker, scores: Scores, reports: Path) -> None:
        """Send test scores, classification report and confusion matrix to W&B."""
        tracker.log_scores(scores, reports)

    def push_model_to_hub(
        self, repo_id: str, folder: Path, metadata: Mapping[str, Any], card: ModelCard, head: str | None
    ) -> Release:
        """Publish weights, tokenizer, card, metadata and all of `folder` as one tagged commit on `head`."""
        with disk_errors():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            card.save(folder / "README.md")
            write_metadata(folder, metadata)
        tag, message = metadata["version_tag"], metadata["commit_message"]
        return release_model(self.api, repo_id, folder, head=head, version_tag=tag, message=message)

    def restart_space(self, space_id: str) -> None:
        """Restart a Space."""
        restart_space(self.api, space_id)

    def train_pipeline(
        self, config: BaseConfig, splits: Splits, tracker: Tracker, journal: Journal
    ) -> Verdict:
        """Train, evaluate, compare, and release and roll out if the gate says so."""
        journal.write("stage", name="train")
        train_set, eval_set, test_set = map(self.tokenize_dataset, (splits.train, splits.eval, splits.test))
        self.train(train_set, eval_set, config, journal, tracker)

        journal.write("stage", name="evaluate")
        scores, predictions = self.evaluate(test_set)
        folder = journal.folder / "model"
        with disk_errors():
            write_reports(folder / "reports", splits.test["label"], predictions, self.id2label)
        journal.write("test_scores", **vars(scores))
        self.log_wandb_eval_metrics(tracker, scores, folder / "reports")

        journal.write("stage", name="compare")
        # What is compared against is what the release must stand on.
        head, has_model = published_head(self.api, config.hub_model_id)
        verdict = self.compare(config, splits, predictions, journal) if has_model else first_release(config)
        journal.write("verdict", **vars(verdict))
        tracker.log_verdict(verdict)
        if verdict.outcome != "accepted":
            return verdict

        journal.write("stage", name="release")
        tag = free_version_tag(self.api, config.hub_model_id)
        card = model_card(config, list(self.label2id), tag, scores, verdict, splits.info)
        metadata = self.metadata(config, splits, scores, verdict, tag, head)
        release = self.push_model_to_hub(config.hub_model_id, folder, metadata, card, head)
        journal.write("release", **vars(release))

        journal.write("stage", name="roll out")
        self.restart_space(config.space_repo_id)
        wait_until_served(
            self.api,
            make_session(config.api_token),
            config.space_repo_id,
            config.api_endpoint,
            release,
            canary=splits.test["grievance"][0],
            timeout_minutes=config.rollout_timeout_minutes,
            on_state=lambda state: journal.write("progress", stage="roll out", state=state),
        )
        return verdict

    def compare(
        self, config: BaseConfig, splits: Splits, predictions: list[int], journal: Journal
    ) -> Verdict:
        """Ask the live model about a sample of test rows and let the gate decide."""
        rows = stratified_sample(splits.test["label"], config.deployed_sample_size, config.seed)
        sample = splits.test.select(rows)
        live, failures = ask_live_model(
            make_session(config.api_token),
            config.api_endpoint,
            sample["grievance"],
            self.label2id,
            failures_allowed=int((1 - config.min_coverage) * len(rows)),
            on_progress=lambda done: journal.write("progress", stage="compare", done=done, total=len(rows)),
        )
        comparison = Comparison(sample["label"], [predictions[i] for i in rows], live, failures)
        journal.write("comparison", rows=rows, **vars(comparison))
        return decide(
            comparison, len(self.id2label), config.decision_threshold, config.min_coverage, config.seed
        )

    def metadata(
        self,
        config: BaseConfig,
        splits: Splits,
        scores: Scores,
        verdict: Verdict,
        version_tag: str,
        head: str | None,
    ) -> dict[str, Any]:
        """What metadata.json tells of a version: the mission's fields and the lineage."""
        with hub_errors("ask who HF_TOKEN belongs to, to publish to", config.hub_model_id):
            author = self.api.whoami()["name"]
        first = " (first release)" if verdict.delta is None else ""
        return {
            "model_name": config.hub_model_id,
            "version_tag": version_tag,
            "commit_message": f"Auto-deploy: ΔF1 >= {config.decision_threshold:.4f}{first}",
            "timestamp_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "author": author,
            "training_args": config.public_values(),
            "eval_metrics": vars(scores) | {"per_class": {k: vars(v) for k, v in scores.per_class.items()}},
            "comparison": vars(verdict),
            "dataset": vars(splits.info),
            "base_checkpoint": self.model_checkpoint,
            "base_checkpoint_revision": self.checkpoint_revision,
            "previous_revision": head,
            "environment": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            },
        }


def first_release(config: BaseConfig) -> Verdict:
    """The verdict where the model repository holds no model.

    Raises:
        ComparisonError: ALLOW_FIRST_RELEASE is not set.
    """
    if config.allow_first_release:
        return Verdict(
            "accepted", (f"{config.hub_model_id} holds no model yet, and ALLOW_FIRST_RELEASE is set.",)
        )
    raise ComparisonError(
        f"{config.hub_model_id} holds no model, so there is nothing to compare with. If this is the first "
        "release, set ALLOW_FIRST_RELEASE=true; otherwise check HUB_MODEL_ID."
    )


def run_training(config: BaseConfig, journal: Journal) -> Verdict:
    """The run inside the training process: data, checkpoint, pipeline; tracked from start to end."""
    configure_hub_client()
    token = config.hf_token.get_secret_value()
    key = config.wandb_api_key.get_secret_value() if config.wandb_api_key else None
    api = HfApi(token=token)
    with hub_errors("check HF_TOKEN at", api.endpoint):
        role = api.whoami().get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":  # said now rather than after hours of training
        raise HubError("HF_TOKEN may only read, and the run publishes a model. Make one with write access.")
    tracker = Tracker(config.wandb_project_name, key, journal.folder, config.public_values())
    if tracker.warning:
        logger.warning(tracker.warning)
        journal.write("warning", message=tracker.warning)
    journal.write("tracking", url=tracker.url, folder=str(journal.folder / "wandb"))
    reasons: tuple[str, ...] = ("see the log",)
    outcome = "bug"
    try:
        journal.write("stage", name="load data")
        with disk_errors():
            splits = load_splits(api, config.dataset_repo_id, config.label2id, config.dataset_revision)
        journal.write("dataset", **vars(splits.info))
        tracker.log_dataset(splits.info)
        journal.write("stage", name="load checkpoint")
        classifier = GrievanceClassifier(
            config.model_checkpoint,
            len(config.label2id),
            config.id2label,
            config.label2id,
            token,
            key,
            config.wandb_project_name,
            seed=config.seed,
            max_length=config.max_length,
        )
        verdict = classifier.train_pipeline(config, splits, tracker, journal)
        outcome, reasons = verdict.outcome, verdict.reasons
        return verdict
    except (RetrainError, Interrupted) as error:
        outcome, reasons = error.outcome, (str(error),)
        raise
    finally:
        text = summary(run_record(journal.read()) | {"outcome": outcome, "reasons": reasons})
        tracker.finish(outcome, text, EXIT_CODES[outcome])


def main(folder: Path, environ: Mapping[str, str]) -> int:
    """The error boundary of the training process: whatever happens becomes the journal's outcome."""
    config = get_config(environ)
    redact = Redactor(config.secrets)
    set_up_logging(redact)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    journal = Journal(folder, redact)
    try:
        with interruptible():
            verdict = run_training(config, journal)
        outcome, reasons = verdict.outcome, verdict.reasons
    except (RetrainError, Interrupted) as error:
        logger.error("%s", error)
        outcome, reasons = error.outcome, (str(error),)
    except Exception as error:
        logger.exception("A bug ended the run")
        outcome, reasons = "bug", (f"{type(error).__name__}: {error}",)
    journal.write("outcome", outcome=outcome, reasons=reasons)
    return EXIT_CODES[outcome]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), os.environ))
