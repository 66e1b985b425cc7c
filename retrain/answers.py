"""What the live model and released versions answer: for the comparison, and to know a version again."""

import math
from collections.abc import Mapping, Sequence

import datasets
import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from configs import BaseConfig, TrainingSettings
from retrain.errors import CheckpointError, ComparisonError, HubError, NotTriedError, RolloutError
from retrain.evaluation.comparison import answers_of
from retrain.events import Progress
from retrain.hub.model_repo import ModelRepo
from retrain.records import Answer, Version
from retrain.release.rollout import Canary, wrong_answer
from retrain.run import Run
from retrain.training.checkpoint import load_classifier
from retrain.training.fine_tuning import predict
from retrain.training.progress import Heartbeat
from retrain.training.tokenization import length_of, tokenize


def ask_live(run: Run, texts: list[str]) -> tuple[Sequence[Answer], Version | None]:
    """The live API's answers to texts, and the version that gave them, if it says so."""
    allowed = len(texts) - math.ceil(run.config.min_coverage * len(texts))
    run.live.wake(run.space.state, run.config.rollout_timeout_minutes)
    return run.live.ask_one_version(
        texts,
        failures_allowed=allowed,
        on_progress=lambda n: run.journal.write(Progress("compare", n, len(texts))),
    )


def score_released(run: Run, revision: str, test: datasets.Dataset) -> list[Answer]:
    """The answers of a released version to the test split, scored here with its own tokenizer.

    Raises:
        ComparisonError: it can't be loaded, or has other labels.
    """
    return answers_of(_probabilities(run, revision, test))


def are_of_version(run: Run, revision: str, test: datasets.Dataset, answers: Sequence[Answer]) -> bool:
    """Whether the API's answers to these rows are those that a released version gives here, in tolerance."""
    try:
        expected = _probabilities(run, revision, test).tolist()
    except ComparisonError as error:
        run.journal.warn(f"Whether the API's answers are those of its version can't be checked: {error}")
        return False
    return wrong_answer(Canary(test["grievance"], expected), answers) is None


def _probabilities(run: Run, revision: str, test: datasets.Dataset) -> NDArray[np.float64]:
    config, heartbeat = run.config, Heartbeat(run.journal, "compare")
    try:
        model, tokenizer = load_released(run, revision)
    except (CheckpointError, HubError) as error:
        raise ComparisonError(f"The released model can't be scored here: {error}") from error
    rows = tokenize(tokenizer, test, length_of(tokenizer))
    return predict(model, rows, config.eval_batch_size, [heartbeat])


def answers_of_version(run: Run, texts: list[str], version: Version) -> Canary:
    """What a released version must answer to some texts.

    Raises:
        RolloutError: it can't be loaded here, so hardly there.
        NotTriedError: the Hub did not give it.
    """
    try:
        return canary_of(load_released(run, version.revision), texts, run.config)
    except HubError as error:
        raise NotTriedError(str(error)) from error
    except (CheckpointError, ComparisonError) as error:
        raise RolloutError(str(error)) from error


def load_released(run: Run, revision: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A released version's model and tokenizer.

    Raises:
        CheckpointError, HubError: it can't be loaded.
        ComparisonError: it has other labels than the settings.
    """
    model, tokenizer = load_classifier(run.repo.download(revision), f"HUB_MODEL_ID={run.repo.repo_id}")
    refuse_other_labels(run.config, revision, model.config.id2label)
    return model, tokenizer


def check_labels(repo: ModelRepo, config: BaseConfig) -> None:
    """See before training that what would be replaced is a model of the same label set.

    Raises:
        ComparisonError: it has other labels.
    """
    if (labels := repo.labels()) is not None:
        refuse_other_labels(config, "main", labels)


def refuse_other_labels(config: BaseConfig, revision: str, labels: Mapping[int, str]) -> None:
    if dict(labels) != config.id2label:
        raise ComparisonError(
            f"{config.hub_model_id} at {revision} has the labels {', '.join(labels.values())}, and "
            f"LABEL={config.label} has {', '.join(config.label2id)}: is HUB_MODEL_ID the right one?"
        )


def canary_of(
    loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase], texts: list[str], settings: TrainingSettings
) -> Canary:
    """What a model must answer to some texts, in float32."""
    model, tokenizer = loaded
    rows = tokenize(tokenizer, datasets.Dataset.from_dict({"grievance": texts}), length_of(tokenizer))
    return Canary(texts, predict(model, rows, settings.eval_batch_size).tolist())
