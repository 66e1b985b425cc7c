"""The job as a Job of the Hub: started by a schedule and by a webhook, with nothing to pause and no page."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rehearsal.hub_webhooks import start
from rehearsal.job_host import HostedJob
from rehearsal.world import DATASET, RETRAIN_SPACE, TOKEN, World
from retrain.hub.jobs import Jobs
from retrain.setup.schedule import Schedule
from tests.conftest import FIRST, SOURCE, City

IMAGE = "ghcr.io/city/retrain:cpu"
VERSION = "v20250101_000000"


@pytest.fixture
def world(tmp_path: Path, checkpoint: Path) -> Iterator[World]:
    with World(tmp_path, "urgency") as world:
        world.hub.job_host.images[IMAGE] = SOURCE
        world.push_checkpoint(checkpoint)
        world.create_spaces({"HOST": "job"})
        yield world


def scheduled(world: World, **settings: str) -> Schedule:
    """What the set-up schedules for this city."""
    values = world.retrain_settings() | {"HF_TOKEN": TOKEN, "HOST": "job", "JOB_IMAGE": IMAGE} | settings
    del values["RETRAIN_SPACE_ID"]
    return Schedule(world.api, values)


def runs_of(world: World) -> list[dict[str, Any]]:
    return [
        json.loads(file.read_text(encoding="utf-8")) for file in sorted(world.root.glob("runs/*/run.json"))
    ]


def by_webhook(world: World) -> list[HostedJob]:
    return [job for job in world.hub.job_host.jobs.values() if job.initiator["type"] == "webhook"]


def test_a_new_version_is_released_by_the_job_of_a_webhook_and_the_daily_one_finds_nothing_to_do(
    world: World, grievances: list[dict[str, str]]
) -> None:
    schedule = scheduled(world, **FIRST, MIN_TRAIN_STEPS="0", OMP_NUM_THREADS="1", MAX_RUN_MINUTES="30")
    for step in [*schedule.steps("@daily"), *schedule.webhook_steps()]:
        step.do()
    unique = list({row["grievance"].casefold(): row for row in grievances}.values())
    world.push_data({"train": unique[:60], "eval": unique[60:90], "test": unique[90:150]}, VERSION)

    jobs = by_webhook(world)
    for job in jobs:
        assert job.wait(240) == "COMPLETED", job.log
    *for_branches, for_version = jobs
    assert for_branches
    for job in for_branches:
        assert f"a change of {DATASET} that is no new version" in job.log
    (record,) = runs_of(world)
    assert record["outcome"] == "accepted", for_version.log
    assert record["dataset"]["version_tag"] == VERSION
    assert not world.api.repo_exists(RETRAIN_SPACE, repo_type="space")
    assert "Pausing" not in for_version.log
    assert TOKEN not in for_version.log

    # A person presses Replay.
    (webhook,) = world.hub.jobs.webhooks.all.values()
    payload = json.loads(for_version.spec["extra"]["WEBHOOK_PAYLOAD"])
    start(world.hub.jobs, webhook, payload, for_version.spec["extra"]["WEBHOOK_ID"])
    replayed = by_webhook(world)[-1]
    assert replayed.wait() == "COMPLETED"
    assert f"about {VERSION}, on which a run has already decided" in replayed.log

    schedule.run_now()
    daily = next(job for job in world.hub.job_host.jobs.values() if job.initiator["type"] == "scheduled-job")
    assert daily.wait(240) == "COMPLETED", daily.log
    assert [run["outcome"] for run in runs_of(world)] == ["accepted", "unchanged"]


def test_a_job_that_the_hub_would_end_too_early_says_so_and_starts_nothing(world: World) -> None:
    schedule = scheduled(world)
    options = schedule.plan.as_options({}) | {"timeout": None}
    made = world.api.create_scheduled_job(schedule="@daily", namespace="city", **options)
    Jobs(world.api, "city").trigger(made.id)
    (job,) = world.hub.job_host.jobs.values()
    assert job.wait() == "ERROR"
    assert job.exit_code == 2
    assert "This Job is ended after 30 minutes, and MAX_RUN_MINUTES=720" in job.log
    (record,) = runs_of(world)
    assert record["outcome"] == "bad_settings"


# --- as a process, with a Hub that runs no Jobs


def end(job: "subprocess.Popen[str]") -> tuple[int, str]:
    output, _ = job.communicate(timeout=100)
    return job.returncode, output


WEBHOOK = {"JOB_ID": "6b", "RETRAIN_WEBHOOK_SECRET": "secret-of-the-webhook"}


def test_a_webhook_with_a_wrong_secret_starts_nothing(city: City) -> None:
    payload = {"WEBHOOK_PAYLOAD": "{}", "WEBHOOK_SECRET": "another-long-secret"}
    code, output = end(city.start(real_start=True, **WEBHOOK, **payload))
    assert code == 2
    assert "with a secret that is not its RETRAIN_WEBHOOK_SECRET" in output
    assert "secret-of-the-webhook" not in output
    assert "another-long-secret" not in output
    assert not city.paused


def test_a_job_that_waits_for_a_webhook_ends_at_once_without_one_and_leaves_nothing(city: City) -> None:
    code, output = end(city.start(real_start=True, **WEBHOOK))
    assert code == 0
    assert "only a webhook starts a run here" in output
    assert not (city.root / "runs").exists()


def test_a_payload_with_what_a_shell_takes_for_a_comment_is_read_whole(city: City) -> None:
    payload = {"repo": {"type": "dataset", "name": "city/data"}, "discussion": {"title": "a # b"}}
    given = {"WEBHOOK_PAYLOAD": json.dumps(payload), "WEBHOOK_SECRET": "secret-of-the-webhook"}
    code, output = end(city.start(real_start=True, **WEBHOOK, **given))
    assert code == 0
    assert "a change of city/data that is no new version" in output


def test_a_job_of_the_hub_opens_no_port_and_pauses_no_space(city: City) -> None:
    """Without a data set the run fails soon; JOB_ID is one that the Hub does not know."""
    with socket.create_server(("", 0)) as taken:
        run = city.run(real_start=True, JOB_ID="6b", PORT=str(taken.getsockname()[1]))
    assert run.record["outcome"] == "failed", run.output
    assert not city.paused
    assert "needs `--timeout 735m`" in str(run.record["warnings"])


def test_a_job_that_is_cancelled_records_its_end_and_pauses_no_space(
    city: City, good_splits: dict[str, list[dict[str, Any]]]
) -> None:
    city.push(good_splits)
    city.publish_a_model()
    job = city.start(real_start=True, JOB_ID="6b")
    city.wait_for(job, "stage", name="train")
    job.send_signal(signal.SIGTERM)
    run = city.end(job)
    assert run.exit_code == 128 + signal.SIGTERM, run.output
    assert run.record["outcome"] == "interrupted"
    assert not city.paused
