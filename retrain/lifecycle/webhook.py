"""Whether a run that a webhook of the Hub has started is due. A pure decision: no network, no clock.

A webhook starts a Job with what has changed in WEBHOOK_PAYLOAD and with its secret in WEBHOOK_SECRET. It does
so for every change of the data set, and a person can replay any delivery.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any

from retrain.errors import SettingsError
from retrain.records import is_version_tag

EXPECTED_SECRET = "RETRAIN_WEBHOOK_SECRET"  # noqa: S105 (the name of a variable)
TAGS = "refs/tags/"


@dataclass(frozen=True)
class Delivery:
    """What a webhook has handed over, and the secret that it should have."""

    payload: str | None = field(repr=False)
    secret: str = field(repr=False)
    expected: str = field(repr=False)

    @classmethod
    def found_in(cls, environ: Mapping[str, str]) -> "Delivery | None":
        """That of this process; None if no webhook is to start it."""
        payload, expected = environ.get("WEBHOOK_PAYLOAD"), environ.get(EXPECTED_SECRET, "").strip()
        if payload is None and not expected:
            return None
        return cls(payload, environ.get("WEBHOOK_SECRET", ""), expected)

    @property
    def secrets(self) -> list[str]:
        """What is shown nowhere."""
        return [each for each in (self.secret, self.expected) if each]


def why_not_due(delivery: Delivery, dataset: str, trained: Iterable[str]) -> str | None:
    """Why nothing is to be done; None if the data set has a new version.

    dataset: its repository; trained: the tags of its versions that earlier runs have decided on.

    Raises:
        SettingsError: it is not from our webhook, or can't be read.
    """
    if delivery.payload is None:
        return f"{EXPECTED_SECRET} is set, so only a webhook starts a run here, and none has."
    if not delivery.expected:
        raise SettingsError(
            f"A webhook has started this Job, which has no secret {EXPECTED_SECRET} to know it by. Make the "
            "webhook with `python -m retrain schedule --on-new-version`; nothing was started."
        )
    if not compare_digest(_bytes(delivery.secret), _bytes(delivery.expected)):
        raise SettingsError(
            f"A webhook has started this Job with a secret that is not its {EXPECTED_SECRET}. If the webhook "
            "is yours, make it anew with `python -m retrain schedule --on-new-version --renew-secrets`; "
            "nothing was started."
        )
    try:
        payload: Any = json.loads(delivery.payload)
        repo = (str(payload["repo"]["type"]), str(payload["repo"]["name"]))
        new = [str(each["ref"]) for each in payload.get("updatedRefs", ()) if _is_new(each)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SettingsError("WEBHOOK_PAYLOAD is no payload of the Hub; nothing was started.") from error
    if repo[0] != "dataset" or repo[1].casefold() != dataset.casefold():
        return f"The webhook is about the {repo[0]} {repo[1][:96]!r}, not about the data set {dataset}."
    versions = [ref.removeprefix(TAGS) for ref in new if ref.startswith(TAGS)]
    versions = [name for name in versions if is_version_tag(name)]
    if not versions:
        return f"The webhook is about a change of {dataset} that is no new version."
    # By their names, not by the times in them: a clock that was once ahead must not stop all later versions.
    decided = set(trained)
    if all(name in decided for name in versions):
        return f"The webhook is about {', '.join(versions)}, on which a run has already decided."
    return None


def _bytes(value: str) -> bytes:
    return value.encode(errors="surrogateescape")  # as the environment has it, which may be no UTF-8


def _is_new(ref: Mapping[str, Any]) -> bool:
    return ref.get("oldSha") is None and ref.get("newSha") is not None
