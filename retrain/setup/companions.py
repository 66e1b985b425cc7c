"""The Spaces beside an installation: one makes the data sets of all label sets, one is for reviewers."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from configs import RunSettings
from retrain.errors import SettingsError
from retrain.setup.installation import (
    CLIENT,
    DATABASE,
    EXPORT,
    FEEDBACK,
    FEEDBACK_DATABASE,
    PREPARE_SECRETS,
    PREPARE_SPACE,
    PREPARE_VARIABLES,
    REVIEW_SPACE,
    REVIEWERS,
    SECRETS,
    SOURCE,
    SOURCE_OF_COMPLAINTS,
    SpaceSpec,
    common_files,
    companion_files,
    feedback_variables,
    files_in,
    hardware_of,
    known_labels,
    only,
    seconds_of,
    settings_in,
)

# What the preparation needs of the job's own package.
PREPARE_ROOMS = ("dataset", "hub", "lifecycle", "locale", "reporting")
OF_THE_JOB = ("__main__.py", "answers.py", "commands.py", "connections.py", "run.py")


def companions_of(file: Path) -> dict[str, SpaceSpec]:
    """The Spaces that an env file names, by what they are for.

    Raises:
        SettingsError: a setting that one of them needs is missing, or there are two for one thing.
    """
    found = {"data sets": preparation_of(file), "review": review_of(file)}
    return {what: spec for what, spec in found.items() if spec}


def preparation_of(file: Path) -> SpaceSpec | None:
    """The Space that prepares the data sets of all label sets of an env file; None unless it is named there.

    Raises:
        SettingsError: it has no source, or not exactly one.
    """
    values = settings_in(file)
    if PREPARE_SPACE not in values:
        return None
    if (DATABASE in values) == (SOURCE_OF_COMPLAINTS in values):
        raise SettingsError(f"{file}: {PREPARE_SPACE} needs either {DATABASE} or {SOURCE_OF_COMPLAINTS}.")
    shared = {"LABEL", "DATASET_REPO_ID", *(name.upper() for name in RunSettings.model_fields)} - SECRETS
    given = {"HF_TOKEN", "NOTIFY_URLS"} | PREPARE_SECRETS
    return SpaceSpec(
        values[PREPARE_SPACE],
        preparation_files(),
        only(values, PREPARE_VARIABLES | shared | CLIENT),
        {"SPLIT_KEY": ""} | only(values, given),
        hardware_of(values, "PREPARE"),
        seconds_of(values, "PREPARE"),
        paused=True,
    )


def review_of(file: Path) -> SpaceSpec | None:
    """The Space in which corrections are reviewed; None unless it is named in the env file.

    Raises:
        SettingsError: there is nobody to review, or nowhere to keep what is reported.
    """
    values = settings_in(file)
    if REVIEW_SPACE not in values:
        return None
    for needed, why in (
        (REVIEWERS, "name:token of each reviewer"),
        (FEEDBACK, "the token with which corrections are reported"),
        (FEEDBACK_DATABASE, "where they are kept: a Space forgets its files at a restart"),
    ):
        if needed not in values:
            raise SettingsError(f"{file}: {REVIEW_SPACE} needs {needed}, {why}.")
    return SpaceSpec(
        values[REVIEW_SPACE],
        companion_files(SOURCE / "companion_spaces" / "review") | common_files(),
        feedback_variables(values),
        only(values, {REVIEWERS, FEEDBACK, EXPORT}) | {DATABASE: values[FEEDBACK_DATABASE]},
        hardware_of(values, "REVIEW"),
        seconds_of(values, "REVIEW"),
        paused=False,
    )


def review_on_terminal(file: Path, reviewer: str) -> int:
    """Let somebody review on this terminal; returns the exit code.

    Raises:
        SettingsError: feedback is kept in no database, or the program is not here.
    """
    values, program = settings_in(file), SOURCE / "companion_spaces/review/terminal.py"
    if FEEDBACK_DATABASE not in values or not program.exists():
        raise SettingsError(
            f"{file}: review needs {FEEDBACK_DATABASE}, and a clone of the repository with {program.name}."
        )
    paths = os.pathsep.join(str(SOURCE / "companion_spaces" / name) for name in ("", "review"))
    known = known_labels() | {DATABASE: values[FEEDBACK_DATABASE], "PYTHONPATH": paths}
    return subprocess.run([sys.executable, program, reviewer], env=os.environ | known).returncode  # noqa: S603


def preparation_files() -> dict[str, Path]:
    """Its own folder, what companion Spaces share, and those modules of the job that it stands on."""
    own = companion_files(SOURCE / "companion_spaces" / "prepare_dataset")
    of_the_job = {name: path for name, path in files_in(SOURCE) if _is_shared(name.split("/"))}
    return own | common_files() | of_the_job


def _is_shared(parts: Sequence[str]) -> bool:
    if parts[0] != "retrain":
        return list(parts) == ["configs.py"]
    return parts[1] not in OF_THE_JOB if len(parts) == 2 else parts[1] in PREPARE_ROOMS
