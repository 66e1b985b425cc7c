"""A run as a Job of the Hub: how it is known, and whether it has the time it needs."""

import pytest

from configs import JOB_MARGIN_MINUTES
from retrain.errors import SettingsError
from retrain.lifecycle.hub_job import is_hub_job, warning_of_time


def test_a_job_is_known_by_its_id_and_a_space_is_none() -> None:
    assert is_hub_job({"JOB_ID": "6b"})
    assert not is_hub_job({})
    assert not is_hub_job({"JOB_ID": ""})
    assert not is_hub_job({"JOB_ID": "6b", "SPACE_ID": "city/retrain"})


@pytest.mark.parametrize("minutes", [60, 60.5, 1440])
def test_a_time_out_that_lasts_for_the_longest_run_is_no_cause_for_a_word(minutes: float) -> None:
    assert warning_of_time(int(minutes * 60), 60 - JOB_MARGIN_MINUTES) is None


def test_the_default_would_end_a_run_in_its_middle_and_is_refused_with_a_remedy() -> None:
    with pytest.raises(SettingsError) as caught:
        warning_of_time(1800, 720)
    said = str(caught.value)
    assert "This Job is ended after 30 minutes, and MAX_RUN_MINUTES=720 with what comes before" in said
    assert (
        "needs 735; nothing was started. Schedule it anew with `python -m retrain schedule`, or set" in said
    )
    assert said.endswith("MAX_RUN_MINUTES to 15 at most.")


def test_a_time_out_for_which_no_run_is_short_enough_names_one_remedy() -> None:
    with pytest.raises(SettingsError, match=r"`python -m retrain schedule`\.$"):
        warning_of_time(600, 720)


def test_an_unknown_time_out_is_worth_a_warning() -> None:
    assert "needs `--timeout 735m`" in str(warning_of_time(None, 720))
