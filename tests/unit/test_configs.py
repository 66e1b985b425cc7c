"""The environment: every missing and every malformed variable, all at once, and no secret in what is said."""

import subprocess
import sys
from pathlib import Path

import pytest

from configs import DepartmentConfig, UrgencyConfig, get_config
from retrain.errors import SettingsError
from tests.conftest import NEEDED, SOURCE

MALFORMED = {
    "LABEL": "colour",
    "DATASET_REPO_ID": "no-owner",
    "HUB_MODEL_ID": "a/b/c",
    "API_ENDPOINT": "ftp://example.org",
    "SPACE_REPO_ID": "spaces are bad/x",
    "RETRAIN_SPACE_ID": "retrain",
    "EARLY_STOPPING_PATIENCE": "0",
    "DEPLOYED_SAMPLE_SIZE": "-3",
    "DECISION_THRESHOLD": "-0.01",
    "NUM_TRAIN_EPOCHS": "0",
    "TRAIN_BATCH_SIZE": "1.5",
    "EVAL_BATCH_SIZE": "x",
    "LEARNING_RATE": "nan",
    "WEIGHT_DECAY": "-1",
    "EVAL_STEPS": "0",
    "FOCAL_GAMMA": "-2",
    "FOCAL_ALPHA": "0.2,0.3",
    "MAX_LENGTH": "100000",
    "SEED": "-1",
    "MIN_COVERAGE": "95",
    "DECISION_CONFIDENCE": "95%",
    "MIN_F1_MACRO": "-0.1",
    "MAX_CLASS_RECALL_DROP": "5",
    "COMPARE_WITH": "github",
    "ALLOW_FIRST_RELEASE": "perhaps",
    "ROLLOUT_TIMEOUT_MINUTES": "0",
    "PORT": "99999",
    "MAX_RUN_MINUTES": "0",
    "STALL_MINUTES": "-1",
    "SKIP_UNCHANGED": "perhaps",
    "REPORT_TEXTS": "2",
}


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is missing"):
        get_config({k: v for k, v in NEEDED.items() if k != name})


@pytest.mark.parametrize("name", NEEDED)
def test_an_empty_variable_is_a_missing_one(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is missing"):
        get_config(NEEDED | {name: "  "})


@pytest.mark.parametrize(("name", "value"), MALFORMED.items())
def test_a_malformed_variable_is_named_with_its_value(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        get_config(NEEDED | {name: value})
    assert f"{name}={value!r}" in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        # How many numbers there should be depends on LABEL, which is malformed, too.
        get_config(MALFORMED | {"FOCAL_ALPHA": "-1"})
    told = str(caught.value)
    assert all(name in told for name in MALFORMED | NEEDED)


def test_no_fault_shows_a_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        get_config(NEEDED | MALFORMED | {"WANDB_API_KEY": "k" * 40, "API_TOKEN": "t" * 20})
    assert not any(s in str(caught.value) for s in (NEEDED["HF_TOKEN"], "k" * 40, "t" * 20))


def test_quotes_and_comments_that_docker_keeps_are_read_as_a_shell_reads_them() -> None:
    raw = {
        "LABEL": "urgency  # or 'department'",
        "HUB_MODEL_ID": '"city/model"',
        "MODEL_CHECKPOINT": "'a # b'",
    }
    config = get_config(NEEDED | raw)
    assert (config.label, config.hub_model_id, config.model_checkpoint) == ("urgency", "city/model", "a # b")


def test_a_variable_of_nothing_but_a_comment_is_absent() -> None:
    assert get_config(NEEDED | {"WANDB_API_KEY": "# none yet"}).wandb_api_key is None


def test_the_label_chooses_the_label_set() -> None:
    assert isinstance(get_config(NEEDED), UrgencyConfig)
    department = get_config(NEEDED | {"LABEL": "department"})
    assert isinstance(department, DepartmentConfig)
    assert len(department.id2label) == 4


def test_the_space_that_runs_the_job_is_paused_unless_another_is_named() -> None:
    assert get_config(NEEDED | {"SPACE_ID": "city/here"}).retrain_space_id == "city/here"
    both = {"SPACE_ID": "city/here", "RETRAIN_SPACE_ID": "city/there"}
    assert get_config(NEEDED | both).retrain_space_id == "city/there"


def test_alpha_is_one_number_one_a_class_or_balanced() -> None:
    assert get_config(NEEDED).focal_alpha == 0.25
    assert get_config(NEEDED | {"FOCAL_ALPHA": "0.1, 0.2, 0.7"}).focal_alpha == (0.1, 0.2, 0.7)
    assert get_config(NEEDED | {"FOCAL_ALPHA": "balanced"}).focal_alpha == "balanced"


def test_a_url_that_nobody_can_send_to_is_told_by_its_place_and_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        get_config(NEEDED | {"NOTIFY_URLS": "json://localhost/a-secret, nonsense://other-secret"})
    assert "NOTIFY_URLS: number 2 is no URL that apprise knows" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_inputs_of_a_run_are_what_its_result_depends_on() -> None:
    same = {"PORT": "8000", "RUN_DIR": "x", "STALL_MINUTES": "3", "SKIP_UNCHANGED": "true"}
    assert get_config(NEEDED).inputs() == get_config(NEEDED | same).inputs()
    assert get_config(NEEDED).inputs() != get_config(NEEDED | {"SEED": "1"}).inputs()


def test_public_values_hold_no_secret() -> None:
    values = get_config(NEEDED | {"WANDB_API_KEY": "k" * 40}).public_values()
    assert NEEDED["HF_TOKEN"] not in str(values)
    assert "k" * 40 not in str(values)


def test_the_example_env_file_is_valid_once_a_token_is_in_it() -> None:
    lines = (SOURCE / ".env.example").read_text(encoding="utf-8").splitlines()
    as_docker_reads = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert get_config(as_docker_reads).label == "urgency"


def test_bad_settings_end_with_exit_code_2_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import train_model; code = train_model.main({}); "
        "heavy = {'torch', 'transformers', 'datasets', 'wandb', 'sklearn', 'numpy'} & set(sys.modules); "
        "print(code, sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(SOURCE)], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.strip() == "2 []"
    assert "HF_TOKEN is missing" in done.stderr
