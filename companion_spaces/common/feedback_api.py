"""POST /feedback: an officer's correction of an answer, kept until somebody has reviewed it.

Both the inference Space and the review Space offer it. It is stored in PostgreSQL or SQLite
(common.feedback_store), or forwarded to the review Space where the database is out of reach. What is
acknowledged is stored.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import compare_digest
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from huggingface_hub.utils import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from common.cleaning import clean
from common.feedback_store import LABEL_SETS, ConflictError, FeedbackStore, Labels, StoreError, UnknownError
from common.masking import mask
from common.settings import SpaceSettings

MAX_CHARACTERS = 10_000
# More than officers type, and less than fills a disk: a burst, and how fast it is allowed again.
BURST, PER_MINUTE = 120, 60
FORWARD_SECONDS = 15.0
AWAY = {"Retry-After": "30"}

log = logging.getLogger("inference")


class Correction(BaseModel):
    """What is wrong about an answer, and who says so.

    Either the id of a prediction or a text; the right label of one label set, or of several.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    prediction_id: str | None = Field(None, pattern=r"^[0-9a-f]{32}$")
    text: str | None = Field(None, min_length=1, max_length=MAX_CHARACTERS)
    correct_urgency: str | None = None
    correct_department: str | None = None
    reporter: str = Field(min_length=1, max_length=100, description="a pseudonym")

    @model_validator(mode="after")
    def names_one_text_and_a_label(self) -> "Correction":
        if (self.prediction_id is None) == (self.text is None):
            raise ValueError("give either prediction_id or text")
        if not self.labels:
            raise ValueError("give correct_urgency, correct_department or both")
        return self

    @property
    def labels(self) -> dict[str, str]:
        given = {label: getattr(self, f"correct_{label}") for label in LABEL_SETS}
        return {label: name for label, name in given.items() if name is not None}


class Stored(BaseModel):
    """The correction as it was kept."""

    feedback_id: str
    status: str = "unreviewed"


@dataclass
class Bucket:
    """How many requests a token may still make; it fills up again with time."""

    left: float = BURST
    at: float = field(default_factory=time.monotonic)

    def seconds_to_wait(self) -> float:
        """Take one; returns 0, or how long to wait before there is one."""
        now = time.monotonic()
        self.left, self.at = min(BURST, self.left + (now - self.at) * PER_MINUTE / 60), now
        if self.left < 1:
            return (1 - self.left) * 60 / PER_MINUTE
        self.left -= 1
        return 0.0


@dataclass(frozen=True)
class Feedback:
    """How corrections are kept. names: the labels of each label set; masked: whether numbers are masked.

    store: None if they are forwarded to `forward_to`.
    """

    token: SecretStr
    names: Mapping[str, Sequence[str]]
    store: FeedbackStore | None
    forward_to: str | None
    masked: bool

    def as_kept(self, text: str) -> str:
        """A text as it is stored."""
        plain = clean(text)
        return mask(plain).text if self.masked else plain

    def keep_predictions(
        self, texts: Sequence[str], answers: Sequence[Mapping[str, Any]], version: str | None
    ) -> list[str] | None:
        """Store answers so that they can be corrected by their ids; None if that can't be done now."""
        if self.store is None:
            return None
        try:
            return self.store.add_predictions([self.as_kept(text) for text in texts], answers, version)
        except StoreError as error:  # citizens are served all the same
            log.warning("predictions were not kept: %s", error)
            return None

    def check_labels(self, labels: Labels) -> None:
        """422 for a label that its label set does not have."""
        for label, name in labels.items():
            known = self.names.get(label, ())
            if name not in known:
                choice = (
                    f"one of {', '.join(known)}"
                    if known
                    else "left out: this service does not know that label set"
                )
                raise HTTPException(422, f"correct_{label} should be {choice}")

    def keep(self, correction: Correction, key: str) -> tuple[str, bool]:
        """Store a correction, or forward it; returns its id, and whether it is new."""
        if self.store is None:
            return self._forward(correction, key)
        text = self.as_kept(correction.text) if correction.text is not None else None
        try:
            return self.store.add_feedback(
                key, correction.labels, correction.reporter, text=text, prediction_id=correction.prediction_id
            )
        except UnknownError as error:
            raise HTTPException(404, str(error)) from None
        except ConflictError as error:
            raise HTTPException(409, str(error)) from None
        except StoreError as error:
            raise HTTPException(503, f"{error}; nothing was kept, send it again", AWAY) from None

    def _forward(self, correction: Correction, key: str) -> tuple[str, bool]:
        headers = {"Authorization": f"Bearer {self.token.get_secret_value()}", "Idempotency-Key": key}
        body = correction.model_dump(exclude_none=True)
        if correction.text is not None:
            body["text"] = self.as_kept(correction.text)
        try:
            answer = httpx.post(
                str(self.forward_to),
                json=body,
                headers=headers,
                timeout=FORWARD_SECONDS,
                follow_redirects=False,
            )
            if answer.status_code in (200, 201):
                return str(answer.json()["feedback_id"]), answer.status_code == 201
        except (httpx.HTTPError, ValueError, KeyError):
            raise HTTPException(503, "the review service did not answer; send it again", AWAY) from None
        if answer.status_code in (404, 409, 422, 429):
            raise HTTPException(answer.status_code, "the review service refused it") from None
        raise HTTPException(503, "the review service can't keep it now; send it again", AWAY)


def bearer_of(token: SecretStr | None) -> Callable[..., None]:
    """A dependency of a route: 401 for whoever does not send this token; without one, for everybody."""

    def check(
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
    ) -> None:
        wanted = token.get_secret_value().encode() if token else None
        if wanted is None or given is None or not compare_digest(given.credentials.encode(), wanted):
            raise HTTPException(401, "send the bearer token", {"WWW-Authenticate": "Bearer"})

    return check


def feedback_router(feedback: Feedback) -> APIRouter:
    """The route /feedback, for bearers of the token."""
    router, bucket = APIRouter(), Bucket()

    def not_too_often() -> None:
        if wait := bucket.seconds_to_wait():
            raise HTTPException(429, "too many corrections at a time", {"Retry-After": f"{wait + 1:.0f}"})

    needs = [Depends(bearer_of(feedback.token)), Depends(not_too_often)]

    @router.post("/feedback", status_code=201, dependencies=needs)
    @router.post("/feedback/", status_code=201, dependencies=needs, include_in_schema=False)
    def give_feedback(
        correction: Correction,
        response: Response,
        idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
    ) -> Stored:
        """Report the right label of a text. A request that is sent again is one entry (then 200)."""
        feedback.check_labels(correction.labels)
        feedback_id, is_new = feedback.keep(correction, idempotency_key or key_of(correction))
        response.status_code = 201 if is_new else 200
        return Stored(feedback_id=feedback_id)

    return router


def key_of(correction: Correction) -> str:
    """The idempotency key of a request without one: its content."""
    content = json.dumps(correction.model_dump(), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


def read_names(text: str) -> dict[str, list[str]]:
    """The labels of each label set from FEEDBACK_LABELS.

    Raises:
        ValueError: it is no JSON object of lists.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, list) for each in found.values()):
        raise ValueError('FEEDBACK_LABELS should look like {"urgency": ["NORMAL", "URGENT"]}')
    return {str(label): [str(name) for name in names] for label, names in found.items()}


def store_of(settings: SpaceSettings) -> FeedbackStore:
    """Where feedback is kept by these settings.

    Raises:
        ValueError: DATABASE_URL is none.
    """
    url = settings.database_url
    return FeedbackStore.open(url.get_secret_value() if url else None, settings.feedback_dir)


def feedback_of(token: SecretStr, settings: SpaceSettings, forward_to: str | None) -> Feedback:
    """How feedback is kept by these settings, or forwarded.

    Raises:
        ValueError: a setting can't be used.
    """
    if settings.database_url and forward_to:
        raise ValueError("set either DATABASE_URL or FEEDBACK_URL")
    if forward_to and not forward_to.startswith(("https://", "http://127.0.0.1", "http://localhost")):
        raise ValueError("FEEDBACK_URL should begin with https://")
    store = None if forward_to else store_of(settings)
    return Feedback(token, read_names(settings.feedback_labels), store, forward_to, settings.mask_feedback)
