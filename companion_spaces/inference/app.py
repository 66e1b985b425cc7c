"""Serves one version of a text classifier from the Hugging Face Hub: /predict, /feedback, /health, /retrain.

The port opens at once, before the model is loaded; /health reports what is loaded, not what is on the Hub.
Texts and secrets are never logged. `versions` chooses the version, `loading` waits for it, `served_model`
makes the predictions, and `limits` and `connections` keep clients from blocking each other.
"""

import hmac
import json
import logging
import os
import random
import secrets
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self

import anyio
import uvicorn
from connections import BACKLOG, BoundedProtocol
from fastapi import Body, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from front_page import add_pages, front_page, is_wanted
from huggingface_hub import HfApi, SpaceStage, set_client_factory
from huggingface_hub._space_api import INTERMEDIATE_SPACE_STAGES  # not exported; wait_for_space goes by it
from huggingface_hub.utils import httpx
from limits import PROXIES, InFlightLimit, Turns, address_of
from loading import Serving, load
from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    model_validator,
)
from threads import thread_settings
from versions import Source, Version, seconds_asked, why_away

from common.settings import SpaceSettings

MAX_TEXTS = 64
MAX_CHARACTERS = 10_000
MAX_BODY = MAX_TEXTS * MAX_CHARACTERS * 12 + 100_000  # bytes: JSON may write a character as \ud83d\udca7
OWNER_AND_NAME = r"^[\w.-]+/[\w.-]+$"
HUB_TIMEOUT = 30.0  # seconds without an answer
LONGEST_PAUSE = 10.0  # seconds that a caller of /retrain waits because the Hub limits its requests
STOP_SECONDS = 8  # in which requests under way may end after a SIGTERM; engines kill after ten
A_RUN_IS_ON = {SpaceStage.RUNNING, *INTERMEDIATE_SPACE_STAGES}

log = logging.getLogger("inference")
audit = logging.getLogger("inference.audit")


class Settings(SpaceSettings):
    """See SpaceSettings."""

    model_repo: str = Field(pattern=OWNER_AND_NAME)
    model_revision: str | None = None
    hf_token: SecretStr | None = None
    api_token: SecretStr | None = None
    audit_key: SecretStr = Field(default_factory=lambda: SecretStr(secrets.token_hex()))
    retrain_space_id: str | None = Field(None, pattern=OWNER_AND_NAME)
    retrain_trigger_token: SecretStr | None = None
    feedback_url: str | None = None

    @model_validator(mode="after")
    def a_trigger_has_a_target(self) -> Self:
        if self.retrain_trigger_token and not (self.retrain_space_id and self.hf_token):
            raise ValueError("RETRAIN_TRIGGER_TOKEN needs RETRAIN_SPACE_ID and HF_TOKEN as well")
        return self


def not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty")
    return text


Text = Annotated[
    str,
    Field(max_length=MAX_CHARACTERS, json_schema_extra={"pattern": r"\S"}),  # as not_blank checks it
    AfterValidator(not_blank),
]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]


class Grievances(BaseModel):
    """One text, or a list of them."""

    text: Annotated[
        Annotated[Text, Tag("text")] | Annotated[Texts, Tag("list")],
        Discriminator(lambda given: "list" if isinstance(given, list) else "text"),
    ]


class Prediction(BaseModel):
    """The most probable label, its probability, and every label's; by its id it can be corrected."""

    label: str
    confidence: float
    scores: dict[str, float]
    prediction_id: str | None = None


def create_app(settings: Settings) -> FastAPI:
    """The API. `app.state.serving` has what answers; at first, nothing does."""
    app = FastAPI(
        title="Grievance classifier",
        max_body_size=MAX_BODY,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    add_pages(app)
    app.add_middleware(InFlightLimit, tokens=tokens_by_path(settings))
    app.state.serving = serving = Serving()
    documented = json.loads(Path(__file__).with_name("api_examples.json").read_text(encoding="utf-8"))
    turns = Turns()
    feedback = None
    if settings.feedback_token:
        # With a database's client, which others do without.
        from common.feedback_api import feedback_of, feedback_router

        feedback = feedback_of(settings.feedback_token, settings, settings.feedback_url)
        app.include_router(feedback_router(feedback))

    @app.exception_handler(RequestValidationError)
    def explain(request: Request, error: RequestValidationError) -> JSONResponse:
        """Say what is wrong without sending the texts back."""
        return JSONResponse({"detail": [{"loc": e["loc"], "msg": e["msg"]} for e in error.errors()]}, 422)

    @app.head("/", include_in_schema=False)
    @app.get("/", responses=documented["health"], response_model=dict[str, str | None])
    async def root(request: Request, response: Response) -> Any:
        """A page for a browser; for programs the same as /health."""
        response.headers["Vary"] = "Accept"
        return front_page() if is_wanted(request) else await health(response)

    @app.head("/health", include_in_schema=False)
    @app.get("/health", responses=documented["health"])
    async def health(response: Response) -> dict[str, str | None]:
        """200 and the loaded version, or 503 and the reason while there is none."""
        version = serving.classifier.version if serving.classifier else None
        response.status_code = 200 if version else 503
        return {
            "status": serving.status,
            "reason": serving.reason,
            "model_repo": settings.model_repo,
            "model_version": version.tag if version else None,
            "model_revision": version.sha if version else None,
        }

    for_predict = shown(settings.api_token)

    @app.post(
        "/predict/", response_model_exclude_none=True, dependencies=for_predict, include_in_schema=False
    )
    @app.post(
        "/predict",
        response_model_exclude_none=True,
        dependencies=for_predict,
        responses=documented["predict"],
    )
    async def predict(
        request: Request, body: Annotated[Grievances, Body(openapi_examples=documented["grievances"])]
    ) -> Prediction | list[Prediction]:
        """A prediction for a text, or a list of them for a list. Texts are cut at 512 tokens."""
        classifier = serving.classifier
        if classifier is None:
            detail = (
                f"no model is loaded: {serving.reason}" if serving.reason else "the model is still loading"
            )
            raise HTTPException(503, detail, {"Retry-After": "30" if serving.reason else "5"})
        texts = [body.text] if isinstance(body.text, str) else body.text
        async with turns.of(address_of(request.scope)):
            if await request.is_disconnected():
                raise HTTPException(499, "the client has gone")
            # When the process has to end, it does not wait for this.
            answers: list[Any] = await anyio.to_thread.run_sync(
                classifier.predict, texts, abandon_on_cancel=True
            )
        record(texts, answers, classifier.version, settings.audit_key)
        if feedback and "no-store" not in request.headers.get("cache-control", ""):
            ids = await anyio.to_thread.run_sync(
                feedback.keep_predictions, texts, answers, classifier.version.tag
            )
            if ids:
                answers = [answer | {"prediction_id": i} for answer, i in zip(answers, ids, strict=True)]
        found: Prediction | list[Prediction] = answers[0] if isinstance(body.text, str) else answers
        return found

    if settings.retrain_trigger_token and settings.retrain_space_id and settings.hf_token:
        space_id = settings.retrain_space_id
        hub = HfApi(token=settings.hf_token.get_secret_value())
        one_restart = threading.Lock()  # the second of two callers sees what the first did
        for_trigger = shown(settings.retrain_trigger_token)

        @app.post("/retrain/", status_code=202, dependencies=for_trigger, include_in_schema=False)
        @app.post("/retrain", status_code=202, dependencies=for_trigger, responses=documented["retrain"])
        def retrain() -> dict[str, str]:
            """Restart the Space that retrains the model, unless a run is under way."""
            with one_restart:
                return {"space_id": space_id, "stage": restart(hub, space_id)}

    return app


def tokens_by_path(settings: Settings) -> dict[str, SecretStr]:
    """The bearer tokens that are required; `limits` looks at them before a body is read."""
    tokens = {
        "/predict": settings.api_token,
        "/retrain": settings.retrain_trigger_token,
        "/feedback": settings.feedback_token,
    }
    return {path: token for path, token in tokens.items() if token}


def shown(token: SecretStr | None) -> list[Any]:
    """Dependencies by which the documentation says that a bearer token is required; they check nothing."""
    return [Depends(HTTPBearer(auto_error=False))] if token else []


def restart(hub: HfApi, space_id: str) -> str:
    """Restart a Space, unless it runs; returns its stage. What passes by itself is tried again.

    Raises:
        HTTPException: 409 if a run is on; 502 if the Hub refuses, or is away for more than a moment.
    """
    asked = False
    for pause in (1.0, 2.0, None):
        try:
            stage = hub.get_space_runtime(space_id).stage
            if stage in A_RUN_IS_ON and asked:  # only the answer was lost
                return stage
            if stage in A_RUN_IS_ON:
                raise HTTPException(409, f"a run is on: {space_id} is {stage}")
            log.info("restarting %s, which is %s", space_id, stage)
            asked = True
            return hub.restart_space(space_id).stage
        except (httpx.HTTPError, ValueError) as error:
            reason, wait = why_away(error), seconds_asked(error)
            if not reason or pause is None or wait > LONGEST_PAUSE:
                cause = type(error).__name__  # its message may contain more than a caller should read
                headers = {"Retry-After": f"{wait:.0f}"} if wait else None
                raise HTTPException(502, f"the Hub did not restart {space_id} ({cause})", headers) from None
            log.info("%s; asking again", reason)
            time.sleep(max(wait, pause * random.uniform(0.5, 1.0)))  # noqa: S311  jitter, not a secret
    raise AssertionError("the last try returns or raises")


def record(texts: list[str], answers: list[dict[str, Any]], version: Version, key: SecretStr) -> None:
    """Log a JSON line for each text, with its keyed hash: without the key it can't be guessed."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    for text, answer in zip(texts, answers, strict=True):
        line = {
            "time": now,
            "text_hmac": hmac.digest(key.get_secret_value().encode(), text.encode(), "sha256").hex(),
            "label": answer["label"],
            "confidence": round(answer["confidence"], 3),
            "model_version": version.tag,
            "model_revision": version.sha,
        }
        audit.info(json.dumps(line, ensure_ascii=False))


def main() -> int:
    """Serve until stopped; returns 1 if the model can't be loaded, 2 if the settings are wrong."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger(httpx.__name__).setLevel(logging.WARNING)
    audit.addHandler(logging.StreamHandler(sys.stdout))
    audit.propagate = False
    try:
        settings = Settings.read(os.environ)
    except ValueError as error:
        log.error("%s", error)
        return 2
    set_client_factory(lambda: httpx.Client(follow_redirects=True, timeout=HUB_TIMEOUT))
    os.environ |= thread_settings(os.environ)  # read when torch is imported, which `load` does
    try:
        app = create_app(settings)
    except ValueError as error:
        log.error("%s", error)
        return 2
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="0.0.0.0",  # noqa: S104  a container's
            port=settings.port,
            http=BoundedProtocol,
            ws="none",
            backlog=BACKLOG,
            forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS") or PROXIES,
            access_log=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )
    failed = threading.Event()

    def load_or_end() -> None:
        token = settings.hf_token.get_secret_value() if settings.hf_token else None
        try:
            load(Source(settings.model_repo, settings.model_revision, token), app.state.serving)
        except Exception:
            log.exception("can't load %s", settings.model_repo)
            failed.set()
            server.should_exit = True

    threading.Thread(target=load_or_end, name="load", daemon=True).start()
    server.run()
    return 1 if failed.is_set() else 0


if __name__ == "__main__":
    sys.exit(main())
