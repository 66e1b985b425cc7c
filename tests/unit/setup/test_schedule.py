"""The scheduled Job and the webhook of an installation: what they should be, and the steps to that."""

import json

import pytest
from huggingface_hub import HfApi

from configs import JOB_MARGIN_MINUTES, clean_environment, get_config
from rehearsal.local_hub import LocalHub
from rehearsal.space_host import parse_dockerfile
from retrain.errors import SettingsError
from retrain.setup.installation import installations, spaces_of
from retrain.setup.schedule import COMMAND, WORKDIR, Schedule, check_schedule, job_plan, schedule_in
from tests.conftest import SOURCE
from tests.unit.setup.conftest import EnvFile

JOB = {"HOST": "job", "JOB_IMAGE": "ghcr.io/city/retrain:cpu"}


def values_of(env_file: EnvFile, **settings: str | None) -> dict[str, str]:
    (values,) = installations(env_file(**settings))
    return values


def done(schedule: Schedule, when: str | None = None, *, renew_secrets: bool = False) -> list[str]:
    """Take the steps; returns what they were."""
    steps = list(schedule.steps(when, renew_secrets=renew_secrets))
    for step in steps:
        step.do()
    return [step.what for step in steps]


# --- what the Job is


def test_the_job_has_the_image_variables_and_secrets_of_the_retrain_space(env_file: EnvFile) -> None:
    values = values_of(env_file, WANDB_API_KEY="a key", SEED="7", RETRAIN_SPACE_ID="city/retrain")
    _, space = spaces_of(values)
    plan = job_plan(values)
    assert plan.image == "hf.co/spaces/city/retrain"
    assert plan.secrets == space.secrets
    assert plan.variables == {"SKIP_UNCHANGED": "true", **space.variables}
    assert get_config({**plan.variables, **plan.secrets}).seed == 7


def test_the_job_runs_what_the_image_runs_and_keeps_runs_where_the_image_has_them(env_file: EnvFile) -> None:
    text = (SOURCE / "Dockerfile").read_text(encoding="utf-8")
    assert parse_dockerfile(text)[0] == list(COMMAND)
    assert f"WORKDIR {WORKDIR}\n" in text
    plan = job_plan(values_of(env_file, JOB_BUCKET="city/runs"))
    assert plan.bucket == ("city/runs", "/app/runs")
    assert job_plan(values_of(env_file, JOB_BUCKET="city/runs", RUN_DIR="/data/x")).bucket == (
        "city/runs",
        "/data/x",
    )


def test_the_time_out_is_longer_than_the_longest_run(env_file: EnvFile) -> None:
    plan = job_plan(values_of(env_file, MAX_RUN_MINUTES="120"))
    assert plan.timeout_seconds == (120 + JOB_MARGIN_MINUTES) * 60
    assert job_plan(values_of(env_file)).timeout_seconds == (720 + JOB_MARGIN_MINUTES) * 60


def test_a_check_for_something_to_learn_may_be_a_run_in_any_case(env_file: EnvFile) -> None:
    assert job_plan(values_of(env_file, SKIP_UNCHANGED="false")).variables["SKIP_UNCHANGED"] == "false"


def test_models_of_one_owner_have_jobs_of_their_own(env_file: EnvFile) -> None:
    names = ("city/a.b", "city/a-b", "city/" + "long" * 22)
    purposes = {job_plan(values_of(env_file, HUB_MODEL_ID=name)).purpose for name in names}
    assert len(purposes) == 3
    assert all(len(purpose) <= 100 for purpose in purposes)


def test_a_job_without_a_space_needs_an_image(env_file: EnvFile) -> None:
    with pytest.raises(SettingsError, match=r"HOST=job needs JOB_IMAGE: an image that anybody may pull"):
        job_plan(values_of(env_file, HOST="job"))
    assert job_plan(values_of(env_file, **JOB)).image == JOB["JOB_IMAGE"]


def test_hardware_that_no_job_can_have_is_refused(env_file: EnvFile) -> None:
    with pytest.raises(SettingsError, match="RETRAIN_HARDWARE=zero-a10g: no Job can run on it"):
        job_plan(values_of(env_file, RETRAIN_HARDWARE="zero-a10g"))


# --- when


@pytest.mark.parametrize(
    "when", ["@daily", "@weekly", "0 3 * * 1", "*/5 0-6,22 1 jan MON-FRI", "0 3 1,15 * *"]
)
def test_a_schedule_is_a_name_or_five_fields(when: str) -> None:
    assert check_schedule(when) == when


@pytest.mark.parametrize(
    "when", ["daily", "@reboot", "0 3 * *", "0 3 * * 1 x", "", "0 3 * * ;", "0  3 * * 1", "now"]
)
def test_what_is_no_schedule_is_named(when: str) -> None:
    with pytest.raises(SettingsError, match="should be one of @annually"):
        check_schedule(when)


def test_the_schedule_of_the_file_is_checked_too(env_file: EnvFile) -> None:
    assert schedule_in(values_of(env_file)) is None
    assert schedule_in(values_of(env_file, SCHEDULE='"0 3 * * 1"')) == "0 3 * * 1"
    with pytest.raises(SettingsError, match="SCHEDULE: 'often'"):
        schedule_in(values_of(env_file, SCHEDULE="often"))


# --- the steps


def test_a_second_time_nothing_is_left_to_do(api: HfApi, env_file: EnvFile) -> None:
    schedule = Schedule(api, values_of(env_file))
    (step,) = done(schedule, "@daily")
    assert step == f"schedule the Job {schedule.plan.purpose} @daily (it is not there)"
    assert done(schedule, "@daily") == []
    assert done(schedule) == []


def test_another_schedule_changes_the_job_that_is_there(api: HfApi, env_file: EnvFile) -> None:
    schedule = Schedule(api, values_of(env_file))
    done(schedule, "@daily")
    (before,) = schedule.jobs.scheduled(schedule.plan.purpose)
    assert done(schedule, "@hourly") == [f"run the Job {schedule.plan.purpose} @hourly, not @daily"]
    (after,) = schedule.jobs.scheduled(schedule.plan.purpose)
    assert (after.id, after.when) == (before.id, "@hourly")
    assert done(schedule) == []  # without a wish it stays


def test_another_setting_makes_a_new_job_in_place_of_the_old_one(api: HfApi, env_file: EnvFile) -> None:
    done(Schedule(api, values_of(env_file)), "@hourly")
    schedule = Schedule(api, values_of(env_file, SEED="7", MAX_RUN_MINUTES="60"))
    new, old = done(schedule)
    assert new.endswith("@hourly (variables, time-out)")
    assert old.startswith("delete the scheduled Job")
    (found,) = schedule.jobs.scheduled(schedule.plan.purpose)
    assert found.spec.environment["SEED"] == "7"


def test_secrets_are_renewed_on_demand_only(hub: LocalHub, api: HfApi, env_file: EnvFile) -> None:
    done(Schedule(api, values_of(env_file)))
    schedule = Schedule(api, values_of(env_file, WANDB_API_KEY="new"))
    assert done(schedule) == []
    assert len(done(schedule, renew_secrets=True)) == 2
    (record,) = hub.jobs.scheduled.all.values()
    assert record["spec"]["secrets"]["WANDB_API_KEY"] == "new"


def test_doubles_are_deleted_and_a_suspended_job_is_resumed(api: HfApi, env_file: EnvFile) -> None:
    schedule = Schedule(api, values_of(env_file))
    for _ in range(2):
        schedule.jobs.schedule(schedule.plan, "@daily")
    first, second = schedule.jobs.scheduled(schedule.plan.purpose)
    api.suspend_scheduled_job(scheduled_job_id=second.id)
    purpose = schedule.plan.purpose
    assert done(schedule) == [f"resume the Job {purpose}", f"delete the scheduled Job {first.id}"]
    (found,) = schedule.jobs.scheduled(purpose)
    assert (found.id, found.suspended) == (second.id, False)


def test_each_new_version_starts_a_run_with_a_secret_that_is_nowhere_else(
    hub: LocalHub, api: HfApi, env_file: EnvFile
) -> None:
    api.create_repo("city/data", repo_type="dataset")
    schedule = Schedule(api, values_of(env_file, JOB_BUCKET="city/runs"))
    done(schedule)
    for step in schedule.webhook_steps():
        step.do()
    assert list(schedule.webhook_steps()) == []
    (record,) = hub.jobs.webhooks.all.values()
    assert record["secret"] == record["job"]["secrets"]["RETRAIN_WEBHOOK_SECRET"]
    assert len(record["secret"]) == 64
    (scheduled,) = hub.jobs.scheduled.all.values()
    assert record["secret"] not in json.dumps(scheduled)
    lines = list(schedule.lines())
    assert lines[0].startswith(f"scheduled Job {scheduled['id']}: @daily (next 20")
    assert lines[1] == f"webhook {record['id']}: for each new version of city/data"
    for step in schedule.removal():
        step.do()
    assert list(schedule.lines()) == []


def test_a_webhook_that_is_not_as_it_should_be_is_replaced(
    hub: LocalHub, api: HfApi, env_file: EnvFile
) -> None:
    api.create_repo("city/data", repo_type="dataset")
    for settings in ({}, {"SEED": "7"}):
        schedule = Schedule(api, values_of(env_file, **settings))
        for step in list(schedule.webhook_steps()):
            step.do()
    (record,) = hub.jobs.webhooks.all.values()
    assert record["job"]["environment"]["SEED"] == "7"


def test_the_settings_of_the_job_are_what_a_run_reads(hub: LocalHub, api: HfApi, env_file: EnvFile) -> None:
    values = values_of(env_file, LABEL="urgency", NUM_TRAIN_EPOCHS="2", **JOB)
    done(Schedule(api, values))
    (record,) = hub.jobs.scheduled.all.values()
    spec = record["spec"]
    config = get_config(clean_environment(spec["environment"] | spec["secrets"]))
    assert (config.num_train_epochs, config.skip_unchanged, config.retrain_space_id) == (2, True, None)
