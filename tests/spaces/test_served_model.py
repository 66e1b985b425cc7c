"""Which version is served and how it is computed: the module of the inference Space, in this process."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from benchmarks.inference_load import make_classifier
from rehearsal.local_hub import LocalHub
from rehearsal.sample_data import make_grievances
from tests.conftest import CITY, SOURCE, USERS

TEXTS = [row["grievance"] for row in make_grievances(60)]


@pytest.fixture(scope="module")
def served_model() -> Iterator[ModuleType]:
    """The Space has no package: its modules are found beside app.py."""
    file = SOURCE / "companion_spaces" / "inference" / "served_model.py"
    spec = importlib.util.spec_from_file_location("served_model", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["served_model"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["served_model"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """The client goes to this Hub, as HF_ENDPOINT and HF_HOME would have it at import."""
    with LocalHub(tmp_path / "hub", USERS) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        api = HfApi(endpoint=running.url, token=CITY)
        api.create_repo("city/model")
        api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="city/model")
        api.create_tag("city/model", tag="v20260101_000000")
        yield running


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_is_away_at_the_start_is_asked_again(
    served_model: ModuleType, hub: LocalHub, status: int
) -> None:
    fault = hub.faults.add(path="/refs", status=status)
    version, folder = served_model._fetch("city/model", None, CITY)
    assert version.tag == "v20260101_000000"
    assert (folder / "config.json").exists()
    assert fault.hits == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_final(served_model: ModuleType, hub: LocalHub, status: int) -> None:
    fault = hub.faults.add(path="/refs", status=status, times=None)
    with pytest.raises(HfHubHTTPError):
        served_model._fetch("city/model", None, CITY)
    assert fault.hits == 1


def test_after_three_times_a_hub_that_is_away_is_given_up(served_model: ModuleType, hub: LocalHub) -> None:
    fault = hub.faults.add(path="/refs", status=503, times=None)
    with pytest.raises(HfHubHTTPError):
        served_model._fetch("city/model", None, CITY)
    assert fault.hits == 3


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


@pytest.mark.parametrize(
    ("tags", "newest"),
    [
        ([], None),
        (["v20250101_000000", "v20260101_000000", "v20250601_000000"], "v20260101_000000"),
        (["v99999999_999999", "v20261301_000000", "v20260132_000000", "v20260101_240000"], None),
        (["verified-v20260101_000000", "v20260101_0000001", "v2"], None),
        (["v20251231_235959", "main"], "v20251231_235959"),
    ],
)
def test_the_newest_version_is_the_latest_time_that_a_clock_can_show(
    served_model: ModuleType, tags: list[str], newest: str | None
) -> None:
    assert served_model.newest_version(tags) == newest
