"""A model of one version, and its predictions. Knows nothing of requests, the Hub or the environment."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from versions import Version

MAX_TOKENS = 512
BATCH_SIZE = 16  # texts of similar length: 64 long ones at once would take gigabytes


class Classifier:
    """A tokenizer and a model of one version. One call at a time: the tokenizer is not thread-safe."""

    def __init__(self, folder: Path, version: Version) -> None:
        self.version = version
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model = AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False
        ).eval()
        # As many tokens as the version was trained and compared with.
        self.length = min(MAX_TOKENS, self.tokenizer.model_max_length)
        self.labels = [name for _, name in sorted(self.model.config.id2label.items())]

    @torch.inference_mode()
    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """For each text, in order: a label, its probability, and the probabilities of all labels."""
        encoded = [self.tokenizer(text, truncation=True, max_length=self.length) for text in texts]
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


def ready_classifier(folder: Path, version: Version) -> Classifier:
    """A classifier that has made a first prediction."""
    classifier = Classifier(folder, version)
    classifier.predict(["नमस्कार, warm-up"])
    return classifier
