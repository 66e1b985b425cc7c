"""Sets the system up on the Hub, from one env file: repositories, Spaces, their files, secrets and variables.

    python -m setup_spaces .env            show what would be done
    python -m setup_spaces .env --yes      do it; done twice, it changes nothing the second time
    python -m setup_spaces .env --check    diagnose an installation: what, state, remedy

The env file is the job's own (.env.example). With LABEL=urgency,department and {label} in the names it stands
for two installations. Secrets can't be read back from the Hub: one that is there stays, but for
--renew-secrets.
"""

import argparse
import hashlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

from dotenv import dotenv_values
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceStage
from huggingface_hub.hf_api import RepoFile

from configs import BaseConfig, clean_environment, get_config
from errors import HubError, RetrainError, SettingsError, hub_errors
from inference_service import live_model
from lifecycle.hub_client import account, check_token, configure_hub_client
from release.versions import list_versions

SOURCE = Path(__file__).parent
ROOMS = ("training", "evaluation", "release", "reporting", "lifecycle")
RETRAIN_FILES = ("Dockerfile", "requirements.txt", "README.md", "*.py", *(f"{room}/*" for room in ROOMS))
SPLITS = ("train", "eval", "test")
AT_WORK = (SpaceStage.RUNNING, SpaceStage.RUNNING_BUILDING, SpaceStage.APP_STARTING)
NOT_SHIPPED = ("setup_spaces.py", "evaluation/gate_simulation.py", "*__pycache__*")
# Of this file's own: they are no settings of a Space.
HARDWARE, SLEEP, READ_TOKEN = "{space}_HARDWARE", "{space}_SLEEP_SECONDS", "INFERENCE_HF_TOKEN"
OURS = {name.format(space=space) for name in (HARDWARE, SLEEP) for space in ("RETRAIN", "INFERENCE")}
OURS |= {READ_TOKEN, "AUDIT_KEY"}
SECRETS = {"HF_TOKEN", "API_TOKEN", "WANDB_API_KEY", "NOTIFY_URLS"}
# What the libraries read.
CLIENT = {"HF_ENDPOINT", "HF_HUB_DISABLE_XET", "HF_UPDATE_DOWNLOAD_COUNTS"}
VARIABLES = {name.upper() for name in BaseConfig.model_fields} - SECRETS | CLIENT
VARIABLES |= {"WANDB_BASE_URL", "OMP_NUM_THREADS"}


class Step(NamedTuple):
    """One thing to do, and how."""

    what: str
    do: Callable[[], object]


class Finding(NamedTuple):
    """One line of a diagnosis; a remedy only where something is wrong."""

    what: str
    state: str
    remedy: str = ""


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
        spaces_of(each)  # its own settings are checked, too
        found.append(each)
    names = [each[name] for each in found for name in ("HUB_MODEL_ID", "SPACE_REPO_ID", "RETRAIN_SPACE_ID")]
    if len(set(names)) < len(names):
        raise SettingsError(f"{file}: two repositories have one name. Put {{label}} into the names.")
    return found


def endpoint_of(space_id: str) -> str:
    """Where a Space of the Hub answers."""
    return (
        f"https://{space_id.replace('/', '-').replace('_', '-').replace('.', '-').lower()}.hf.space/predict"
    )


def spaces_of(values: Mapping[str, str]) -> tuple[Space, Space]:
    """The inference Space and the retrain Space of an installation."""
    client = {k: v for k, v in values.items() if k in CLIENT}
    inference = SOURCE / "companion_spaces" / "inference"
    return (
        Space(
            values["SPACE_REPO_ID"],
            {p.relative_to(inference).as_posix(): p for p in _files(inference, ("*",))},
            client | {"MODEL_REPO": values["HUB_MODEL_ID"]},
            _present({"HF_TOKEN": values.get(READ_TOKEN) or values["HF_TOKEN"]})
            | _present({"API_TOKEN": values.get("API_TOKEN", "")})
            | {"AUDIT_KEY": values.get("AUDIT_KEY", "")},
            values.get(HARDWARE.format(space="INFERENCE"), "cpu-basic"),
            _seconds(values, "INFERENCE"),
            paused=False,
        ),
        Space(
            values["RETRAIN_SPACE_ID"],
            {p.relative_to(SOURCE).as_posix(): p for p in _files(SOURCE, RETRAIN_FILES)},
            {k: v for k, v in values.items() if k in VARIABLES},
            {k: v for k, v in values.items() if k in SECRETS},
            values.get(HARDWARE.format(space="RETRAIN"), "cpu-basic"),
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
        yield from _plan_space(api, space, renew_secrets)


def _create(api: HfApi, repo_id: str, kind: str) -> Callable[[], object]:
    return lambda: api.create_repo(repo_id, repo_type=kind, private=True)


def _plan_space(api: HfApi, space: Space, renew_secrets: bool) -> Iterator[Step]:
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
            in_place = "/" not in name or any(name.startswith(f"{room}/") for room in ROOMS)
            ships = in_place and not any(fnmatch(name, pattern) for pattern in NOT_SHIPPED)
            if ships and not name.startswith("."):
                yield path


def _present(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _seconds(values: Mapping[str, str], space: str) -> int | None:
    given = values.get(SLEEP.format(space=space))
    if given is None:
        return None
    if not re.fullmatch(r"-1|\d+", given):
        raise SettingsError(
            f"{SLEEP.format(space=space)}={given!r} should be a number of seconds, or -1 for never."
        )
    return int(given)


# --- the diagnosis


def diagnose(api: HfApi, values: Mapping[str, str]) -> Iterator[Finding]:
    """What a person would look at, from the token to the answer of the API."""
    config = get_config(values)
    try:
        access = account(api).get("auth", {}).get("accessToken", {})
        role = access.get("role", "unknown")
        remedy = "Make a token with write access and set it as HF_TOKEN." if role == "read" else ""
        yield Finding("HF_TOKEN", f"accepted, may {role}", remedy)
    except HubError as error:
        yield Finding("HF_TOKEN", "not accepted", str(error))
        return
    yield _dataset(api, config)
    yield _model(api, config)
    for space in spaces_of(values):
        yield from _space(api, space)
    yield _endpoint(api, config)


def _dataset(api: HfApi, config: BaseConfig) -> Finding:
    what = f"data set {config.dataset_repo_id}"
    try:
        with hub_errors("read the data set", config.dataset_repo_id):
            files = api.list_repo_files(config.dataset_repo_id, repo_type="dataset")
    except HubError as error:
        return Finding(what, "not readable", str(error))
    # As push_to_hub and the usual layouts name them: data/train-00000-of-00001.parquet, train.csv, train/….
    missing = [split for split in SPLITS if not any(re.search(rf"(^|/){split}\b", file) for file in files)]
    if missing:
        remedy = "Push it with DatasetDict.push_to_hub and the splits train, eval and test."
        return Finding(what, f"no file of the split {', '.join(missing)}", remedy)
    return Finding(what, "has the splits train, eval and test")


def _model(api: HfApi, config: BaseConfig) -> Finding:
    what = f"model {config.hub_model_id}"
    try:
        versions = list_versions(api, config.hub_model_id)
    except RetrainError as error:
        return Finding(what, "not readable", str(error))
    if versions:
        return Finding(what, f"newest version {versions[0].tag}")
    remedy = "" if config.allow_first_release else "Set ALLOW_FIRST_RELEASE=true for the first run."
    return Finding(what, "no version yet", remedy)


def _space(api: HfApi, space: Space) -> Iterator[Finding]:
    what = f"Space {space.repo_id}"
    try:
        with hub_errors("look at the Space", space.repo_id):
            runtime = api.get_space_runtime(space.repo_id)
            remedy = "Read its log on the Hub." if "ERROR" in str(runtime.stage) else ""
            if space.paused and runtime.stage in AT_WORK:
                remedy = "It is billed while it runs: pause it if no run is under way."
            yield Finding(what, f"{runtime.stage}, on {runtime.requested_hardware}", remedy)
            for step in _plan_space(api, space, renew_secrets=False):
                yield Finding(what, "not as it should be", f"setup_spaces --yes would: {step.what}")
    except HubError as error:
        yield Finding(what, "can't be looked at", str(error))


def _endpoint(api: HfApi, config: BaseConfig) -> Finding:
    what = f"API {config.api_endpoint}"
    try:
        (answer,) = live_model(api, config).ask(["खानेपानी आएको छैन"], failures_allowed=1)
    except HubError as error:
        return Finding(what, "can't be asked", str(error))
    if answer.label is None:
        return Finding(what, f"no answer: {answer.error}", "Is the inference Space running, with a version?")
    return Finding(what, f"answers {config.id2label[answer.label]}")


def main(arguments: Sequence[str]) -> int:
    """0: done, or all is well; 1: something is wrong; 2: the env file can't be used."""
    parser = argparse.ArgumentParser(prog="python -m setup_spaces", description=__doc__.split("\n")[0])
    parser.add_argument("env_file", type=Path, nargs="?", default=Path(".env"))
    parser.add_argument("--yes", action="store_true", help="do what the plan says")
    parser.add_argument("--check", action="store_true", help="diagnose, and change nothing")
    parser.add_argument("--renew-secrets", action="store_true", help="set secrets that are there already")
    options = parser.parse_args(arguments)
    configure_hub_client()
    try:
        found = installations(options.env_file)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    wrong = 0
    for values in found:
        api = HfApi(token=values["HF_TOKEN"])
        print(f"{values['LABEL']}:")
        if READ_TOKEN not in values:
            print(
                f"  note: without {READ_TOKEN} the inference Space holds a token that may write (SECURITY.md)"
            )
        if options.check:
            for finding in diagnose(api, values):
                print(f"  {'!!' if finding.remedy else 'ok'}  {finding.what}: {finding.state}")
                if finding.remedy:
                    print(f"      {finding.remedy}")
                    wrong = 1
            continue
        try:
            check_token(api)
            with hub_errors("set up", values["SPACE_REPO_ID"]):
                steps = list(plan(api, values, renew_secrets=options.renew_secrets))
                for step in steps:
                    if options.yes:
                        step.do()
                    print(f"  {'done' if options.yes else 'would'}: {step.what}")
        except HubError as error:
            print(error, file=sys.stderr)
            return 1
        if not steps:
            print("  everything is as it should be")
        elif not options.yes:
            print("  Nothing was changed. Do it with --yes.")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
