"""GrievanceClassifier: the stages of a retraining run, and `train_pipeline`, which runs them in order."""

import logging
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from huggingface_hub import HfApi, ModelCard
from numpy.typing import NDArray
from transformers import TrainerCallback, set_seed

from configs import BaseConfig
from load_dataset import Splits
from retrain.errors import resource_errors
from retrain.evaluation.comparison import figures, pair_answers, save_comparison
from retrain.evaluation.decision_gate import decide, first_release
from retrain.evaluation.live_model import LiveModel
from retrain.evaluation.local_model import canary_of, canary_of_released, released_answers
from retrain.evaluation.mistakes import write_mistakes
from retrain.evaluation.scores import (
    compute_scores,
    f1_metrics,
    reliability,
    stratified_sample,
    write_reports,
)
from retrain.hub.client import account
from retrain.hub.model_card import model_card, own_sections
from retrain.hub.model_repo import release_model, write_metadata
from retrain.hub.spaces import restart_space, space_stage
from retrain.hub.versions import free_version_tag, history, list_versions, published_head
from retrain.journal import Journal, run_record
from retrain.records import GateRules, Release, Scores, Verdict, Version
from retrain.release.inference_space import live_model, service
from retrain.release.metadata import commit_message, version_metadata
from retrain.release.rollback import bring_into_service, finish_earlier_release
from retrain.release.rollout import Canary, median_seconds
from retrain.reporting.history import Record, f1_alarm
from retrain.reporting.tracking import Tracker
from retrain.training.checkpoint import load_classifier, take_over_checkpoint
from retrain.training.devices import train_on_devices
from retrain.training.fine_tuning import fine_tune, predict, training_summary
from retrain.training.progress import Heartbeat, ProgressCallback
from retrain.training.tokenization import cut_texts, tokenize

CANARY_TEXTS, CANARY_CHARACTERS = 16, 5000

logger = logging.getLogger(__name__)


class GrievanceClassifier:
    """An XLM-RoBERTa with a classification head, from its base checkpoint to the released version.

    model_checkpoint: a repository on the Hub, at `revision`, or a folder; the new head is made with `seed`.

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
        revision: str | None = None,
    ) -> None:
        assert len(id2label) == len(label2id) == num_labels
        self.model_checkpoint = model_checkpoint
        self.id2label, self.label2id = dict(id2label), dict(label2id)
        self.wandb_api_key, self.wandb_project_name = wandb_api_key, wandb_project_name
        self.max_length = max_length
        self.api = HfApi(token=hf_token)
        set_seed(seed)  # before the head is made: it is random
        self.model, self.tokenizer = load_classifier(
            model_checkpoint, hf_token, revision=revision or "main", id2label=self.id2label
        )

    def tokenize_dataset(self, split: datasets.Dataset) -> datasets.Dataset:
        """Columns input_ids, attention_mask and label; texts are cut at max_length tokens."""
        return tokenize(self.tokenizer, split, self.max_length)

    def train(
        self,
        train_set: datasets.Dataset,
        eval_set: datasets.Dataset,
        config: BaseConfig,
        journal: Journal,
        tracker: Tracker,
        cut_short: Path | None = None,
    ) -> None:
        """Fine-tune on tokenised sets; afterwards the model holds the weights with the best validation F1.

        cut_short: the folder of a run to go on from, at its last checkpoint.
        """

        checkpoints = journal.folder / "checkpoints"
        if cut_short:
            take_over_checkpoint(cut_short, checkpoints, journal)
        if (devices := torch.cuda.device_count()) > 1:
            summary = train_on_devices(self.model, train_set, eval_set, journal.folder, devices, os.environ)
            tracker.log_curves(journal.read())
        else:
            callbacks = [ProgressCallback(journal, tracker.log), Heartbeat(journal, "validate")]
            metrics = f1_metrics(self.id2label)
            trainer = fine_tune(self.model, train_set, eval_set, config, checkpoints, metrics, callbacks)
            summary = training_summary(trainer)
        journal.write("training", **summary)

    def evaluate(
        self, test_set: datasets.Dataset, config: BaseConfig, callbacks: Sequence[TrainerCallback] = ()
    ) -> tuple[Scores, NDArray[np.float64]]:
        """Score a tokenised set; returns the scores and the probability of each class, (rows, classes)."""
        probabilities = predict(self.model, test_set, config, callbacks)
        predictions = probabilities.argmax(axis=1).tolist()
        return compute_scores(test_set["label"], predictions, self.id2label), probabilities

    def log_wandb_eval_metrics(self, tracker: Tracker, scores: Scores, reports: Path) -> None:
        """Send test scores, classification report and confusion matrix to W&B."""
        tracker.log_scores(scores, reports)

    def push_model_to_hub(
        self,
        repo_id: str,
        folder: Path,
        describe: Callable[[str], tuple[Mapping[str, Any], ModelCard]],
        *,
        head: str | None,
        version_tag: str,
        message: str,
    ) -> Release:
        """Publish weights, tokenizer and all of `folder` as one tagged commit on `head`.

        describe: metadata.json and the model card for a version tag.
        """

        def write(version_tag: str) -> None:
            metadata, card = describe(version_tag)
            write_metadata(folder, metadata)
            card.save(folder / "README.md")

        with resource_errors():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        return release_model(
            self.api, repo_id, folder, head=head, version_tag=version_tag, message=message, write=write
        )

    def restart_space(self, space_id: str) -> None:
        """Restart a Space."""
        restart_space(self.api, space_id)

    def train_pipeline(
        self,
        config: BaseConfig,
        splits: Splits,
        tracker: Tracker,
        journal: Journal,
        earlier_runs: Sequence[Record] = (),
        cut_short: Path | None = None,
    ) -> Verdict:
        """Train, evaluate, compare, and release and roll out if the gate says so.

        earlier_runs: the records to hold this run's F1 against; cut_short: see train.
        """
        repo_id, live = config.hub_model_id, live_model(self.api, config)

        def stage() -> str:
            journal.alive()
            return space_stage(self.api, config.space_repo_id)

        space = replace(service(self.api, config, live), stage=stage)
        few = splits.test.select(stratified_sample(splits.test["label"], CANARY_TEXTS, config.seed))
        read = cut_texts(self.tokenizer, few["grievance"], self.max_length)
        texts = [text[:CANARY_CHARACTERS] for text in read]

        def expected_of(version: Version) -> Canary:
            return canary_of_released(self.api, config, version, texts)

        if published_head(self.api, repo_id)[1]:
            finish_earlier_release(self.api, config, space, expected_of, journal)
        elif not config.allow_first_release:
            return first_release(repo_id, allowed=False)  # now rather than after hours

        journal.write("stage", name="train")
        train_set, eval_set, test_set = map(self.tokenize_dataset, (splits.train, splits.eval, splits.test))
        self.train(train_set, eval_set, config, journal, tracker, cut_short)

        journal.write("stage", name="evaluate")
        scores, probabilities = self.evaluate(test_set, config, [Heartbeat(journal, "evaluate")])
        folder = journal.folder / "model"
        with resource_errors():
            predictions = probabilities.argmax(axis=1).tolist()
            write_reports(folder / "reports", test_set["label"], predictions, self.id2label)
            mistakes = journal.folder / "mistakes.json"
            key = config.hf_token.get_secret_value().encode()
            write_mistakes(
                mistakes, splits.test, probabilities, self.id2label, key=key, texts=config.report_texts
            )
        journal.write("test_scores", **vars(scores))
        journal.write("reliability", bins=reliability(test_set["label"], probabilities))
        if alarm := f1_alarm(scores.f1_macro, earlier_runs):
            journal.warn(alarm)
            tracker.alert("The new model is worse than usual", alarm)
        self.log_wandb_eval_metrics(tracker, scores, folder / "reports")

        journal.write("stage", name="compare")
        # What is compared against is what the release must stand on.
        head, has_model = published_head(self.api, repo_id)
        if has_model:
            verdict = self.compare(config, splits.test, probabilities, live, stage, journal)
        else:
            verdict = first_release(repo_id, allowed=config.allow_first_release)
        journal.write("verdict", **vars(verdict))
        tracker.log_verdict(verdict)
        if verdict.outcome != "accepted":
            return verdict

        journal.write("stage", name="release")
        earlier = history(self.api, repo_id)
        untagged = [Version(None, str(head))] if has_model else []
        versions = [version for version, _ in earlier] or untagged
        previous = next((each for each in versions if each.verified), next(iter(versions), None))
        own = own_sections(self.api, repo_id, head)
        author, stages = account(self.api)["name"], run_record(journal.read())["stages"]

        def describe(version_tag: str) -> tuple[Mapping[str, Any], ModelCard]:
            card = model_card(config, version_tag, scores, verdict, splits.info, earlier, own)
            about = {
                "version_tag": version_tag,
                "author": author,
                "base_checkpoint_revision": getattr(self.model.config, "_commit_hash", None),
                "previous_version": previous and previous.tag,
                "previous_revision": previous and previous.revision,
                "stages": stages,
            }
            return version_metadata(config, splits.info, scores, verdict, about), card

        before = median_seconds(live.ask(texts, failures_allowed=0)) if previous else None
        canary = replace(canary_of(config, texts, self.model, self.tokenizer), seconds=before)
        release = self.push_model_to_hub(
            repo_id,
            folder,
            describe,
            head=head,
            version_tag=free_version_tag(self.api, repo_id),
            message=commit_message(config, verdict),
        )
        journal.write("release", **vars(release))

        journal.write("stage", name="roll out")
        bring_into_service(self.api, config, space, release, previous, canary, expected_of, journal)
        return verdict

    def compare(
        self,
        config: BaseConfig,
        test: datasets.Dataset,
        probabilities: NDArray[np.float64],
        live: LiveModel,
        stage: Callable[[], str],
        journal: Journal,
    ) -> Verdict:
        """Get the live model's answers to test rows, keep both models' row by row, and let the gate decide.

        test: the test split, as texts; probabilities: the candidate's, (rows, classes); stage: of the
        inference Space.
        """
        labels = list(test["label"])
        released = next(iter(list_versions(self.api, config.hub_model_id)), None)
        if config.compare_with == "hub":
            rows, served = list(range(len(labels))), released
            revision, heartbeat = released.revision if released else "main", Heartbeat(journal, "compare")
            answers = released_answers(self.api, config, revision, test, [heartbeat])
        else:
            rows = stratified_sample(labels, config.deployed_sample_size, config.seed)
            live.wake(stage, config.rollout_timeout_minutes)
            answers, served = live.ask_one_version(
                cut_texts(self.tokenizer, test.select(rows)["grievance"], self.max_length),
                failures_allowed=len(rows) - math.ceil(config.min_coverage * len(rows)),
                on_progress=lambda n: journal.write("progress", stage="compare", done=n, total=len(rows)),
            )
        asked = [labels[i] for i in rows]
        comparison = pair_answers(
            list(self.label2id), config.compare_with, rows, asked, probabilities[rows], answers
        )
        rules = gate_rules(config)
        with resource_errors():
            save_comparison(journal.folder / "comparison.parquet", comparison, rules)
        journal.write("compared", **figures(comparison, config.seed))
        verdict = replace(decide(comparison, rules), served=served)
        if served and released and served.revision != released.revision:
            warning = (
                f"The API serves {served.tag or served.revision}, but the newest version of "
                f"{config.hub_model_id} is {released.tag}. The comparison is with what is served."
            )
            journal.warn(warning)
            verdict = replace(verdict, warnings=(warning,))
        return verdict


def gate_rules(config: BaseConfig) -> GateRules:
    """The settings that the gate goes by."""
    return GateRules(
        threshold=config.decision_threshold,
        min_coverage=config.min_coverage,
        confidence=config.decision_confidence,
        min_f1_macro=config.min_f1_macro,
        max_class_recall_drop=config.max_class_recall_drop,
        seed=config.seed,
    )


if __name__ == "__main__":
    from retrain.lifecycle.supervisor import die_with_parent
    from retrain.lifecycle.worker import main

    die_with_parent()  # without its supervisor nobody would end it, tell of it or pause the Space
    sys.exit(main(GrievanceClassifier, Path(sys.argv[1]), os.environ))
