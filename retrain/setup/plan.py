"""What an installation should be, from the env file, and the steps that make it so."""

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

from dotenv import dotenv_values
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceStage
from huggingface_hub.hf_api import RepoFile

from configs import BaseConfig, clean_environment, get_config
from retrain.errors import HubError, SettingsError

SOURCE = Path(__file__).parents[2]
RETRAIN_FILES = ("Dockerfile", "requirements*", "README.md", "*.py", "retrain/*")
AT_WORK = (SpaceStage.RUNNING, SpaceStage.RUNNING_BUILDING, SpaceStage.APP_STARTING)
NOT_SHIPPED = ("requirements-dev.txt", "evaluation/gate_simulation.py", "*__pycache__*")
# Of the set-up alone: they are no settings of a Space.
HARDWARE, SLEEP, READ_TOKEN = "{space}_HARDWARE", "{space}_SLEEP_SECONDS", "INFERENCE_HF_TOKEN"
TRIGGER = "RETRAIN_TRIGGER_TOKEN"
OURS = {name.format(space=space) for name in (HARDWARE, SLEEP) for space in ("RETRAIN", "INFERENCE")}
OURS |= {READ_TOKEN, "AUDIT_KEY", TRIGGER, "MODEL_REVISION"}
SECRETS = {"HF_TOKEN", "API_TOKEN", "WANDB_API_KEY", "NOTIFY_URLS"}
# What the libraries read.
CLIENT = {"HF_ENDPOINT", "HF_HUB_DISABLE_XET", "HF_UPDATE_DOWNLOAD_COUNTS"}
VARIABLES = {name.upper() for name in BaseConfig.model_fields} - SECRETS | CLIENT
VARIABLES |= {"WANDB_BASE_URL", "OMP_NUM_THREADS"}
# The Dockerfile's arguments: a Space gives its variables to the build, too.
REQUIREMENTS, INDEX = BUILD = ("REQUIREMENTS", "PIP_EXTRA_INDEX_URL")
VARIABLES |= set(BUILD)
CPU, CUDA = "requirements-cpu.lock", "requirements-cuda.lock"


class Step(NamedTuple):
    """One thing to do, and how."""

    what: str
    do: Callable[[], object]


@dataclass(frozen=True)
class Space:
    """What a Space should be: files by path, variables, secrets, and paused at the end or not.

    A secret without a value is made up where the Space has none.
    """

    repo_id: str
    files: Mapping[str, Path]
    variables: Mapping[str, str]
    secrets: Mapping[str, str]
    hardware: str
    sleep_seconds: int | None
    paused: bool


def installations(file: Path) -> list[dict[str, str]]:
    """The clean variables of an env file, once for each label set in LABEL.

    Raises:
        SettingsError: the file can't be read, or its settings are no job's.
    """
    if not file.is_file():
        raise SettingsError(f"{file} does not exist. Copy .env.example to it and fill it in.")
    given = {name: value for name, value in dotenv_values(file, interpolate=False).items() if value}
    variables = clean_environment(given)
    if unknown := sorted(set(variables) - VARIABLES - SECRETS - OURS):
        raise SettingsError(f"{file}: {', '.join(unknown)} is no setting. Correct the name or take it out.")
    found = []
    for label in map(str.strip, variables.get("LABEL", "").split(",")):
        each = {name: value.replace("{label}", label) for name, value in variables.items()}
        each["LABEL"] = label
        each.setdefault("API_ENDPOINT", endpoint_of(each.get("SPACE_REPO_ID", "owner/name")))
        config = get_config(each)
        each.setdefault("RETRAIN_SPACE_ID", f"{config.space_repo_id.split('/')[0]}/grievance-retrain-{label}")
        _check_image(each)
        spaces_of(each)  # its own settings are checked, too
        found.append(each)
    models = [each["HUB_MODEL_ID"] for each in found]
    spaces = [each[name] for each in found for name in ("SPACE_REPO_ID", "RETRAIN_SPACE_ID")]
    if len(set(models)) < len(models) or len(set(spaces)) < len(spaces):
        raise SettingsError(f"{file}: two repositories have one name. Put {{label}} into the names.")
    return found


def _check_image(values: Mapping[str, str]) -> None:
    requirements = values.get(REQUIREMENTS, CUDA)
    hardware = _hardware(values, "RETRAIN")
    given = f"REQUIREMENTS={requirements}"
    if requirements not in (CPU, CUDA, "requirements.txt"):
        raise SettingsError(f"{given}: should be {CUDA}, {CPU} or requirements.txt.")
    if "@" in values.get(INDEX, ""):
        raise SettingsError(f"{INDEX} should not hold a password: it becomes a variable, which is public.")
    if requirements == CPU and INDEX not in values:
        raise SettingsError(f"{given} needs the index of PyTorch's CPU builds. Set it as {INDEX}.")
    if requirements != CUDA and INDEX in values and not hardware.startswith("cpu"):
        raise SettingsError(
            f"{given} can't use the GPU of RETRAIN_HARDWARE={hardware}. Take one of them out."
        )


def endpoint_of(space_id: str) -> str:
    """Where a Space of the Hub answers."""
    return (
        f"https://{space_id.replace('/', '-').replace('_', '-').replace('.', '-').lower()}.hf.space/predict"
    )


def spaces_of(values: Mapping[str, str]) -> tuple[Space, Space]:
    """The inference Space and the retrain Space of an installation."""
    inference = SOURCE / "companion_spaces" / "inference"
    hardware = _hardware(values, "INFERENCE")
    named = CLIENT | {"MODEL_REVISION"}
    named |= {INDEX} if hardware.startswith("cpu") else set()
    named |= {"RETRAIN_SPACE_ID"} if TRIGGER in values else set()
    return (
        Space(
            values["SPACE_REPO_ID"],
            {p.relative_to(inference).as_posix(): p for p in _files(inference, ("*",))},
            _only(values, named) | {"MODEL_REPO": values["HUB_MODEL_ID"]},
            _only(values, {"API_TOKEN", TRIGGER})
            | {"HF_TOKEN": values.get(READ_TOKEN) or values["HF_TOKEN"]}
            | {"AUDIT_KEY": values.get("AUDIT_KEY", "")},
            hardware,
            _seconds(values, "INFERENCE"),
            paused=False,
        ),
        Space(
            values["RETRAIN_SPACE_ID"],
            {p.relative_to(SOURCE).as_posix(): p for p in _files(SOURCE, RETRAIN_FILES)},
            _only(values, VARIABLES),
            _only(values, SECRETS),
            _hardware(values, "RETRAIN"),
            _seconds(values, "RETRAIN"),
            paused=True,
        ),
    )


def plan(api: HfApi, values: Mapping[str, str], *, renew_secrets: bool = False) -> Iterator[Step]:
    """What has to be done, in order; looks, and changes nothing."""
    for repo_id, kind in ((values["DATASET_REPO_ID"], "dataset"), (values["HUB_MODEL_ID"], "model")):
        if not api.repo_exists(repo_id, repo_type=kind):
            yield Step(f"create the private {kind} repository {repo_id}", _create(api, repo_id, kind))
    for space in spaces_of(values):
        yield from plan_space(api, space, renew_secrets)


def _create(api: HfApi, repo_id: str, kind: str) -> Callable[[], object]:
    return lambda: api.create_repo(repo_id, repo_type=kind, private=True)


def plan_space(api: HfApi, space: Space, renew_secrets: bool) -> Iterator[Step]:
    name = space.repo_id
    exists = api.repo_exists(name, repo_type="space")
    runtime = api.get_space_runtime(name) if exists else None
    if runtime and space.paused and runtime.stage in AT_WORK:
        raise HubError(f"{name} is {runtime.stage}: a run may be under way. Wait for its end, or pause it.")
    if not exists:
        yield Step(
            f"create the private Space {name}",
            lambda: (
                api.create_repo(name, repo_type="space", space_sdk="docker", private=True),
                api.pause_space(name) if space.paused else None,
            ),
        )
    there = {k: v.value for k, v in api.get_space_variables(name).items()} if exists else {}
    for key, value in sorted(space.variables.items()):
        if there.get(key) != value:
            yield Step(f"{name}: set {key}={value}", _call(api.add_space_variable, name, key, value))
    for key in sorted(set(there) - set(space.variables)):
        yield Step(f"{name}: remove the variable {key}", _call(api.delete_space_variable, name, key))
    known = set(api.get_space_secrets(name)) if exists else set()
    for key, value in sorted(space.secrets.items()):
        if key not in known or (renew_secrets and value):
            new = value or token_hex(32)
            yield Step(f"{name}: set the secret {key}", _call(api.add_space_secret, name, key, new))
    operations = _changes(api, space, exists)
    if operations:
        gone = [each.path_in_repo for each in operations if isinstance(each, CommitOperationDelete)]
        what = f"{name}: upload {len(operations) - len(gone)} files"
        what += f", delete {', '.join(gone)}" if gone else ""
        yield Step(what, _upload(api, name, operations))
    if space.hardware != (runtime.requested_hardware if runtime else "cpu-basic"):
        what = f"{name}: ask for the hardware {space.hardware}"
        yield Step(what, _call(api.request_space_hardware, name, space.hardware))
    if space.sleep_seconds is not None and space.sleep_seconds != (runtime and runtime.sleep_time):
        what = f"{name}: sleep after {space.sleep_seconds} seconds"
        yield Step(what, _call(api.set_space_sleep_time, name, space.sleep_seconds))
    if space.paused and (runtime is None or runtime.stage != SpaceStage.PAUSED):
        yield Step(f"{name}: pause it", _call(api.pause_space, name))


def _call(do: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: do(*arguments)


def _upload(
    api: HfApi, name: str, operations: Sequence[CommitOperationAdd | CommitOperationDelete]
) -> Callable[[], object]:
    title = "Set up by setup_spaces"
    return lambda: api.create_commit(name, list(operations), commit_message=title, repo_type="space")


def _changes(api: HfApi, space: Space, exists: bool) -> list[CommitOperationAdd | CommitOperationDelete]:
    """The files that differ, by git's hash of their content; and those that do not belong into the Space."""
    tree = api.list_repo_tree(space.repo_id, recursive=True, repo_type="space") if exists else ()
    there = {each.path: each.blob_id for each in tree if isinstance(each, RepoFile)}
    changes: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(path, file)
        for path, file in space.files.items()
        if there.get(path) != _blob_id(file.read_bytes())
    ]
    gone = sorted(set(there) - set(space.files) - {".gitattributes"})
    return changes + [CommitOperationDelete(path) for path in gone]


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _files(folder: Path, wanted: Sequence[str]) -> Iterator[Path]:
    """The files of a folder that ship; in a clone those that git knows, not what lies beside them."""
    if (SOURCE / ".git").exists():
        command = ["git", "ls-files"]
        listed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603 (as written)
        paths = [folder / name for name in listed.stdout.splitlines()]
    else:
        paths = [path for path in folder.rglob("*") if path.is_file()]
    for path in sorted(paths):
        name = path.relative_to(folder).as_posix()
        if any(fnmatch(name, pattern) for pattern in wanted):
            in_place = "/" not in name or name.startswith("retrain/")
            ships = in_place and not any(fnmatch(name, pattern) for pattern in NOT_SHIPPED)
            if ships and not name.startswith("."):
                yield path


def _only(values: Mapping[str, str], names: Set[str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name in names}


def _hardware(values: Mapping[str, str], space: str) -> str:
    return values.get(HARDWARE.format(space=space), "cpu-basic")


def _seconds(values: Mapping[str, str], space: str) -> int | None:
    given = values.get(SLEEP.format(space=space))
    if given is None:
        return None
    if not re.fullmatch(r"-1|\d+", given):
        raise SettingsError(
            f"{SLEEP.format(space=space)}={given!r} should be a number of seconds, or -1 for never."
        )
    return int(given)
