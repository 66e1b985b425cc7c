"""Serves one version of a text classifier from the Hugging Face Hub: POST /predict, GET /health.

At start it asks the Hub for the newest version tag of MODEL_REPO, downloads exactly that commit and answers from
it until the next restart: what /health reports is what is loaded. The port opens at once, the model loads behind.
Texts and tokens are never logged.
"""

import json
import logging
import os
import random
import re
import secrets
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Self

import anyio.to_thread
import torch
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from huggingface_hub import HfApi, constants, set_client_factory, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx
from pydantic import BaseModel, ConfigDict, field_validator
from transformers import AutoModelForSequenceClassification, AutoTokenizer

MAX_TEXTS = 64
MAX_CHARACTERS = 10_000
MAX_TOKENS = 512
BATCH_SIZE = 16  # texts of like length together: 64 long ones at once would take gigabytes
HUB_TIMEOUT = 30.0  # seconds without an answer
NOT_SERVED = ["*.bin", "*.pt", "*.pth", "*.pkl", "*.h5", "*.msgpack", "*.onnx", "*.py", "checkpoint-*/*"]

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


@dataclass(frozen=True)
class Version:
    """A commit of the model repository, and the version tag that names it, if one does."""

    tag: str | None
    sha: str


def newest_version(tags: list[str]) -> str | None:
    """The tag v{YYYYMMDD}_{HHMMSS} with the latest time in its name; the Hub's own order means nothing."""

    def is_version(tag: str) -> bool:
        try:
            return bool(re.fullmatch(r"v\d{8}_\d{6}", tag) and datetime.strptime(tag, "v%Y%m%d_%H%M%S"))
        except ValueError:
            return False

    return max(filter(is_version, tags), default=None)


class Classifier:
    """A tokenizer and a model of one version. One call at a time: the tokenizer is not thread-safe."""

    def __init__(self, folder: Path, version: Version) -> None:
        self.version = version
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model = AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False
        ).eval()
        self.labels = [name for _, name in sorted(self.model.config.id2label.items())]

    @torch.inference_mode()
    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """A label, its probability and all labels' probabilities for each text, in the order of the texts."""
        encoded = [self.tokenizer(text, truncation=True, max_length=MAX_TOKENS) for text in texts]
        by_length = sorted(range(len(texts)), key=lambda i: len(encoded[i]["input_ids"]))
        answers: dict[int, dict[str, Any]] = {}
        for start in range(0, len(texts), BATCH_SIZE):
            chunk = by_length[start : start + BATCH_SIZE]
            batch = self.tokenizer.pad([encoded[i] for i in chunk], return_tensors="pt")
            for i, row in zip(chunk, self.model(**batch).logits.float().softmax(-1).tolist(), strict=True):
                scores = dict(zip(self.labels, row, strict=True))
                label = max(scores, key=scores.__getitem__)
                answers[i] = {"label": label, "confidence": scores[label], "scores": scores}
        return [answers[i] for i in range(len(texts))]


def load_classifier(settings: Settings) -> Classifier:
    """The wanted version from the Hub; the one served last, from the cache, while the Hub is away."""
    memory = Path(constants.HF_HOME) / "served" / f"{settings.model_repo.replace('/', '--')}.json"
    try:
        version, folder = _fetch(settings)
    except (httpx.HTTPError, LocalEntryNotFoundError) as error:
        served = json.loads(memory.read_text()) if memory.exists() else {}
        if not _is_away(error) or served.get("asked_for", "nothing") != settings.model_revision:
            raise
        log.warning("the Hub is away (%s): serving %s from the cache", type(error).__name__, served["sha"])
        version = Version(served["tag"], served["sha"])
        folder = _download(settings, version.sha, local_files_only=True)
    classifier = Classifier(folder, version)
    classifier.predict(["नमस्कार, warm-up"])
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps({"asked_for": settings.model_revision, **asdict(version)}))
    return classifier


def _fetch(settings: Settings) -> tuple[Version, Path]:
    """Resolve and download, again after a moment while the Hub is away; what it refuses is final."""
    for pause in (1, 2, None):
        try:
            version = _resolve(settings)
            return version, _download(settings, version.sha)
        except (httpx.HTTPError, LocalEntryNotFoundError) as error:
            if pause is None or not _is_away(error):
                raise
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  jitter, not a secret
    raise AssertionError("the last try returns or raises")


def _resolve(settings: Settings) -> Version:
    api, repo = HfApi(token=settings.hf_token or False), settings.model_repo
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo).tags}
    revision = settings.model_revision or newest_version(list(tags)) or "main"
    sha = api.model_info(repo, revision=revision).sha
    is_tag = revision in tags
    return Version(
        revision if is_tag else newest_version([t for t, commit in tags.items() if commit == sha]), sha
    )


def _download(settings: Settings, sha: str, local_files_only: bool = False) -> Path:
    options = {"token": settings.hf_token or False, "local_files_only": local_files_only}
    return Path(snapshot_download(settings.model_repo, revision=sha, ignore_patterns=NOT_SERVED, **options))


def _is_away(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, httpx.TransportError | LocalEntryNotFoundError)


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
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = Settings.read(os.environ)
    except ValueError as error:
        log.error("%s", error)
        return 2
    set_client_factory(lambda: httpx.Client(follow_redirects=True, timeout=HUB_TIMEOUT))
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, host="0.0.0.0", port=settings.port, access_log=False))  # noqa: S104  a container's port
    failed = threading.Event()

    def load() -> None:
        try:
            app.state.classifier = load_classifier(settings)
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
