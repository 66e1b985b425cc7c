"""The end of a run: the pause, and the steps before it that must not bar its way."""

from pathlib import Path

from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from retrain.hub.spaces import Space
from retrain.journal import Journal
from retrain.lifecycle.ending import pause_or_stay
from tests.conftest import CITY, USERS


def test_a_pause_is_tried_again_until_it_is_done(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        api.create_repo("city/retrain", repo_type="space", space_sdk="docker")
        hub.faults.add(path="/pause", status=403, times=2)
        journal, told = Journal.create(tmp_path / "run"), []
        space = Space(api, "city/retrain")
        pause_or_stay(space, journal, lambda: told.append(1), again_seconds=0.05)
        assert told == [1]
        assert api.get_space_runtime("city/retrain").stage == "PAUSED"
        assert journal.record().pause_failed is None
