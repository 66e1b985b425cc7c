"""The three ways people start the job: a restart, a restart while it runs, a container with an env file.

And a version that crashes the inference Space: all of it in Spaces that are real processes.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from rehearsal.space_host import parse_dockerfile
from rehearsal.world import INFERENCE_SPACE, MODEL, RETRAIN_SPACE, World
from retrain.hub.model_repo import ModelRepo
from tests.conftest import FIRST, SOURCE, City, free_port
from tests.job.test_release_faults import HOLD

FEW_STEPS = {
    "MIN_TRAIN_STEPS": "0",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture
def world(tmp_path: Path, checkpoint: Path, grievances: list[dict[str, str]]) -> Iterator[World]:
    with World(tmp_path, "urgency") as world:
        world.push_checkpoint(checkpoint)
        unique = list({row["grievance"].casefold(): row for row in grievances}.values())
        splits = {"train": unique[:60], "eval": unique[60:90], "test": unique[90:150]}
        world.push_data(splits, "v20250101_000000")
        world.create_spaces(FIRST | FEW_STEPS)
        yield world


def outcomes(world: World) -> list[str]:
    runs = sorted(world.root.glob("runs/*/run.json"))
    return [json.loads(run.read_text(encoding="utf-8"))["outcome"] for run in runs]


def test_a_restart_from_outside_releases_rolls_out_and_pauses(world: World) -> None:
    world.api.restart_space(RETRAIN_SPACE)
    world.host.wait_stage(RETRAIN_SPACE, {"PAUSED", "RUNTIME_ERROR"}, timeout=240)
    assert world.host.wait_exit(RETRAIN_SPACE) == 0, world.host.log_path(RETRAIN_SPACE).read_text()
    assert world.api.get_space_runtime(RETRAIN_SPACE).stage == "PAUSED"
    assert outcomes(world) == ["accepted"]
    (version,) = ModelRepo(world.api, MODEL).versions()
    about = requests.get(f"http://{world.domain(INFERENCE_SPACE)}/", timeout=10).json()
    assert (about["model_version"], about["model_revision"]) == (version.tag, version.revision)


def test_a_restart_while_it_runs_ends_the_first_run_and_finishes_the_second(world: World) -> None:
    world.api.restart_space(RETRAIN_SPACE)
    world.host.wait_stage(RETRAIN_SPACE, {"RUNNING"}, timeout=120)
    world.api.restart_space(RETRAIN_SPACE)
    world.host.wait_stage(RETRAIN_SPACE, {"RUNNING"}, timeout=120)
    world.host.wait_stage(RETRAIN_SPACE, {"PAUSED", "RUNTIME_ERROR"}, timeout=240)
    assert world.host.wait_exit(RETRAIN_SPACE) == 0, world.host.log_path(RETRAIN_SPACE).read_text()
    assert sorted(outcomes(world)) == ["accepted", "interrupted"]
    assert len(ModelRepo(world.api, MODEL).versions()) == 1


def test_the_containers_command_with_an_env_file_does_the_same(
    city: City, good_splits: dict[str, list[dict[str, Any]]]
) -> None:
    city.push(good_splits)
    city.serve_newest()
    env_file = city.root / ".env"
    settings = city.settings | FIRST | {"PORT": str(free_port())}
    settings["RUN_DIR"] = str(city.root / "runs # 1")  # read once: a second reading would cut it
    lines = [f'{name}="{value}"  # as in a shell' for name, value in settings.items() if name.isupper()]
    env_file.write_text("\n".join(lines), encoding="utf-8")
    command, _ = parse_dockerfile((SOURCE / "Dockerfile").read_text(encoding="utf-8"))
    as_docker = dict(line.split("=", 1) for line in env_file.read_text(encoding="utf-8").splitlines())
    # What the image sets, and what is read before any Python of ours runs, is not from the env file.
    image = {name: settings[name] for name in ("HOME", "PYTHONPATH", "OMP_NUM_THREADS")}
    environ = as_docker | image | {"PATH": f"{Path(sys.executable).parent}:{settings['PATH']}"}
    done = subprocess.run(command, env=environ, cwd=SOURCE, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(city.version_tags) == 1
    assert len(list((city.root / "runs # 1").glob("*/run.json"))) == 1
    assert city.paused


def test_a_version_that_crashes_the_space_is_rolled_back_and_the_one_before_serves_again(
    world: World,
) -> None:
    """A config.json that can't be read is planted into the new version, before the Space restarts with it."""
    set_variable = functools.partial(world.api.add_space_variable, RETRAIN_SPACE)
    world.api.restart_space(RETRAIN_SPACE)
    world.host.wait_stage(RETRAIN_SPACE, {"PAUSED", "RUNTIME_ERROR"}, timeout=240)
    (first,) = ModelRepo(world.api, MODEL).versions()

    for name, value in {"NUM_TRAIN_EPOCHS": "24", "COMPARE_WITH": "hub"}.items():
        set_variable(name, value)
    held = world.hub.faults.add(method="POST", path=f"/spaces/{INFERENCE_SPACE}/restart", delay=HOLD)
    world.api.restart_space(RETRAIN_SPACE)
    assert held.met.wait(90)
    released = ModelRepo(world.api, MODEL).versions()[0]
    world.api.create_branch(MODEL, branch="broken", revision=released.revision)
    broken = world.api.upload_file(
        path_or_fileobj=b"{", path_in_repo="config.json", repo_id=MODEL, revision="broken"
    )
    world.api.delete_tag(MODEL, tag=str(released.tag))
    world.api.create_tag(MODEL, tag=str(released.tag), revision=broken.oid)
    held.released.set()
    world.host.wait_stage(RETRAIN_SPACE, {"PAUSED", "RUNTIME_ERROR"}, timeout=240)

    assert sorted(outcomes(world)) == ["accepted", "rolled_back"], world.host.log_path(
        RETRAIN_SPACE
    ).read_text()
    restored = ModelRepo(world.api, MODEL).versions()[0]
    assert ModelRepo(world.api, MODEL).metadata(restored.revision)["restored_from"] == first.tag
    about = requests.get(f"http://{world.domain(INFERENCE_SPACE)}/", timeout=10).json()
    assert (about["model_version"], about["model_revision"]) == (restored.tag, restored.revision)
    assert world.api.get_space_runtime(RETRAIN_SPACE).stage == "PAUSED"
