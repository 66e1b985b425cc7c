"""The served version of a model: which one it is, where it comes from, and its predictions.

Knows nothing of requests or the environment.
"""

import json
import logging
import random
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import httpx
from transformers import AutoModelForSequenceClassification, AutoTokenizer

MAX_TOKENS = 512
BATCH_SIZE = 16  # texts of similar length: 64 long ones at once would take gigabytes
NOT_SERVED = ["*.bin", "*.pt", "*.pth", "*.pkl", "*.h5", "*.msgpack", "*.onnx", "*.py", "checkpoint-*/*"]
# v{YYYYMMDD}_{HHMMSS}, with a possible date and time
VERSION_TAG = re.compile(
    r"v2\d{3}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])_([01]\d|2[0-3])[0-5]\d[0-5]\d", re.ASCII
)

log = logging.getLogger("inference")


@dataclass(frozen=True)
class Version:
    """A commit of the model repository, and its version tag, if it has one."""

    tag: str | None
    sha: str


def newest_version(tags: list[str]) -> str | None:
    """The version tag with the latest time in its name; the Hub's own order is arbitrary."""
    return max(filter(VERSION_TAG.fullmatch, tags), default=None)


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
        """For each text, in order: a label, its probability, and the probabilities of all labels."""
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


def load_classifier(repo: str, wanted: str | None, token: str | None) -> Classifier:
    """Load the wanted revision (by default the newest version tag, or main) and make a first prediction.

    If the Hub is unreachable, load the version served last, if the same was wanted and it is still cached.
    """
    memory = Path(constants.HF_HOME) / "served" / f"{repo.replace('/', '--')}.json"
    try:
        version, folder = _fetch(repo, wanted, token)
    except (httpx.HTTPError, LocalEntryNotFoundError) as error:
        served = json.loads(memory.read_text()) if memory.exists() else {}
        if not _is_away(error) or served.get("wanted", "nothing yet") != wanted:
            raise
        log.warning("the Hub is away (%s): serving %s from the cache", type(error).__name__, served["sha"])
        version = Version(served["tag"], served["sha"])
        folder = _download(repo, version, local_files_only=True)
    classifier = Classifier(folder, version)
    classifier.predict(["नमस्कार, warm-up"])
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps({"wanted": wanted, **asdict(version)}))
    return classifier


def _fetch(repo: str, wanted: str | None, token: str | None) -> tuple[Version, Path]:
    """Resolve and download; retry while the Hub is unreachable, but not what it refuses."""
    for pause in (1, 2, None):
        try:
            version = _resolve(HfApi(token=token or False), repo, wanted)
            return version, _download(repo, version, token=token or False)
        except (httpx.HTTPError, LocalEntryNotFoundError) as error:
            if pause is None or not _is_away(error):
                raise
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  jitter, not a secret
    raise AssertionError("the last try returns or raises")


def _resolve(api: HfApi, repo: str, wanted: str | None) -> Version:
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo).tags}
    revision = wanted or newest_version(list(tags)) or "main"
    sha = str(api.model_info(repo, revision=revision).sha)
    if revision in tags:
        return Version(revision, sha)
    return Version(newest_version([name for name, commit in tags.items() if commit == sha]), sha)


def _download(repo: str, version: Version, **options: Any) -> Path:
    return Path(snapshot_download(repo, revision=version.sha, ignore_patterns=NOT_SERVED, **options))


def _is_away(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, httpx.TransportError | LocalEntryNotFoundError)
