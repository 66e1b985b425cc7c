"""The set-up as a command, against the local Hub: it tells before it does, and finds what is wrong."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from rehearsal.world import push_splits
from tests.conftest import CITY, READER, SOURCE, USERS, tiny_splits

ENV = {
    "HF_TOKEN": CITY,
    "LABEL": "urgency,department",
    "DATASET_REPO_ID": "city/{label}-data",
    "HUB_MODEL_ID": "city/{label}-model",
    "SPACE_REPO_ID": "city/{label}-api",
    "RETRAIN_SPACE_ID": "city/{label}-retrain",
    "WANDB_API_KEY": "w" * 40,
    "API_ENDPOINT": "http://127.0.0.1:9/{label}/predict",
    "HF_HUB_DISABLE_XET": "1",
    "RETRAIN_HARDWARE": "cpu-upgrade",
    "RETRAIN_SLEEP_SECONDS": "3600",
}


class SetUp:
    def __init__(self, folder: Path, hub: LocalHub) -> None:
        self.folder, self.hub = folder, hub
        self.api = HfApi(endpoint=hub.url, token=CITY)

    def __call__(
        self, *options: str, command: str = "setup", **changed: str
    ) -> subprocess.CompletedProcess[str]:
        return self.run(command, str(self.write(**changed)), *options)

    def write(self, **changed: str) -> Path:
        """The env file with these settings."""
        file = self.folder / ".env"
        file.write_text("\n".join(f"{name}={value}" for name, value in (ENV | changed).items()))
        return file

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python -m retrain` with these arguments."""
        return subprocess.run(
            [sys.executable, "-m", "retrain", *arguments],
            cwd=SOURCE,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "HF_ENDPOINT": self.hub.url,
                "PYTHONPATH": str(SOURCE / "tests" / "loopback_only"),
            },
            capture_output=True,
            text=True,
            timeout=100,
        )


@pytest.fixture
def set_up(tmp_path: Path) -> Iterator[SetUp]:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        yield SetUp(tmp_path, hub)


def test_a_plan_changes_nothing_and_what_is_done_twice_changes_nothing_the_second_time(set_up: SetUp) -> None:
    planned = set_up()
    assert planned.returncode == 0, planned.stderr
    assert "would: create the private Space city/urgency-retrain" in planned.stdout
    assert "would: create the private model repository city/department-model" in planned.stdout
    assert not set_up.api.repo_exists("city/urgency-retrain", repo_type="space")

    done = set_up("--yes")
    assert done.returncode == 0, done.stderr
    assert CITY not in done.stdout + planned.stdout
    assert "w" * 40 not in done.stdout
    for label in ("urgency", "department"):
        retrain, api = f"city/{label}-retrain", f"city/{label}-api"
        variables = {k: v.value for k, v in set_up.api.get_space_variables(retrain).items()}
        assert variables["LABEL"] == label
        assert variables["HUB_MODEL_ID"] == f"city/{label}-model"
        assert "RETRAIN_HARDWARE" not in variables
        assert set(set_up.api.get_space_secrets(retrain)) == {"HF_TOKEN", "WANDB_API_KEY"}
        assert set(set_up.api.get_space_secrets(api)) == {"HF_TOKEN", "AUDIT_KEY"}
        runtime = set_up.api.get_space_runtime(retrain)
        assert (runtime.stage, runtime.requested_hardware) == ("PAUSED", "cpu-upgrade")
        files = set(set_up.api.list_repo_files(retrain, repo_type="space"))
        assert {
            "Dockerfile",
            "train_model.py",
            "retrain/lifecycle/page/run.html",
            "retrain/reporting/report.html",
        } <= files
        assert {"requirements-cuda.lock", "requirements-cpu.lock", "requirements.txt"} <= files
        assert not [
            name
            for name in files
            if name.startswith(("tests", "rehearsal", ".", "companion")) and name != ".gitattributes"
        ]
        assert "requirements-dev.txt" not in files
        assert "app.py" in set_up.api.list_repo_files(api, repo_type="space")
        assert set_up.api.model_info(f"city/{label}-model").private

    again = set_up("--yes")
    assert again.stdout.count("everything is as it should be") == 2, again.stdout

    changed = set_up(SEED="7")
    assert changed.stdout.count("would: ") == 2
    assert "would: city/urgency-retrain: set SEED=7" in changed.stdout


def test_the_inference_space_gets_what_its_own_settings_need(set_up: SetUp) -> None:
    set_up("--yes", LABEL="urgency", RETRAIN_TRIGGER_TOKEN="start", MODEL_REVISION="v20250101_000000")
    variables = {k: v.value for k, v in set_up.api.get_space_variables("city/urgency-api").items()}
    assert variables["RETRAIN_SPACE_ID"] == "city/urgency-retrain"
    assert variables["MODEL_REVISION"] == "v20250101_000000"
    assert "RETRAIN_TRIGGER_TOKEN" in set_up.api.get_space_secrets("city/urgency-api")
    assert "RETRAIN_TRIGGER_TOKEN" not in set_up.api.get_space_secrets("city/urgency-retrain")


def test_a_check_refuses_the_data_set_that_a_run_refuses(set_up: SetUp) -> None:
    splits = tiny_splits()
    splits["eval"].append({"grievance": "eval, unlabelled", "label": None})
    push_splits(set_up.api, "city/urgency-data", splits, "v20250101_000000")
    checked = set_up(command="check", LABEL="urgency")
    assert checked.returncode == 1
    assert "!!  data set city/urgency-data: not readable" in checked.stdout
    assert "Split eval has 1 row (number 3, from 0) with a null label." in checked.stdout
    other = set_up(command="check", LABEL="urgency", DATASET_REVISION="v20250102_000000")
    assert "DATASET_REVISION=v20250102_000000 is no branch, tag or commit" in other.stdout


def test_a_check_says_what_is_read_in_place_of_what(set_up: SetUp) -> None:
    splits = {
        {"eval": "validation"}.get(name, name): [
            {"id": i, "text": row["grievance"], "urgency": row["label"]} for i, row in enumerate(rows)
        ]
        for name, rows in tiny_splits().items()
    }
    push_splits(set_up.api, "city/urgency-data", splits, "v20250101_000000")
    checked = set_up(command="check", LABEL="urgency").stdout
    assert (
        "ok  data set city/urgency-data: has the splits train, eval and test (train 3, eval 3, test 3 rows); "
        "eval is read from validation; grievance is read from text; label is read from urgency"
    ) in checked


def test_a_check_names_what_is_wrong_and_the_remedy(set_up: SetUp) -> None:
    empty = set_up(command="check", LABEL="urgency")
    assert empty.returncode == 1
    assert "ok  HF_TOKEN: accepted" in empty.stdout
    assert "!!  data set city/urgency-data: not readable" in empty.stdout
    assert "retrain.setup" in empty.stdout or "does not exist" in empty.stdout
    assert "!!  API http://127.0.0.1:9/urgency/predict: can't be asked" in empty.stdout

    set_up("--yes", LABEL="urgency")
    push_splits(set_up.api, "city/urgency-data", tiny_splits(), "v20250101_000000")
    set_up.api.delete_space_secret("city/urgency-retrain", "HF_TOKEN")
    set_up.api.add_space_variable("city/urgency-retrain", "SEED", "3")
    set_up.api.pause_space("city/urgency-retrain")
    checked = set_up(command="check", LABEL="urgency", SEED="7").stdout
    assert "ok  data set city/urgency-data: has the splits train, eval and test (train 3," in checked
    assert "!!  model city/urgency-model: no version yet" in checked
    assert "ok  API http://127.0.0.1:9/urgency/predict: no answer (no connection" in checked
    assert "which is normal before the first release" in checked
    assert "ok  Space city/urgency-retrain: PAUSED, on cpu-upgrade" in checked
    assert "would: city/urgency-retrain: set the secret HF_TOKEN" in checked
    assert "would: city/urgency-retrain: set SEED=7" in checked


def test_before_the_first_release_a_check_says_what_is_normal_and_what_comes_next(set_up: SetUp) -> None:
    with_it = {"LABEL": "urgency", "ALLOW_FIRST_RELEASE": "true"}
    set_up("--yes", **with_it)
    push_splits(set_up.api, "city/urgency-data", tiny_splits(), "v20250101_000000")
    set_up.hub.space_host.space("city/urgency-api").stage = "RUNTIME_ERROR"
    checked = set_up(command="check", **with_it)
    assert checked.returncode == 0, checked.stdout
    assert "no version yet. Next: restart the retrain Space for the first run" in checked.stdout
    assert "RUNTIME_ERROR, which is normal before the first release, on cpu-basic" in checked.stdout
    for name in ("config.json", "model.safetensors"):
        set_up.api.upload_file(path_or_fileobj=b"{}", path_in_repo=name, repo_id="city/urgency-model")
    set_up.api.create_tag("city/urgency-model", tag="v20250101_000000")
    checked = set_up(command="check", **with_it)
    assert "Take ALLOW_FIRST_RELEASE out: there is a release." in checked.stdout
    assert "normal before" not in checked.stdout


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({"HUB_MODEL_ID": "city/model"}, 2, "two repositories have one name. Put {label} into the names"),
        ({"HF_TOKEN_OLD": "x"}, 2, "HF_TOKEN_OLD is no setting"),
        ({"LABEL": "colour"}, 2, "LABEL='colour'"),
        ({"RETRAIN_SLEEP_SECONDS": "soon"}, 2, "RETRAIN_SLEEP_SECONDS='soon'"),
        ({"REQUIREMENTS": "dev.txt"}, 2, "should be requirements-cuda.lock, requirements-cpu.lock or"),
        ({"REQUIREMENTS": "requirements-cpu.lock"}, 2, "Set it as PIP_EXTRA_INDEX_URL"),
        (
            {
                "REQUIREMENTS": "requirements-cpu.lock",
                "PIP_EXTRA_INDEX_URL": "http://127.0.0.1:9/",
                "RETRAIN_HARDWARE": "t4-small",
            },
            2,
            "can't use the GPU of RETRAIN_HARDWARE=t4-small",
        ),
        ({"PIP_EXTRA_INDEX_URL": "https://me:pw@host/"}, 2, "should not hold a password"),
        ({"HF_TOKEN": READER}, 1, "HF_TOKEN may only read"),
        ({"HF_TOKEN": "hf_unknown_" + "d" * 24}, 1, "HF_TOKEN is not accepted"),
    ],
)
def test_what_can_not_be_set_up_is_told(set_up: SetUp, changed: dict[str, str], code: int, said: str) -> None:
    done = set_up("--yes", **changed)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stderr
    assert not set_up.api.repo_exists("city/urgency-api", repo_type="space")
