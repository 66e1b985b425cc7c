"""The ways to start a run, as docs/starting.md writes them."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi

from tests.conftest import SOURCE
from tests.documents.commands import runs
from tests.documents.conftest import ACTIVATE, RETRAIN_SPACE, TOKEN, Clone, make_space


@runs(r"python -m retrain schedule .*")
def test_a_job_is_scheduled_by_the_commands_of_the_guide(clone: Clone, commands: list[str]) -> None:
    clone.fill_env_file(HF_TOKEN=TOKEN)
    said = clone.type(ACTIVATE, *commands)
    for words in (
        "@daily (it is not there)",
        "0 3 * * 1, not @daily",
        "for each new version of",
        "runs now: http",
    ):
        assert words in said
    assert not clone.hub.jobs.scheduled.all
    assert not clone.hub.jobs.webhooks.all


def workflow(text: str) -> tuple[dict, dict]:
    """A workflow and its only step."""
    parsed = yaml.safe_load(text)
    (step,) = parsed["jobs"]["start"]["steps"]
    return parsed, step


@runs(r"name: retrain\n.*")
def test_the_workflow_is_one_that_github_takes_and_starts_one_run_at_a_time(commands: list[str]) -> None:
    (text,) = commands
    command = [str(Path(sys.executable).with_name("actionlint")), "-"]
    checked = subprocess.run(command, input=text, cwd=SOURCE, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    parsed, _ = workflow(text)
    assert parsed["concurrency"] == {"group": "retrain", "cancel-in-progress": False}
    assert parsed[True]["schedule"]  # YAML 1.1 reads the key `on` as true


@runs(r"name: retrain\n.*")
def test_the_workflow_restarts_the_space_unless_it_is_at_work(
    clone: Clone, yours: HfApi, commands: list[str]
) -> None:
    _, step = workflow(commands[0])
    assert step["env"]["SPACE"] == RETRAIN_SPACE

    def start(token: str = TOKEN) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],  # as GitHub does
            env=clone.environment
            | {"HF_TOKEN": token, "SPACE": RETRAIN_SPACE, "PATH": "/usr/local/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )

    def restarts() -> int:
        return sum(each.path.endswith("/restart") for each in clone.hub.requests)

    make_space(yours, RETRAIN_SPACE)
    yours.pause_space(RETRAIN_SPACE)
    refused = start("hf_wrong")
    assert (refused.returncode != 0, restarts()) == (True, 0)
    done = start()
    assert (done.returncode, done.stdout) == (0, f"{RETRAIN_SPACE} was restarted.\n"), done.stderr
    assert restarts() == 1
    again = start()
    assert again.stdout == f"{RETRAIN_SPACE} is RUNNING: a run is under way.\n"
    assert restarts() == 1
    assert TOKEN not in done.stdout + done.stderr


@runs(r"0 3 \* \* 1 .*")
@pytest.mark.parametrize("locked", [True, False])
def test_the_line_of_cron_starts_a_run_unless_one_is_under_way(
    clone: Clone, commands: list[str], locked: bool
) -> None:
    """There is no data set, so that the run is a short one."""
    clone.fill_env_file(HF_TOKEN=TOKEN)
    *when, command = commands[0].split(maxsplit=5)
    assert len(when) == 5
    assert "%" not in command  # it ends a line of cron
    with (clone.folder / ".retrain.lock").open("w") as lock:
        if locked:
            fcntl.flock(lock, fcntl.LOCK_EX)
        else:
            lock.close()
        done = subprocess.run(
            ["sh", "-c", command.replace("/srv/retrain", str(clone.folder))],
            env=clone.environment | {"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=200,
        )
    assert done.returncode == 1, done.stdout + done.stderr
    records = [json.loads(file.read_text()) for file in clone.folder.glob("runs/*/run.json")]
    assert [record["outcome"] for record in records] == ([] if locked else ["failed"])
