"""Which URL may be shown our token."""

from pathlib import Path

from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from retrain.hub.spaces import Space
from tests.conftest import CITY, USERS


def test_our_token_is_shown_to_a_private_space_at_its_own_address_alone(tmp_path: Path) -> None:
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
