"""The operator's command: what a call gets that can't be used."""

import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from rehearsal.local_hub import LocalHub
from retrain.commands import app, run
from tests.conftest import CITY, COMMON, NEEDED, SOURCE, USERS


@pytest.mark.parametrize("arguments", [[], ["one", "two"]])
def test_the_verdict_wants_one_file(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verdict", *arguments]) == 2
    assert capsys.readouterr().err.startswith("Usage: ")


def test_a_call_without_a_command_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    shown = "".join(capsys.readouterr())
    for command in app.registered_commands:
        assert command.callback is not None
        assert command.callback.__name__ in shown


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["roolback"]) == 2
    assert "No such command 'roolback'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["setup", "check"])
def test_an_env_file_that_is_not_there_is_named(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "no-such-file"]) == 2
    assert "no-such-file does not exist" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path)]) == 2
    assert "is no folder of a run" in capsys.readouterr().err


def test_a_file_that_is_no_comparison_is_something_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verdict", str(tmp_path / "none.parquet")]) == 1
    assert "is no whole file of a comparison" in capsys.readouterr().err


def test_settings_that_are_missing_are_named_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NEEDED:
        monkeypatch.delenv(name, raising=False)
    assert run(["versions"]) == 2
    assert "HF_TOKEN is missing" in capsys.readouterr().err


def test_a_rollback_is_for_one_label_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABEL", raising=False)
    names = {"HUB_MODEL_ID": "city/{label}", "SPACE_REPO_ID": "city/{label}-api"}
    names |= {"API_ENDPOINT": "https://city-{label}-api.hf.space/predict"}
    both = NEEDED | names | {"LABEL": "urgency,department"}
    file = tmp_path / ".env"
    file.write_text("\n".join(f"{name}={value}" for name, value in both.items()))
    assert run(["rollback", "--env-file", str(file)]) == 2
    assert "LABEL=" in capsys.readouterr().err


@pytest.mark.parametrize("label", ["typo", "urgency,typo", '"typo"'])
def test_a_label_of_the_environment_that_the_file_does_not_have_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, label: str
) -> None:
    file = tmp_path / ".env"
    file.write_text("\n".join(f"{name}={value}" for name, value in NEEDED.items()))
    monkeypatch.setenv("LABEL", label)
    assert run(["versions", "--env-file", str(file)]) == 2
    assert f"LABEL=typo of the environment is not in {file}: urgency." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoding", "named"), [("latin-1", "Latin-1"), ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16")]
)
def test_an_env_file_that_is_not_in_utf_8_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], encoding: str, named: str
) -> None:
    file = tmp_path / ".env"
    file.write_text("LABEL=urgency # é\n", encoding=encoding)
    assert run(["check", str(file)]) == 2
    said = capsys.readouterr().err
    assert "is not in UTF-8 but in " in said
    assert named in said


def test_versions_whose_metadata_others_wrote_are_listed(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub", USERS) as hub:
        api = HfApi(endpoint=hub.url, token=CITY)
        api.create_repo("city/inference", repo_type="space", space_sdk="docker")
        api.create_repo("city/model")
        for second, metadata in enumerate((b"[]", b'{"eval_metrics": 1, "dataset": "x"}', b"[" * 100_000)):
            made = api.upload_file(
                path_or_fileobj=metadata, path_in_repo="metadata.json", repo_id="city/model"
            )
            api.create_tag("city/model", tag=f"v20250101_00000{second}", revision=made.oid)
        api.create_tag("city/model", tag="v20269931_000000")
        settings = NEEDED | {"HF_TOKEN": CITY, "API_ENDPOINT": "http://127.0.0.1:9/", "HF_ENDPOINT": hub.url}
        done = subprocess.run(
            [sys.executable, "-m", "retrain", "versions"],
            env=COMMON | settings | {"HOME": str(tmp_path)},
            cwd=SOURCE,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    _, *lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [f"v20250101_00000{second}" for second in (2, 1, 0)]
