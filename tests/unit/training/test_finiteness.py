"""What is not finite ends a run before it is measured or published."""

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from retrain.errors import DivergedError
from retrain.training.finiteness import check_probabilities, check_weights


def test_probabilities_that_are_not_finite_are_counted() -> None:
    check_probabilities(np.array([[0.1, 0.9], [1.0, 0.0]]))
    with pytest.raises(DivergedError, match="answers 2 of 3 texts with probabilities that are not finite"):
        check_probabilities(np.array([[0.1, 0.9], [np.nan, np.nan], [np.inf, 0.0]]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_named_and_not_published(
    model: PreTrainedModel, value: float
) -> None:
    check_weights(model)
    with torch.no_grad():
        model.classifier.out_proj.bias[1] = value
    with pytest.raises(DivergedError, match=r"Nothing was published: .* in classifier\.out_proj\.bias\."):
        check_weights(model)
