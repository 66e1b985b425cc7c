"""Who is shown HF_TOKEN by the client of the live API; and the inference Space as a rollout sees it."""

from typing import Any

import pytest
from huggingface_hub import HfApi

from configs import PlaceSettings
from rehearsal.local_hub import LocalHub
from retrain.connections import inference_space, live_model
from retrain.errors import HubError
from retrain.hub.spaces import Space
from retrain.records import Version
from tests.conftest import CITY, NEEDED, LiveAPI

SPACE = "city/inference"


def space_at(hub: LocalHub, live_api: LiveAPI, *, private: bool) -> Space:
    """The Space, whose own address is that of the API."""
    api = HfApi(endpoint=hub.url, token=CITY)
    api.create_repo(SPACE, repo_type="space", space_sdk="docker", private=private)
    hub.space_host.space(SPACE).settings["port"] = live_api.server.server_port
    return Space(api, SPACE)


def settings(endpoint: str, **others: str) -> PlaceSettings:
    return PlaceSettings.read(NEEDED | {"HF_TOKEN": CITY, "API_ENDPOINT": endpoint} | others)


def shown(space: Space, live_api: LiveAPI, **others: str) -> str | None:
    """The header with which the API was asked."""
    (answer,) = live_model(space, settings(live_api.url, **others)).ask(["a text"], failures_allowed=0)
    assert answer.label == 0
    return live_api.headers[-1].get("Authorization")


def test_a_private_space_is_shown_our_token_at_its_own_address(hub: LocalHub, live_api: LiveAPI) -> None:
    assert shown(space_at(hub, live_api, private=True), live_api) == f"Bearer {CITY}"


def test_a_public_space_is_not_shown_our_token(hub: LocalHub, live_api: LiveAPI) -> None:
    assert shown(space_at(hub, live_api, private=False), live_api) is None


def test_an_api_that_is_not_at_the_address_of_the_space_is_not_shown_our_token(
    hub: LocalHub, live_api: LiveAPI
) -> None:
    space = space_at(hub, live_api, private=True)
    hub.space_host.space(SPACE).settings["port"] += 1
    assert shown(space, live_api) is None


@pytest.mark.parametrize("private", [True, False])
def test_the_token_of_the_api_goes_before_ours(hub: LocalHub, live_api: LiveAPI, private: bool) -> None:
    space = space_at(hub, live_api, private=private)
    hub.requests.clear()
    assert shown(space, live_api, API_TOKEN="sesame") == "Bearer sesame"
    assert not hub.requests


def test_our_token_is_not_shown_where_the_space_sends_us_on_to(hub: LocalHub, live_api: LiveAPI) -> None:
    elsewhere = LiveAPI()
    live_api.answer = lambda text: (307, {}, {"Location": elsewhere.url})
    live = live_model(space_at(hub, live_api, private=True), settings(live_api.url))
    assert [answer.label for answer in live.ask(["a text"], failures_allowed=1)] == [None]
    assert live_api.headers[0]["Authorization"] == f"Bearer {CITY}"
    assert not elsewhere.headers, "nothing is sent there at all"
    elsewhere.close()


class OnThePlatform(HfApi):
    """A client of a Hub whose Spaces have an address of the platform."""

    def space_info(self, *arguments: Any, **options: Any) -> Any:
        info = super().space_info(*arguments, **options)
        assert info.runtime is not None
        info.runtime.raw["domains"] = [{"domain": "city-inference.hf.space"}]
        return info


@pytest.mark.parametrize(
    ("endpoint", "may_see_it"),
    [
        ("https://city-inference.hf.space/predict", True),
        ("http://city-inference.hf.space/predict", False),
        ("https://evil-city-inference.hf.space/predict", False),
        ("https://city-inference.hf.space.example.org/predict", False),
        ("https://example.org/city-inference.hf.space", False),
        ("http://127.0.0.1/predict", False),
    ],
)
def test_on_the_platform_our_token_is_for_the_address_of_the_space_over_https_only(
    hub: LocalHub, live_api: LiveAPI, endpoint: str, may_see_it: bool
) -> None:
    space_at(hub, live_api, private=True)
    space = Space(OnThePlatform(endpoint=hub.url, token=CITY), SPACE)
    headers = live_model(space, settings(endpoint)).session.headers
    assert headers.get("Authorization") == (f"Bearer {CITY}" if may_see_it else None)


def test_a_hub_that_does_not_say_whether_the_space_is_private_ends_it(
    hub: LocalHub, live_api: LiveAPI
) -> None:
    space = space_at(hub, live_api, private=True)
    hub.faults.add(path=f"/api/spaces/{SPACE}", status=403)
    with pytest.raises(HubError, match="Could not read the Space city/inference"):
        live_model(space, settings(live_api.url))


# --- the inference Space of a rollout


def test_a_rollout_asks_the_api_and_the_hub(hub: LocalHub, live_api: LiveAPI) -> None:
    space = space_at(hub, live_api, private=True)
    live_api.about = lambda: {"model_version": "v20260101_000000", "model_revision": "a" * 40}
    done: list[str] = []
    seen = inference_space(
        space,
        live_model(space, settings(live_api.url)),
        restart=lambda: done.append("restarted"),
        on_look=lambda: done.append("looked"),
    )
    space.pause()
    assert seen.space_id == SPACE
    assert seen.state() == space.state()
    assert seen.served().version == Version("v20260101_000000", "a" * 40)
    assert [answer.label for answer in seen.ask(["one", "two"])] == [0, 0]
    seen.restart()
    assert done == ["looked", "restarted"]


def test_a_rollout_may_find_every_text_unanswered(hub: LocalHub, live_api: LiveAPI) -> None:
    space = space_at(hub, live_api, private=True)
    live_api.answer = lambda text: (500, {})
    seen = inference_space(space, live_model(space, settings(live_api.url)), restart=space.restart)
    assert [answer.label for answer in seen.ask(["one", "two", "three"])] == [None] * 3
