"""Puts the inference Space of an installation together: the client of its API, and what a release needs."""

from collections.abc import Callable, Sequence
from functools import partial

from configs import PlaceSettings
from retrain.evaluation.live_model import LiveModel
from retrain.hub.spaces import Space
from retrain.records import Answer, SpaceState
from retrain.redaction import Redactor
from retrain.release.inference_space import InferenceSpace


def live_model(space: Space, settings: PlaceSettings) -> LiveModel:
    """The API that serves citizens now. A private Space answers whoever may read it, so HF_TOKEN opens it."""
    bearer = settings.api_token
    if bearer is None and space.is_private_at(settings.api_endpoint):
        bearer = settings.hf_token
    return LiveModel(settings.api_endpoint, settings.label2id, bearer, Redactor(settings.secrets))


def inference_space(
    space: Space, live: LiveModel, restart: Callable[[], None], on_look: Callable[[], None] = lambda: None
) -> InferenceSpace:
    """The Space behind the API, for a rollout.

    on_look: called at each look at its state, as a sign of life of whoever waits.
    """
    return InferenceSpace(
        space_id=space.repo_id,
        restart=restart,
        state=partial(_state, space, on_look),
        served=live.served,
        ask=partial(_ask_all, live),
    )


def _state(space: Space, on_look: Callable[[], None]) -> SpaceState:
    on_look()
    return space.state()


def _ask_all(live: LiveModel, texts: Sequence[str]) -> Sequence[Answer]:
    return live.ask(texts, failures_allowed=len(texts))
