"""The inference Space as a release sees it. Knows what can be asked of it, not how."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retrain.records import Answer, Served, SpaceState


@dataclass(frozen=True)
class InferenceSpace:
    """The Space that serves: how to restart it, its state, what it says of itself, its answers."""

    space_id: str
    restart: Callable[[], None]
    state: Callable[[], SpaceState]
    served: Callable[[], Served]
    ask: Callable[[Sequence[str]], Sequence[Answer]]
