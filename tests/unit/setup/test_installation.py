"""What an installation should be: which files ship, and how an env file becomes variables and secrets."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from configs import endpoint_of, get_config
from retrain.errors import SettingsError
from retrain.setup.installation import companion_files, installations, spaces_of, warnings_of
from tests.conftest import NEEDED, SOURCE
from tests.unit.setup.conftest import EnvFile

# --- the files that ship


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder under git, with what lies about in one; one file is not known to git."""
    names = [
        "app.py",
        "Dockerfile",
        "static/page.css",
        "static/icons/icon.svg",
        ".env",
        ".github/workflows/test.yml",
        "static/.hidden",
        "__pycache__/app.cpython-311.pyc",
        "static/__pycache__/page.pyc",
        "requirements.txt",
        "requirements-dev.txt",
        "unknown.py",
    ]
    folder = tmp_path / "clone"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "--force", *names[:-1]], cwd=folder, check=True)
    return folder


@pytest.mark.skipif(not (SOURCE / ".git").exists(), reason="only in a clone it is git that is asked")
def test_a_companion_space_ships_with_its_subfolders_and_without_what_lies_about(clone: Path) -> None:
    files = companion_files(clone)
    assert set(files) == {
        "app.py",
        "Dockerfile",
        "static/page.css",
        "static/icons/icon.svg",
        "requirements.txt",
    }
    assert all(file == clone / name for name, file in files.items())


def test_the_companion_spaces_of_this_project_ship_whole() -> None:
    assert {"inference/app.py", "inference/Dockerfile"} <= companion_files(SOURCE / "companion_spaces").keys()


def values_of(env_file: EnvFile, **settings: str | None) -> dict[str, str]:
    (values,) = installations(env_file(**settings))
    return values


def test_the_job_ships_with_its_documents_and_without_tests_and_rehearsal(env_file: EnvFile) -> None:
    _, retrain = spaces_of(values_of(env_file))
    for name in ("Dockerfile", "README.md", "LICENSE", "train_model.py", "requirements-cuda.lock"):
        assert retrain.files[name] == SOURCE / name
    assert retrain.files["retrain/lifecycle/page/assets/page.css"].is_file()
    top = {name.partition("/")[0] for name in retrain.files if "/" in name}
    assert top == {"retrain", "docs"}
    assert "requirements-dev.txt" not in retrain.files
    assert not [
        name for name in retrain.files if name.startswith(".") or "/." in name or "__pycache__" in name
    ]


# --- the env file


def test_a_file_is_read_as_docker_and_a_shell_read_it(env_file: EnvFile) -> None:
    values = values_of(
        env_file,
        HUB_MODEL_ID="'city/model'  # in quotes",
        SEED="7 # a note",
        WANDB_API_KEY="",
        API_TOKEN="${HF_TOKEN}",
    )
    assert (values["HUB_MODEL_ID"], values["SEED"]) == ("city/model", "7")
    assert values["API_TOKEN"] == "${HF_TOKEN}"
    assert "WANDB_API_KEY" not in values


def test_what_is_not_named_is_where_it_usually_is(env_file: EnvFile) -> None:
    values = values_of(env_file, API_ENDPOINT=None)
    assert values["API_ENDPOINT"] == "https://city-inference.hf.space/predict"
    assert values["RETRAIN_SPACE_ID"] == "city/grievance-retrain-urgency"
    named = values_of(env_file, RETRAIN_SPACE_ID="city/retrain")
    assert (named["API_ENDPOINT"], named["RETRAIN_SPACE_ID"]) == (NEEDED["API_ENDPOINT"], "city/retrain")


@pytest.mark.parametrize(
    ("space_id", "endpoint"),
    [
        ("city/inference", "https://city-inference.hf.space/predict"),
        ("City/My_Space.v2", "https://city-my-space-v2.hf.space/predict"),
    ],
)
def test_a_space_answers_at_an_address_of_its_name(space_id: str, endpoint: str) -> None:
    assert endpoint_of(space_id) == endpoint


def test_one_file_describes_an_installation_for_each_label_set(env_file: EnvFile) -> None:
    file = env_file(
        LABEL="urgency, department",
        DATASET_REPO_ID="city/{label}-data",
        HUB_MODEL_ID="city/{label}",
        SPACE_REPO_ID="city/{label}-api",
        API_ENDPOINT=None,
    )
    found = installations(file)
    assert [values["LABEL"] for values in found] == ["urgency", "department"]
    assert [values["HUB_MODEL_ID"] for values in found] == ["city/urgency", "city/department"]
    assert found[1]["API_ENDPOINT"] == "https://city-department-api.hf.space/predict"
    assert [get_config(values).label for values in found] == ["urgency", "department"]


def test_a_label_set_of_ones_own_is_described_in_the_file(env_file: EnvFile) -> None:
    values = values_of(env_file, LABEL="ward", LABELS="North,South")
    assert get_config(values).label2id == {"North": 0, "South": 1}
    _, retrain = spaces_of(values)
    assert retrain.variables["LABELS"] == "North,South"


TWO = {"LABEL": "urgency,department", "HUB_MODEL_ID": "city/{label}", "SPACE_REPO_ID": "city/{label}-api"}
CPU = {"REQUIREMENTS": "requirements-cpu.lock", "PIP_EXTRA_INDEX_URL": "https://download.pytorch.org/whl/cpu"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"SEEDS": "7"}, "SEEDS is no setting. Correct the name or take it out."),
        ({"SEED": "x"}, "SEED='x'"),
        ({"HF_TOKEN": None}, "HF_TOKEN is missing"),
        ({"INFERENCE_HF_TOKEN": "hf_x\u200b"}, "INFERENCE_HF_TOKEN should be of visible ASCII characters"),
        ({"RETRAIN_TRIGGER_TOKEN": "शुरु"}, "RETRAIN_TRIGGER_TOKEN should be of visible ASCII characters"),
        ({"LABEL": None}, "LABEL is missing"),
        ({"LABEL": "urgency,"}, "LABEL is missing"),
        ({"LABEL": "urgency,department"}, "two repositories have one name. Put {label} into the names."),
        ({"RETRAIN_SPACE_ID": "city/inference"}, "is SPACE_REPO_ID, too"),
        ({"REQUIREMENTS": "dev.txt"}, "should be requirements-cuda.lock, requirements-cpu.lock or"),
        ({"REQUIREMENTS": "requirements-cpu.lock"}, "Set it as PIP_EXTRA_INDEX_URL."),
        ({"PIP_EXTRA_INDEX_URL": "https://me:pw@host/"}, "should not hold a password"),
        (CPU | {"RETRAIN_HARDWARE": "t4-small"}, "can't use the GPU of RETRAIN_HARDWARE=t4-small"),
        (
            TWO | {"API_ENDPOINT": "https://city-api.hf.space/predict"},
            "API_ENDPOINT=https://city-api.hf.space/predict is that of 2 label sets",
        ),
        ({"HF_TOKEN": "hf_..."}, "HF_TOKEN is still the placeholder of .env.example"),
        ({"RETRAIN_HARDWARE": "t4_small"}, "is no hardware of the Hub. Did you mean t4-small,"),
        ({"INFERENCE_HARDWARE": "gpu"}, "INFERENCE_HARDWARE='gpu' is no hardware of the Hub. Did you mean "),
        ({"RETRAIN_SLEEP_SECONDS": "soon"}, "RETRAIN_SLEEP_SECONDS='soon' should be a number of seconds"),
        ({"INFERENCE_SLEEP_SECONDS": "-2"}, "INFERENCE_SLEEP_SECONDS='-2' should be a number of seconds"),
    ],
)
def test_a_file_that_can_not_be_used_is_refused(
    env_file: EnvFile, settings: Mapping[str, str | None], said: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        installations(env_file(**settings))
    assert said in str(refused.value)
    assert NEEDED["HF_TOKEN"] not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"API_ENDPOINT": None}, ""),
        ({"API_ENDPOINT": "https://api.city.example/predict"}, ""),
        (
            {"API_ENDPOINT": "https://city-old.hf.space/predict"},
            "is not SPACE_REPO_ID=city/inference, which answers at https://city-inference.hf.space/predict",
        ),
        (
            {"API_ENDPOINT": "https://huggingface.co/spaces/city/inference"},
            "is the page of a Space, which answers at https://city-inference.hf.space/predict",
        ),
        (
            TWO | {"API_ENDPOINT": None},
            "DATASET_REPO_ID=city/data is that of 2 label sets: it needs a config",
        ),
        (TWO | {"API_ENDPOINT": None, "DATASET_REPO_ID": "city/{label}-data"}, ""),
    ],
)
def test_what_is_probably_a_mistake_is_warned_about(
    env_file: EnvFile, settings: Mapping[str, str | None], said: str
) -> None:
    warnings = "".join(warnings_of(installations(env_file(**settings))))
    assert said in warnings
    assert bool(said) == bool(warnings)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing\.env does not exist\. Copy \.env\.example to it"):
        installations(tmp_path / "missing.env")


# --- the two Spaces


def test_the_retrain_space_gets_its_secrets_as_secrets(env_file: EnvFile) -> None:
    secrets = {"AUDIT_KEY": "a key of ours", "WANDB_API_KEY": "k" * 40, "API_TOKEN": "sesame"}
    secrets |= {"NOTIFY_URLS": "json://localhost/path"}
    _, retrain = spaces_of(values_of(env_file, **secrets))
    assert retrain.secrets == secrets | {"HF_TOKEN": NEEDED["HF_TOKEN"]}
    assert not retrain.secrets.keys() & retrain.variables.keys()
    assert not [secret for secret in retrain.secrets.values() if secret in str(retrain.variables)]


def test_a_secret_that_is_not_given_is_not_set_in_the_retrain_space(env_file: EnvFile) -> None:
    _, retrain = spaces_of(values_of(env_file))
    assert retrain.secrets == {"HF_TOKEN": NEEDED["HF_TOKEN"]}


def test_both_spaces_have_one_audit_key_and_the_inference_space_always_has_one(env_file: EnvFile) -> None:
    inference, retrain = spaces_of(values_of(env_file, AUDIT_KEY="a key of ours"))
    assert inference.secrets["AUDIT_KEY"] == retrain.secrets["AUDIT_KEY"] == "a key of ours"
    inference, _ = spaces_of(values_of(env_file))
    assert inference.secrets["AUDIT_KEY"] == ""  # to be made up


def test_the_inference_space_gets_what_it_reads_and_no_more(env_file: EnvFile) -> None:
    inference, retrain = spaces_of(
        values_of(
            env_file,
            INFERENCE_HF_TOKEN="hf_reads_only",
            RETRAIN_TRIGGER_TOKEN="start",
            MODEL_REVISION="v20250101_000000",
            HF_ENDPOINT="http://127.0.0.1:9",
            WANDB_API_KEY="k" * 40,
            SEED="7",
        )
    )
    assert inference.secrets == {
        "HF_TOKEN": "hf_reads_only",
        "AUDIT_KEY": "",
        "RETRAIN_TRIGGER_TOKEN": "start",
    }
    assert inference.variables == {
        "MODEL_REPO": "city/model",
        "MODEL_REVISION": "v20250101_000000",
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "RETRAIN_SPACE_ID": "city/grievance-retrain-urgency",
    }
    ours = {"INFERENCE_HF_TOKEN", "RETRAIN_TRIGGER_TOKEN", "MODEL_REVISION"}
    assert not ours & (retrain.variables.keys() | retrain.secrets.keys())
    assert retrain.secrets["HF_TOKEN"] == NEEDED["HF_TOKEN"]


def test_hardware_sleep_and_pause_are_those_of_each_space(env_file: EnvFile) -> None:
    inference, retrain = spaces_of(
        values_of(
            env_file, RETRAIN_HARDWARE="t4-small", RETRAIN_SLEEP_SECONDS="3600", INFERENCE_SLEEP_SECONDS="-1"
        )
    )
    assert (inference.hardware, inference.sleep_seconds, inference.paused) == ("cpu-basic", -1, False)
    assert (retrain.hardware, retrain.sleep_seconds, retrain.paused) == ("t4-small", 3600, True)
    assert not [name for name in retrain.variables if name.endswith(("_HARDWARE", "_SLEEP_SECONDS"))]
    inference, retrain = spaces_of(values_of(env_file))
    assert inference.sleep_seconds is retrain.sleep_seconds is None


@pytest.mark.parametrize(("hardware", "given"), [("cpu-upgrade", True), ("t4-small", False)])
def test_the_index_of_cpu_builds_is_for_an_inference_space_without_a_gpu(
    env_file: EnvFile, hardware: str, given: bool
) -> None:
    inference, retrain = spaces_of(values_of(env_file, INFERENCE_HARDWARE=hardware, **CPU))
    assert ("PIP_EXTRA_INDEX_URL" in inference.variables) == given
    assert retrain.variables.items() >= CPU.items()


# --- where runs happen


def test_with_jobs_there_is_no_retrain_space(env_file: EnvFile) -> None:
    values = values_of(
        env_file, HOST="job", JOB_IMAGE="ghcr.io/city/retrain:cpu", RETRAIN_SPACE_ID="city/retrain"
    )
    assert "RETRAIN_SPACE_ID" not in values
    (inference,) = spaces_of(values)
    assert inference.repo_id == "city/inference"


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"HOST": "cloud"}, r"HOST='cloud' should be space or job"),
        (
            {"HOST": "job", "RETRAIN_TRIGGER_TOKEN": "a token"},
            r"RETRAIN_TRIGGER_TOKEN is for a retrain Space",
        ),
        ({"JOB_BUCKET": "runs"}, r"JOB_BUCKET='runs' should look like owner/name"),
    ],
)
def test_a_host_that_can_not_be_set_up_is_named(
    env_file: EnvFile, settings: dict[str, str], fault: str
) -> None:
    with pytest.raises(SettingsError, match=fault):
        installations(env_file(**settings))
