"""The recipe: what the settings become, and predictions in the order of the rows."""

import datasets
import pytest
from transformers import (
    PreTrainedModel,
)

from configs import UrgencyConfig
from retrain.training.fine_tuning import class_weights, predict
from tests.conftest import NEEDED
from tests.unit.training.conftest import padded_logits, rows_of


def test_balanced_weights_are_inverse_to_the_counts() -> None:
    config = UrgencyConfig.from_environment(NEEDED | {"FOCAL_ALPHA": "balanced"})
    assert class_weights(config, [0, 0, 0, 0, 1, 2]) == pytest.approx((0.5, 2.0, 2.0))


def test_predictions_come_back_in_the_order_of_the_rows(model: PreTrainedModel) -> None:
    rows = rows_of([40, 3, 512, 8, 21])
    expected = padded_logits(model, rows).softmax(-1).detach().numpy()
    config = UrgencyConfig.from_environment(NEEDED | {"EVAL_BATCH_SIZE": "2"})
    assert predict(model, datasets.Dataset.from_list(rows), config) == pytest.approx(expected, abs=1e-5)
