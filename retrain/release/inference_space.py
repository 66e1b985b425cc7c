"""The inference Space as a release sees it. Knows what can be asked of it, not how."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retrain.records import Answer, SpaceState, Version


@dataclass(frozen=True)
class InferenceSpace:
    """The Space that serves: how to restart it, its state, the version it says it has loaded, its answers."""

    space_id: str
    restart: Callable[[], None]
    state: Callable[[], SpaceState]
    served_version: Callable[[], Version | None]
    ask: Callable[[Sequence[str]], Sequence[Answer]]
