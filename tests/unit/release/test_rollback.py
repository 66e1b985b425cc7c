"""The way back: when it is taken, and when it is not; which version it leads to."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from retrain.errors import ReleaseError, RolloutError
from retrain.hub.model_repo import ModelRepo
from retrain.journal import Journal
from retrain.records import Answer, Release, SpaceState, Version
from retrain.release.inference_space import InferenceSpace
from retrain.release.rollback import Deployment, any_answer, version_to_restore
from retrain.release.rollout import ANY_ANSWER
from tests.conftest import CITY, USERS

FIRST, SECOND, OTHERS = "v20250101_000000", "v20250201_000000", "v20250301_000000"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[HfApi]:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        api.create_repo("city/model")
        tagged(api, FIRST)
        tagged(api, SECOND, previous=FIRST)
        yield api


@pytest.fixture
def repo(api: HfApi) -> ModelRepo:
    return ModelRepo(api, "city/model")


def tagged(api: HfApi, tag: str, previous: str = "") -> str:
    content = f'{{"version_tag": "{tag}", "previous_version": "{previous}"}}'.encode()
    made = api.upload_file(path_or_fileobj=content, path_in_repo="metadata.json", repo_id="city/model")
    api.create_tag("city/model", tag=tag, revision=made.oid)
    return str(made.oid)


def space(restarts: list[str]) -> InferenceSpace:
    """A Space that never serves anything but a version of before."""
    return InferenceSpace(
        "city/inference",
        restart=lambda: restarts.append("restarted"),
        state=lambda: SpaceState("RUNNING"),
        served_version=lambda: Version(None, "0" * 40),
        ask=lambda texts: [Answer(0) for _ in texts],
    )


def roll(repo: ModelRepo, journal: Journal, previous: Version | None, restarts: list[str]) -> str:
    """Bring the second version into service, which fails; returns what is said."""
    second = next(version for version in repo.versions() if version.tag == SECOND)
    deployment = Deployment(repo, space(restarts), any_answer, timeout_minutes=0.001)
    with pytest.raises(RolloutError) as failed:
        deployment.bring_into_service(
            Release(SECOND, second.revision, None, ""), previous, ANY_ANSWER, journal
        )
    return str(failed.value)


def first_of(repo: ModelRepo) -> Version:
    return next(version for version in repo.versions() if version.tag == FIRST)


def test_a_version_that_somebody_else_has_released_meanwhile_is_not_rolled_back(
    api: HfApi, repo: ModelRepo, tmp_path: Path
) -> None:
    theirs, restarts = tagged(api, OTHERS), []  # type: tuple[str, list[str]]
    said = roll(repo, Journal.create(tmp_path / "run"), first_of(repo), restarts)
    assert f"Nothing was rolled back: {OTHERS} was released by somebody else meanwhile." in said
    assert api.model_info("city/model").sha == theirs
    assert [version.tag for version in repo.versions()] == [OTHERS, SECOND, FIRST]
    assert restarts == ["restarted"]


def test_without_a_version_before_there_is_no_way_back(api: HfApi, repo: ModelRepo, tmp_path: Path) -> None:
    before = api.model_info("city/model").sha
    said = roll(repo, Journal.create(tmp_path / "run"), None, [])
    assert "There is no version before it to go back to." in said
    assert api.model_info("city/model").sha == before


def test_a_way_back_that_fails_too_says_in_which_state_everything_is(repo: ModelRepo, tmp_path: Path) -> None:
    restarts: list[str] = []
    said = roll(repo, Journal.create(tmp_path / "run"), first_of(repo), restarts)
    newest, second, _ = repo.versions()
    assert f"Going back to {FIRST} failed too" in said
    assert f"main of city/model is at {newest.revision}, its newest version is {newest.tag}" in said
    assert f"city/inference is RUNNING and serves {'0' * 40}" in said
    assert f"--to {FIRST}" in said
    assert (second.given_up, newest.verified) == (True, False)
    assert restarts == ["restarted"] * 2


# --- which version


def test_unless_one_is_named_the_version_that_the_newest_replaced_is_restored(repo: ModelRepo) -> None:
    first = first_of(repo)
    assert version_to_restore(repo, None) == first
    assert version_to_restore(repo, FIRST) == first
    assert version_to_restore(repo, "a" * 40) == Version(None, "a" * 40)


def test_a_version_that_does_not_say_which_it_replaced_leaves_the_choice_to_people(
    api: HfApi, repo: ModelRepo
) -> None:
    made = api.upload_file(path_or_fileobj=b"{}", path_in_repo="metadata.json", repo_id="city/model")
    api.create_tag("city/model", tag=OTHERS, revision=made.oid)
    with pytest.raises(ReleaseError) as refused:
        version_to_restore(repo, None)
    assert str(refused.value) == (
        f"{OTHERS} of city/model does not say which version it replaced. Choose one with --to: "
        f"{SECOND}, {FIRST}."
    )


def test_where_there_is_no_version_none_can_be_restored(api: HfApi) -> None:
    api.create_repo("city/empty")
    with pytest.raises(ReleaseError, match=r"city/empty has no version\. It has: none\."):
        version_to_restore(ModelRepo(api, "city/empty"), None)


@pytest.mark.parametrize("to", ["v20240101_000000", "main", "a" * 39])
def test_a_version_that_is_not_there_is_refused_with_those_that_are(repo: ModelRepo, to: str) -> None:
    with pytest.raises(ReleaseError) as refused:
        version_to_restore(repo, to)
    assert str(refused.value) == f"city/model has no version {to}. It has: {SECOND}, {FIRST}."
