"""When something is due: the settings of the orchestrator."""

from collections.abc import Mapping
from datetime import timedelta

from pydantic import Field

from configs import Settings, clean_environment, read_settings
from retrain.orchestrator.decision import Rules

BESIDE_THE_RUN = timedelta(hours=1)  # to build and start a Space


class OrchestratorSettings(Settings):
    """The settings of `python -m retrain orchestrate`."""

    min_corrections: int = Field(
        50, ge=1, le=1_000_000, description="reviewed corrections that must wait before a data set is made"
    )
    max_model_age_days: float = Field(
        30, gt=0, description="days after which a model is retrained if any correction waits"
    )
    cool_down_hours: float = Field(6, ge=0, description="hours between two turns of a label set")
    max_run_minutes: float = Field(12 * 60, gt=0, description="as in the job")


def rules_of(values: Mapping[str, str]) -> Rules:
    """The rules that an env file sets.

    Raises:
        SettingsError: a value can't be used.
    """
    variables = clean_environment(values)
    settings = read_settings(OrchestratorSettings, variables)
    longest = timedelta(minutes=settings.max_run_minutes) + BESIDE_THE_RUN
    return Rules(
        settings.min_corrections,
        timedelta(days=settings.max_model_age_days),
        timedelta(hours=settings.cool_down_hours),
        prepare_timeout=longest,
        retrain_timeout=longest,
    )
