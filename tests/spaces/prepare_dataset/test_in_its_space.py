"""The Space as the set-up makes it: it holds all that it runs, prepares at a restart, and pauses itself."""

import ast
import time
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from configs import RunSettings
from preparation.settings import PreparationSettings
from rehearsal.city_database import add_complaints
from rehearsal.local_hub import LocalHub
from retrain import commands
from retrain.hub.spaces import Space
from retrain.setup import companions, installation
from retrain.setup.companions import preparation_files
from retrain.setup.plan import plan_space
from tests.conftest import CITY, NEEDED, USERS
from tests.spaces.prepare_dataset.conftest import complaints

SHARED = {*RunSettings.model_fields, "hf_token", "label", "dataset_repo_id"}


def test_the_set_up_knows_every_variable_of_the_program() -> None:
    known = installation.PREPARE_VARIABLES | installation.PREPARE_SECRETS
    assert known == {name.upper() for name in PreparationSettings.model_fields.keys() - SHARED}


def test_all_that_it_imports_ships_with_it() -> None:
    files = preparation_files()
    modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files}
    for name, path in files.items():
        if not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            wanted = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wanted += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            ours = [each for each in wanted if each.split(".")[0] in ("retrain", "preparation", "common")]
            missing = [each for each in ours if each not in modules]
            assert not missing, f"{name} imports {missing}"


def test_the_space_prepares_at_a_restart_and_pauses_itself(tmp_path: Path, database: str) -> None:
    add_complaints(database, complaints(800))
    with LocalHub(tmp_path / "hub", USERS, host_spaces=True) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        values = NEEDED | {
            "HF_TOKEN": CITY,
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "DATASET_REPO_ID": "city/grievances-{label}",
            "PREPARE_SPACE_ID": "city/prepare",
            "DATABASE_URL": database,
            "AUDIT_PROBABILITY": "1",
        }
        spec = companions.preparation_of(write(tmp_path / "city.env", values))
        assert spec is not None

        for step in plan_space(Space(api, spec.repo_id), spec):
            step.do()
        assert api.get_space_runtime("city/prepare").stage == "PAUSED"
        api.restart_space("city/prepare")
        deadline = time.monotonic() + 120
        while (stage := api.get_space_runtime("city/prepare").stage) != "PAUSED":
            assert stage != "RUNTIME_ERROR"
            assert time.monotonic() < deadline
            time.sleep(0.2)  # the Hub has no event to wait for
        tags = api.list_repo_refs("city/grievances-urgency", repo_type="dataset").tags
        assert len(tags) == 1
        secrets = api.get_space_secrets("city/prepare")
        assert {"HF_TOKEN", "DATABASE_URL", "SPLIT_KEY"} <= set(secrets)
        assert not {"DATABASE_URL", "SPLIT_KEY"} & set(api.get_space_variables("city/prepare"))


def test_an_env_file_with_the_space_and_no_source_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "city.env", NEEDED | {"PREPARE_SPACE_ID": "city/prepare"})
    assert commands.run(["setup", str(file)]) == 2
    assert "PREPARE_SPACE_ID needs either DATABASE_URL or SOURCE" in capsys.readouterr().err


def write(file: Path, values: dict[str, str]) -> Path:
    file.write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")
    return file
