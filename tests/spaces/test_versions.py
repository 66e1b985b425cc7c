"""Which version is served, and where its files come from: the module of the Space, in this process."""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from rehearsal.local_hub import LocalHub
from retrain.records import is_version_tag
from tests.conftest import CITY, USERS, free_port

REPO, TAG = "city/model", "v20260101_000000"
WEIGHTS = b"weights " * 1000


@pytest.fixture(scope="module")
def versions(space_module: Callable[[str], ModuleType]) -> ModuleType:
    return space_module("versions")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """The client goes to this Hub, as HF_ENDPOINT and HF_HOME would have it at import."""
    with LocalHub(tmp_path / "hub", USERS) as running:
        point_to(running.url, monkeypatch)
        monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
        api = HfApi(endpoint=running.url, token=CITY)
        api.create_repo(REPO)
        for name, content in (("config.json", b"{}"), ("model.safetensors", WEIGHTS)):
            api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=REPO)
        api.create_tag(REPO, tag=TAG)
        yield running


def point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def source(versions: ModuleType, hub: LocalHub) -> Any:
    return versions.Source(REPO, None, CITY)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"path": "/refs", "status": 429}, "the Hub limits its requests (status 429)"),
        ({"path": "/refs", "status": 500}, "the Hub is away (status 500)"),
        ({"path": "/revision/", "status": 503}, "the Hub is away (status 503)"),
        ({"path": "/refs", "drop": True}, "the Hub is away (RemoteProtocolError)"),
        ({"path": "/resolve/", "drop": True}, "the Hub is away (RemoteProtocolError)"),
    ],
)
def test_a_hub_that_is_away_is_the_reason_and_no_fault_of_the_version(
    versions: ModuleType, source: Any, hub: LocalHub, fault: dict[str, Any], reason: str
) -> None:
    hub.faults.add(times=None, **fault)
    with pytest.raises(versions.UnavailableError) as caught:
        source.fetch()
    assert (str(caught.value), caught.value.away) == (reason, True)


def test_nobody_listening_is_the_hub_being_away(
    versions: ModuleType, source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to(f"http://127.0.0.1:{free_port()}", monkeypatch)
    with pytest.raises(versions.UnavailableError, match=r"^the Hub is away \(ConnectError\)$"):
        source.fetch()


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("path", ["/refs", "/revision/", "/tree/"])
def test_a_refusal_is_final(source: Any, hub: LocalHub, status: int, path: str) -> None:
    fault = hub.faults.add(path=path, status=status, times=None)
    with pytest.raises((HfHubHTTPError, OSError)):
        source.fetch()
    assert fault.hits == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"Retry-After": "20"}, 20),
        ({"Retry-After": "soon"}, 0),
        ({"Retry-After": format_datetime(datetime.now(UTC) - timedelta(days=1))}, 0),
        ({"Retry-After": format_datetime(datetime.now(UTC) + timedelta(days=9))}, 600),
        ({"Retry-After": "99999999"}, 600),
        ({"RateLimit": '"api";r=0;t=55'}, 55),
        ({"RateLimit": '"api";r=0;t=5', "Retry-After": "20"}, 20),
    ],
)
def test_the_hub_is_left_alone_for_as_long_as_it_asks_within_reason(
    versions: ModuleType, source: Any, hub: LocalHub, headers: dict[str, str], seconds: float
) -> None:
    hub.faults.add(path="/refs", status=429, headers=headers, times=None)
    with pytest.raises(versions.UnavailableError) as caught:
        source.fetch()
    assert caught.value.seconds == seconds


def test_a_repository_without_a_model_has_no_version_yet(versions: ModuleType, hub: LocalHub) -> None:
    api = HfApi(endpoint=hub.url, token=CITY)
    api.create_repo("city/empty", private=True)
    source = versions.Source("city/empty", None, CITY)
    with pytest.raises(versions.UnavailableError) as caught:
        source.fetch()
    assert str(caught.value) == "no version yet: city/empty holds no model"
    assert not caught.value.away
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="city/empty")
    assert source.fetch()[0].tag is None, "a model at main needs no tag"


# --- the cache


def test_what_is_damaged_in_the_cache_is_fetched_anew(
    source: Any, hub: LocalHub, caplog: pytest.LogCaptureFixture
) -> None:
    _, folder = source.fetch()
    weights, config = (folder / name for name in ("model.safetensors", "config.json"))
    weights.write_bytes(WEIGHTS.replace(b"w", b"W"))
    config.write_bytes(b"[]")
    hub.requests.clear()
    assert source.fetch()[1] == folder
    assert (weights.read_bytes(), config.read_bytes()) == (WEIGHTS, b"{}")
    assert "the cache is damaged, and fetched anew: config.json, model.safetensors" in caplog.text
    hub.requests.clear()
    source.fetch()
    assert not [
        request for request in hub.requests if request.method == "GET" and "/resolve/" in request.path
    ]


def test_what_is_damaged_is_not_served_while_the_hub_is_away(
    versions: ModuleType, source: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    version, folder = source.fetch()
    source.remember(version)
    assert source.served_last() == (version, folder)
    (folder / "model.safetensors").write_bytes(b"cut off")
    assert source.served_last() is None
    assert "the cache is damaged" in caplog.text
    assert source.served_last() is None, "nor at the next look"
    assert source.fetch() == (version, folder)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    "memo", [b"", b'{"wanted": nul', b"null", b"[]", b'{"wanted": null, "sha": 5}', b"\xff", None]
)
def test_a_memo_that_can_not_be_read_is_a_warning(
    source: Any, caplog: pytest.LogCaptureFixture, memo: bytes | None
) -> None:
    version, _ = source.fetch()
    source.remember(version)
    (file,) = (Path(constants.HF_HOME) / "served").iterdir()
    if memo is None:
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(memo)
    assert source.served_last() is None
    assert "can't read which version was served last" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING


def test_a_memo_that_can_not_be_written_is_a_warning(source: Any, caplog: pytest.LogCaptureFixture) -> None:
    version, _ = source.fetch()
    (Path(constants.HF_HOME) / "served").write_text("a file is in the way")
    source.remember(version)
    assert "can't write down which version is served" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING


def test_of_another_revision_nothing_is_served_from_the_cache(versions: ModuleType, source: Any) -> None:
    version, _ = source.fetch()
    source.remember(version)
    assert versions.Source(REPO, "main", CITY).served_last() is None


# --- version tags


@pytest.mark.parametrize(
    ("tags", "newest"),
    [
        ([], None),
        (["v20250101_000000", "v20260101_000000", "v20250601_000000"], "v20260101_000000"),
        (["v99999999_999999", "v20261301_000000", "v20260132_000000", "v20260101_240000"], None),
        (["v20260229_000000", "v20260931_000000", "v20269931_000000", "v99991231_235959"], None),
        (["v20280229_000000", "v20260101_000060", "v20260101_006000"], "v20280229_000000"),
        (["v٢٠٢٦٠١٠١_٠٠٠٠٠٠", "v20260101_00000０", "v2026 101_000000", "v20260101_000000\n"], None),
        (["verified-v20260101_000000", "v20260101_0000001", "v2"], None),
        (["v20251231_235959", "main"], "v20251231_235959"),
    ],
)
def test_the_newest_version_is_the_latest_time_that_a_clock_can_show(
    versions: ModuleType, tags: list[str], newest: str | None
) -> None:
    assert versions.newest_version(tags) == newest


@pytest.mark.parametrize(
    ("tag", "is_one"),
    [
        ("v20260228_235959", True),
        ("v20260230_000000", False),
        ("v20261301_000000", False),
        ("v20260101_240000", False),
        ("v20260101_000060", False),
        ("v19990101_000000", False),
        ("v99991231_235959", False),
        ("v२०२६०१०१_००००००", False),
        ("v20260101_000000\n", False),
        ("verified-v20260101_000000", False),
    ],
)
def test_the_job_and_the_space_agree_on_what_a_version_tag_is(
    versions: ModuleType, tag: str, is_one: bool
) -> None:
    assert versions.is_version(tag) == is_version_tag(tag) == is_one
