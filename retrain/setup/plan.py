"""The steps that make an installation what it should be. A plan looks, and changes nothing."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, NamedTuple

from retrain.architectures import refusal
from retrain.errors import CheckpointError, HubError, SettingsError
from retrain.hub.client import account, create_repository, repository_exists
from retrain.hub.model_repo import checkpoint_config
from retrain.hub.spaces import AT_WORK, Space
from retrain.setup.installation import SpaceSpec, spaces_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TITLE = "Set up by retrain setup"


class Step(NamedTuple):
    """One thing to do, and how."""

    what: str
    do: Callable[[], object]


def plan(api: "HfApi", values: Mapping[str, str], *, renew_secrets: bool = False) -> Iterator[Step]:
    """What has to be done, in order."""
    check_owners(api, values)
    check_checkpoint(api, values)
    for repo_id, kind in ((values["DATASET_REPO_ID"], "dataset"), (values["HUB_MODEL_ID"], "model")):
        if not repository_exists(api, repo_id, kind):
            create = partial(create_repository, api, repo_id, kind)
            yield Step(f"create the private {kind} repository {repo_id}", create)
    for spec in spaces_of(values):
        yield from plan_space(Space(api, spec.repo_id), spec, renew_secrets=renew_secrets)


def check_owners(api: "HfApi", values: Mapping[str, str]) -> None:
    """See, before anything is created, that this token's account may create what is not there yet.

    Raises:
        SettingsError: an owner is neither the account nor one of its organisations.
    """
    about = account(api)
    mine = [str(about["name"]), *(str(each["name"]) for each in about.get("orgs", ()))]
    kinds = {"DATASET_REPO_ID": "dataset", "HUB_MODEL_ID": "model"}
    kinds |= {name: "space" for name in ("SPACE_REPO_ID", "RETRAIN_SPACE_ID") if name in values}
    for variable, kind in kinds.items():
        owner = values[variable].partition("/")[0]
        known = owner.casefold() in [each.casefold() for each in mine]
        if known or repository_exists(api, values[variable], kind):
            continue
        placeholder = " It is still the placeholder of .env.example." if owner == "your-name" else ""
        raise SettingsError(
            f"{variable}={values[variable]}: there is no such {kind}, and {owner} is neither the account of "
            f"HF_TOKEN nor one of its organisations ({', '.join(mine)}).{placeholder}"
        )


def check_checkpoint(api: "HfApi", values: Mapping[str, str]) -> None:
    """See that the job can train MODEL_CHECKPOINT, by its config.json; the default is known to be right.

    Raises:
        CheckpointError: it is not there, or a run would refuse it.
    """
    given = values.get("MODEL_CHECKPOINT")
    if given is None or Path(given).is_dir():
        return
    if why := refusal(checkpoint_config(api, given)):
        raise CheckpointError(f"MODEL_CHECKPOINT={given} {why}.")


def plan_space(space: Space, spec: SpaceSpec, *, renew_secrets: bool = False) -> Iterator[Step]:
    """What has to be done to one Space.

    Raises:
        HubError: a run may be under way in it.
    """
    name, exists = space.repo_id, space.exists()
    stage = space.stage() if exists else None
    if spec.paused and stage in AT_WORK:
        raise HubError(f"{name} is {stage}: a run may be under way. Wait for its end, or pause it.")
    if not exists:
        yield Step(f"create the private Space {name}", partial(space.create, paused=spec.paused))
    yield from _plan_settings(space, spec, exists=exists, renew_secrets=renew_secrets)
    new, gone = space.changed_files(spec.files) if exists else (list(spec.files), [])
    if new or gone:
        what = f"{name}: upload {len(new)} files" + (f", delete {', '.join(gone)}" if gone else "")
        yield Step(what, partial(space.upload, {path: spec.files[path] for path in new}, gone, TITLE))
    hardware, sleep_seconds = space.hardware() if exists else ("cpu-basic", None)
    if spec.hardware != hardware:
        what = f"{name}: ask for the hardware {spec.hardware}"
        yield Step(what, partial(space.request_hardware, spec.hardware))
    if spec.sleep_seconds is not None and spec.sleep_seconds != sleep_seconds:
        what = f"{name}: sleep after {spec.sleep_seconds} seconds"
        yield Step(what, partial(space.sleep_after, spec.sleep_seconds))
    if spec.paused and stage != "PAUSED":
        yield Step(f"{name}: pause it", space.pause)


def _plan_settings(space: Space, spec: SpaceSpec, *, exists: bool, renew_secrets: bool) -> Iterator[Step]:
    name = space.repo_id
    there = space.variables() if exists else {}
    for key, value in sorted(spec.variables.items()):
        if there.get(key) != value:
            yield Step(f"{name}: set {key}={value}", partial(space.set_variable, key, value))
    for key in sorted(set(there) - set(spec.variables)):
        yield Step(f"{name}: remove the variable {key}", partial(space.remove_variable, key))
    known = space.secret_names() if exists else set()
    for key, value in sorted(spec.secrets.items()):
        if key not in known or (renew_secrets and value):
            made = value or token_hex(32)
            yield Step(f"{name}: set the secret {key}", partial(space.set_secret, key, made))
