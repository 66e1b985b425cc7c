"""The environment: every missing and every malformed variable, all at once, and no secret in what is said."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from configs import (
    BaseConfig,
    DepartmentConfig,
    GateSettings,
    PlaceSettings,
    TrainingSettings,
    UrgencyConfig,
    clean_environment,
    get_config,
    split_urls,
)
from retrain.errors import SettingsError
from retrain.redaction import Redactor
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
    "WANDB_PROJECT_NAME": "city/grievances",
}


@pytest.mark.parametrize("name", ["HF_TOKEN", "API_TOKEN", "WANDB_API_KEY"])
@pytest.mark.parametrize(
    ("strange", "code"),
    [("\ufeff", "U+FEFF"), ("\u200b", "U+200B"), ("\n", "U+000A"), ("\t", "U+0009"), ("é", "U+00E9")],
)
def test_a_token_with_a_strange_character_is_named_and_not_shown(name: str, strange: str, code: str) -> None:
    with pytest.raises(SettingsError) as caught:
        get_config(NEEDED | {name: f"secret{strange}secret"})
    assert f"  {name}: should be of visible ASCII characters" in str(caught.value)
    assert f"{code} at place 7: copy it anew" in str(caught.value)
    assert "secret" not in str(caught.value).replace("secret of the Space", "")


@pytest.mark.parametrize("name", ["x" * 129, *(f"a{c}b" for c in "/\\#?%:")])
def test_a_project_that_weights_and_biases_would_refuse_is_said_at_the_start(name: str) -> None:
    with pytest.raises(SettingsError, match=r"WANDB_PROJECT_NAME=.* at most 128 characters, and none of"):
        get_config(NEEDED | {"WANDB_PROJECT_NAME": name})
    assert get_config(NEEDED | {"WANDB_PROJECT_NAME": "Ward नं. 3 " + "x" * 100})


def test_the_endpoint_is_that_of_the_space_unless_it_is_given() -> None:
    without = {name: value for name, value in NEEDED.items() if name != "API_ENDPOINT"}
    assert get_config(without).api_endpoint == "https://city-inference.hf.space/predict"
    assert get_config(NEEDED | {"API_ENDPOINT": "http://127.0.0.1:1/"}).api_endpoint == "http://127.0.0.1:1/"


@pytest.mark.parametrize("name", sorted(NEEDED.keys() - {"API_ENDPOINT"}))
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is missing"):
        get_config({k: v for k, v in NEEDED.items() if k != name})


@pytest.mark.parametrize("name", sorted(NEEDED.keys() - {"API_ENDPOINT"}))
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


# --- the variables as they come


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("city/model", "city/model"),
        ("  city/model \t", "city/model"),
        ('"city/model"', "city/model"),
        ("'city/model'", "city/model"),
        ("'city/model' # a note", "city/model"),
        ("city/model # a note", "city/model"),
        ("city/model#1", "city/model#1"),
        ('" city/model "', "city/model"),
        ("'${HOME}'", "${HOME}"),
        ('"${HOME}" # as it is', "${HOME}"),
        ("${HOME} # as it is", "${HOME}"),
        ("-----BEGIN-----\n# no comment\n-----END-----", "-----BEGIN-----\n# no comment\n-----END-----"),
        ("'one\ntwo'", "'one\ntwo'"),
        ("it's", "it's"),
        ("# nothing", None),
        ("   # nothing, indented", None),
        ("''", None),
        ('""', None),
        ("   ", None),
        ("", None),
        ("'unclosed", "'unclosed"),
    ],
)
def test_a_value_is_read_as_a_shell_would_have_read_it(raw: str, read: str | None) -> None:
    assert clean_environment({"HUB_MODEL_ID": raw, "HOME": "/home"}).get("HUB_MODEL_ID") == read


def test_the_process_environment_is_not_read_behind_our_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEED", "7")
    assert get_config(NEEDED).seed == 42


# --- limits


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_ENDPOINT", "https://user:password@example.org/predict"),
        ("API_ENDPOINT", "https://user@example.org/predict"),
        ("API_ENDPOINT", "https://:password@example.org/predict"),
        ("API_ENDPOINT", "https:///predict"),
        ("API_ENDPOINT", "example.org/predict"),
        ("FOCAL_ALPHA", "0"),
        ("FOCAL_ALPHA", "-0.25"),
        ("FOCAL_ALPHA", "inf"),
        ("FOCAL_ALPHA", "nan"),
        ("FOCAL_ALPHA", "1e300"),
        ("FOCAL_ALPHA", "1000.1"),
        ("FOCAL_ALPHA", "0.1,0.2,1e39"),
        ("FOCAL_ALPHA", "0.1,0,0.9"),
        ("FOCAL_ALPHA", "0.1,0.2,0.3,0.4"),
        ("FOCAL_ALPHA", "much"),
        ("NUM_TRAIN_EPOCHS", "101"),
        ("LEARNING_RATE", "0"),
        ("LEARNING_RATE", "1"),
        ("LEARNING_RATE", "inf"),
        ("LEARNING_RATE", "nan"),
        ("WEIGHT_DECAY", "1"),
        ("WEIGHT_DECAY", "nan"),
        ("FOCAL_GAMMA", "10.1"),
        ("FOCAL_GAMMA", "inf"),
        ("FOCAL_GAMMA", "nan"),
        ("MAX_LENGTH", "7"),
        ("MAX_LENGTH", "513"),
        ("SEED", "4294967296"),
        ("DECISION_THRESHOLD", "1"),
        ("MIN_COVERAGE", "1.01"),
        ("ROLLOUT_TIMEOUT_MINUTES", "1441"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("HUB_MODEL_ID", "a/" + "b" * 95),
        ("HUB_MODEL_ID", "city /model"),
    ],
)
def test_a_value_beyond_its_limits_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        get_config(NEEDED | {name: value})


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("API_ENDPOINT", "http://127.0.0.1:7860/predict", "http://127.0.0.1:7860/predict"),
        ("FOCAL_ALPHA", "1e-9", 1e-9),
        ("NUM_TRAIN_EPOCHS", "100", 100.0),
        ("NUM_TRAIN_EPOCHS", "0.5", 0.5),
        ("WEIGHT_DECAY", "0", 0.0),
        ("FOCAL_GAMMA", "0", 0.0),
        ("FOCAL_GAMMA", "10", 10.0),
        ("MAX_LENGTH", "8", 8),
        ("MAX_LENGTH", "512", 512),
        ("SEED", "0", 0),
        ("SEED", "4294967295", 2**32 - 1),
        ("DECISION_THRESHOLD", "0", 0.0),
        ("MIN_COVERAGE", "0", 0.0),
        ("MIN_COVERAGE", "1", 1.0),
        ("EVAL_STEPS", "1", 1),
        ("ROLLOUT_TIMEOUT_MINUTES", "1440", 1440.0),
        ("PORT", "1", 1),
        ("PORT", "65535", 65535),
        ("HUB_MODEL_ID", "a/" + "b" * 94, "a/" + "b" * 94),
    ],
)
def test_a_value_within_its_limits_is_taken(name: str, value: str, read: object) -> None:
    assert getattr(get_config(NEEDED | {name: value}), name.lower()) == read


@pytest.mark.parametrize("user", ["user:password", ":password", "password"])
def test_a_password_in_a_url_is_refused_with_where_it_belongs_and_not_shown(user: str) -> None:
    with pytest.raises(
        SettingsError, match="should not hold a password or token; put it into API_TOKEN"
    ) as caught:
        get_config(NEEDED | {"API_ENDPOINT": f"https://{user}@example.org/predict"})
    assert "API_ENDPOINT='https://[secret]@example.org/predict'" in str(caught.value)


def test_a_value_without_end_is_shown_by_its_beginning() -> None:
    with pytest.raises(SettingsError) as caught:
        get_config(NEEDED | {"SEED": "x" * 1000})
    assert f"SEED='{'x' * 80}'" in str(caught.value)


# --- what a run depends on


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATASET_REPO_ID", "city/other"),
        ("DATASET_REVISION", "v20250101_000000"),
        ("HUB_MODEL_ID", "city/other"),
        ("API_ENDPOINT", "https://example.org/predict"),
        ("SPACE_REPO_ID", "city/other"),
        ("MODEL_CHECKPOINT", "city/base"),
        ("NUM_TRAIN_EPOCHS", "4"),
        ("TRAIN_BATCH_SIZE", "8"),
        ("EVAL_BATCH_SIZE", "8"),
        ("LEARNING_RATE", "0.001"),
        ("WEIGHT_DECAY", "0.1"),
        ("EVAL_STEPS", "10"),
        ("EARLY_STOPPING_PATIENCE", "2"),
        ("FOCAL_GAMMA", "1"),
        ("FOCAL_ALPHA", "0.5"),
        ("MAX_LENGTH", "128"),
        ("SEED", "7"),
        ("DEPLOYED_SAMPLE_SIZE", "100"),
        ("DECISION_THRESHOLD", "0.01"),
        ("MIN_COVERAGE", "0.9"),
        ("DECISION_CONFIDENCE", "0.9"),
        ("MIN_F1_MACRO", "0.5"),
        ("MAX_CLASS_RECALL_DROP", "0.1"),
        ("COMPARE_WITH", "hub"),
    ],
)
def test_a_setting_that_changes_the_result_is_an_input(name: str, value: str) -> None:
    changed = get_config(NEEDED | {name: value}).inputs()
    assert changed != get_config(NEEDED).inputs()
    assert changed[name] != get_config(NEEDED).inputs()[name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RETRAIN_SPACE_ID", "city/other"),
        ("SPACE_ID", "city/other"),
        ("WANDB_PROJECT_NAME", "other"),
        ("WANDB_API_KEY", "k" * 40),
        ("ALLOW_FIRST_RELEASE", "true"),
        ("ROLLOUT_TIMEOUT_MINUTES", "3"),
        ("MAX_RUN_MINUTES", "3"),
        ("REPORT_TEXTS", "true"),
        ("HF_TOKEN", "hf_other"),
    ],
)
def test_a_setting_around_the_run_is_no_input(name: str, value: str) -> None:
    assert get_config(NEEDED | {name: value}).inputs() == get_config(NEEDED).inputs()


# --- secrets


def test_every_secret_is_masked_and_each_single_url_too() -> None:
    urls = ["json://user:one@localhost/path-one", "mailto://user:two@example.org?to=a@b.org,c@d.org"]
    secrets = {"WANDB_API_KEY": "k" * 40, "API_TOKEN": "sesame", "AUDIT_KEY": "a key of ours"}
    secrets |= {"NOTIFY_URLS": ", ".join(urls)}
    config = get_config(NEEDED | secrets)
    assert {NEEDED["HF_TOKEN"], *secrets.values(), *urls} <= set(config.secrets)
    redact = Redactor(config.secrets)
    for secret in (NEEDED["HF_TOKEN"], *secrets.values(), *urls):
        assert redact(f"<{secret}>") == "<[secret]>"


@pytest.mark.parametrize(
    ("urls", "single"),
    [
        (None, []),
        ("json://a", ["json://a"]),
        ("json://a,json://b", ["json://a", "json://b"]),
        ("json://a json://b\njson://c", ["json://a", "json://b", "json://c"]),
        ("mailto://x?to=a@b.org,c@d.org, json://b", ["mailto://x?to=a@b.org,c@d.org", "json://b"]),
    ],
)
def test_urls_stand_between_white_space_or_commas(urls: str | None, single: list[str]) -> None:
    assert split_urls(urls) == single
    assert split_urls(urls and SecretStr(urls)) == single


def test_no_secret_is_a_public_value() -> None:
    secrets = {"WANDB_API_KEY": "k" * 40, "API_TOKEN": "sesame", "NOTIFY_URLS": "json://localhost/path"}
    values = get_config(NEEDED | secrets).public_values()
    assert not {"HF_TOKEN", *secrets} & values.keys()
    assert values["SEED"] == 42
    assert values["RUN_DIR"] == "runs"


def test_no_secret_is_shown_by_the_settings_themselves() -> None:
    secrets = {"WANDB_API_KEY": "k" * 40, "API_TOKEN": "sesame", "AUDIT_KEY": "a key of ours"}
    secrets |= {"NOTIFY_URLS": "json://localhost/path"}
    config = get_config(NEEDED | secrets)
    for text in (repr(config), str(config), f"{config.model_dump()}", config.model_dump_json()):
        assert not [secret for secret in (NEEDED["HF_TOKEN"], *secrets.values()) if secret in text]


def test_the_key_of_the_audit_is_a_secret() -> None:
    config = get_config(NEEDED | {"AUDIT_KEY": "a key of ours"})
    assert config.audit_key is not None
    assert config.audit_key.get_secret_value() == "a key of ours"
    assert Redactor(config.secrets)("<a key of ours>") == "<[secret]>"
    assert "audit_key" in BaseConfig.secret_names()
    assert "AUDIT_KEY" not in config.public_values()
    assert config.inputs() == get_config(NEEDED).inputs()
    assert get_config(NEEDED).audit_key is None


# --- label sets


@pytest.mark.parametrize("label", ["urgency", "department"])
def test_names_and_ids_of_the_labels_are_each_others_opposite(label: str) -> None:
    config = get_config(NEEDED | {"LABEL": label})
    assert {name: i for i, name in config.id2label.items()} == config.label2id
    assert sorted(config.id2label) == list(range(len(config.label2id)))


def own(labels: str, **others: str) -> BaseConfig:
    """The settings for a label set of one's own."""
    return get_config(NEEDED | {"LABEL": "ward", "LABELS": labels} | others)


def test_names_of_ones_own_have_the_ids_of_their_order() -> None:
    config = own("North, Middle ,South,# 4")
    assert config.label2id == {"North": 0, "Middle": 1, "South": 2, "# 4": 3}
    assert config.id2label == {0: "North", 1: "Middle", 2: "South", 3: "# 4"}
    assert config.labels == ("North", "Middle", "South", "# 4")


@pytest.mark.parametrize("count", [2, 3, 100])
def test_a_label_set_has_two_to_a_hundred_names(count: int) -> None:
    assert len(own(",".join(f"name {i}" for i in range(count))).label2id) == count


def test_a_label_set_may_be_written_out_that_is_known() -> None:
    names = "NORMAL,URGENT,HIGHLY URGENT"
    config = get_config(NEEDED | {"LABELS": names})
    assert (config.label, config.label2id) == ("urgency", get_config(NEEDED).label2id)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"LABELS": "one"}, "LABELS='one': should be 2 to 100 names separated by commas, not 1"),
        ({"LABELS": ",".join(map(str, range(101)))}, "should be 2 to 100 names separated by commas, not 101"),
        ({"LABELS": "a,b,"}, "LABELS='a,b,': should not have an empty name: is there a comma too many?"),
        ({"LABELS": "a, ,b"}, "should not have an empty name"),
        ({"LABELS": "a,b,a"}, "should not have a name twice (a)"),
        ({"LABELS": "Road,water,ROAD"}, "should not have a name twice (ROAD, Road)"),
        ({"LABELS": "straße,STRASSE"}, "should not have a name twice (STRASSE, straße)"),
        ({}, "LABEL='ward': should be urgency or department, or your own with its names in LABELS"),
        ({"LABELS": "a,b", "LABEL": "../ward"}, "should be a short name of letters, digits, _ and -"),
        ({"LABELS": "a,b", "LABEL": "w" * 33}, "should be a short name of letters, digits, _ and -"),
        ({"LABELS": "a,b", "LABEL": "1st"}, "should be a short name of letters, digits, _ and -"),
        (
            {"LABELS": "a,b", "LABEL": "urgency"},
            "LABEL='urgency': has names of its own (NORMAL, URGENT, HIGHLY URGENT): take LABELS out",
        ),
        ({"LABELS": "URGENT,NORMAL,HIGHLY URGENT", "LABEL": "urgency"}, "has names of its own"),
        (
            {"LABELS": "a,b", "FOCAL_ALPHA": "0.2,0.3,0.5"},
            "a number for each class, separated by commas: 2 of",
        ),
        ({"LABELS": "one", "FOCAL_ALPHA": "0.2,0.8"}, "LABELS='one': should be 2 to 100 names"),
    ],
)
def test_a_label_set_that_can_not_be_is_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        get_config(NEEDED | {"LABEL": "ward"} | settings)
    assert said in str(caught.value)


def test_a_label_set_of_ones_own_has_a_weight_for_each_of_its_names() -> None:
    assert own("a,b", FOCAL_ALPHA="0.2,0.8").focal_alpha == (0.2, 0.8)
    with pytest.raises(SettingsError, match="2 of them, for a, b"):
        own("a,b", FOCAL_ALPHA="0.2,0.3,0.5")


def test_the_names_of_labels_are_inputs_where_they_are_set() -> None:
    """Runs were recorded before there was such a setting, and are gone on from without it."""
    assert "LABELS" not in get_config(NEEDED).inputs()
    assert own("a,b").inputs()["LABELS"] == ["a", "b"]
    assert own("a,b").inputs() != own("b,a").inputs()


# --- the Space


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"SPACE_ID": "retrain"}, "SPACE_ID='retrain'"),
        ({"RETRAIN_SPACE_ID": "retrain"}, "RETRAIN_SPACE_ID='retrain'"),
        ({"RETRAIN_SPACE_ID": "retrain", "SPACE_ID": "city/here"}, "RETRAIN_SPACE_ID='retrain'"),
    ],
)
def test_the_variable_that_names_the_space_wrongly_is_named(given: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        get_config(NEEDED | given)
    assert f"\n  {named}: should look like owner/name" in str(caught.value)


def test_without_a_space_none_is_paused() -> None:
    assert get_config(NEEDED).retrain_space_id is None


# --- parts of the settings


def test_a_part_of_the_settings_can_be_read_without_the_others() -> None:
    assert TrainingSettings.read({"SEED": "7"}).seed == 7
    assert GateSettings.read({}).decision_threshold == 0.001
    assert PlaceSettings.read(NEEDED).hub_model_id == "city/model"


def test_only_variables_in_capitals_are_read() -> None:
    assert TrainingSettings.read({"seed": "7"}).seed == 42


@pytest.mark.parametrize(
    "query",
    ["token=abcdefgh", "api_key=abcdefgh", "a=1&access_token=abcdefgh", "sig=abcdefgh", "auth=abcdefgh"],
)
def test_a_secret_in_the_query_of_a_url_is_refused_and_not_shown(query: str) -> None:
    with pytest.raises(SettingsError, match="should not hold a password or token") as caught:
        get_config(NEEDED | {"API_ENDPOINT": f"https://example.org/predict?{query}"})
    assert "abcdefgh" not in str(caught.value)


def test_other_queries_of_a_url_are_kept() -> None:
    url = "https://example.org/predict?model=urgency&version=2"
    assert get_config(NEEDED | {"API_ENDPOINT": url}).api_endpoint == url


@pytest.mark.parametrize("name", ["RETRAIN_SPACE_ID", "SPACE_ID"])
def test_one_space_for_both_roles_is_refused_beside_other_faults(name: str) -> None:
    shared = {name: NEEDED["SPACE_REPO_ID"].upper(), "SEED": "-1"}
    with pytest.raises(SettingsError) as caught:
        get_config(NEEDED | shared)
    assert f"{name}={shared[name]!r}: is SPACE_REPO_ID, too." in str(caught.value)
    assert "SEED='-1'" in str(caught.value)


def test_short_secrets_are_named() -> None:
    config = get_config(
        NEEDED | {"API_TOKEN": "1234567", "AUDIT_KEY": "12345678", "HF_TOKEN": "hf_long_enough"}
    )
    assert config.short_secrets() == ["API_TOKEN"]


@pytest.mark.parametrize("name", ["TRAIN_BATCH_SIZE", "EVAL_BATCH_SIZE", "EVAL_STEPS"])
def test_a_count_without_end_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}='1"):
        get_config(NEEDED | {name: "1" + "0" * 30})
