"""The way back: when it is taken, and when it is not; which version it leads to."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from retrain.errors import NotTriedError, ReleaseError, RolledBackError, RolloutError
from retrain.hub.model_repo import ModelRepo
from retrain.journal import Journal
from retrain.records import Answer, Release, Served, SpaceState, Version
from retrain.release.inference_space import InferenceSpace
from retrain.release.rollback import (
    Deployment,
    any_answer,
    banned_copies,
    copies,
    left_behind,
    version_to_restore,
)
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
        served=lambda: Served(Version(None, "0" * 40)),
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


def named(repo: ModelRepo, tag: str) -> Version:
    return next(version for version in repo.versions() if version.tag == tag)


def first_of(repo: ModelRepo) -> Version:
    return named(repo, FIRST)


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


def test_unless_one_is_named_the_version_that_served_before_the_newest_is_restored(repo: ModelRepo) -> None:
    first = first_of(repo)
    assert version_to_restore(repo, None) == first
    assert version_to_restore(repo, FIRST) == first
    assert version_to_restore(repo, "a" * 40) == Version(None, "a" * 40)


def test_it_is_not_one_that_was_given_up_nor_a_copy_of_the_newest(api: HfApi, repo: ModelRepo) -> None:
    third = tagged(api, OTHERS)
    repo.mark("given-up-", OTHERS, third)
    repo.restore(named(repo, SECOND), "a test")
    assert version_to_restore(repo, None).tag == FIRST
    repo.mark("given-up-", FIRST, first_of(repo).revision)
    with pytest.raises(ReleaseError) as refused:
        version_to_restore(repo, None)
    newest = repo.newest()
    assert newest
    assert str(refused.value) == (
        f"No version of city/model is known to have served before {newest.tag}. Choose one with --to: "
        f"{OTHERS}, {SECOND}, {FIRST}."
    )


def test_a_version_that_was_verified_comes_before_one_that_was_not(api: HfApi, repo: ModelRepo) -> None:
    tagged(api, OTHERS)
    repo.mark("verified-", FIRST, first_of(repo).revision)
    assert version_to_restore(repo, None).tag == FIRST


def test_going_back_gives_up_the_versions_that_it_skips(api: HfApi, repo: ModelRepo) -> None:
    tagged(api, OTHERS)
    restored = repo.restore(first_of(repo), "a test")
    assert [each.tag for each in left_behind(repo, first_of(repo))] == [OTHERS, SECOND]
    assert [each.tag for each in left_behind(repo, named(repo, SECOND))] == [restored.version_tag, OTHERS]
    assert [each.tag for each in left_behind(repo, Version(None, "a" * 40))] == [restored.version_tag]


def test_a_tag_that_is_not_ours_is_not_given_up(api: HfApi, repo: ModelRepo) -> None:
    made = api.upload_file(path_or_fileobj=b"{}", path_in_repo="metadata.json", repo_id="city/model")
    api.create_tag("city/model", tag=OTHERS, revision=made.oid)
    assert [each.tag for each in left_behind(repo, first_of(repo))] == [SECOND]


# --- what serves at the end of a run


def test_a_run_that_was_rolled_back_before_its_end_says_so(
    api: HfApi, repo: ModelRepo, tmp_path: Path
) -> None:
    release = Release(SECOND, named(repo, SECOND).revision, None, "")
    deployment, journal = Deployment(repo, space([]), any_answer, 1), Journal.create(tmp_path / "run")
    deployment.see_what_serves_now(release, journal)
    assert journal.record().warnings == ()
    restored = repo.restore(first_of(repo), "a test")
    with pytest.raises(RolledBackError, match=f"{restored.version_tag} restores {FIRST}"):
        deployment.see_what_serves_now(release, journal)


def test_a_run_whose_release_was_replaced_before_its_end_warns(
    api: HfApi, repo: ModelRepo, tmp_path: Path
) -> None:
    release = Release(SECOND, named(repo, SECOND).revision, None, "")
    tagged(api, OTHERS)
    journal = Journal.create(tmp_path / "run")
    Deployment(repo, space([]), any_answer, 1).see_what_serves_now(release, journal)
    (warning,) = journal.record().warnings
    assert warning.message == f"Another run has released {OTHERS} since, which replaces {SECOND}."


def test_a_release_that_could_not_be_tried_is_not_given_up(repo: ModelRepo, tmp_path: Path) -> None:
    def refuse() -> None:
        raise NotTriedError("Could not restart the Space city/inference: status 403.")

    second, journal = named(repo, SECOND), Journal.create(tmp_path / "run")
    deployment = Deployment(repo, replace(space([]), restart=refuse), any_answer, 1)
    release = Release(SECOND, second.revision, None, "")
    with pytest.raises(NotTriedError, match="was not tried, so it was not given up"):
        deployment.bring_into_service(release, first_of(repo), ANY_ANSWER, journal)
    assert [(each.tag, each.given_up) for each in repo.versions()] == [(SECOND, False), (FIRST, False)]
    with pytest.raises(NotTriedError, match="An earlier run was cut short in the release of"):
        deployment.finish_earlier_release(journal)
    assert [(each.tag, each.given_up) for each in repo.versions()] == [(SECOND, False), (FIRST, False)]


def test_where_there_is_no_version_none_can_be_restored(api: HfApi) -> None:
    api.create_repo("city/empty")
    with pytest.raises(ReleaseError, match=r"city/empty has no version\. It has: none\."):
        version_to_restore(ModelRepo(api, "city/empty"), None)


@pytest.mark.parametrize("to", ["v20240101_000000", "main", "a" * 39])
def test_a_version_that_is_not_there_is_refused_with_those_that_are(repo: ModelRepo, to: str) -> None:
    with pytest.raises(ReleaseError) as refused:
        version_to_restore(repo, to)
    assert str(refused.value) == f"city/model has no version {to}. It has: {SECOND}, {FIRST}."


def test_a_commit_is_known_by_its_tag(repo: ModelRepo) -> None:
    first = first_of(repo)
    assert version_to_restore(repo, first.revision) == first


@pytest.mark.parametrize("restored_from", [[FIRST], {"a": 1}, None, 7, "x" * 5000])
def test_metadata_that_others_wrote_names_no_copy(api: HfApi, repo: ModelRepo, restored_from: object) -> None:
    content = json.dumps({"version_tag": OTHERS, "restored_from": restored_from}).encode()
    made = api.upload_file(path_or_fileobj=content, path_in_repo="metadata.json", repo_id="city/model")
    api.create_tag("city/model", tag=OTHERS, revision=made.oid)
    assert copies(repo, named(repo, OTHERS)) == [OTHERS]


def test_going_back_to_a_version_lifts_the_ban_on_its_copies_too(api: HfApi, repo: ModelRepo) -> None:
    copy = repo.restore(named(repo, SECOND), "a test")
    repo.mark("given-up-", copy.version_tag, copy.revision)
    repo.mark("given-up-", FIRST, first_of(repo).revision)
    assert [each.tag for each in banned_copies(repo, named(repo, SECOND))] == [copy.version_tag]


def test_a_release_that_was_replaced_while_it_was_finished_is_left_alone(
    api: HfApi, repo: ModelRepo, tmp_path: Path
) -> None:
    """Somebody rolled back by hand, or another run released, while the Space was waited for."""
    repo.mark("verified-", FIRST, first_of(repo).revision)
    restored: list[str] = []

    def restart() -> None:
        restored.append(repo.restore(first_of(repo), "by hand").version_tag)

    journal = Journal.create(tmp_path / "run")
    Deployment(repo, replace(space([]), restart=restart), any_answer, 0.001).finish_earlier_release(journal)
    assert [each.tag for each in repo.versions()] == [*restored, SECOND, FIRST]
    assert not any(each.given_up for each in repo.versions())
    assert journal.record().warnings[0].message.endswith(f"{restored[0]} has replaced it since.")
