"""What a run knows of the runs and versions before it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from retrain.hub.model_repo import ModelRepo
from retrain.run import MODEL_INPUTS, given_up_before, model_inputs
from tests.conftest import CITY, USERS

INPUTS = dict.fromkeys(MODEL_INPUTS, 1) | {"dataset": "d" * 40, "checkpoint": "c" * 40}
VERSION = "v20250101_000000"


def metadata_of(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata.json of a version that was made from these inputs."""
    return {
        "version_tag": VERSION,
        "training_args": {name: inputs[name] for name in MODEL_INPUTS} | {"PORT": 7860},
        "dataset": {"revision": inputs["dataset"]},
        "base_checkpoint_revision": inputs["checkpoint"],
    }


def publish(api: HfApi, metadata: Mapping[str, Any], tag: str) -> str:
    """Its commit."""
    content = json.dumps(metadata).encode()
    made = api.upload_file(path_or_fileobj=content, path_in_repo="metadata.json", repo_id="city/model")
    api.create_tag("city/model", tag=tag, revision=made.oid)
    return str(made.oid)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[HfApi]:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        yield HfApi(endpoint=hub.url, token=CITY)


@pytest.fixture
def repo(api: HfApi) -> ModelRepo:
    api.create_repo("city/model")
    publish(api, metadata_of(INPUTS), VERSION)
    return ModelRepo(api, "city/model")


def test_a_version_that_serves_may_be_made_again(repo: ModelRepo) -> None:
    assert given_up_before(INPUTS, repo) is None


def test_one_that_was_given_up_is_not_made_again_and_the_reason_says_how_to_serve_it(repo: ModelRepo) -> None:
    repo.mark("given-up-", VERSION, repo.versions()[0].revision)
    verdict = given_up_before(INPUTS | {"DECISION_THRESHOLD": 0.5}, repo)
    assert verdict is not None
    assert verdict.outcome == "rejected"
    assert f"python -m retrain rollback --to {VERSION}" in verdict.reasons[0]


@pytest.mark.parametrize("name", ["SEED", "LABEL", "MODEL_CHECKPOINT", "dataset", "checkpoint"])
def test_another_input_makes_another_version(repo: ModelRepo, name: str) -> None:
    repo.mark("given-up-", VERSION, repo.versions()[0].revision)
    assert given_up_before(INPUTS | {name: "another"}, repo) is None


def test_one_that_was_given_up_before_a_setting_existed_is_not_made_again(
    api: HfApi, repo: ModelRepo
) -> None:
    metadata, later = metadata_of(INPUTS), "v20250102_000000"
    del metadata["training_args"]["PRECISION"]
    repo.mark("given-up-", later, publish(api, metadata, later))
    assert given_up_before(INPUTS, repo) is not None


@pytest.mark.parametrize("metadata", [{}, {"training_args": None, "dataset": 1}, {"training_args": {}}])
def test_metadata_that_somebody_else_wrote_is_that_of_no_version_of_ours(metadata: dict[str, Any]) -> None:
    assert model_inputs(metadata) == {}
