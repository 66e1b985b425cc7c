"""GrievanceClassifier: the stages of a retraining run. `train_pipeline` runs them in order.

`python model_pipeline.py RUN_FOLDER` is the training process, which train_model.py starts and watches.
"""

import logging
import os
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import transformers
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, set_seed

from configs import BaseConfig, GateSettings, TrainingSettings, get_config
from load_dataset import Splits, load_splits
from retrain.answers import (
    answers_of_version,
    are_of_version,
    ask_live,
    canary_of,
    check_labels,
    score_released,
)
from retrain.connections import inference_space, live_model
from retrain.errors import resource_errors
from retrain.evaluation.comparison import figures, pair_answers, save_comparison
from retrain.evaluation.decision_gate import (
    decide,
    decide_first_release,
    first_release_refused,
    strange_answers,
)
from retrain.evaluation.mistakes import write_mistakes
from retrain.evaluation.scores import compute_scores, reliability, stratified_sample, write_reports
from retrain.events import Inputs, Notified, Reliability, Stage, Tracking
from retrain.hub.client import account, check_token, connect
from retrain.hub.dataset_repo import DatasetRepo
from retrain.hub.model_card import VersionFacts
from retrain.hub.model_repo import ModelRepo, checkpoint_revision, download_checkpoint
from retrain.hub.spaces import Space
from retrain.journal import Journal
from retrain.language import N_
from retrain.lifecycle.resumption import remove_checkpoints, resumable_run
from retrain.lifecycle.worker import run_to_outcome
from retrain.processes import die_with_parent
from retrain.records import (
    FINISHED,
    OUTCOMES,
    Answer,
    DatasetInfo,
    GateRules,
    Head,
    Release,
    Scores,
    Verdict,
    Version,
)
from retrain.redaction import Redactor, set_up_logging
from retrain.release.rollback import Deployment
from retrain.release.rollout import Canary, median_seconds
from retrain.reporting.history import f1_alarm
from retrain.reporting.tracking import Tracker
from retrain.run import Run, earlier_runs, given_up_before, nothing_to_learn
from retrain.training.checkpoint import load_classifier, take_over_checkpoint
from retrain.training.devices import (
    RANKS,
    environment,
    gpus,
    idle_gpu_warning,
    train_on_devices,
    usable_devices,
)
from retrain.training.fine_tuning import fine_tune, predict, training_summary
from retrain.training.finiteness import check_probabilities, check_weights
from retrain.training.progress import Heartbeat, ProgressCallback
from retrain.training.tokenization import MOST_TOKENS, cut_texts, tokenize

CANARY_TEXTS, CANARY_CHARACTERS = 16, 5000

logger = logging.getLogger(__name__)


class GrievanceClassifier:
    """An XLM-RoBERTa with a classification head, from its base checkpoint to the released version.

    model_checkpoint: a repository on the Hub, at `revision`, or a folder. It is loaded at the first use of
    `model` or `tokenizer`; the new head is made with `seed`. Texts are cut at `max_length` tokens.

    Raises:
        CheckpointError: the checkpoint can't be loaded or is no XLM-R.
    """

    def __init__(  # noqa: PLR0913 (an interface that others use)
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
        self.model_checkpoint, self.revision = model_checkpoint, revision
        self.id2label, self.label2id = dict(id2label), dict(label2id)
        self.hf_token = hf_token
        self.wandb_api_key, self.wandb_project_name = wandb_api_key, wandb_project_name
        self.seed, self.max_length = seed, max_length
        self.tracker: Tracker | None = None

    @cached_property
    def _loaded(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        folder = Path(self.model_checkpoint)
        if not os.path.isdir(folder):  # noqa: PTH112 (Path.is_dir() raises where a name is too long)
            folder = download_checkpoint(connect(self.hf_token), self.model_checkpoint, self.revision)
        set_seed(self.seed)  # before the head is made: it is random
        model, tokenizer = load_classifier(folder, f"MODEL_CHECKPOINT={self.model_checkpoint}", self.id2label)
        tokenizer.model_max_length = self.max_length  # it is saved, so the model is served as it is scored
        return model, tokenizer

    @property
    def model(self) -> PreTrainedModel:
        return self._loaded[0]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self._loaded[1]

    def start_tracking(self, journal: Journal, settings: Mapping[str, Any]) -> Tracker:
        """Track on W&B, online if that can be had, and record where."""
        self.tracker = Tracker(
            self.wandb_project_name, self.wandb_api_key, journal.folder, settings, redact=journal.redact
        )
        if self.tracker.warning:
            journal.warn(self.tracker.warning)
        run_id = self.tracker.run and self.tracker.run.id
        journal.write(Tracking(self.tracker.url, str(journal.folder / "wandb"), run_id))
        return self.tracker

    def tokenize_dataset(self, split: datasets.Dataset) -> datasets.Dataset:
        """Columns input_ids, attention_mask and label; texts are cut at max_length tokens."""
        return tokenize(self.tokenizer, split, self.max_length)

    def train(
        self,
        train_set: datasets.Dataset,
        eval_set: datasets.Dataset,
        settings: TrainingSettings,
        journal: Journal,
        tracker: Tracker,
        resume_from: Path | None = None,
    ) -> None:
        """Fine-tune on tokenised sets; afterwards the model holds the weights that fine_tune keeps.

        resume_from: the folder of a run to go on from, at its last checkpoint.
        """
        checkpoints = journal.folder / "checkpoints"
        if resume_from:
            take_over_checkpoint(resume_from, checkpoints, journal)
        available = gpus()
        devices = usable_devices(settings.train_batch_size, available)
        if devices < available:
            journal.warn(
                f"{devices} of {available} GPUs are used: TRAIN_BATCH_SIZE={settings.train_batch_size} is no "
                f"multiple of more. Set it to a multiple of {available}, or choose fewer GPUs."
            )
        if devices > 1:
            summary = train_on_devices(self.model, train_set, eval_set, journal.folder, devices, os.environ)
            tracker.log_curves(journal.read())
        else:
            callbacks = [ProgressCallback(journal, tracker.log), Heartbeat(journal, N_("validate"))]
            trainer = fine_tune(self.model, train_set, eval_set, settings, checkpoints, callbacks)
            summary = training_summary(trainer)
        journal.write(summary)

    def evaluate(
        self, test_set: datasets.Dataset, batch_size: int = 32, callbacks: Sequence[TrainerCallback] = ()
    ) -> tuple[Scores, NDArray[np.float64]]:
        """Score a tokenised set; returns the scores and the probability of each class, (rows, classes)."""
        probabilities = predict(self.model, test_set, batch_size, callbacks)
        check_probabilities(probabilities)
        predictions = probabilities.argmax(axis=1).tolist()
        return compute_scores(test_set["label"], predictions, self.id2label), probabilities

    def log_wandb_eval_metrics(self, tracker: Tracker, scores: Scores, reports: Path) -> None:
        """Send test scores, classification report and confusion matrix to W&B."""
        tracker.log_scores(scores, reports)

    def push_model_to_hub(
        self, repo: ModelRepo, folder: Path, head: str | None, facts: VersionFacts
    ) -> Release:
        """Publish weights, tokenizer and all of `folder` as one tagged commit on `head`."""
        check_weights(self.model)
        with resource_errors():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        return repo.publish(folder, head, facts)

    def restart_space(self, space: Space) -> None:
        """Restart the Space that serves the model, so that it loads the newest version."""
        space.restart()

    def train_pipeline(self, run: Run, splits: Splits, resume_from: Path | None = None) -> Verdict:
        """Train, evaluate, compare, and release and roll out if the gate says so.

        resume_from: see train.
        """
        config, texts = run.config, self.canary_texts(splits.test)
        expected = partial(answers_of_version, run, texts)
        deployment = Deployment(run.repo, run.space, expected, config.rollout_timeout_minutes)
        if run.repo.head().has_model:
            check_labels(run.repo, config)
            deployment.finish_earlier_release(run.journal)
            if verdict := nothing_to_learn(config, run.inputs, run.earlier, run.repo):
                return verdict
        elif not config.allow_first_release:
            return first_release_refused(run.repo.repo_id)  # now rather than after hours of training

        run.stage("train")
        train_set, eval_set, test_set = map(self.tokenize_dataset, (splits.train, splits.eval, splits.test))
        self.train(train_set, eval_set, config, run.journal, run.tracker, resume_from)

        run.stage("evaluate")
        heartbeat = Heartbeat(run.journal, "evaluate")
        scores, probabilities = self.evaluate(test_set, config.eval_batch_size, [heartbeat])
        self.record_evaluation(run, splits.test, scores, probabilities)
        self.log_wandb_eval_metrics(run.tracker, scores, run.model_folder / "reports")

        run.stage("compare")
        head = run.repo.head()  # what is compared with is what the release must stand on
        verdict = (
            self.compare(run, splits.test, probabilities)
            if head.has_model
            else self.judge_first_release(run, scores)
        )
        run.journal.write(verdict)
        run.tracker.log_verdict(verdict)
        if verdict.outcome != "accepted":
            return verdict

        run.stage("release")
        if rolled_back := given_up_before(run.inputs, run.repo):  # by hand, while this model was trained
            return rolled_back
        facts = self.version_facts(run, head, scores, verdict, splits.info)
        canary = self.canary(run, texts, facts.previous)
        release = self.push_model_to_hub(run.repo, run.model_folder, head.revision, facts)
        run.journal.write(release)

        run.stage("roll out")
        deployment.bring_into_service(release, facts.previous, canary, run.journal)
        deployment.see_what_serves_now(release, run.journal)
        return verdict

    def canary_texts(self, test: datasets.Dataset) -> list[str]:
        """Some test texts that a version is asked about once it serves, as far as they are read."""
        chosen = test.select(stratified_sample(test["label"], CANARY_TEXTS, self.seed))
        read = cut_texts(self.tokenizer, chosen["grievance"], MOST_TOKENS)
        return [text[:CANARY_CHARACTERS] for text in read]

    def canary(self, run: Run, texts: list[str], previous: Version | None) -> Canary:
        """What this model must answer when it serves, and how long the one before takes to answer."""
        before = median_seconds(run.live.ask(texts, failures_allowed=0)) if previous else None
        return replace(canary_of(self._loaded, texts, run.config), seconds=before)

    def record_evaluation(
        self, run: Run, test: datasets.Dataset, scores: Scores, probabilities: NDArray[np.float64]
    ) -> None:
        """Write the reports, the mistakes worth a look and the figures; warn of a fall of F1.

        test: the test split, as texts; probabilities: (rows, classes).
        """
        config, labels = run.config, test["label"]
        key = config.audit_key.get_secret_value() if config.audit_key else secrets.token_hex()
        with resource_errors():
            predictions = probabilities.argmax(axis=1).tolist()
            write_reports(run.model_folder / "reports", labels, predictions, self.id2label)
            file, show = run.journal.folder / "mistakes.json", config.report_texts
            write_mistakes(file, test, probabilities, self.id2label, key=key.encode(), texts=show)
        run.journal.write(scores)
        run.journal.write(Reliability(tuple(reliability(labels, probabilities))))
        if alarm := f1_alarm(scores.f1_macro, run.earlier):
            run.journal.warn(alarm)
            run.tracker.alert("The new model is worse than usual", alarm)

    def compare(self, run: Run, test: datasets.Dataset, probabilities: NDArray[np.float64]) -> Verdict:
        """Get the live model's answers to test rows, keep both models' row by row, and let the gate decide.

        test: the test split, as texts; probabilities: this model's, (rows, classes).
        """
        config, labels = run.config, list(test["label"])
        released = run.repo.newest()
        if config.compare_with == "hub":
            rows, served = list(range(len(labels))), released
            answers: Sequence[Answer] = score_released(run, released.revision if released else "main", test)
        else:
            rows = stratified_sample(labels, config.deployed_sample_size, config.seed)
            texts = cut_texts(self.tokenizer, test.select(rows)["grievance"], MOST_TOKENS)
            answers, served = ask_live(run, texts)
        asked = [labels[i] for i in rows]
        comparison = pair_answers(
            list(self.label2id), config.compare_with, rows, asked, probabilities[rows], answers
        )
        suspect = served or released
        if config.compare_with == "api" and suspect and strange_answers(comparison):
            confirmed = are_of_version(run, suspect.revision, test.select(rows), answers)
            comparison = replace(comparison, confirmed=confirmed)
        rules = gate_rules(config, config.seed)
        with resource_errors():
            save_comparison(run.journal.folder / "comparison.parquet", comparison, rules)
        run.journal.write(figures(comparison, config.seed))
        verdict = replace(decide(comparison, rules), served=served)
        if served and released and served.revision != released.revision:
            warning = (
                f"The API serves {served.tag or served.revision}, but the newest version of "
                f"{config.hub_model_id} is {released.tag}. The comparison is with what is served."
            )
            run.journal.warn(warning)
            verdict = replace(verdict, warnings=(warning,))
        return verdict

    def judge_first_release(self, run: Run, scores: Scores) -> Verdict:
        """Let the gate decide where there is no model to compare with."""
        if not run.config.allow_first_release:  # the model was removed while this one was trained
            return first_release_refused(run.repo.repo_id)
        return decide_first_release(run.repo.repo_id, scores, gate_rules(run.config, run.config.seed))

    def version_facts(
        self, run: Run, head: Head, scores: Scores, verdict: Verdict, dataset: DatasetInfo
    ) -> VersionFacts:
        """What the version that is about to be released says of itself."""
        repo, record, history = run.repo, run.journal.record(), run.repo.history()
        untagged = [Version(None, str(head.revision))] if head.has_model else []
        versions = [version for version, _ in history] or untagged
        previous = next((each for each in versions if each.is_good), next(iter(versions), None))
        return VersionFacts(
            model_id=repo.repo_id,
            label=run.config.label,
            settings=run.config.public_values(),
            author=account(run.api)["name"],
            scores=scores,
            verdict=verdict,
            dataset=dataset,
            base_checkpoint_revision=run.checkpoint_revision,
            environment=record.environment.values if record.environment else {},
            stages=[asdict(stage) for stage in record.stages],
            previous=previous,
            history=history,
            own_sections=repo.own_card_sections(head.revision),
        )


def gate_rules(settings: GateSettings, seed: int) -> GateRules:
    """The settings that the gate goes by."""
    return GateRules(
        threshold=settings.decision_threshold,
        min_coverage=settings.min_coverage,
        confidence=settings.decision_confidence,
        min_f1_macro=settings.min_f1_macro,
        max_class_recall_drop=settings.max_class_recall_drop,
        seed=seed,
    )


def retrain(classifier: GrievanceClassifier, config: BaseConfig, journal: Journal) -> Verdict:
    """The run: data, checkpoint, pipeline; none of it if nothing has changed and SKIP_UNCHANGED is set."""
    tracker = classifier.start_tracking(journal, config.public_values())
    api = connect(classifier.hf_token, journal)
    writes_to = (config.hub_model_id, config.space_repo_id, config.retrain_space_id)
    check_token(api, filter(None, writes_to))

    journal.write(environment())
    journal.write(Stage("load data"))
    repo = ModelRepo(api, config.hub_model_id)
    earlier = earlier_runs(api, repo, journal)
    dataset = DatasetRepo(api, config.dataset_repo_id)
    revision = dataset.revision(config.dataset_revision)
    classifier.revision = checkpoint_revision(api, config.model_checkpoint)
    inputs = config.inputs() | {"dataset": revision, "checkpoint": classifier.revision}
    journal.write(Inputs(inputs))
    if verdict := nothing_to_learn(config, inputs, earlier, repo):
        return verdict
    splits = load_splits(dataset, config.label2id, revision, config.label)
    journal.write(splits.info)
    for warning in splits.warnings:
        journal.warn(warning)
    tracker.log_dataset(splits.info)

    journal.write(Stage("load checkpoint"))
    space = Space(api, config.space_repo_id)
    live = live_model(space, config)
    restart = partial(classifier.restart_space, space)
    run = Run(
        config,
        journal,
        tracker,
        api,
        repo=repo,
        live=live,
        space=inference_space(space, live, restart, on_look=journal.alive),
        checkpoint_revision=classifier.revision,
        inputs=inputs,
        earlier=earlier,
    )
    resume_from = resumable_run(journal.folder.parent, journal.folder, inputs)
    verdict = classifier.train_pipeline(run, splits, resume_from)
    if verdict.outcome in FINISHED:
        remove_checkpoints(journal.folder.parent, config.hub_model_id)
        shutil.rmtree(journal.folder / "checkpoints", ignore_errors=True)
    return verdict


def main(folder: Path, environ: Mapping[str, str]) -> int:
    """The training process, on the folder of a run that has begun; returns the exit code."""
    config = get_config(environ)
    redact = Redactor(config.secrets)
    set_up_logging(redact)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    journal = Journal(folder, redact)
    if warning := idle_gpu_warning(environ):
        journal.warn(warning)
    classifier = GrievanceClassifier(
        config.model_checkpoint,
        len(config.label2id),
        config.id2label,
        config.label2id,
        config.hf_token.get_secret_value(),
        config.wandb_api_key.get_secret_value() if config.wandb_api_key else None,
        config.wandb_project_name,
        seed=config.seed,
        max_length=config.max_length,
    )
    outcome = run_to_outcome(partial(retrain, classifier, config, journal), journal)
    if classifier.tracker:  # what it sends comes from the journal, in which no secret is left
        classifier.tracker.finish(journal.record())
        if classifier.tracker.notified:
            journal.write(Notified("W&B"))
    return OUTCOMES[outcome].exit_code


if __name__ == "__main__":
    # It is one process; and accelerate's own settings would contradict PRECISION.
    for name in [*RANKS, *(name for name in os.environ if name.startswith("ACCELERATE_"))]:
        os.environ.pop(name, None)
    die_with_parent()  # without its supervisor nothing would end it, record its end or pause the Space
    sys.exit(main(Path(sys.argv[1]), os.environ))
