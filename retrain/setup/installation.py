"""What an installation should be, read from one env file: pure values, and the files that ship."""

import io
import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from configs import (
    LABEL_SETS,
    BaseConfig,
    clean_environment,
    endpoint_of,
    fault_of_token,
    get_config,
)
from retrain.errors import SettingsError
from retrain.hub.spaces import KNOWN_HARDWARE
from retrain.orchestrator.settings import OrchestratorSettings

SOURCE = Path(__file__).parents[2]
# The documents too: README links to them.
RETRAIN_FILES = (
    "Dockerfile",
    "requirements*",
    "*.py",
    "retrain/*",
    "*.md",
    "LICENSE",
    "docs/*.md",
    "docs/*.png",
)
NOT_SHIPPED = ("requirements-dev.txt", "*__pycache__*", ".*", "*/.*")
# Of the set-up itself: they are no settings of a Space.
SPACES = ("RETRAIN", "INFERENCE", "PREPARE", "REVIEW")
HARDWARE, SLEEP, READ_TOKEN = "{space}_HARDWARE", "{space}_SLEEP_SECONDS", "INFERENCE_HF_TOKEN"
TRIGGER = "RETRAIN_TRIGGER_TOKEN"
# Where runs happen, and of a Job: when, in which image, and what keeps its runs.
HOST, HOSTS, SCHEDULE, JOB_IMAGE, JOB_BUCKET = "HOST", ("space", "job"), "SCHEDULE", "JOB_IMAGE", "JOB_BUCKET"
OURS = {name.format(space=space) for name in (HARDWARE, SLEEP) for space in SPACES}
OURS |= {READ_TOKEN, TRIGGER, "MODEL_REVISION", HOST, SCHEDULE, JOB_IMAGE, JOB_BUCKET}
FEEDBACK, FORWARD, FEEDBACK_DATABASE = "FEEDBACK_TOKEN", "FEEDBACK_URL", "FEEDBACK_DATABASE_URL"
FEEDBACK_DIR = "FEEDBACK_DIR"
FEEDBACK_VARIABLES = {FORWARD, FEEDBACK_DIR, "MASK_FEEDBACK"}
OURS |= {FEEDBACK, FEEDBACK_DATABASE, *FEEDBACK_VARIABLES}
OURS |= {name.upper() for name in OrchestratorSettings.model_fields}
SECRETS = {name.upper() for name in BaseConfig.secret_names()}
# What the libraries read.
CLIENT = {"HF_ENDPOINT", "HF_HUB_DISABLE_XET", "HF_UPDATE_DOWNLOAD_COUNTS"}
VARIABLES = {name.upper() for name in BaseConfig.model_fields} - SECRETS | CLIENT
VARIABLES |= {"WANDB_BASE_URL", "OMP_NUM_THREADS"}
# Of the Space that prepares data sets, beside those that it shares with the job.
PREPARE_SPACE, DATABASE, SOURCE_OF_COMPLAINTS = "PREPARE_SPACE_ID", "DATABASE_URL", "SOURCE"
PREPARE_SECRETS = {DATABASE, "SOURCE_TOKEN", "SPLIT_KEY"}
PREPARE_VARIABLES = {
    PREPARE_SPACE,
    SOURCE_OF_COMPLAINTS,
    "COMPLAINTS_TABLE",
    "CORRECTIONS_TABLE",
    "ERASURE_TABLE",
    "COLUMN_NAMES",
    "STATEMENT_TIMEOUT_MINUTES",
    "AUDIT_PROBABILITY",
    "MIN_NEW_ROWS",
    "MAX_LABEL_SHIFT",
    "FORGET",
}
# Of the Space in which corrections are reviewed.
REVIEW_SPACE, REVIEWERS, EXPORT = "REVIEW_SPACE_ID", "REVIEWERS", "EXPORT_TOKEN"
OURS |= {REVIEW_SPACE, REVIEWERS, EXPORT}
# The Dockerfile's arguments: a Space gives its variables to the build, too.
REQUIREMENTS, INDEX = BUILD = ("REQUIREMENTS", "PIP_EXTRA_INDEX_URL")
VARIABLES |= set(BUILD)
CPU, CUDA = "requirements-cpu.lock", "requirements-cuda.lock"


@dataclass(frozen=True)
class SpaceSpec:
    """What a Space should be: files by path, variables, secrets, and paused at the end or not.

    A secret without a value is made up if the Space has none.
    """

    repo_id: str
    files: Mapping[str, Path]
    variables: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    hardware: str
    sleep_seconds: int | None
    paused: bool


def settings_in(file: Path) -> dict[str, str]:
    """The clean variables of an env file.

    Raises:
        SettingsError: it can't be read, or names what is no setting.
    """
    if not file.is_file():
        raise SettingsError(f"{file} does not exist. Copy .env.example to it and fill it in.")
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content
        other = "UTF-16" if is_utf16 else "another encoding, such as Latin-1"
        raise SettingsError(f"{file} is not in UTF-8 but in {other}. Save it as UTF-8 in your editor.")
    given = dotenv_values(stream=io.StringIO(text), interpolate=False)
    variables = clean_environment({name: value for name, value in given.items() if value})
    if unknown := sorted(set(variables) - VARIABLES - SECRETS - OURS - PREPARE_VARIABLES - PREPARE_SECRETS):
        raise SettingsError(f"{file}: {', '.join(unknown)} is no setting. Correct the name or take it out.")
    for name in (READ_TOKEN, TRIGGER, FEEDBACK):
        if fault := fault_of_token(variables.get(name, "")):
            raise SettingsError(f"{file}: {name} {fault}.")
    return variables


def installations(file: Path) -> list[dict[str, str]]:
    """The clean variables of an env file, once for each label set in LABEL.

    Raises:
        SettingsError: the file can't be read, or its settings are no job's.
    """
    variables = settings_in(file)
    if variables.get("HF_TOKEN", "").endswith("..."):
        raise SettingsError(
            f"{file}: HF_TOKEN is still the placeholder of .env.example. Put your token there."
        )
    found = []
    for label in map(str.strip, variables.get("LABEL", "").split(",")):
        each = {name: value.replace("{label}", label) for name, value in variables.items()}
        each["LABEL"] = label
        each.setdefault("API_ENDPOINT", endpoint_of(each.get("SPACE_REPO_ID", "owner/name")))
        config = get_config(each)
        _check_feedback(file, each)
        _check_host(file, each)
        if is_job(each):
            each.pop("RETRAIN_SPACE_ID", None)
        else:
            owner = config.space_repo_id.split("/")[0]
            each.setdefault("RETRAIN_SPACE_ID", f"{owner}/grievance-retrain-{label}")
        _check_image(each)
        spaces_of(each)  # its own settings are checked, too
        found.append(each)
    models = [each["HUB_MODEL_ID"] for each in found]
    spaces = [each[name] for each in found for name in ("SPACE_REPO_ID", "RETRAIN_SPACE_ID") if name in each]
    if len(set(models)) < len(models) or len(set(spaces)) < len(spaces):
        raise SettingsError(f"{file}: two repositories have one name. Put {{label}} into the names.")
    endpoints = [each["API_ENDPOINT"] for each in found]
    if len(set(endpoints)) < len(endpoints):
        raise SettingsError(
            f"{file}: API_ENDPOINT={endpoints[0]} is that of {len(found)} label sets, which have a Space "
            "each. Take it out: it follows from SPACE_REPO_ID."
        )
    return found


def warnings_of(found: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What is probably a mistake in the settings of one or several label sets."""
    for values in found:
        given, space = values["API_ENDPOINT"], values["SPACE_REPO_ID"]
        host, expected = urlsplit(given).hostname or "", endpoint_of(space)
        if host in ("huggingface.co", "hf.co"):
            yield f"API_ENDPOINT={given} is the page of a Space, which answers at {expected}. Take it out."
        elif host.endswith(".hf.space") and host != urlsplit(expected).hostname:
            yield (
                f"API_ENDPOINT={given} is not SPACE_REPO_ID={space}, which answers at {expected}: what is "
                "compared with would not be what is restarted. Take it out."
            )
    datasets = [values["DATASET_REPO_ID"] for values in found]
    if len(set(datasets)) < len(datasets):
        yield (
            f"DATASET_REPO_ID={datasets[0]} is that of {len(found)} label sets: it needs a config or a "
            "column with the name of each, and none called label."
        )


def _check_image(values: Mapping[str, str]) -> None:
    requirements = values.get(REQUIREMENTS, CUDA)
    hardware = hardware_of(values, "RETRAIN")
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


def is_job(values: Mapping[str, str]) -> bool:
    """Whether runs are Jobs, and there is no retrain Space."""
    return values.get(HOST) == "job"


def _check_feedback(file: Path, values: Mapping[str, str]) -> None:
    kept = [name for name in (FEEDBACK_DATABASE, FORWARD, FEEDBACK_DIR) if name in values]
    if FEEDBACK in values and len(kept) != 1:
        raise SettingsError(
            f"{file}: {FEEDBACK} needs one of {FEEDBACK_DATABASE}, {FORWARD} and {FEEDBACK_DIR} (on a "
            f"mounted volume: a Space forgets its files), and has {' and '.join(kept) or 'none'}."
        )


def _check_host(file: Path, values: Mapping[str, str]) -> None:
    if (host := values.get(HOST, HOSTS[0])) not in HOSTS:
        raise SettingsError(f"{file}: {HOST}={host!r} should be {' or '.join(HOSTS)}.")
    if is_job(values) and TRIGGER in values:
        raise SettingsError(
            f"{file}: {TRIGGER} is for a retrain Space, which {HOST}=job does without. Take one of them out."
        )
    if (bucket := values.get(JOB_BUCKET)) and not re.fullmatch(r"[\w.-]+/[\w.-]+", bucket, re.ASCII):
        raise SettingsError(f"{file}: {JOB_BUCKET}={bucket!r} should look like owner/name.")


def spaces_of(values: Mapping[str, str]) -> tuple[SpaceSpec, ...]:
    """The inference Space and, unless runs are Jobs, the retrain Space of an installation."""
    hardware = hardware_of(values, "INFERENCE")
    named = CLIENT | {"MODEL_REVISION"}
    named |= {INDEX} if hardware.startswith("cpu") else set()
    named |= {"RETRAIN_SPACE_ID"} if TRIGGER in values else set()
    inference = SpaceSpec(
        values["SPACE_REPO_ID"],
        companion_files(SOURCE / "companion_spaces" / "inference") | common_files(),
        only(values, named) | {"MODEL_REPO": values["HUB_MODEL_ID"]} | feedback_variables(values),
        only(values, {"API_TOKEN", TRIGGER})
        | feedback_secrets(values)
        | {"HF_TOKEN": values.get(READ_TOKEN) or values["HF_TOKEN"]}
        | {"AUDIT_KEY": values.get("AUDIT_KEY", "")},
        hardware,
        seconds_of(values, "INFERENCE"),
        paused=False,
    )
    if is_job(values):
        return (inference,)
    retrain = SpaceSpec(
        values["RETRAIN_SPACE_ID"],
        {name: file for name, file in files_in(SOURCE) if _is_of_the_job(name)},
        only(values, VARIABLES),
        only(values, SECRETS),
        hardware_of(values, "RETRAIN"),
        seconds_of(values, "RETRAIN"),
        paused=True,
    )
    return inference, retrain


def feedback_variables(values: Mapping[str, str]) -> dict[str, str]:
    """What the inference Space knows of the label sets, if it takes feedback."""
    if FEEDBACK not in values:
        return {}
    return only(values, FEEDBACK_VARIABLES) | known_labels()


def known_labels() -> dict[str, str]:
    """The variable that holds the labels of each label set, for Spaces without configs.py."""
    names = {label: list(known) for label, known in LABEL_SETS.items()}
    return {"FEEDBACK_LABELS": json.dumps(names, ensure_ascii=False)}


def feedback_secrets(values: Mapping[str, str]) -> dict[str, str]:
    """The token, and the database where feedback is not forwarded; it is called DATABASE_URL there."""
    if FEEDBACK not in values:
        return {}
    database = {} if FORWARD in values else {DATABASE: values.get(FEEDBACK_DATABASE, "")}
    return {FEEDBACK: values[FEEDBACK]} | {name: url for name, url in database.items() if url}


def common_files() -> dict[str, Path]:
    """What companion Spaces share, by its path in one."""
    shared = companion_files(SOURCE / "companion_spaces" / "common")
    return {f"common/{name}": path for name, path in shared.items()}


def companion_files(folder: Path) -> dict[str, Path]:
    """All files of a companion Space, subfolders too, by their path in the Space."""
    return dict(files_in(folder))


def _is_of_the_job(name: str) -> bool:
    at_the_root = "/" not in name
    return any(fnmatch(name, pattern) and (at_the_root or "/" in pattern) for pattern in RETRAIN_FILES)


def files_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of a folder that ship; in a clone those that git knows, not what lies beside them."""
    if (SOURCE / ".git").exists():
        command = ["git", "ls-files"]
        listed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603 (as written)
        names = listed.stdout.splitlines()
    else:
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    for name in sorted(names):
        if not any(fnmatch(name, pattern) for pattern in NOT_SHIPPED):
            yield name, folder / name


def only(values: Mapping[str, str], names: Set[str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name in names}


def hardware_of(values: Mapping[str, str], space: str) -> str:
    """The hardware that is set for a Space, or for the Job in place of the retrain Space.

    Raises:
        SettingsError: the Hub has none of that name.
    """
    name = HARDWARE.format(space=space)
    given = values.get(name, "cpu-basic")
    if given not in KNOWN_HARDWARE:
        near = get_close_matches(given, KNOWN_HARDWARE, 3, 0.4) or sorted(KNOWN_HARDWARE)
        raise SettingsError(f"{name}={given!r} is no hardware of the Hub. Did you mean {', '.join(near)}?")
    return given


def seconds_of(values: Mapping[str, str], space: str) -> int | None:
    given = values.get(SLEEP.format(space=space))
    if given is None:
        return None
    if not re.fullmatch(r"-1|\d+", given):
        raise SettingsError(
            f"{SLEEP.format(space=space)}={given!r} should be a number of seconds, or -1 for never."
        )
    return int(given)
