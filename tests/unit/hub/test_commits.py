"""A commit on a known head: whose it is, after an answer that was lost."""

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from rehearsal.local_hub import LocalHub
from retrain.errors import ComparisonError
from retrain.hub.commits import Commit, make_commit

REPO = "city/model"


def release(api: HfApi, content: bytes) -> Commit:
    """A release as two runs of the same second make it: the same head, the same title, the same tag."""
    head = api.model_info(REPO).sha
    return Commit([CommitOperationAdd("model.safetensors", content)], head, "Auto-deploy", "Version v1")


def test_of_two_like_releases_the_second_does_not_take_the_first_for_its_own(api: HfApi) -> None:
    api.create_repo(REPO)
    winner, loser = release(api, b"winner"), release(api, b"loser")
    made = make_commit(api, REPO, winner)
    with pytest.raises(ComparisonError, match=f"has moved from .* to {made}"):
        make_commit(api, REPO, loser)
    assert api.model_info(REPO).sha == made


def test_a_commit_whose_answer_was_lost_is_known_again(hub: LocalHub, api: HfApi) -> None:
    api.create_repo(REPO)
    hub.faults.add(method="POST", path="/commit/", status=500, lose_answer=True, times=1)
    commit = release(api, b"ours")
    made = make_commit(api, REPO, commit)
    assert api.model_info(REPO).sha == made
    assert sum(each.title == "Auto-deploy" for each in api.list_repo_commits(REPO)) == 1
