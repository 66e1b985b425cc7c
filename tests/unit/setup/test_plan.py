"""The steps of a set-up: a Space in which a run may be under way is not touched, and secrets stay."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from retrain.errors import CheckpointError, HubError, SettingsError
from retrain.hub.spaces import AT_WORK, Space
from retrain.setup.installation import SpaceSpec, installations
from retrain.setup.plan import plan, plan_space
from tests.conftest import CITY, USERS
from tests.unit.setup.conftest import EnvFile


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """Its Spaces never finish their builds by themselves."""
    with LocalHub(tmp_path / "hub", USERS, space_build_seconds=3600) as running:
        yield running


@pytest.fixture
def api(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=CITY)


@pytest.fixture
def spec(tmp_path: Path) -> SpaceSpec:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM scratch\n")
    return SpaceSpec(
        "city/retrain",
        {"Dockerfile": file},
        {"SEED": "7", "LABEL": "urgency"},
        {"HF_TOKEN": CITY, "AUDIT_KEY": ""},
        "cpu-basic",
        None,
        paused=True,
    )


def steps(api: HfApi, spec: SpaceSpec, *, renew_secrets: bool = False) -> list[str]:
    """Take the steps of a plan; returns what they were."""
    planned = list(plan_space(Space(api, spec.repo_id), spec, renew_secrets=renew_secrets))
    for step in planned:
        step.do()
    return [step.what for step in planned]


def changes(hub: LocalHub) -> list[str]:
    return [f"{each.method} {each.path}" for each in hub.requests if each.method not in ("GET", "HEAD")]


# --- a run that may be under way


def test_stages_at_work_are_those_of_a_run_that_begins_or_runs() -> None:
    running = {"RUNNING", "RUNNING_BUILDING", "RUNNING_APP_STARTING"}
    assert {"BUILDING", "APP_STARTING"} | running <= AT_WORK
    assert not {"PAUSED", "STOPPED", "RUNTIME_ERROR", "SLEEPING"} & AT_WORK


@pytest.mark.parametrize("stage", sorted(stage.value for stage in AT_WORK))
def test_a_retrain_space_at_work_is_not_touched(
    hub: LocalHub, api: HfApi, spec: SpaceSpec, env_file: EnvFile, stage: str
) -> None:
    steps(api, spec)
    hub.space_host.space(spec.repo_id).stage = stage
    hub.requests.clear()
    with pytest.raises(HubError, match=rf"{spec.repo_id} is {stage}: a run may be under way\. Wait"):
        list(plan_space(Space(api, spec.repo_id), spec))
    (values,) = installations(env_file(RETRAIN_SPACE_ID=spec.repo_id))
    with pytest.raises(HubError, match=rf"is {stage}: a run may be under way"):
        list(plan(api, values))
    assert changes(hub) == []


@pytest.mark.parametrize("stage", ["STOPPED", "SLEEPING", "RUNTIME_ERROR", "BUILD_ERROR", "NO_APP_FILE"])
def test_a_retrain_space_in_which_nothing_runs_is_paused(
    hub: LocalHub, api: HfApi, spec: SpaceSpec, stage: str
) -> None:
    steps(api, spec)
    hub.space_host.space(spec.repo_id).stage = stage
    assert steps(api, spec) == ["city/retrain: pause it"]


def test_an_inference_space_is_mended_while_it_runs(hub: LocalHub, api: HfApi, spec: SpaceSpec) -> None:
    spec = replace(spec, repo_id="city/inference", paused=False)
    steps(api, spec)
    hub.space_host.space(spec.repo_id).stage = "RUNNING"
    assert steps(api, replace(spec, variables={"SEED": "8", "LABEL": "urgency"})) == [
        "city/inference: set SEED=8"
    ]


# --- the base checkpoint


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('{"model_type": "bert"}', "MODEL_CHECKPOINT=city/base is a bert model. Name one of RoBERTa's shape"),
        ('{"model_type": "roberta", "pad_token_id": 0}', "MODEL_CHECKPOINT=city/base has pad_token_id 0"),
        ("[", "MODEL_CHECKPOINT=city/base has no config.json that can be read"),
        (None, "Could not find MODEL_CHECKPOINT city/base: it does not exist"),
        ('{"model_type": "camembert", "pad_token_id": 1}', None),
    ],
)
def test_a_checkpoint_that_a_run_would_refuse_is_refused_before_anything_is_created(
    hub: LocalHub, api: HfApi, env_file: EnvFile, config: str | None, said: str | None
) -> None:
    if config is not None:
        api.create_repo("city/base")
        api.upload_file(path_or_fileobj=config.encode(), path_in_repo="config.json", repo_id="city/base")
    hub.requests.clear()
    (values,) = installations(env_file(MODEL_CHECKPOINT="city/base"))
    if said is None:
        assert list(plan(api, values))
        return
    with pytest.raises(CheckpointError, match=re.escape(said)):
        list(plan(api, values))
    assert changes(hub) == []


# --- whose repositories


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"HUB_MODEL_ID": "ctiy/model"},
            "HUB_MODEL_ID=ctiy/model: there is no such model, and ctiy is neither",
        ),
        ({"SPACE_REPO_ID": "your-name/api"}, "It is still the placeholder of .env.example."),
    ],
)
def test_an_owner_that_is_not_ours_is_named_before_anything_is_created(
    hub: LocalHub, api: HfApi, env_file: EnvFile, settings: dict[str, str], said: str
) -> None:
    (values,) = installations(env_file(**settings))
    with pytest.raises(SettingsError, match=re.escape(said)) as refused:
        list(plan(api, values))
    assert "nor one of its organisations (city" in str(refused.value)
    assert changes(hub) == []


def test_what_others_own_and_is_there_already_is_no_mistake(
    hub: LocalHub, api: HfApi, env_file: EnvFile
) -> None:
    other = next(token for token, user in USERS.items() if user["name"] != "city")
    owner = USERS[other]["name"]
    HfApi(endpoint=hub.url, token=other).create_repo(f"{owner}/data", repo_type="dataset", private=False)
    (values,) = installations(env_file(DATASET_REPO_ID=f"{owner}/data"))
    assert list(plan(api, values))


@pytest.mark.parametrize(
    ("status", "said"), [(402, "Payment required"), (403, "Docker Spaces require a PRO subscription")]
)
def test_a_space_that_needs_a_paid_plan_is_explained_with_the_ways_without_one(
    hub: LocalHub, api: HfApi, spec: SpaceSpec, status: int, said: str
) -> None:
    hub.faults.add(path="/api/repos/create", status=status, headers={"X-Error-Message": said})
    with pytest.raises(HubError) as refused:
        steps(api, spec)
    assert f"the Hub wants a paid plan for a Docker Space ({said})" in str(refused.value)
    assert "`docker run` (docs/image.md), or as a Job of the Hub with HOST=job" in str(refused.value)


# --- the steps


def test_a_space_is_made_from_nothing_and_then_left_as_it_is(api: HfApi, spec: SpaceSpec) -> None:
    assert steps(api, spec) == [
        "create the private Space city/retrain",
        "city/retrain: set LABEL=urgency",
        "city/retrain: set SEED=7",
        "city/retrain: set the secret AUDIT_KEY",
        "city/retrain: set the secret HF_TOKEN",
        "city/retrain: upload 1 files",
        "city/retrain: pause it",
    ]
    space = Space(api, spec.repo_id)
    assert api.space_info(spec.repo_id).private
    assert (space.stage(), space.variables()) == ("PAUSED", spec.variables)
    assert space.secret_names() == {"HF_TOKEN", "AUDIT_KEY"}
    assert steps(api, spec) == []


def test_what_is_no_longer_asked_for_is_taken_out(api: HfApi, spec: SpaceSpec, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("pass\n")
    steps(api, replace(spec, files=spec.files | {"app.py": tmp_path / "app.py"}))
    (tmp_path / "Dockerfile").write_text("FROM python\n")
    assert steps(api, replace(spec, variables={"LABEL": "urgency"})) == [
        "city/retrain: remove the variable SEED",
        "city/retrain: upload 1 files, delete app.py",
    ]
    files = api.list_repo_files(spec.repo_id, repo_type="space")
    assert set(files) - {".gitattributes"} == {"Dockerfile"}


def secret(hub: LocalHub, name: str) -> str:
    return str(hub.space_host.space("city/retrain").settings["secrets"][name]["value"])


def test_a_secret_that_is_there_stays_unless_it_is_to_be_renewed(
    hub: LocalHub, api: HfApi, spec: SpaceSpec
) -> None:
    """One that was made up is not made up anew: what was hashed with it could not be found again."""
    steps(api, spec)
    made_up = secret(hub, "AUDIT_KEY")
    assert len(bytes.fromhex(made_up)) == 32
    other = replace(spec, secrets={"HF_TOKEN": "hf_another", "AUDIT_KEY": ""})
    assert steps(api, other) == []
    assert steps(api, other, renew_secrets=True) == ["city/retrain: set the secret HF_TOKEN"]
    assert (secret(hub, "HF_TOKEN"), secret(hub, "AUDIT_KEY")) == ("hf_another", made_up)


def test_no_step_shows_a_secret(api: HfApi, spec: SpaceSpec) -> None:
    planned = list(plan_space(Space(api, spec.repo_id), spec))
    assert not [step.what for step in planned if CITY in step.what]


def test_hardware_and_sleep_are_asked_for_where_they_differ(api: HfApi, spec: SpaceSpec) -> None:
    spec = replace(spec, hardware="t4-small", sleep_seconds=3600)
    planned = steps(api, spec)
    assert "city/retrain: ask for the hardware t4-small" in planned
    assert "city/retrain: sleep after 3600 seconds" in planned
    assert Space(api, spec.repo_id).hardware() == ("t4-small", 3600)
    assert steps(api, spec) == []


def test_with_jobs_no_retrain_space_is_planned(api: HfApi, env_file: EnvFile) -> None:
    image = {"HOST": "job", "JOB_IMAGE": "ghcr.io/city/retrain:cpu"}
    (values,) = installations(env_file(HF_TOKEN=CITY, RETRAIN_SPACE_ID="city/retrain", **image))
    planned = [step.what for step in plan(api, values)]
    assert "create the private Space city/inference" in planned
    assert not [what for what in planned if "city/retrain" in what]
