"""What is not finite is neither trained on nor measured nor published."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from retrain.errors import DivergedError


def check_probabilities(probabilities: NDArray[np.float64]) -> None:
    """Look at a trained model's answers.

    Raises:
        DivergedError: some are not finite.
    """
    if bad := int((~np.isfinite(probabilities)).any(axis=1).sum()):
        raise DivergedError(
            f"The new model answers {bad} of {len(probabilities)} texts with probabilities that are not "
            "finite. Lower LEARNING_RATE, and look at FOCAL_ALPHA, FOCAL_GAMMA and the base checkpoint."
        )


def check_weights(model: nn.Module) -> None:
    """Look at a model that is about to be published.

    Raises:
        DivergedError: some weights are not finite.
    """
    if bad := weights_not_finite(model):
        raise DivergedError(
            f"Nothing was published: the new model has weights that are not finite, in {', '.join(bad[:3])}. "
            "Lower LEARNING_RATE, and look at FOCAL_ALPHA, FOCAL_GAMMA and the base checkpoint."
        )


def weights_not_finite(model: nn.Module) -> list[str]:
    """The names of the parameters and buffers that have values which are not finite."""
    return [name for name, weights in model.state_dict().items() if not torch.isfinite(weights).all()]
