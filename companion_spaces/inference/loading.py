"""Loads the wanted version, however long the Hub is away. Knows nothing of requests or the environment."""

from __future__ import annotations

import itertools
import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from versions import Source, UnavailableError

if TYPE_CHECKING:
    from served_model import Classifier

LONGEST_PAUSE = 60.0
# The cache serves in place of the wanted version only if the Hub is away for more than a moment.
TRIES_BEFORE_CACHE, LONG_PAUSE = 3, 5.0

log = logging.getLogger("inference")


@dataclass
class Serving:
    """What answers at present; and why it is not the wanted version, if that can't be had."""

    classifier: Classifier | None = None
    reason: str | None = None

    @property
    def status(self) -> str:
        """ok: the wanted version answers; starting: it is on its way; waiting: it can't be had at present."""
        if self.reason:
            return "waiting"
        return "ok" if self.classifier else "starting"


def load(source: Source, serving: Serving) -> None:
    """Serve the wanted version; until it can be had, the one served last, if that is cached.

    Raises whatever does not pass by itself: the Hub refuses, or the version can't be loaded.
    """
    import torch  # only now: its threads are set by variables
    from served_model import ready_classifier

    log.info("threads that compute: %d", torch.get_num_threads())
    for tries in itertools.count(1):
        try:
            version, folder = source.fetch()
            break
        except UnavailableError as error:
            serving.reason = str(error)
            pause = (error.seconds or min(LONGEST_PAUSE, 2.0 ** (tries - 1))) * random.uniform(1.0, 1.2)  # noqa: S311  jitter
            log.warning("%s; asking again in %.0f s", error, pause)
            if error.away and (tries == TRIES_BEFORE_CACHE or error.seconds > LONG_PAUSE):
                serving.classifier = serving.classifier or _served_last(source)
            time.sleep(pause)
    if serving.classifier is None or serving.classifier.version != version:
        serving.classifier = ready_classifier(folder, version)
    serving.reason = None
    log.info("serving %s at %s", source.repo, version)
    source.remember(version)


def _served_last(source: Source) -> Classifier | None:
    from served_model import ready_classifier

    found = source.served_last()
    if found is None:
        return None
    version, folder = found
    try:
        classifier = ready_classifier(folder, version)
    except Exception:  # the Hub may still bring a good one
        log.warning("%s is in the cache, but can't be loaded", version, exc_info=True)
        return None
    log.warning("meanwhile serving %s from the cache", version)
    return classifier
