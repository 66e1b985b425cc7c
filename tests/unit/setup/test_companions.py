"""The Spaces beside an installation, from its env file."""

import json

import pytest

from configs import LABEL_SETS
from retrain.errors import SettingsError
from retrain.setup.companions import companions_of, preparation_of, review_of
from retrain.setup.installation import installations, spaces_of
from tests.unit.setup.conftest import EnvFile

FEEDBACK = {
    "FEEDBACK_TOKEN": "the-officers-token",
    "FEEDBACK_DATABASE_URL": "postgresql://f:secret@db/feedback",
}
REVIEW = FEEDBACK | {"REVIEW_SPACE_ID": "city/review", "REVIEWERS": "ram:a-token-of-ram"}
PREPARE = {"PREPARE_SPACE_ID": "city/prepare", "DATABASE_URL": "postgresql://reader:secret@db/city"}


def test_only_what_the_file_names_is_set_up(env_file: EnvFile) -> None:
    assert companions_of(env_file()) == {}
    assert list(companions_of(env_file(**PREPARE))) == ["data sets"]
    assert list(companions_of(env_file(**PREPARE, **REVIEW))) == ["data sets", "review"]


def test_the_review_space_gets_its_own_user_of_the_database_and_what_it_shares(env_file: EnvFile) -> None:
    spec = review_of(env_file(**PREPARE, **REVIEW, EXPORT_TOKEN="the-export-token"))
    assert spec is not None
    assert {
        "review.py",
        "templates/login.html",
        "page/keys.js",
        "common/feedback_store.py",
    } <= spec.files.keys()
    assert spec.secrets == {
        "DATABASE_URL": FEEDBACK["FEEDBACK_DATABASE_URL"],
        "REVIEWERS": REVIEW["REVIEWERS"],
        "FEEDBACK_TOKEN": "the-officers-token",
        "EXPORT_TOKEN": "the-export-token",
    }
    names = json.loads(spec.variables["FEEDBACK_LABELS"])
    assert names == {label: list(known) for label, known in LABEL_SETS.items()}
    assert not spec.paused
    assert "secret" not in repr(spec)


def test_the_preparation_keeps_the_user_who_may_only_read(env_file: EnvFile) -> None:
    spec = preparation_of(env_file(**PREPARE, **REVIEW))
    assert spec is not None
    assert spec.secrets["DATABASE_URL"] == PREPARE["DATABASE_URL"]
    assert {"common/feedback_store.py", "retrain/locale/ne/LC_MESSAGES/retrain.mo"} <= spec.files.keys()
    assert not {name for name in spec.files if name.startswith(("retrain/training", "retrain/orchestrator"))}


@pytest.mark.parametrize("missing", ["REVIEWERS", "FEEDBACK_TOKEN", "FEEDBACK_DATABASE_URL"])
def test_a_review_space_without_what_it_needs_is_refused(env_file: EnvFile, missing: str) -> None:
    with pytest.raises(SettingsError, match=f"REVIEW_SPACE_ID needs {missing}"):
        companions_of(env_file(**REVIEW | {missing: None}))


def test_the_inference_space_takes_feedback_if_the_file_says_so(env_file: EnvFile) -> None:
    (values,) = installations(env_file())
    inference = spaces_of(values)[0]
    assert not {"FEEDBACK_TOKEN", "DATABASE_URL"} & inference.secrets.keys()
    assert "FEEDBACK_LABELS" not in inference.variables
    (values,) = installations(env_file(**PREPARE, **FEEDBACK))
    inference = spaces_of(values)[0]
    assert inference.secrets["DATABASE_URL"] == FEEDBACK["FEEDBACK_DATABASE_URL"]
    assert {"front_page.py", "page/index.html", "common/feedback_api.py"} <= inference.files.keys()
    (values,) = installations(
        env_file(FEEDBACK_TOKEN="a-token-of-ours", FEEDBACK_URL="https://review.example/feedback")
    )
    inference = spaces_of(values)[0]
    assert "DATABASE_URL" not in inference.secrets
    assert inference.variables["FEEDBACK_URL"] == "https://review.example/feedback"


@pytest.mark.parametrize(
    "settings",
    [
        {"FEEDBACK_TOKEN": "a-token-of-ours"},
        FEEDBACK | {"FEEDBACK_URL": "https://review.example/feedback"},
        FEEDBACK | {"FEEDBACK_DIR": "/data"},
    ],
)
def test_feedback_has_exactly_one_place(env_file: EnvFile, settings: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="FEEDBACK_TOKEN needs one of"):
        installations(env_file(**settings))
