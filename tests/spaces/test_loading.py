"""What is served while the Hub is away, and after: the module of the inference Space, in this process."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from benchmarks.inference_load import make_classifier
from rehearsal.local_hub import LocalHub
from rehearsal.sample_data import make_grievances
from tests.conftest import CITY, USERS

REPO, OLD, NEW = "city/model", "v20260101_000000", "v20260201_000000"


@pytest.fixture(scope="module")
def loading(space_module: Callable[[str], ModuleType]) -> ModuleType:
    return space_module("loading")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [row["grievance"] for row in make_grievances(60)]
    return make_classifier(tmp_path_factory.mktemp("classifier"), texts)


@pytest.fixture
def hub(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """With one version. The client goes to this Hub, as HF_ENDPOINT and HF_HOME would have it at import."""
    with LocalHub(tmp_path / "hub", USERS) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
        api = HfApi(endpoint=running.url, token=CITY)
        api.create_repo(REPO)
        api.upload_folder(repo_id=REPO, folder_path=model)
        api.create_tag(REPO, tag=OLD)
        yield running


@pytest.fixture
def source(space_module: Callable[[str], ModuleType], hub: LocalHub) -> Any:
    return space_module("versions").Source(REPO, None, CITY)


def wait_until(holds: Callable[[], bool], loader: threading.Thread) -> None:
    while not holds():
        assert loader.is_alive()
        time.sleep(0.01)


def test_the_hub_is_asked_until_it_answers(loading: ModuleType, source: Any, hub: LocalHub) -> None:
    """More often than it once was, and nothing is cached here."""
    serving = loading.Serving()
    assert serving.status == "starting"
    fault = hub.faults.add(path="/refs", status=503, times=4)
    loader = threading.Thread(target=loading.load, args=(source, serving), daemon=True)
    loader.start()
    wait_until(lambda: fault.hits == 4 and serving.status == "waiting", loader)
    assert (serving.classifier, serving.reason) == (None, "the Hub is away (status 503)")
    loader.join()
    assert (serving.status, serving.reason, serving.classifier.version.tag) == ("ok", None, OLD)


def test_what_was_served_last_serves_until_the_newest_can_be_had(
    loading: ModuleType, source: Any, hub: LocalHub
) -> None:
    loading.load(source, loading.Serving())
    api = HfApi(endpoint=hub.url, token=CITY)
    api.upload_file(repo_id=REPO, path_in_repo="note.txt", path_or_fileobj=b"another commit")
    api.create_tag(REPO, tag=NEW)
    fault = hub.faults.add(path="/refs", status=429, headers={"Retry-After": "6"})
    serving = loading.Serving()
    loader = threading.Thread(target=loading.load, args=(source, serving), daemon=True)
    loader.start()
    wait_until(lambda: serving.classifier is not None, loader)
    assert (serving.classifier.version.tag, serving.status) == (OLD, "waiting")
    assert serving.reason == "the Hub limits its requests (status 429)"
    loader.join()
    assert (serving.classifier.version.tag, serving.status, serving.reason) == (NEW, "ok", None)
    assert fault.hits == 1


def test_a_version_that_is_cached_but_broken_does_not_end_the_wait(
    loading: ModuleType, source: Any, hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    api = HfApi(endpoint=hub.url, token=CITY)
    api.upload_file(repo_id=REPO, path_in_repo="config.json", path_or_fileobj=b"{}")
    api.create_tag(REPO, tag=NEW)
    source.remember(source.fetch()[0])
    api.delete_tag(REPO, tag=NEW)
    fault = hub.faults.add(path="/refs", status=429, headers={"RateLimit": '"api";r=0;t=6'})
    serving = loading.Serving()
    loading.load(source, serving)
    assert fault.hits == 1
    assert "is in the cache, but can't be loaded" in caplog.text
    assert serving.classifier.version.tag == OLD


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_version_that_is_broken_is_not_waited_for(
    loading: ModuleType, source: Any, hub: LocalHub, file: str
) -> None:
    api = HfApi(endpoint=hub.url, token=CITY)
    api.upload_file(repo_id=REPO, path_in_repo=file, path_or_fileobj=b"cut off")
    api.create_tag(REPO, tag=NEW)
    serving = loading.Serving()
    with pytest.raises(Exception, match=r"."):  # whatever transformers raises
        loading.load(source, serving)
    assert (serving.classifier, serving.reason) == (None, None)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_not_waited_for(loading: ModuleType, source: Any, hub: LocalHub, status: int) -> None:
    hub.faults.add(path="/refs", status=status, times=None)
    with pytest.raises(HfHubHTTPError):
        loading.load(source, loading.Serving())
