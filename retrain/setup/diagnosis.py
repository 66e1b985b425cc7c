"""What a person would look at in an installation, from the token to the answer of the API."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from configs import BaseConfig, get_config
from retrain.connections import live_model
from retrain.errors import HubError, RetrainError
from retrain.hub.client import hub_errors, token_role
from retrain.hub.dataset_repo import DatasetRepo
from retrain.hub.model_repo import ModelRepo
from retrain.hub.spaces import AT_WORK, Space
from retrain.setup.installation import SCHEDULE, SpaceSpec, is_job, spaces_of
from retrain.setup.plan import check_checkpoint, check_owners, plan_space
from retrain.setup.schedule import Schedule, schedule_in

if TYPE_CHECKING:
    from huggingface_hub import HfApi

NO_VERSION, NORMAL = "no version yet", "which is normal before the first release"


class Finding(NamedTuple):
    """One line of a diagnosis; a remedy only if something is wrong."""

    what: str
    state: str
    remedy: str = ""


def diagnose(api: "HfApi", values: Mapping[str, str]) -> Iterator[Finding]:
    """What a person would look at, from the token to the answer of the API."""
    config = get_config(values)
    try:
        role = token_role(api)
        remedy = "Make a token with write access and set it as HF_TOKEN." if role == "read" else ""
        yield Finding("HF_TOKEN", f"accepted, its role is {role}", remedy)
    except HubError as error:
        yield Finding("HF_TOKEN", "could not be checked", str(error))
        return
    try:
        check_owners(api, values)
        check_checkpoint(api, values)
    except RetrainError as error:
        yield Finding("settings", "can't be set up", str(error))
    yield from _dataset(api, config)
    yield (model := _model(api, config, job=is_job(values)))
    first = model.state.startswith(NO_VERSION)
    for spec in spaces_of(values):
        yield from _space(Space(api, spec.repo_id), spec, before_first=first and not spec.paused)
    if is_job(values) or SCHEDULE in values:
        yield from _schedule(api, values)
    yield _endpoint(api, config, before_first=first)


def diagnose_companion(api: "HfApi", spec: SpaceSpec) -> Iterator[Finding]:
    """A Space beside the installation."""
    yield from _space(Space(api, spec.repo_id), spec, before_first=False)


def _dataset(api: "HfApi", config: BaseConfig) -> Iterator[Finding]:
    """What the run would say of the data set: it is loaded and checked as there."""
    from load_dataset import load_splits  # heavy

    what = f"data set {config.dataset_repo_id}"
    repo = DatasetRepo(api, config.dataset_repo_id)
    try:
        splits = load_splits(repo, config.label2id, repo.revision(config.dataset_revision), config.label)
    except RetrainError as error:
        yield Finding(what, "not readable", str(error))
        return
    rows = ", ".join(f"{name} {size}" for name, size in splits.info.split_sizes.items())
    read_as = "".join(f"; {name} is read from {found}" for name, found in splits.info.read_as.items())
    yield Finding(what, f"has the splits train, eval and test ({rows} rows){read_as}")
    for warning in splits.warnings:
        yield Finding(what, warning)


def _model(api: "HfApi", config: BaseConfig, *, job: bool) -> Finding:
    what = f"model {config.hub_model_id}"
    try:
        newest = ModelRepo(api, config.hub_model_id).newest()
    except RetrainError as error:
        return Finding(what, "not readable", str(error))
    if newest:
        remedy = "Take ALLOW_FIRST_RELEASE out: there is a release." if config.allow_first_release else ""
        return Finding(what, f"newest version {newest.tag}", remedy)
    if not config.allow_first_release:
        return Finding(what, NO_VERSION, "Set ALLOW_FIRST_RELEASE=true for the first run, and set up again.")
    start = "`python -m retrain schedule now`" if job else "restart the retrain Space"
    return Finding(what, f"{NO_VERSION}. Next: {start} for the first run")


def _space(space: Space, spec: SpaceSpec, *, before_first: bool) -> Iterator[Finding]:
    what = f"Space {space.repo_id}"
    try:
        with hub_errors("look at the Space", space.repo_id):
            state, (hardware, _) = space.stage(), space.hardware()
            remedy = "Read its log on the Hub." if "ERROR" in state else ""
            if before_first and state == "RUNTIME_ERROR":
                state, remedy = f"{state}, {NORMAL}", ""
            if spec.paused and state in AT_WORK:
                remedy = "It is billed while it runs: pause it if no run is under way."
            yield Finding(what, f"{state}, on {hardware}", remedy)
            for step in plan_space(space, spec):
                yield Finding(what, "not as it should be", f"retrain setup --yes would: {step.what}")
    except HubError as error:
        yield Finding(what, "can't be looked at", str(error))


def _schedule(api: "HfApi", values: Mapping[str, str]) -> Iterator[Finding]:
    what = "runs by schedule"
    try:
        schedule = Schedule(api, values)
        for line in schedule.lines():
            yield Finding(what, line)
        for step in schedule.steps(schedule_in(values)):
            yield Finding(what, "not as it should be", f"retrain setup --yes would: {step.what}")
    except RetrainError as error:
        yield Finding(what, "can't be looked at", str(error))


def _endpoint(api: "HfApi", config: BaseConfig, *, before_first: bool) -> Finding:
    what = f"API {config.api_endpoint}"
    try:
        (answer,) = live_model(Space(api, config.space_repo_id), config).ask(
            ["खानेपानी आएको छैन"], failures_allowed=1
        )
    except HubError as error:
        return Finding(what, "can't be asked", str(error))
    if answer.label is None and before_first:
        return Finding(what, f"no answer ({answer.error}), {NORMAL}")
    if answer.label is None:
        return Finding(what, f"no answer: {answer.error}", "Is the inference Space running, with a version?")
    return Finding(what, f"answers {config.id2label[answer.label]}")
