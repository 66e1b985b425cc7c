"""How predictions are computed: the module of the inference Space, in this process."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks.inference_load import make_classifier
from rehearsal.sample_data import make_grievances

TEXTS = [row["grievance"] for row in make_grievances(60)]


@pytest.fixture(scope="module")
def served_model(space_module: Callable[[str], ModuleType]) -> ModuleType:
    return space_module("served_model")


def test_no_more_than_sixteen_texts_are_computed_at_once_the_short_ones_together(
    served_model: ModuleType, tmp_path: Path
) -> None:
    folder = make_classifier(tmp_path / "classifier", TEXTS)
    classifier = served_model.Classifier(folder, served_model.Version(None, "0" * 40))
    shapes: list[tuple[int, int]] = []

    def look(model: Any, args: Any, given: dict[str, Any]) -> None:
        shapes.append(tuple(given["input_ids"].shape))

    classifier.model.register_forward_pre_hook(look, with_kwargs=True)
    answers = classifier.predict(TEXTS[:40])
    assert [rows for rows, _ in shapes] == [16, 16, 8]
    assert [length for _, length in shapes] == sorted(length for _, length in shapes)
    assert [answer["label"] for answer in answers] == [
        classifier.predict([text])[0]["label"] for text in TEXTS[:40]
    ]
