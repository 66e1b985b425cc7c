"""Released versions scored here: in place of the live API, and to know what they must answer."""

from collections.abc import Sequence

import datasets
from huggingface_hub import HfApi
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from configs import BaseConfig
from retrain.errors import CheckpointError, ComparisonError, RolloutError
from retrain.evaluation.comparison import answers_of
from retrain.records import Answer, Version
from retrain.release.rollout import Canary
from retrain.training.checkpoint import load_classifier
from retrain.training.fine_tuning import predict
from retrain.training.tokenization import tokenize


def released_answers(
    api: HfApi,
    config: BaseConfig,
    revision: str,
    test: datasets.Dataset,
    callbacks: Sequence[TrainerCallback] = (),
) -> list[Answer]:
    """Score the released model on the test split, with its own tokenizer.

    Raises:
        ComparisonError: it can't be loaded, or knows other labels.
    """
    try:
        model, tokenizer = _load(api, config, revision)
    except CheckpointError as error:
        raise ComparisonError(f"The released model can't be scored here: {error}") from error
    if model.config.id2label != config.id2label:
        theirs = ", ".join(model.config.id2label.values())
        raise ComparisonError(
            f"{config.hub_model_id} at {revision} has labels {theirs}, not those of LABEL={config.label}: "
            "is HUB_MODEL_ID the right one?"
        )
    return answers_of(predict(model, tokenize(tokenizer, test, config.max_length), config, callbacks))


def canary_of(
    config: BaseConfig, texts: list[str], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Canary:
    """What a model must answer to some texts, in float32."""
    rows = tokenize(tokenizer, datasets.Dataset.from_dict({"grievance": texts}), config.max_length)
    return Canary(texts, predict(model, rows, config, half_precision=False).tolist())


def canary_of_released(api: HfApi, config: BaseConfig, version: Version, texts: list[str]) -> Canary:
    """What a released version must answer.

    Raises:
        RolloutError: it can't be loaded here, so hardly there.
    """
    try:
        return canary_of(config, texts, *_load(api, config, version.revision))
    except CheckpointError as error:
        raise RolloutError(str(error)) from error


def _load(api: HfApi, config: BaseConfig, revision: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return load_classifier(config.hub_model_id, api.token, revision=revision, setting="HUB_MODEL_ID")
