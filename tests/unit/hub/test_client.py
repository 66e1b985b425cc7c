"""The client of the Hub: proxies, certificates, and what its refusals become for a person to act on."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import httpx

from rehearsal.local_hub import LocalHub
from retrain.errors import CheckpointError, DiskFullError, HubError, ReleaseError
from retrain.hub.client import account, check_token, connect, hub_errors
from retrain.hub.commits import Commit, make_commit
from retrain.hub.model_repo import ModelRepo, checkpoint_revision
from tests.conftest import CITY, USERS
from tests.networks import ForwardProxy, make_certificate, tls_in_front_of

# --- the network

HUB = "hub.example"  # which no name server knows
needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="a certificate is made with openssl"
)


@pytest.fixture
def port(hub: LocalHub) -> int:
    return int(hub.url.rpartition(":")[2])


@pytest.fixture
def proxy(port: int) -> Iterator[ForwardProxy]:
    with ForwardProxy({f"{HUB}:80": port, f"127.0.0.1:{port}": port}) as proxy:
        yield proxy


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without a proxy or certificates of its own."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


def who(endpoint: str) -> str:
    """The name behind the token, at a Hub."""
    api = connect(CITY)
    api.endpoint = endpoint
    return str(account(api)["name"])


def test_the_hub_is_called_through_the_proxy_of_the_environment_and_asked_again_there(
    proxy: ForwardProxy, direct: pytest.MonkeyPatch
) -> None:
    direct.setenv("HTTP_PROXY", proxy.url)
    direct.setenv("NO_PROXY", "localhost,10.0.0.0/8,.corp.example")
    proxy.answers = [502]
    assert who(f"http://{HUB}") == "city"
    assert proxy.seen == [f"GET {HUB}:80"] * 2


def test_a_host_of_no_proxy_is_called_directly(
    hub: LocalHub, proxy: ForwardProxy, direct: pytest.MonkeyPatch
) -> None:
    direct.setenv("HTTP_PROXY", proxy.url)
    assert who(hub.url) == "city"
    assert len(proxy.seen) == 1
    direct.setenv("NO_PROXY", "127.0.0.1")
    assert who(hub.url) == "city"
    assert len(proxy.seen) == 1


@needs_openssl
def test_a_tunnel_leads_to_a_hub_whose_certificate_is_named(
    port: int, direct: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path, HUB)
    with tls_in_front_of(port, certificate, key) as secure, ForwardProxy({f"{HUB}:443": secure}) as proxy:
        direct.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(
            HubError, match=r"is not trusted.* the company's CA in SSL_CERT_FILE and REQUESTS_CA"
        ):
            who(f"https://{HUB}")
        direct.setenv("SSL_CERT_FILE", str(certificate))
        assert who(f"https://{HUB}") == "city"
        assert set(proxy.seen) == {f"CONNECT {HUB}:443"}


def test_a_proxy_that_wants_a_login_is_named(proxy: ForwardProxy, direct: pytest.MonkeyPatch) -> None:
    direct.setenv("HTTPS_PROXY", proxy.url)
    proxy.answers = [407] * 9
    with pytest.raises(HubError, match=r"the proxy refused it \(407 .*\)\. Check HTTPS_PROXY"):
        who(f"https://{HUB}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "/no/such/file"),
        ("HTTPS_PROXY", "socks5://proxy.example:1080"),
        ("HTTPS_PROXY", "ftp://user:secret@proxy.example"),
        ("HTTP_PROXY", "http://proxy.example:secret"),
    ],
)
def test_a_proxy_or_certificate_that_can_not_be_used_is_an_expected_failure(
    direct: pytest.MonkeyPatch, name: str, value: str
) -> None:
    direct.setenv(name, value)
    with pytest.raises(HubError, match=name) as caught:
        who(f"http://{HUB}")
    assert "secret" not in str(caught.value)


def test_an_endpoint_that_is_no_address_is_named(direct: pytest.MonkeyPatch) -> None:
    with pytest.raises(HubError, match=r"HF_ENDPOINT='.*' is no address"):
        who("hub.example")


def test_what_answers_in_place_of_the_hub_is_not_taken_for_it(hub: LocalHub) -> None:
    with pytest.raises(HubError, match="what answered is not the Hub"), hub_errors("read", "city/model"):
        httpx.Response(200, text="<html>Please log in</html>").json()


# --- refusals


def test_a_download_that_found_no_hub_is_an_expected_failure() -> None:
    with pytest.raises(HubError, match="can't be reached"), hub_errors("read", "city/model"):
        raise LocalEntryNotFoundError("not in the cache, and no connection")


def answer(status: int, said: str | None = None) -> HfHubHTTPError:
    response = httpx.Response(status, request=httpx.Request("GET", "http://127.0.0.1/api"))
    return HfHubHTTPError(f"status {status}", response=response, server_message=said)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "HF_TOKEN is not accepted: it is wrong, or has expired"),
        (403, "HF_TOKEN lacks the permission. Give it write"),
        (404, "it does not exist, or HF_TOKEN may not see it"),
        (429, "the Hub limits the rate of calls, also after minutes of waiting"),
        (500, "the Hub is overloaded or down"),
        (503, "the Hub is overloaded or down"),
        (400, "the Hub refused it (status 400)."),
        (409, "the Hub refused it (status 409)."),
        (499, "the Hub refused it (status 499)."),
    ],
)
def test_a_refusal_of_the_hub_says_what_to_do_about_it(status: int, said: str) -> None:
    with pytest.raises(HubError) as caught, hub_errors("read", "city/model"):
        raise answer(status)
    assert str(caught.value).startswith("Could not read city/model: ")
    assert said in str(caught.value)
    assert f"(status {status})" in str(caught.value)


def test_a_storage_that_is_full_is_named(hub: LocalHub, api: HfApi) -> None:
    full = {"X-Error-Message": "Private repository storage limit reached, please upgrade your plan"}
    hub.faults.add(method="POST", path="/info/lfs/", status=403, headers=full)
    api.create_repo("city/model")
    head = api.model_info("city/model").sha
    commit = Commit([CommitOperationAdd("model.safetensors", b"w")], head, "x", "x")
    with pytest.raises(ReleaseError, match="the storage of the account is used up") as caught:
        make_commit(api, "city/model", commit)
    assert "HF_TOKEN" not in str(caught.value)


def test_a_gated_checkpoint_is_named(hub: LocalHub, api: HfApi) -> None:
    gated = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model meta/base is restricted"}
    hub.faults.add(path="/api/models/meta/base", status=403, headers=gated)
    with pytest.raises(CheckpointError, match=r"it is gated\. Ask for access on its page with the account"):
        checkpoint_revision(api, "meta/base")


def test_a_gated_model_repository_is_not_taken_for_none(hub: LocalHub, api: HfApi) -> None:
    hub.faults.add(path="/api/models/city/model", status=403, headers={"X-Error-Code": "GatedRepo"})
    with pytest.raises(HubError, match="it is gated"):
        ModelRepo(api, "city/model").head()


def test_a_client_that_is_to_stay_offline_is_named() -> None:
    offline = OfflineModeIsEnabled("Cannot reach http://x: offline mode is enabled.")
    with (
        pytest.raises(HubError, match="HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set") as caught,
        hub_errors("read", "city/model"),
    ):
        raise LocalEntryNotFoundError("not in the cache") from offline
    assert "Check the network" not in str(caught.value)


# --- the token


def scoped(*names: str, permissions: tuple[str, ...] = ("repo.content.read", "repo.write")) -> dict[str, Any]:
    """A fine-grained token's scopes, as the Hub's whoami lists them."""
    kinds = {name: "model" if "/" in name else "user" for name in names}
    entities = [{"_id": "0", "type": kind, "name": name} for name, kind in kinds.items()]
    scopes = [{"entity": entity, "permissions": list(permissions)} for entity in entities]
    return {"canReadGatedRepos": False, "global": ["discussion.write"], "scoped": scopes}


def checked(tmp_path: Path, **user: Any) -> None:
    with LocalHub(tmp_path / "hub", {CITY: USERS[CITY] | user}) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        check_token(api, ["city/model", "city/inference"])


@pytest.mark.parametrize(
    "user",
    [
        {"role": "write"},
        {"role": "fineGrained"},
        {"fineGrained": scoped("city/model", "City/Inference")},
        {"fineGrained": scoped("city")},
    ],
    ids=["write", "scopes unknown", "both", "the owner"],
)
def test_a_token_that_may_write_what_a_run_writes_passes(tmp_path: Path, user: dict[str, Any]) -> None:
    checked(tmp_path, **user)


@pytest.mark.parametrize(
    ("scopes", "lacking"),
    [
        (scoped("city/model"), "city/inference"),
        (scoped("city", permissions=("repo.content.read",)), "city/model, city/inference"),
        (scoped("stranger"), "city/model, city/inference"),
        (scoped(), "city/model, city/inference"),
    ],
    ids=["one of two", "only reads", "somebody else's", "none"],
)
def test_a_fine_grained_token_without_a_scope_is_said_before_training(
    tmp_path: Path, scopes: dict[str, Any], lacking: str
) -> None:
    with pytest.raises(HubError, match=f"fine-grained and may not write to {lacking}\\. Give it"):
        checked(tmp_path, fineGrained=scopes)


# --- files here


@pytest.mark.parametrize("code", [errno.EROFS, errno.EDQUOT, errno.EIO, errno.EACCES, errno.ENOTDIR])
def test_a_cache_that_can_not_be_written_is_an_expected_failure_that_names_hf_home(code: int) -> None:
    said = r"Could not read city/model: /cache/x .* set HF_HOME to a folder"
    with pytest.raises(HubError, match=said), hub_errors("read", "city/model"):
        raise OSError(code, os.strerror(code), "/cache/x")


def test_a_cache_whose_disk_is_full_is_a_full_disk() -> None:
    with pytest.raises(DiskFullError), hub_errors("read", "city/model"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_download_into_a_cache_below_a_file_names_hf_home(api: HfApi, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    api.create_repo("city/model")
    with pytest.raises(HubError, match="set HF_HOME"), hub_errors("read", "city/model"):
        api.snapshot_download("city/model", cache_dir=tmp_path / "file" / "cache")


def test_of_what_the_hub_says_the_first_line_is_told_and_not_without_end() -> None:
    with pytest.raises(HubError) as caught, hub_errors("read", "city/model"):
        raise answer(400, "x" * 300 + "\nsecond line")
    assert str(caught.value).endswith(f"(status 400: {'x' * 200}).")


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), ConnectionResetError(), TimeoutError()]
)
def test_a_connection_that_fails_is_an_expected_failure(error: Exception) -> None:
    with pytest.raises(ReleaseError) as caught, hub_errors("publish to", "city/model", ReleaseError):
        raise error
    assert "can't be reached or dropped the connection" in str(caught.value)
    assert type(error).__name__ in str(caught.value)


def test_a_name_that_is_none_is_an_expected_failure() -> None:
    with pytest.raises(HubError, match="Could not read a//b: "), hub_errors("read", "a//b"):
        raise HFValidationError("no name")


def test_what_is_no_fault_of_the_hub_stays_what_it_is() -> None:
    with pytest.raises(KeyError), hub_errors("read", "city/model"):
        raise KeyError


def test_a_checkpoint_that_the_hub_refuses_is_told_as_that() -> None:
    with (
        pytest.raises(CheckpointError, match="Could not load MODEL_CHECKPOINT city/base: it does not"),
        hub_errors("load MODEL_CHECKPOINT", "city/base", CheckpointError),
    ):
        raise answer(404)
