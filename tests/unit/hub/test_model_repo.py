"""Versions of a model: their names, what the commit of one adds, deletes and keeps, and their tags."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from rehearsal.local_hub import LocalHub
from retrain.errors import ComparisonError, ReleaseError
from retrain.hub.model_card import VersionFacts
from retrain.hub.model_repo import ModelRepo, checkpoint_revision, next_version_tag
from retrain.records import DatasetInfo, Release, Scores, Verdict, Version, is_version_tag
from tests.conftest import CITY

NOW = datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], "v20251231_235959"),
        (["v20251231_235958", "v20240101_000000"], "v20251231_235959"),
        (["v20251231_235959"], "v20260101_000000"),
        (["v20260228_235959", "v20250101_000000"], "v20260301_000000"),
        ([None, "verified-v20990101_000000", "v2", "v99999999_9999999"], "v20251231_235959"),
        (
            ["v20271301_000000", "v20269931_000000", "v99991231_235959", "v२०२७०१०१_००००००"],
            "v20251231_235959",
        ),
        (["v20990230_120000"], "v20251231_235959"),
    ],
    ids=[
        "none taken",
        "older ones",
        "the same second",
        "a clock that was wrong",
        "other tags",
        "no times",
        "a day that February does not have",
    ],
)
def test_a_version_is_named_by_its_second_later_than_all_that_are_taken(
    taken: list[str | None], expected: str
) -> None:
    assert next_version_tag(NOW, taken) == expected


def test_the_second_is_that_of_utc() -> None:
    nepal = timezone(timedelta(hours=5, minutes=45))
    assert next_version_tag(datetime(2026, 1, 1, 5, 44, 59, tzinfo=nepal), []) == "v20251231_235959"


# --- a release

REPO = "city/model"
BY_HAND = "v20250102_000000"
FACTS = VersionFacts(
    model_id=REPO,
    label="urgency",
    settings={"DECISION_THRESHOLD": 0.001, "MODEL_CHECKPOINT": "xlm-roberta-base", "MAX_LENGTH": 512},
    author="city",
    scores=Scores(10, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, {}, []),
    verdict=Verdict("accepted", ("It is better.",), delta=0.1),
    dataset=DatasetInfo("city/data", "0" * 40, None, {}, {}, {}, {}, {}, 0),
    base_checkpoint_revision=None,
    environment={},
    stages=(),
    previous=None,
    history=(),
    own_sections="",
)


@pytest.fixture
def repo(api: HfApi) -> ModelRepo:
    api.create_repo(REPO)
    return ModelRepo(api, REPO)


def put(api: HfApi, files: Mapping[str, str]) -> str:
    operations = [CommitOperationAdd(name, content.encode()) for name, content in files.items()]
    return str(api.create_commit(REPO, operations, commit_message="by hand").oid)


def head(api: HfApi) -> str:
    return str(api.model_info(REPO).sha)


def files(api: HfApi, revision: str = "main") -> set[str]:
    return set(api.list_repo_files(REPO, revision=revision)) - {".gitattributes"}


def content(api: HfApi, name: str, folder: Path) -> str:
    return Path(api.hf_hub_download(REPO, name, cache_dir=folder)).read_text()


def release(repo: ModelRepo, folder: Path, at: str) -> Release:
    """Release a folder of new weights, which are called like the folder."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(f"weights of {folder.name}")
    return repo.publish(folder, at, FACTS)


LEFT_BEHIND = {
    "pytorch_model.bin": "a pickle",
    "old/part.pkl": "a pickle",
    "model-00001-of-00002.safetensors": "weights",
    "notes.txt": "ours",
}


def test_a_release_takes_out_weights_and_pickles_of_before_and_keeps_what_people_put_there(
    api: HfApi, repo: ModelRepo, tmp_path: Path
) -> None:
    at = put(api, LEFT_BEHIND)
    released = release(repo, tmp_path / "new", at)
    assert files(api) == {"config.json", "model.safetensors", "metadata.json", "README.md", "notes.txt"}
    assert is_version_tag(released.version_tag)
    assert released.previous_revision == at
    (version,) = repo.versions()
    tag = released.version_tag
    assert (version.tag, version.revision) == (tag, released.revision) == (tag, head(api))
    assert repo.metadata()["version_tag"] == tag
    assert released.url.endswith(f"/{REPO}/tree/{tag}")


def test_a_release_on_a_head_that_has_moved_is_refused(api: HfApi, repo: ModelRepo, tmp_path: Path) -> None:
    at = head(api)
    put(api, {"notes.txt": "ours"})
    with pytest.raises(ComparisonError, match="city committed 'by hand'"):
        release(repo, tmp_path / "new", at)
    assert files(api) == {"notes.txt"}


def test_a_pickle_is_never_released(api: HfApi, repo: ModelRepo, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "training_args.bin").write_text("a pickle")
    with pytest.raises(AssertionError, match="a pickle is in the release folder"):
        release(repo, tmp_path / "new", head(api))


def test_a_release_that_can_not_be_committed_says_where_the_weights_are(
    hub: LocalHub, api: HfApi, repo: ModelRepo, tmp_path: Path
) -> None:
    hub.faults.add(method="POST", path="/commit/", status=403)
    with pytest.raises(ReleaseError, match=f"the weights are kept in {tmp_path / 'new'}, which on a Space"):
        release(repo, tmp_path / "new", head(api))


def test_a_version_is_restored_without_its_pickles_and_without_weights_of_after(
    api: HfApi, repo: ModelRepo, tmp_path: Path
) -> None:
    first = release(repo, tmp_path / "one", head(api))
    by_hand = put(api, {"training_args.bin": "a pickle", "notes.txt": "older"})
    api.create_tag(REPO, tag=BY_HAND, revision=by_hand)
    put(api, {"model-00001-of-00002.safetensors": "weights", "optimizer.pt": "a pickle"})
    second = release(repo, tmp_path / "two", put(api, {"notes.txt": "ours"}))
    put(api, {"model-00002-of-00002.safetensors": "stale", "old.ckpt": "a pickle", "more.txt": "ours"})
    restored = repo.restore(Version(BY_HAND, by_hand), cause="a test")
    assert files(api) == {
        "config.json",
        "model.safetensors",
        "metadata.json",
        "README.md",
        "notes.txt",
        "more.txt",
    }
    assert content(api, "model.safetensors", tmp_path / "cache") == "weights of one"
    assert restored.version_tag > second.version_tag > first.version_tag
    metadata = repo.metadata()
    assert metadata["version_tag"] == restored.version_tag
    assert (metadata["restored_from"], metadata["restored_because"]) == (BY_HAND, "a test")
    assert repo.versions()[0].revision == restored.revision == head(api)


# --- tags


def test_a_version_at_main_that_has_no_tag_gets_it_once(api: HfApi, repo: ModelRepo) -> None:
    assert repo.tag_untagged_head() is None
    put(api, {"metadata.json": '{"version_tag": "v20250101_000000"}'})
    finished = repo.tag_untagged_head()
    assert finished is not None
    assert (finished.version_tag, finished.revision) == ("v20250101_000000", head(api))
    assert repo.tag_untagged_head() is None


OF_OTHERS = [
    "[]",
    "{",
    "{}",
    "[" * 100_000,
    '{"version_tag": "latest"}',
    '{"version_tag": ["v20250101_000000"], "eval_metrics": 0.5, "dataset": "city/data", "timestamp_utc": {}}',
    '{"eval_metrics": {"f1_macro": "0.5"}, "dataset": [1], "restored_from": null}',
    f'{{"eval_metrics": {{"f1_macro": 1{"0" * 400}}}, "dataset": {{"repo_id": null, "revision": 7}}}}',
]


@pytest.mark.parametrize("metadata", OF_OTHERS)
def test_metadata_of_another_shape_ends_neither_a_release_nor_a_restoration(
    api: HfApi, repo: ModelRepo, tmp_path: Path, metadata: str
) -> None:
    theirs = put(api, {"metadata.json": metadata, "config.json": metadata, "model.safetensors": "theirs"})
    api.create_tag(REPO, tag=BY_HAND, revision=theirs)
    assert repo.labels() is None
    facts = replace(FACTS, history=repo.history(), previous=repo.newest())
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "model.safetensors").write_text("ours")
    released = repo.publish(folder, head(api), facts)
    assert f"| `{BY_HAND}` |" in content(api, "README.md", tmp_path / "cache")
    restored = repo.restore(Version(BY_HAND, theirs), cause="a test")
    assert repo.metadata()["restored_from"] == BY_HAND
    assert restored.version_tag > released.version_tag


@pytest.mark.parametrize("tag", ["v20269931_000000", "v99991231_235959"])
def test_a_tag_that_is_no_time_is_no_version(api: HfApi, repo: ModelRepo, tmp_path: Path, tag: str) -> None:
    api.create_tag(REPO, tag=tag)
    assert repo.versions() == []
    released = release(repo, tmp_path / "new", head(api))
    assert [version.tag for version in repo.versions()] == [released.version_tag]


def test_the_last_tag_that_there_can_be_is_named(api: HfApi, repo: ModelRepo, tmp_path: Path) -> None:
    api.create_tag(REPO, tag="v29991231_235959")
    with pytest.raises(ReleaseError, match="No version can come after v29991231_235959 of city/model"):
        release(repo, tmp_path / "new", head(api))


@pytest.mark.parametrize("metadata", ["[]", "{", '{"version_tag": "latest"}', "{}"])
def test_a_head_that_is_no_version_of_ours_gets_no_tag(api: HfApi, repo: ModelRepo, metadata: str) -> None:
    put(api, {"metadata.json": metadata})
    assert repo.tag_untagged_head() is None
    assert repo.versions() == []


def test_a_tag_that_the_hub_refuses_ends_the_release(
    hub: LocalHub, api: HfApi, repo: ModelRepo, tmp_path: Path
) -> None:
    hub.faults.add(method="POST", path="/tag/", status=403, times=None)
    with pytest.raises(ReleaseError, match="The next run makes the tag and finishes the release"):
        release(repo, tmp_path / "new", head(api))


class Overtaken(HfApi):
    """A client before whose tags somebody else makes the same one, so many times, on another commit."""

    times, theirs = 0, ""

    def create_tag(self, repo_id: str, *, tag: str, **options: Any) -> None:
        if self.times:
            self.times -= 1
            super().create_tag(repo_id, tag=tag, revision=self.theirs)
        super().create_tag(repo_id, tag=tag, **options)


def overtaken(hub: LocalHub, times: int) -> Overtaken:
    api = Overtaken(endpoint=hub.url, token=CITY)
    api.create_repo(REPO)
    api.times, api.theirs = times, head(api)
    return api


def test_a_tag_that_is_taken_meanwhile_is_followed_by_the_next(hub: LocalHub, tmp_path: Path) -> None:
    api = overtaken(hub, times=2)
    repo, theirs = ModelRepo(api, REPO), api.theirs
    released = release(repo, tmp_path / "new", theirs)
    assert [version.revision for version in repo.versions()] == [head(api), theirs, theirs]
    assert repo.newest() == Version(released.version_tag, released.revision)
    assert repo.metadata()["version_tag"] == released.version_tag
    assert released.previous_revision == theirs


def test_a_tag_that_is_taken_at_each_try_ends_the_release(hub: LocalHub, tmp_path: Path) -> None:
    api = overtaken(hub, times=3)
    with pytest.raises(ReleaseError, match=r"somebody else took its tag 3 times"):
        release(ModelRepo(api, REPO), tmp_path / "new", api.theirs)


# --- the base checkpoint


def test_a_checkpoint_in_a_folder_is_known_by_what_it_holds(api: HfApi, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = checkpoint_revision(api, str(tmp_path))
    (tmp_path / "notes.md").write_text("nothing is loaded from here")
    assert checkpoint_revision(api, str(tmp_path)) == before
    assert before.startswith("sha256:")
    (tmp_path / "model.safetensors").write_bytes(b"0")
    with_weights = checkpoint_revision(api, str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"1")
    assert len({before, with_weights, checkpoint_revision(api, str(tmp_path))}) == 3


def test_a_checkpoint_of_the_hub_is_known_by_its_commit(api: HfApi) -> None:
    api.create_repo(REPO)
    assert checkpoint_revision(api, REPO) == api.model_info(REPO).sha


def test_a_restored_version_says_what_it_replaced(api: HfApi) -> None:
    api.create_repo(REPO)
    for tag in (BY_HAND, "v20250103_000000"):
        content = f'{{"version_tag": "{tag}"}}'.encode()
        made = api.upload_file(path_or_fileobj=content, path_in_repo="metadata.json", repo_id=REPO)
        api.create_tag(REPO, tag=tag, revision=made.oid)
    repo = ModelRepo(api, REPO)
    newest, oldest = repo.versions()
    restored = repo.restore(oldest, "a test")
    metadata = repo.metadata(restored.revision)
    assert (metadata["restored_from"], metadata["previous_version"]) == (oldest.tag, newest.tag)
    assert metadata["previous_revision"] == newest.revision
