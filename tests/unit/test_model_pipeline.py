"""The classifier, as it is loaded."""

from pathlib import Path
from typing import Any

import pytest
import torch

from configs import urgency2id
from model_pipeline import GrievanceClassifier
from retrain.errors import CheckpointError, DivergedError


@pytest.fixture
def classifier(checkpoint: Path) -> GrievanceClassifier:
    labels = urgency2id
    return GrievanceClassifier(str(checkpoint), 3, {i: n for n, i in labels.items()}, labels)


def test_the_head_is_the_same_for_a_seed(checkpoint: Path, classifier: GrievanceClassifier) -> None:
    labels = urgency2id
    again = GrievanceClassifier(str(checkpoint), 3, {i: n for n, i in labels.items()}, labels)
    assert torch.equal(again.model.classifier.out_proj.weight, classifier.model.classifier.out_proj.weight)
    assert again.model.config.id2label[2] == "HIGHLY URGENT"


def test_weights_that_are_not_finite_are_not_published(
    classifier: GrievanceClassifier, tmp_path: Path
) -> None:
    torch.nn.init.constant_(classifier.model.classifier.out_proj.bias, float("nan"))
    nowhere: Any = None
    with pytest.raises(DivergedError, match="Nothing was published"):
        classifier.push_model_to_hub(nowhere, tmp_path, None, nowhere)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    classifier = GrievanceClassifier(str(tmp_path), 3, {0: "a", 1: "b", 2: "c"}, {"a": 0, "b": 1, "c": 2})
    with pytest.raises(CheckpointError, match="MODEL_CHECKPOINT"):
        _ = classifier.model
