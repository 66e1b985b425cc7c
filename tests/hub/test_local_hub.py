"""The local Hub, asked by the official clients over loopback."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx

from rehearsal.local_hub import LocalHub

USERS = {
    "hf_ann": {"name": "ann", "fullname": "Ann", "orgs": ["city"], "org_fullnames": {"city": "The City"}},
    "hf_bob": {"name": "bob", "fullname": "Bob", "orgs": []},
    "hf_reader": {"name": "ann", "fullname": "Ann", "orgs": ["city"], "role": "read"},
}


@pytest.fixture(autouse=True)
def plain_lfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_HUB_DISABLE_XET=1 does at import: the local Hub speaks LFS, not Xet."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "hub", USERS) as running:
        yield running


@pytest.fixture
def ann(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token="hf_ann")


@pytest.fixture
def repo(ann: HfApi) -> str:
    return ann.create_repo("ann/model").repo_id


def put(api: HfApi, repo: str, path: str, content: bytes, **options: object) -> str:
    """Commit one file; return the commit's id."""
    add = CommitOperationAdd(path, content)
    return api.create_commit(repo, [add], commit_message=f"put {path}", **options).oid


def fetch(api: HfApi, repo: str, path: str, folder: Path, revision: str = "main") -> bytes:
    """Download a file past the cache of the machine."""
    return Path(api.hf_hub_download(repo, path, revision=revision, cache_dir=folder)).read_bytes()


def refused(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    """The HTTP status that a refused call came back with."""
    return error.value.response.status_code


def test_whoami_names_the_user_and_the_organizations(ann: HfApi) -> None:
    me = ann.whoami()
    assert (me["name"], me["orgs"][0]["fullname"]) == ("ann", "The City")


def test_an_unknown_token_is_refused(hub: LocalHub) -> None:
    with pytest.raises(HfHubHTTPError) as error:
        HfApi(endpoint=hub.url, token="hf_nobody").model_info("ann/model")
    assert refused(error) == 401


def test_a_commit_adds_and_deletes_at_once(ann: HfApi, repo: str) -> None:
    put(ann, repo, "old.txt", b"old")
    operations = [CommitOperationDelete("old.txt"), CommitOperationAdd("new/file.txt", b"new")]
    ann.create_commit(repo, operations, commit_message="replace")
    assert set(ann.list_repo_files(repo)) == {".gitattributes", "new/file.txt"}
    assert ann.list_repo_commits(repo)[0].title == "replace"


def test_a_large_file_goes_through_lfs_and_comes_back(ann: HfApi, repo: str, tmp_path: Path) -> None:
    put(ann, repo, "model.safetensors", b"weights")
    sibling = next(
        each
        for each in ann.model_info(repo, files_metadata=True).siblings or []
        if each.rfilename == "model.safetensors"
    )
    assert sibling.lfs is not None
    assert sibling.lfs.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert fetch(ann, repo, "model.safetensors", tmp_path) == b"weights"


def test_a_stale_parent_is_refused_with_412_and_changes_nothing(ann: HfApi, repo: str) -> None:
    first = ann.model_info(repo).sha
    head = put(ann, repo, "a.txt", b"a")
    with pytest.raises(HfHubHTTPError) as error:
        put(ann, repo, "b.txt", b"b", parent_commit=first)
    assert refused(error) == 412
    assert ann.model_info(repo).sha == head


def test_a_second_tag_of_one_name_is_refused_and_does_not_move_it(ann: HfApi, repo: str) -> None:
    ann.create_tag(repo, tag="v1")
    tagged = ann.model_info(repo, revision="v1").sha
    put(ann, repo, "a.txt", b"a")
    with pytest.raises(HfHubHTTPError) as error:
        ann.create_tag(repo, tag="v1", tag_message="again")
    assert refused(error) == 409
    ann.create_tag(repo, tag="v1", exist_ok=True)
    assert ann.list_repo_refs(repo).tags[0].target_commit == tagged


def test_a_tag_with_a_message_stands_for_its_commit(ann: HfApi, repo: str) -> None:
    sha = put(ann, repo, "a.txt", b"a")
    ann.create_tag(repo, tag="v1", tag_message="the first", revision=sha)
    put(ann, repo, "a.txt", b"b")
    assert ann.model_info(repo, revision="v1").sha == sha


def test_a_tag_can_be_deleted_and_made_anew(ann: HfApi, repo: str) -> None:
    ann.create_tag(repo, tag="v1")
    ann.delete_tag(repo, tag="v1")
    with pytest.raises(RevisionNotFoundError):
        ann.model_info(repo, revision="v1")
    ann.create_tag(repo, tag="v1")


def test_a_branch_is_independent_of_main_and_main_cannot_be_deleted(ann: HfApi, repo: str) -> None:
    ann.create_branch(repo, branch="trial")
    put(ann, repo, "a.txt", b"a", revision="trial")
    assert not ann.file_exists(repo, "a.txt")
    with pytest.raises(HfHubHTTPError) as error:
        ann.delete_branch(repo, branch="main")
    assert refused(error) == 403


def test_a_copy_restores_an_earlier_version_without_an_upload(
    hub: LocalHub, ann: HfApi, repo: str, tmp_path: Path
) -> None:
    good = put(ann, repo, "model.safetensors", b"good")
    put(ann, repo, "model.safetensors", b"bad")
    hub.requests.clear()
    copy = CommitOperationCopy("model.safetensors", "model.safetensors", src_revision=good)
    ann.create_commit(repo, [copy], commit_message="roll back")
    assert not [seen for seen in hub.requests if seen.method == "PUT"]
    assert fetch(ann, repo, "model.safetensors", tmp_path) == b"good"


def test_a_pull_request_of_a_stranger_leaves_main_alone(hub: LocalHub, ann: HfApi, repo: str) -> None:
    bob = HfApi(endpoint=hub.url, token="hf_bob")
    head = ann.model_info(repo).sha
    put(bob, repo, "a.txt", b"a", create_pr=True)
    assert ann.model_info(repo).sha == head
    assert ann.file_exists(repo, "a.txt", revision="refs/pr/1")
    assert [ref.name for ref in ann.list_repo_refs(repo, include_pull_requests=True).pull_requests or []] == [
        "refs/pr/1"
    ]


def test_a_stranger_cannot_commit_to_somebody_elses_repository(hub: LocalHub, repo: str) -> None:
    with pytest.raises(HfHubHTTPError) as error:
        put(HfApi(endpoint=hub.url, token="hf_bob"), repo, "a.txt", b"a")
    assert refused(error) == 403


def test_a_pull_request_gives_a_stranger_no_further_rights(hub: LocalHub, repo: str) -> None:
    bob = HfApi(endpoint=hub.url, token="hf_bob")
    put(bob, repo, "a.txt", b"a", create_pr=True)
    writes = [
        lambda: bob.create_tag(repo, tag="v1", revision="refs/pr/1"),
        lambda: bob.create_branch(repo, branch="mine", revision="refs/pr/1"),
        lambda: bob.update_repo_settings(repo, visibility="private"),
        lambda: bob.delete_repo(repo),
    ]
    for write in writes:
        with pytest.raises(HfHubHTTPError) as error:
            write()
        assert refused(error) == 403


def test_a_private_repository_is_hidden_from_strangers(hub: LocalHub, ann: HfApi) -> None:
    ann.create_repo("city/secret", private=True)
    assert ann.repo_exists("city/secret")
    for token, status in (("hf_bob", 404), (False, 401)):
        with pytest.raises(RepositoryNotFoundError) as error:
            HfApi(endpoint=hub.url, token=token).model_info("city/secret")
        assert refused(error) == status


def test_a_read_only_token_reads_but_gets_403_for_every_write(hub: LocalHub, ann: HfApi, repo: str) -> None:
    reader = HfApi(endpoint=hub.url, token="hf_reader")
    ann.create_repo("ann/space", repo_type="space", space_sdk="docker")
    assert reader.model_info(repo).sha
    writes = [
        lambda: put(reader, repo, "a.txt", b"a"),
        lambda: reader.create_tag(repo, tag="v1"),
        lambda: reader.create_repo("ann/other"),
        lambda: reader.pause_space("ann/space"),
    ]
    for write in writes:
        with pytest.raises(HfHubHTTPError, match="no write permission") as error:
            write()
        assert refused(error) == 403


def test_a_missing_file_revision_and_repository_are_told_apart(ann: HfApi, repo: str, tmp_path: Path) -> None:
    with pytest.raises(EntryNotFoundError):
        fetch(ann, repo, "nothing.txt", tmp_path)
    with pytest.raises(RevisionNotFoundError):
        ann.model_info(repo, revision="nothing")
    with pytest.raises(RepositoryNotFoundError):
        ann.model_info("ann/nothing")


def test_a_range_of_a_file_is_sent_as_206_and_one_beyond_it_as_416(
    hub: LocalHub, ann: HfApi, repo: str
) -> None:
    put(ann, repo, "model.safetensors", b"0123456789")
    put(ann, repo, "plain.txt", b"0123456789")
    for path in ("model.safetensors", "plain.txt"):
        url = f"{hub.url}/{repo}/resolve/main/{path}"
        part = httpx.get(url, headers={"Range": "bytes=2-4"})
        assert (part.status_code, part.content) == (206, b"234")
        assert httpx.get(url, headers={"Range": "bytes=20-"}).status_code == 416


def test_a_path_outside_the_repository_is_refused_with_422(ann: HfApi, repo: str) -> None:
    with pytest.raises(HfHubHTTPError) as error:
        put(ann, repo, "..\\outside.txt", b"x")
    assert refused(error) == 422


def test_a_broken_model_card_is_refused_before_anything_is_committed(ann: HfApi, repo: str) -> None:
    head = ann.model_info(repo).sha
    with pytest.raises(ValueError, match="Invalid metadata"):
        put(ann, repo, "README.md", b"---\ntags: [open\n---\n")
    assert ann.model_info(repo).sha == head


def test_the_storage_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        ann = HfApi(endpoint=hub.url, token="hf_ann")
        repo = ann.create_repo("ann/Model", private=True).repo_id
        sha = put(ann, repo, "model.safetensors", b"weights")
        ann.create_tag(repo, tag="v1")
    with LocalHub(tmp_path / "hub", USERS) as hub:
        ann = HfApi(endpoint=hub.url, token="hf_ann")
        info = ann.model_info("ann/model", revision="v1")
        assert (info.id, info.sha, info.private) == (repo, sha, True)
        assert fetch(ann, repo, "model.safetensors", tmp_path) == b"weights"


def test_a_status_fault_is_met_as_often_as_told_after_those_skipped(hub: LocalHub, ann: HfApi) -> None:
    hub.faults.add(method="POST", path="/api/repos/create$", status=503, times=1, skip=1)
    ann.create_repo("ann/first")
    with pytest.raises(HfHubHTTPError) as error:
        ann.create_repo("ann/second")
    assert refused(error) == 503
    ann.create_repo("ann/third")
    assert [seen.status for seen in hub.requests if seen.path == "/api/repos/create"] == [200, 503, 200]


def test_a_dropped_commit_never_happened(hub: LocalHub, ann: HfApi, repo: str) -> None:
    head = ann.model_info(repo).sha
    hub.faults.add(method="POST", path="/commit/", drop=True)
    with pytest.raises(httpx.TransportError):
        put(ann, repo, "a.txt", b"a")
    assert ann.model_info(repo).sha == head
    assert [seen.status for seen in hub.requests if "/commit/" in seen.path] == [None]


def test_a_commit_whose_answer_is_lost_did_happen(hub: LocalHub, ann: HfApi, repo: str) -> None:
    hub.faults.add(method="POST", path="/commit/", lose_answer=True)
    with pytest.raises(httpx.TransportError):
        put(ann, repo, "a.txt", b"a")
    assert ann.file_exists(repo, "a.txt")


def test_a_delayed_answer_still_comes_and_carries_no_error(hub: LocalHub, ann: HfApi, repo: str) -> None:
    fault = hub.faults.add(path=f"/api/models/{repo}$", delay=0.05, times=None)
    assert ann.model_info(repo).id == repo
    assert fault.hits == 1


def test_a_request_is_held_until_it_is_released(hub: LocalHub, ann: HfApi, repo: str) -> None:
    held = hub.faults.add(path=f"/api/models/{repo}$", delay=60)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(ann.model_info, repo)
        assert held.met.wait(60)
        assert ann.whoami()["name"] == "ann"  # others pass
        assert not asked.done()
        held.released.set()
    assert asked.result().id == repo


def test_a_fault_can_carry_headers_and_be_cleared(hub: LocalHub, ann: HfApi, repo: str) -> None:
    hub.faults.add(path="/api/models/", status=429, headers={"Retry-After": "1"}, times=None)
    with pytest.raises(HfHubHTTPError) as error:
        ann.model_info(repo)
    assert error.value.response.headers["Retry-After"] == "1"
    hub.faults.clear()
    assert ann.model_info(repo).id == repo


def test_secrets_are_listed_without_their_values(ann: HfApi) -> None:
    ann.create_repo("ann/space", repo_type="space", space_sdk="docker")
    ann.add_space_secret("ann/space", "TOKEN", "hidden")
    ann.add_space_variable("ann/space", "MODE", "dry", description="what to do")
    assert "hidden" not in repr(ann.get_space_secrets("ann/space"))
    assert ann.get_space_variables("ann/space")["MODE"].value == "dry"
    ann.delete_space_variable("ann/space", "MODE")
    assert ann.get_space_variables("ann/space") == {}


def test_a_simulated_space_is_paused_until_it_is_restarted(ann: HfApi) -> None:
    ann.create_repo("ann/space", repo_type="space", space_sdk="docker")
    assert ann.get_space_runtime("ann/space").stage == "NO_APP_FILE"
    assert ann.pause_space("ann/space").stage == "PAUSED"
    ann.upload_file(
        path_or_fileobj=b"FROM x", path_in_repo="Dockerfile", repo_id="ann/space", repo_type="space"
    )
    assert ann.get_space_runtime("ann/space").stage == "PAUSED"
    assert ann.restart_space("ann/space").stage == "RUNNING"


def test_a_data_set_is_pushed_and_loaded_at_its_commit(hub: LocalHub, ann: HfApi, tmp_path: Path) -> None:
    script = """
import sys
from datasets import Dataset, DatasetDict, load_dataset
from huggingface_hub import HfApi
splits = DatasetDict(train=Dataset.from_dict({"text": ["a", "b"]}), test=Dataset.from_dict({"text": ["c"]}))
splits.push_to_hub("ann/data")
first = HfApi().dataset_info("ann/data").sha
DatasetDict(train=Dataset.from_dict({"text": ["x"]})).push_to_hub("ann/data")
print(load_dataset("ann/data", revision=first)["train"]["text"][:])
"""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": "hf_ann",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['a', 'b']"
