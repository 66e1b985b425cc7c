"""Serves one version of a text classifier from the Hugging Face Hub: POST /predict, GET /health.

The port opens at once and the model loads behind it; /health reports what is loaded, not what is on the Hub.
Texts and tokens are never logged. Which version, and its predictions: `served_model`.
"""

import logging
import os
import re
import secrets
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Self

import anyio.to_thread
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from huggingface_hub import set_client_factory
from huggingface_hub.utils import httpx
from pydantic import BaseModel, ConfigDict, field_validator
from served_model import load_classifier

MAX_TEXTS = 64
MAX_CHARACTERS = 10_000
HUB_TIMEOUT = 30.0  # seconds without an answer

log = logging.getLogger("inference")


@dataclass(frozen=True)
class Settings:
    """What the environment says. `repr` leaves the tokens out."""

    model_repo: str
    model_revision: str | None = None
    hf_token: str | None = field(default=None, repr=False)
    api_token: str | None = field(default=None, repr=False)
    port: int = 7860

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """An empty value is an absent one. ValueError says what is wrong."""
        given = {f.name: environ.get(f.name.upper(), "").strip() for f in fields(cls)}
        repo, port = given["model_repo"], given["port"] or "7860"
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
            raise ValueError(f"MODEL_REPO is {repo!r}; set it to the model repository, owner/name")
        if not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > 65535:
            raise ValueError(f"PORT is {port!r}; set it to a port number, such as 7860")
        return cls(**{name: value for name, value in given.items() if value} | {"port": int(port)})


class Grievances(BaseModel):
    """One text, or a list of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"text": "खानेपानी आएको छैन"}, {"text": ["sadak batti chhaina", "No water"]}]
        }
    )
    text: str | list[str]

    @field_validator("text")
    @classmethod
    def within_limits(cls, value: str | list[str]) -> str | list[str]:
        texts = [value] if isinstance(value, str) else value
        if not 1 <= len(texts) <= MAX_TEXTS:
            raise ValueError(f"{len(texts)} texts; send 1 to {MAX_TEXTS}")
        for place, text in enumerate(texts):
            if not text.strip():
                raise ValueError(f"text {place} is empty")
            if len(text) > MAX_CHARACTERS:
                raise ValueError(f"text {place} has {len(text)} characters; send at most {MAX_CHARACTERS}")
        return value


class Prediction(BaseModel):
    """The most probable label, its probability, and every label's."""

    label: str
    confidence: float
    scores: dict[str, float]


def create_app(settings: Settings) -> FastAPI:
    """The API. `app.state.classifier` is None until a model answers."""
    app = FastAPI(title="Grievance classifier")
    app.state.classifier = None
    one_at_a_time = anyio.CapacityLimiter(1)

    def authorised(
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
    ) -> None:
        wanted = settings.api_token
        if wanted and not (given and secrets.compare_digest(given.credentials.encode(), wanted.encode())):
            raise HTTPException(
                401, "send the API token: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"}
            )

    @app.exception_handler(RequestValidationError)
    def explain(request: Request, error: RequestValidationError) -> JSONResponse:
        """Say what is wrong without sending the texts back."""
        return JSONResponse({"detail": [{"loc": e["loc"], "msg": e["msg"]} for e in error.errors()]}, 422)

    @app.get("/")
    @app.get("/health")
    async def health(response: Response) -> dict[str, str | None]:
        """200 and the version that is loaded, or 503 while it is loading."""
        classifier = app.state.classifier
        response.status_code = 200 if classifier else 503
        return {
            "status": "ok" if classifier else "starting",
            "model_repo": settings.model_repo,
            "model_version": classifier and classifier.version.tag,
            "model_revision": classifier and classifier.version.sha,
        }

    @app.post("/predict", dependencies=[Depends(authorised)])
    async def predict(body: Grievances) -> Prediction | list[Prediction]:
        """A prediction for a text; a list of them, in order, for a list. Texts are cut at 512 tokens."""
        if app.state.classifier is None:
            raise HTTPException(503, "the model is still loading", {"Retry-After": "5"})
        texts = [body.text] if isinstance(body.text, str) else body.text
        answers = await anyio.to_thread.run_sync(app.state.classifier.predict, texts, limiter=one_at_a_time)
        return answers[0] if isinstance(body.text, str) else answers

    return app


def main() -> int:
    """Serve until stopped; 1 when the model can't be loaded, 2 when the settings are wrong."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger(httpx.__name__).setLevel(logging.WARNING)
    try:
        settings = Settings.read(os.environ)
    except ValueError as error:
        log.error("%s", error)
        return 2
    set_client_factory(lambda: httpx.Client(follow_redirects=True, timeout=HUB_TIMEOUT))
    app = create_app(settings)
    config = uvicorn.Config(app, host="0.0.0.0", port=settings.port, access_log=False)  # noqa: S104  a container's
    server = uvicorn.Server(config)
    failed = threading.Event()

    def load() -> None:
        try:
            app.state.classifier = load_classifier(
                settings.model_repo, settings.model_revision, settings.hf_token
            )
            log.info("serving %s at %s", settings.model_repo, app.state.classifier.version)
        except Exception:
            log.exception("can't load %s", settings.model_repo)
            failed.set()
            server.should_exit = True

    threading.Thread(target=load, name="load", daemon=True).start()
    server.run()
    return 1 if failed.is_set() else 0


if __name__ == "__main__":
    sys.exit(main())
