"""A Space on the Hub: which URL may be shown our token, its state, its pause and its restart."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from retrain.errors import HubError, RolloutError
from retrain.hub.spaces import Space
from tests.conftest import CITY, USERS


def test_our_token_is_shown_to_a_private_space_at_its_own_address_only(tmp_path: Path) -> None:
    with LocalHub(tmp_path, USERS, host_spaces=True) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        for name, private in (("city/private", True), ("city/public", False)):
            api.create_repo(name, repo_type="space", space_sdk="docker", private=private)
        private, public = (
            f"http://{api.get_space_runtime(name).raw['domains'][0]['domain']}/predict"
            for name in ("city/private", "city/public")
        )
        assert Space(api, "city/private").is_private_at(private)
        assert not Space(api, "city/public").is_private_at(public)
        assert not Space(api, "city/private").is_private_at(public)
        assert not Space(api, "city/private").is_private_at("https://elsewhere.example/predict")


# --- the address


DOMAIN = "city-inference.hf.space"


def space_with(private: bool, domains: Sequence[str] | None) -> Space:
    """A Space with these domains, as the Hub describes it; None for one that does not run."""
    raw = {"domains": [{"domain": domain} for domain in domains or ()]}
    runtime = None if domains is None else SimpleNamespace(raw=raw)
    api = SimpleNamespace(space_info=lambda space_id: SimpleNamespace(private=private, runtime=runtime))
    return Space(api, "city/inference")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", [f"https://{DOMAIN}/predict", f"https://{DOMAIN}", "http://127.0.0.1:5/x", "http://localhost:5/x"]
)
def test_our_token_is_for_the_address_of_a_private_space(url: str) -> None:
    domains = (DOMAIN, "127.0.0.1:5", "localhost:5")
    assert space_with(private=True, domains=domains).is_private_at(url)
    assert not space_with(private=False, domains=domains).is_private_at(url)
    assert not space_with(private=True, domains=()).is_private_at(url)


@pytest.mark.parametrize(
    "url",
    [
        f"http://{DOMAIN}/predict",
        f"https://evil-{DOMAIN}/predict",
        f"https://{DOMAIN}.evil.example/predict",
        f"https://{DOMAIN}:8443/predict",
        f"https://user@{DOMAIN}/predict",
        f"https://evil.example/{DOMAIN}",
        "https://hf.space/predict",
        f"ftp://{DOMAIN}/predict",
    ],
    ids=["plain http", "a longer name", "a suffix", "a port", "a user", "a path", "a parent", "no http"],
)
def test_our_token_is_for_no_other_address(url: str) -> None:
    assert not space_with(private=True, domains=(DOMAIN,)).is_private_at(url)


def test_a_space_that_does_not_run_has_no_address() -> None:
    assert not space_with(private=True, domains=None).is_private_at(f"https://{DOMAIN}/")


# --- its state


@pytest.fixture
def space(api: HfApi) -> Space:
    """One that runs."""
    api.create_repo("city/space", repo_type="space", space_sdk="docker")
    api.upload_file(
        path_or_fileobj=b"FROM scratch\n",
        path_in_repo="Dockerfile",
        repo_id="city/space",
        repo_type="space",
    )
    api.restart_space("city/space")
    return Space(api, "city/space")


@pytest.mark.parametrize(
    ("stage", "coming", "stuck", "broken", "replaced"),
    [
        ("RUNNING", False, False, False, False),
        ("BUILDING", True, False, False, True),
        ("APP_STARTING", True, False, False, True),
        ("RUNNING_BUILDING", True, False, False, True),
        ("RUNNING_APP_STARTING", True, False, False, True),
        ("SLEEPING", True, False, False, False),
        ("PAUSED", False, True, False, True),
        ("STOPPED", False, True, False, True),
        ("DELETING", False, True, False, True),
        ("RUNTIME_ERROR", False, True, True, False),
        ("BUILD_ERROR", False, True, False, False),
        ("CONFIG_ERROR", False, True, False, False),
        ("NO_APP_FILE", False, True, False, False),
    ],
)
def test_a_stage_has_a_meaning(stage: str, coming: bool, stuck: bool, broken: bool, replaced: bool) -> None:
    api = SimpleNamespace(get_space_runtime=lambda repo_id: SimpleNamespace(stage=stage))
    space = Space(api, "city/space")  # type: ignore[arg-type]
    state = space.state()
    assert (state.stage, state.coming, bool(state.remedy), state.broken) == (stage, coming, stuck, broken)
    assert space.is_being_replaced() == replaced


def test_a_stage_that_the_hub_does_not_say_is_unknown(hub: LocalHub, space: Space) -> None:
    hub.faults.add(path="/runtime", status=403, times=2)
    with pytest.raises(HubError, match="Could not ask for the state of the Space city/space"):
        space.stage()
    assert space.state().stage.startswith("unknown: Could not ask for the state of the Space")


def test_a_space_that_is_paused_is_being_replaced_and_one_that_runs_is_not(api: HfApi, space: Space) -> None:
    assert space.stage() == "RUNNING"
    assert not space.is_being_replaced()
    api.pause_space("city/space")
    assert space.is_being_replaced()


def test_a_space_of_an_unknown_stage_is_not_being_replaced(hub: LocalHub, space: Space) -> None:
    hub.faults.add(path="/runtime", status=403)
    assert not space.is_being_replaced()


# --- pause and restart


def asked(hub: LocalHub, what: str) -> int:
    return sum(request.path.endswith(f"/{what}") for request in hub.requests)


def test_a_pause_whose_answer_is_lost_is_done_once(hub: LocalHub, space: Space) -> None:
    hub.faults.add(path="/pause", lose_answer=True)
    space.pause()
    assert space.stage() == "PAUSED"
    assert asked(hub, "pause") == 1


def test_a_pause_that_is_refused_is_asked_for_once_more(hub: LocalHub, space: Space) -> None:
    hub.faults.add(path="/pause", status=500)
    space.pause()
    assert space.stage() == "PAUSED"
    hub.faults.add(path="/pause", status=500, times=2)
    space.restart()
    with pytest.raises(HubError, match="Could not pause the Space city/space"):
        space.pause()


def test_a_restart_whose_answer_is_lost_is_no_failure(hub: LocalHub, space: Space) -> None:
    before = asked(hub, "restart")
    hub.faults.add(path="/restart", lose_answer=True)
    space.restart()
    assert asked(hub, "restart") == before + 1


def test_a_restart_that_is_refused_is_a_failed_rollout(hub: LocalHub, space: Space) -> None:
    hub.faults.add(path="/restart", status=403)
    with pytest.raises(RolloutError, match="Could not restart the Space city/space"):
        space.restart()
