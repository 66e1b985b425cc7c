"""A run that is a Job of the Hub, not a Space: it ends with its process, or when its time is up."""

from collections.abc import Mapping

from configs import JOB_MARGIN_MINUTES
from retrain.errors import SettingsError

JOB_ID = "JOB_ID"


def is_hub_job(environ: Mapping[str, str]) -> bool:
    """Whether this process is a Job. Then nothing has to be paused, and nobody looks at a page."""
    return bool(environ.get(JOB_ID)) and not environ.get("SPACE_ID")


def warning_of_time(seconds: int | None, max_run_minutes: float) -> str | None:
    """What may end the run too early; None if nothing does.

    seconds: the time-out of the Job; None if it is not known.

    Raises:
        SettingsError: the Job would be ended before a run may have come to its end.
    """
    needed = max_run_minutes + JOB_MARGIN_MINUTES
    if seconds is None:
        return (
            "Nothing says how long this Job may take. Unless it was given a time-out, the Hub ends it after "
            f"30 minutes; MAX_RUN_MINUTES={max_run_minutes:g} needs `--timeout {needed:g}m`."
        )
    if seconds / 60 >= needed:
        return None
    most = seconds / 60 - JOB_MARGIN_MINUTES
    lower = f", or set MAX_RUN_MINUTES to {most:g} at most" if most > 0 else ""
    raise SettingsError(
        f"This Job is ended after {seconds / 60:g} minutes, and MAX_RUN_MINUTES={max_run_minutes:g} with "
        f"what comes before and after needs {needed:g}; nothing was started. Schedule it anew with "
        f"`python -m retrain schedule`{lower}."
    )
